//! Copies of a commit, and questions for its outcome, that a client sends through other gateways while
//! the first copy may still be at work (R10). Each goes over a connection of its own; what is answered
//! is written into the history beside what the client is told, and must agree with it.

use super::{Happening, World};
use crate::history::{Heard, TransactionIndex, Verdict};
use crate::simulation::marks::Mark;
use crate::simulation::network::Seat;
use crate::simulation::telling;
use crate::simulation::trace::{About, node};
use node::Event;
use std::time::Duration;
use wire::message::{ClientAnswer, ClientReply, ClientRequest, OutcomeAnswer};

/// One that is at a gateway.
pub(super) struct Aside {
    index: TransactionIndex,
    seat: Seat,
    boot: u32,
    arrived: Duration,
}

impl World {
    /// The client sends it in a while.
    pub(super) fn aside_leaves(
        &mut self,
        after: Duration,
        seat: Seat,
        index: TransactionIndex,
        request: ClientRequest,
    ) {
        let connection = self.next_connection;
        self.next_connection += 1;
        let delay = after + self.options.client_delay.draw(&mut self.random);
        let happening = Happening::Aside {
            connection,
            seat,
            index,
            request,
        };
        self.heap.after(delay, happening);
    }

    pub(super) fn aside_arrives(
        &mut self,
        connection: u64,
        seat: Seat,
        index: TransactionIndex,
        request: ClientRequest,
    ) {
        if !self.machines[seat].is_up() {
            return;
        }
        let now = self.now();
        let boot = self.machines[seat].boot;
        self.trace
            .record(now, "aside", &[seat as u64, connection], &[]);
        self.trace.line_about(now, About::node(seat), || {
            let asked = telling::client_request(&request);
            let beside = index.0;
            format!(
                "beside transaction {beside} {} is asked: {asked}",
                node(seat)
            )
        });
        let aside = Aside {
            index,
            seat,
            boot,
            arrived: now,
        };
        self.asides.insert(connection, aside);
        let number = 1;
        self.give(
            seat,
            Event::Client {
                connection,
                number,
                request,
            },
        );
    }

    /// Whether an answer was one to an aside.
    pub(super) fn aside_answer(&mut self, connection: u64, reply: &ClientReply) -> bool {
        let Some(aside) = self.asides.remove(&connection) else {
            return false;
        };
        let Aside {
            index, seat, boot, ..
        } = aside;
        self.heap.after(
            self.options.client_delay.least,
            Happening::ClientGone {
                connection,
                seat,
                boot,
            },
        );
        let verdict = match reply {
            Ok(ClientAnswer::Committed(committed)) => Verdict::Committed { at: committed.at },
            Ok(ClientAnswer::Aborted(aborted)) if aborted.durable => Verdict::Aborted,
            Ok(ClientAnswer::Aborted(_)) => Verdict::RefusedForNow,
            Ok(ClientAnswer::Outcome(OutcomeAnswer::Committed { at })) => {
                Verdict::Committed { at: *at }
            }
            Ok(ClientAnswer::Outcome(OutcomeAnswer::Aborted)) => Verdict::Aborted,
            Err(_) => return true,
            Ok(other) => {
                panic!("a commit, or a question for an outcome, is answered with {other:?}")
            }
        };
        let is_question = matches!(reply, Ok(ClientAnswer::Outcome(_)));
        self.marks.hit(match verdict {
            _ if is_question => Mark::AskedUnderWay,
            Verdict::Committed { .. } => Mark::CopyCommitted,
            Verdict::Aborted | Verdict::RefusedForNow => Mark::CopyAborted,
        });
        let delay = self.options.client_delay.draw(&mut self.random);
        self.heap.after(delay, Happening::Heard { index, verdict });
        true
    }

    pub(super) fn aside_heard(&mut self, index: TransactionIndex, verdict: Verdict) {
        let at = self.now();
        self.history
            .get_mut(index)
            .heard
            .push(Heard { at, verdict });
    }

    /// A node lost power: nobody answers what it was asked.
    pub(super) fn break_asides_of(&mut self, seat: Seat, boot: u32) {
        self.asides
            .retain(|_, aside| (aside.seat, aside.boot) != (seat, boot));
    }

    /// What is still asked, for a message about a world that does not come to rest.
    pub(super) fn describe_asides(&self) -> String {
        let line = |aside: &Aside| {
            format!(
                "{:?} sent again to node {} at {:?}",
                aside.index, aside.seat, aside.arrived
            )
        };
        let lines: Vec<String> = self.asides.values().map(line).collect();
        lines.join("; ")
    }
}
