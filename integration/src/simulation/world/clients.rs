//! Clients and their connections to gateways.

use super::{Happening, Phase, World};
use crate::simulation::client::{Client, ClientContext, ClientEffect, ClientEvent, ClientTiming};
use crate::simulation::marks::Mark;
use crate::simulation::network::Seat;
use crate::simulation::telling;
use crate::simulation::trace::{About, node};
use node::Event;
use std::time::Duration;
use wire::SplitMix64;
use wire::message::{AbortReason, ClientAnswer, ClientReply, ClientRequest, RequestError};

/// A client and the connection that it has.
pub(super) struct Session {
    pub(super) number: u32,
    pub(super) client: Client,
    /// 0: none.
    pub(super) connection: u64,
    pub(super) seat: Seat,
    pub(super) boot: u32,
    /// Requests of one connection arrive in order.
    pub(super) last_arrival: Duration,
}

impl World {
    pub(super) fn add_session(&mut self, number: u32, timing: ClientTiming) {
        let seat = number as usize % self.options.nodes;
        let seed = self.random.next_u64();
        self.processes = self.processes.max(number);
        let client = Client::new(timing, seat, self.options.nodes, number, seed);
        self.sessions.push(Session {
            number,
            client,
            connection: 0,
            seat,
            boot: 0,
            last_arrival: Duration::ZERO,
        });
    }

    pub(super) fn start_session(&mut self, session: usize) {
        let mut out = Vec::new();
        self.sessions[session].client.start(&mut out);
        self.do_client_effects(session, out);
    }

    pub(super) fn client_event(
        &mut self,
        session: usize,
        connection: Option<u64>,
        event: ClientEvent,
    ) {
        if connection.is_some_and(|c| c != self.sessions[session].connection) {
            return;
        }
        let now = self.now();
        self.trace.record(now, "client", &[session as u64], &[]);
        self.tell_client_event(session, &event);
        let World {
            sessions,
            history,
            workloads,
            phase,
            begun,
            processes,
            plans_left,
            ..
        } = self;
        let mut plans = |random: &mut SplitMix64| match phase {
            Phase::Setup(plans) => plans.pop_front(),
            Phase::Run if workloads.is_empty() || *plans_left == Some(0) => None,
            Phase::Run => {
                *plans_left = plans_left.map(|left| left - 1);
                let which = random.below(workloads.len() as u64) as usize;
                Some(workloads[which].next(random))
            }
            Phase::Stopped => None,
        };
        let mut context = ClientContext {
            now,
            begun: *begun,
            history,
            plans: &mut plans,
            processes,
        };
        let mut out = Vec::new();
        sessions[session].client.step(&mut context, event, &mut out);
        self.do_client_effects(session, out);
    }

    fn do_client_effects(&mut self, session: usize, effects: Vec<ClientEffect>) {
        for effect in effects {
            match effect {
                ClientEffect::Connect(seat) => self.connect_session(session, seat),
                ClientEffect::Send { number, request } => {
                    self.request_leaves(session, number, request);
                }
                ClientEffect::Aside {
                    after,
                    gateway,
                    index,
                    request,
                } => self.aside_leaves(after, gateway, index, request),
                ClientEffect::Timer { after, ticket } => {
                    let event = ClientEvent::Timer(ticket);
                    self.heap.after(
                        after,
                        Happening::Client {
                            session,
                            connection: None,
                            event,
                        },
                    );
                }
            }
        }
    }

    fn connect_session(&mut self, session: usize, seat: Seat) {
        self.disconnect_session(session);
        let connection = self.next_connection;
        self.next_connection += 1;
        self.connections.insert(connection, session);
        let boot = self.machines[seat].boot;
        let now = self.now();
        let of = &mut self.sessions[session];
        of.connection = connection;
        (of.seat, of.boot, of.last_arrival) = (seat, boot, now);
    }

    /// The client's side of its connection ends; the gateway hears of it.
    pub(super) fn disconnect_session(&mut self, session: usize) {
        let Session {
            connection,
            seat,
            boot,
            last_arrival,
            ..
        } = self.sessions[session];
        if connection == 0 {
            return;
        }
        self.connections.remove(&connection);
        self.sessions[session].connection = 0;
        let delay = self.options.client_delay.draw(&mut self.random);
        let at = last_arrival.max(self.now() + delay);
        self.heap.at(
            at,
            Happening::ClientGone {
                connection,
                seat,
                boot,
            },
        );
    }

    fn request_leaves(&mut self, session: usize, number: u64, request: ClientRequest) {
        let now = self.now();
        let delay = self.options.client_delay.draw(&mut self.random);
        let of = &mut self.sessions[session];
        let at = of.last_arrival.max(now + delay);
        of.last_arrival = at;
        let (connection, seat, boot) = (of.connection, of.seat, of.boot);
        let happening = Happening::Request {
            session,
            connection,
            seat,
            boot,
            number,
            request,
        };
        self.heap.at(at, happening);
    }

    pub(super) fn request_arrives(
        &mut self,
        session: usize,
        connection: u64,
        seat: Seat,
        boot: u32,
        number: u64,
        request: ClientRequest,
    ) {
        if !self.lives(seat, boot) {
            return self.lose_connection(session, connection);
        }
        if self.sessions[session].connection != connection {
            // Cut while the request was on its way: it arrives all the same, the answer will not.
            let now = self.heap.now();
            self.trace.line_about(now, About::node(seat), || {
                format!("a late request of c{session}")
            });
        }
        let now = self.now();
        self.trace
            .record(now, "request", &[seat as u64, connection, number], &[]);
        self.trace.line_about(now, About::node(seat), || {
            let asked = telling::client_request(&request);
            format!("c{session} → {}: {asked}", node(seat))
        });
        self.give(
            seat,
            Event::Client {
                connection,
                number,
                request,
            },
        );
    }

    pub(super) fn answer_leaves(&mut self, connection: u64, number: u64, reply: ClientReply) {
        if self.control_answer(connection, number, &reply) {
            return;
        }
        let now = self.now();
        let bytes = postcard::to_stdvec(&reply).expect("every message can be encoded");
        self.trace
            .record(now, "reply", &[connection, number], &bytes);
        self.tell_reply(connection, &reply);
        if let Err(RequestError::ClockUnusable { .. }) = &reply {
            self.marks.hit(Mark::Quarantine);
        }
        self.see_refusal(&reply);
        self.see_horizon(&reply);
        if self.aside_answer(connection, &reply) {
            return;
        }
        let Some(session) = self.connections.get(&connection).copied() else {
            return;
        };
        let delay = self.options.client_delay.draw(&mut self.random);
        let event = ClientEvent::Reply { number, reply };
        let connection = Some(connection);
        self.heap.after(
            delay,
            Happening::Client {
                session,
                connection,
                event,
            },
        );
    }

    fn tell_client_event(&mut self, session: usize, event: &ClientEvent) {
        let now = self.now();
        let about = About::node(self.sessions[session].seat);
        match event {
            ClientEvent::Timer(_) => {}
            ClientEvent::Lost => self
                .trace
                .line_about(now, about, || format!("c{session} loses its connection")),
            ClientEvent::Reply { reply, .. } => {
                let is_commit = matches!(reply, Ok(ClientAnswer::Committed(_)));
                let about = About {
                    is_landmark: is_commit,
                    ..about
                };
                self.trace.line_about(now, about, || {
                    format!("c{session} hears: {}", telling::client_reply(reply))
                });
            }
        }
    }

    fn tell_reply(&mut self, connection: u64, reply: &ClientReply) {
        let now = self.now();
        let session = self.connections.get(&connection).copied();
        let about = session.map_or(About::default(), |of| About::node(self.sessions[of].seat));
        self.trace.line_about(now, about, || {
            let told = telling::client_reply(reply);
            match session {
                Some(session) => {
                    format!("{} → c{session}: {told}", node(self.sessions[session].seat))
                }
                None => format!("answered on connection {connection}: {told}"),
            }
        });
    }

    fn see_horizon(&mut self, reply: &ClientReply) {
        let is_below = match reply {
            Err(RequestError::BelowHorizon { .. }) => true,
            Ok(ClientAnswer::Aborted(aborted)) => {
                matches!(aborted.reason, AbortReason::BelowHorizon { .. })
            }
            _ => false,
        };
        if is_below {
            self.marks.hit(Mark::BelowHorizon);
        }
    }

    /// The client hears, a little later, that its connection is gone.
    fn lose_connection(&mut self, session: usize, connection: u64) {
        let delay = self.options.client_delay.draw(&mut self.random);
        let event = ClientEvent::Lost;
        let connection = Some(connection);
        self.heap.after(
            delay,
            Happening::Client {
                session,
                connection,
                event,
            },
        );
    }

    /// Of a node that lost power: its clients hear it when they next speak to it, or at once.
    pub(super) fn break_sessions_of(&mut self, seat: Seat, boot: u32) {
        for session in 0..self.sessions.len() {
            let of = &self.sessions[session];
            let connected = of.connection != 0 && of.seat == seat && of.boot == boot;
            if connected && self.random.chance(2, 3) {
                let connection = self.sessions[session].connection;
                self.lose_connection(session, connection);
            }
        }
    }

    /// A client's connection breaks, both sides hear it.
    pub(super) fn cut_session(&mut self, session: usize) {
        let connection = self.sessions[session].connection;
        if connection == 0 {
            return;
        }
        self.lose_connection(session, connection);
        let (seat, boot) = (self.sessions[session].seat, self.sessions[session].boot);
        self.heap.after(
            Duration::ZERO,
            Happening::ClientGone {
                connection,
                seat,
                boot,
            },
        );
    }
}
