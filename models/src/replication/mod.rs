//! Replication and promises (R9, decision 0010) at small scope: three nodes.
//!
//! The model drives the program's own core, [`partition::replication::Replication`], and not an
//! abstraction of it: it has no IO, can be cloned, and takes time and randomness from outside, so a state
//! of it can be kept and told from others ([`cluster`]). What is explored is what ships. The driver around
//! it (disks, promises, serving) mirrors `partition/src/leadership.rs` and `serving.rs`; its rules can be
//! broken ([`scope::Mutant`]).
//!
//! Invariants: one leader a term · logs that agree at an index and term agree below it · a leader holds
//! all that was committed in earlier terms · what is committed never changes · no leader places at or
//! below what another may have answered · none serves before it knows all that was committed before.
//!
//! Left out: snapshots, disks that are slower than a turn, changes of members (the core has none yet).

pub mod cluster;
pub mod scope;

pub use cluster::{Broken, Cluster};
pub use scope::{Mutant, Scope};

use cluster::{Envelope, NODES, Said};
use stateright::{Model, Property};
use std::fmt;

/// The model: a scope, to be explored.
#[derive(Clone, Debug)]
pub struct Replicas(pub Scope);

/// One step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Action {
    /// A message comes in; told for its own sake.
    Deliver(u64, Envelope),
    /// A node asks for votes.
    Stand(usize),
    /// A leader appends an entry.
    Propose(usize),
    /// A leader asks for a promise.
    AskPromise(usize),
    /// A leader hands over.
    HandOver(usize, usize),
    /// A node stops and starts.
    Restart(usize),
    /// A node starts with an empty disk.
    LoseMemory(usize),
    /// A node that has forgotten asks the others.
    AskMemory(usize),
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Action::Deliver(_, Envelope { from, to, said }) => match said {
                Said::Core(message) => write!(f, "n{} to n{}: {message:?}", from + 1, to + 1),
                said => write!(f, "n{} to n{}: {said:?}", from + 1, to + 1),
            },
            Action::Stand(node) => write!(f, "n{} asks for votes", node + 1),
            Action::Propose(node) => write!(f, "n{} appends an entry", node + 1),
            Action::AskPromise(node) => write!(f, "n{} asks for a promise", node + 1),
            Action::HandOver(node, to) => write!(f, "n{} hands over to n{}", node + 1, to + 1),
            Action::Restart(node) => write!(f, "n{} stops and starts", node + 1),
            Action::LoseMemory(node) => write!(f, "n{} starts with an empty disk", node + 1),
            Action::AskMemory(node) => write!(f, "n{} asks what it has forgotten", node + 1),
        }
    }
}

impl Model for Replicas {
    type State = Cluster;
    type Action = Action;

    fn init_states(&self) -> Vec<Cluster> {
        vec![Cluster::new(&self.0)]
    }

    fn actions(&self, cluster: &Cluster, actions: &mut Vec<Action>) {
        if cluster.broken.is_some() {
            return;
        }
        let messages = cluster.messages.iter();
        actions.extend(messages.map(|(print, it)| Action::Deliver(*print, Envelope::clone(it))));
        let budget = &cluster.budget;
        // At first all nodes are alike, so whichever acts first is called the first.
        let is_first = *budget == self.0.budget;
        let nodes = if is_first { 1 } else { NODES };
        for (node, it) in cluster.nodes.iter().enumerate().take(nodes) {
            if it.has_forgotten() {
                actions.push(Action::AskMemory(node));
            } else if !it.leads() && budget.elections > 0 {
                actions.push(Action::Stand(node));
            }
            if it.leads() && budget.proposals > 0 {
                actions.push(Action::Propose(node));
            }
            if it.leads() && budget.promises > 0 {
                actions.push(Action::AskPromise(node));
            }
            if it.leads() && it.is_settled() && budget.transfers > 0 {
                let others = (0..NODES).filter(|to| *to != node);
                actions.extend(others.map(|to| Action::HandOver(node, to)));
            }
            if budget.restarts > 0 {
                actions.push(Action::Restart(node));
            }
            if budget.losses > 0 {
                actions.push(Action::LoseMemory(node));
            }
        }
    }

    fn next_state(&self, last: &Cluster, action: Action) -> Option<Cluster> {
        let scope = &self.0;
        let mut cluster = last.clone();
        let budget = &mut cluster.budget;
        match action {
            Action::Deliver(print, Envelope { from, to, said }) => {
                if !scope.doubled {
                    cluster.messages.remove(&print);
                }
                match said {
                    Said::Core(message) => cluster.on_message(scope, from, to, &message),
                    Said::Promise(term, at) => cluster.on_promise(scope, from, to, term, at),
                    Said::Promised(term, at) => cluster.on_promised(scope, from, to, term, at),
                }
            }
            Action::Stand(node) => {
                budget.elections -= 1;
                cluster.stand(scope, node);
            }
            Action::Propose(node) => {
                budget.proposals -= 1;
                cluster.propose(scope, node);
            }
            Action::AskPromise(node) => {
                budget.promises -= 1;
                cluster.ask_promise(node);
            }
            Action::HandOver(node, to) => {
                budget.transfers -= 1;
                cluster.hand_over(scope, node, to);
            }
            Action::Restart(node) => {
                budget.restarts -= 1;
                cluster.restart(scope, node);
            }
            Action::LoseMemory(node) => {
                budget.losses -= 1;
                cluster.lose_memory(scope, node);
            }
            Action::AskMemory(node) => cluster.ask_memory(scope, node),
        }
        Some(cluster)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        fn never(cluster: &Cluster, broken: Broken) -> bool {
            cluster.broken != Some(broken)
        }
        vec![
            Property::always("one leader a term", |_, c| never(c, Broken::TwoLeaders)),
            Property::always("logs that agree at an index agree below it", |_, c| {
                never(c, Broken::LogsPart)
            }),
            Property::always("a leader holds what was committed before", |_, c| {
                never(c, Broken::LeaderIncomplete)
            }),
            Property::always("what is committed never changes", |_, c| {
                never(c, Broken::CommittedChanged)
            }),
            Property::always("nothing is placed at or below another's answer", |_, c| {
                never(c, Broken::BelowAnswer)
            }),
            Property::always("a leader that serves knows what was committed", |_, c| {
                never(c, Broken::ServesUnknowing)
            }),
            Property::always("the core's own assertions hold", |_, c| {
                never(c, Broken::CoreAsserts)
            }),
        ]
    }
}
