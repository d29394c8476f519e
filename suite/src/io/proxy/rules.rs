//! What is done to which link: set by nemeses, asked for each frame.
//!
//! Invariant: rules are independent. Each is added and removed by its number, so two nemeses at work on
//! one link do not end each other's fault.

use std::collections::BTreeMap;
use std::time::Duration;

/// A node: its place among those that the suite started, 0 the first. Not its id in the cluster.
pub type Seat = usize;

/// Chances are given in so many parts.
pub const CHANCE_PARTS: u32 = 10_000;

/// Who dialled a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Dialler {
    /// A node, to send its messages.
    Node(Seat),
    /// Any client.
    Client,
}

/// How a link is cut.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Cut {
    /// What is sent stays under way, as on a cable that was pulled: it arrives late if the cut heals
    /// soon, else the connection is lost ([`super::HELD_FOR_MAX`]).
    Silent,
    /// Connections are closed, and new ones too.
    Reset,
}

/// What happens to single frames; all zero in calm. Chances in parts of [`CHANCE_PARTS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Disturbance {
    /// Added to the way of each frame.
    pub delay: Duration,
    /// Added besides, up to this, each time anew; the order stays.
    pub jitter: Duration,
    /// Lost, the connection stays.
    pub loss: u32,
    /// Sent twice.
    pub doubling: u32,
    /// Overtaken by those that were sent within [`super::OVERTAKEN_BY_MAX`] after it.
    pub reordering: u32,
    /// One bit is flipped.
    pub corruption: u32,
}

/// What happens to the connections of clients, at a request. Chances in parts of [`CHANCE_PARTS`].
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClientFault {
    /// The connection ends before the request is passed on.
    pub cut_before: u32,
    /// It ends just after.
    pub cut_after: u32,
    /// A commit is sent once more, over another connection, to any node.
    pub replay: u32,
}

/// One thing that is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Rule {
    /// Nothing passes.
    Cut {
        /// Who dialled.
        from: Dialler,
        /// To whom.
        to: Seat,
        /// How.
        how: Cut,
    },
    /// Frames suffer.
    Disturb {
        /// Who dialled.
        from: Dialler,
        /// To whom.
        to: Seat,
        /// How.
        what: Disturbance,
    },
    /// Connections of clients suffer.
    Clients {
        /// To whom.
        to: Seat,
        /// How.
        what: ClientFault,
    },
}

/// All that is done now.
#[derive(Debug, Default)]
pub(crate) struct Rules {
    active: BTreeMap<u64, Rule>,
    next: u64,
}

impl Rules {
    pub(crate) fn add(&mut self, rule: Rule) -> u64 {
        self.next += 1;
        self.active.insert(self.next, rule);
        self.next
    }

    pub(crate) fn remove(&mut self, number: u64) {
        self.active.remove(&number);
    }

    /// Whether a link is cut; a reset beats silence.
    pub(crate) fn cut(&self, dialler: Dialler, target: Seat) -> Option<Cut> {
        let cuts = self.active.values().filter_map(|rule| match *rule {
            Rule::Cut { from, to, how } if (from, to) == (dialler, target) => Some(how),
            _ => None,
        });
        cuts.max()
    }

    /// What frames of a link suffer, all rules together.
    pub(crate) fn disturbance(&self, dialler: Dialler, target: Seat) -> Disturbance {
        let mut all = Disturbance::default();
        for rule in self.active.values() {
            if let Rule::Disturb { from, to, what } = *rule
                && (from, to) == (dialler, target)
            {
                all.delay += what.delay;
                all.jitter += what.jitter;
                all.loss += what.loss;
                all.doubling += what.doubling;
                all.reordering += what.reordering;
                all.corruption += what.corruption;
            }
        }
        all
    }

    /// What the requests of clients suffer, all rules together.
    pub(crate) fn client_fault(&self, target: Seat) -> ClientFault {
        let mut all = ClientFault::default();
        for rule in self.active.values() {
            if let Rule::Clients { to, what } = *rule
                && to == target
            {
                all.cut_before += what.cut_before;
                all.cut_after += what.cut_after;
                all.replay += what.replay;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_cuts_of_one_link_heal_one_by_one() {
        let mut rules = Rules::default();
        let (from, to) = (Dialler::Node(0), 1);
        let cut = |how| Rule::Cut { from, to, how };
        let (silent, reset) = (rules.add(cut(Cut::Silent)), rules.add(cut(Cut::Reset)));
        assert_eq!(rules.cut(from, to), Some(Cut::Reset));
        assert_eq!(rules.cut(Dialler::Node(1), 0), None, "one way only");
        assert_eq!(rules.cut(Dialler::Client, 1), None, "nodes only");
        rules.remove(reset);
        assert_eq!(rules.cut(from, to), Some(Cut::Silent));
        rules.remove(silent);
        assert_eq!(rules.cut(from, to), None);
    }

    #[test]
    fn disturbances_of_one_link_add_up() {
        let mut rules = Rules::default();
        let disturb = |loss, to| Rule::Disturb {
            from: Dialler::Node(0),
            to,
            what: Disturbance {
                loss,
                ..Disturbance::default()
            },
        };
        rules.add(disturb(10, 1));
        rules.add(disturb(20, 1));
        rules.add(disturb(40, 2));
        assert_eq!(rules.disturbance(Dialler::Node(0), 1).loss, 30);
    }
}
