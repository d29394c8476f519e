//! The commit protocol with recovery (R1 to R5, R7 to R10 of the protocol) at small scope.
//!
//! ```text
//!   client ─► gateway 1 ──┐                   ┌─► leader of {a b}: log, locks, markers, records,
//!        └──► gateway 2 ──┤  questions, each  │                    timestamp cache
//!   whoever meets a lock  ├─ once or often, ──┤
//!        └──► recoverer ──┘  in any order     └─► leader of {y z}
//! ```
//!
//! An abstract model, and not the program: two coordinators, two leaders and a network as the program has
//! them have far too many states. Each function mirrors one of `txn` or `partition` and says which. What
//! the model leaves out, and why that is no loss:
//!
//! - **Replication.** A partition is one log. An entry is proposed, is under way, and is committed or, by
//!   a change of leader, lost. How a log behaves as one is the other model's part.
//! - **Answers as messages** ([`world`]).
//! - **Clocks.** A snapshot is drawn above everything that was acknowledged or shown (R1 and R6 together),
//!   lower than others' or above all. That clocks keep their bounds is not modelled.
//! - **Expiry and collection** of markers, records and outcomes; unreplicated locks; transactions with too
//!   many keys to be staged; asking a coordinator whether it still works (recovery begins at any time).
//!
//! The invariants are in [`history`]; the rules that can be broken in [`mutant`].

pub mod coordinator;
pub mod history;
pub mod mutant;
pub mod partition;
pub mod recovery;
pub mod scope;
mod story;
pub mod types;
pub mod world;

pub use history::Broken;
pub use mutant::Mutant;
pub use scope::{Scope, Transaction};
pub use world::{Answerer, Fate, World};

use coordinator::{Coordinator, Phase};
use stateright::{Model, Property};
use types::{
    Marker, Message, PARTITIONS, PartitionIndex, Record, Timestamp, TransactionIndex, UNBOUNDED,
};

/// The model: a scope, to be explored.
#[derive(Clone, Debug)]
pub struct Commit {
    /// What is explored.
    pub scope: Scope,
    /// The exploration ends where this is reached: to see that it is.
    pub sought: Option<Mark>,
}

/// Something that must be reachable, or the model proves nothing about it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mark {
    /// All transactions commit.
    AllCommit,
    /// A transaction commits under its second attempt.
    SecondAttempt,
    /// A transaction is recorded as committed, and its client was told nothing.
    CommittedByAnother,
    /// A limit was raised.
    LimitRaised,
    /// A participant was made to refuse.
    Refused,
    /// A transaction is closed.
    Closed,
    /// The second gateway told the client.
    ToldBySecondGateway,
}

impl Mark {
    /// All of them.
    pub const ALL: &[Mark] = &[
        Mark::AllCommit,
        Mark::SecondAttempt,
        Mark::CommittedByAnother,
        Mark::LimitRaised,
        Mark::Refused,
        Mark::Closed,
        Mark::ToldBySecondGateway,
    ];

    fn is_reached(self, scope: &Scope, world: &World) -> bool {
        let mut all = 0..scope.transactions.len();
        let records = world
            .partitions
            .iter()
            .flat_map(|p| p.leader.applied.records);
        let markers = world
            .partitions
            .iter()
            .flat_map(|p| p.leader.applied.markers);
        match self {
            Mark::AllCommit => all.all(|t| world.is_committed(t)),
            Mark::SecondAttempt => records
                .into_iter()
                .any(|r| matches!(r, Record::Committed { attempt, .. } if attempt.number == 2)),
            Mark::CommittedByAnother => all.any(|t| {
                let p = usize::from(scope.transactions[t].anchor_partition());
                let record = world.partitions[p].leader.applied.records[t];
                matches!(record, Record::Committed { .. }) && !world.history.is_told(t)
            }),
            Mark::LimitRaised => all.any(|t| {
                let p = usize::from(scope.transactions[t].anchor_partition());
                let record = world.partitions[p].leader.applied.records[t];
                let snapshot = world.coordinators[t][0].map_or(0, |it| it.snapshot);
                matches!(record, Record::Staging { limit, .. }
                    if snapshot > 0 && limit > snapshot && limit < UNBOUNDED)
            }),
            Mark::Refused => markers.into_iter().any(|m| matches!(m, Marker::Refused(_))),
            Mark::Closed => records.into_iter().any(|r| r == Record::Closed),
            Mark::ToldBySecondGateway => all.any(|t| {
                let phase = |g: usize| world.coordinators[t][g].map(|it| it.phase);
                world.history.is_told(t)
                    && phase(1) == Some(Phase::Over)
                    && phase(0) == Some(Phase::Crashed)
            }),
        }
    }
}

/// One step of the world.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Action {
    /// A gateway draws a snapshot and begins an attempt.
    Begin(TransactionIndex, u8, Timestamp),
    /// The client asks the second gateway how it ended.
    AskOutcome(TransactionIndex),
    /// A question reaches a leader.
    Deliver(Message, Answerer, Fate),
    /// The first entry under way is committed.
    CommitNext(PartitionIndex, Fate),
    /// A coordinator loses patience.
    GiveUp(TransactionIndex, u8),
    /// Somebody met a lock and recovers its transaction.
    Recover(TransactionIndex, PartitionIndex),
    /// Another leader, with the first entries under way.
    ChangeLeader(PartitionIndex, usize),
}

impl Model for Commit {
    type State = World;
    type Action = Action;

    fn init_states(&self) -> Vec<World> {
        vec![World::new(&self.scope)]
    }

    fn actions(&self, world: &World, actions: &mut Vec<Action>) {
        let scope = &self.scope;
        if world.history.broken.is_some() {
            return;
        }
        for message in &world.messages {
            for fate in [Fate::Lives, Fate::WillCrash] {
                actions.push(Action::Deliver(*message, Answerer::Leader, fate));
                if world.partitions[usize::from(message.to)].deposed.is_some() {
                    actions.push(Action::Deliver(*message, Answerer::Deposed, fate));
                }
            }
        }
        for p in 0..PARTITIONS as PartitionIndex {
            let under_way = world.partitions[usize::from(p)].leader.under_way.len();
            if under_way > 0 {
                actions.push(Action::CommitNext(p, Fate::Lives));
                actions.push(Action::CommitNext(p, Fate::WillCrash));
            }
            if world.leader_changes_left > 0 {
                actions.extend((0..=under_way).map(|survivors| Action::ChangeLeader(p, survivors)));
            }
        }
        for t in 0..scope.transactions.len() as TransactionIndex {
            self.actions_of(world, t, actions);
        }
    }

    fn next_state(&self, last: &World, action: Action) -> Option<World> {
        let scope = &self.scope;
        let mut world = last.clone();
        match action {
            Action::Begin(t, gateway, at) => world.begin(scope, t, gateway, at),
            Action::AskOutcome(t) => world.coordinate(scope, t, 1, |turn| turn.ask_outcome()),
            Action::Deliver(message, answerer, fate) => {
                world.fate = fate;
                world.deliver(scope, message, answerer)?;
            }
            Action::CommitNext(partition, fate) => {
                world.fate = fate;
                world.commit_next(scope, partition);
            }
            Action::GiveUp(t, gateway) => {
                world.coordinate(scope, t, gateway, |turn| turn.give_up());
            }
            Action::Recover(t, partition) => world.begin_recovery(scope, t, partition),
            Action::ChangeLeader(partition, survivors) => {
                world.change_leader(scope, partition, survivors);
            }
        }
        if std::mem::replace(&mut world.fate, Fate::Lives) == Fate::WillCrash {
            // There was nothing to tell, so the crash is a step that is not taken.
            return None;
        }
        world.tidy(scope);
        Some(world)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        let mut all = properties();
        if self.sought.is_some() {
            all.push(Property::always(
                "what is sought is not reached",
                |model: &Commit, world| {
                    !model
                        .sought
                        .is_some_and(|mark| mark.is_reached(&model.scope, world))
                },
            ));
        }
        all
    }
}

impl Commit {
    /// All of a scope.
    pub fn of(scope: Scope) -> Commit {
        Commit {
            scope,
            sought: None,
        }
    }

    /// A scope, until something is reached.
    pub fn seek(scope: Scope, mark: Mark) -> Commit {
        Commit {
            scope,
            sought: Some(mark),
        }
    }

    fn actions_of(&self, world: &World, t: TransactionIndex, actions: &mut Vec<Action>) {
        let scope = &self.scope;
        let index = usize::from(t);
        for gateway in 0..2u8 {
            let it = match (world.coordinators[index][usize::from(gateway)], gateway) {
                (Some(it), _) => it,
                (None, 0) => Coordinator::NEW,
                (None, _) if world.may_send_again(scope, index) => {
                    actions.push(Action::AskOutcome(t));
                    Coordinator::NEW
                }
                (None, _) => continue,
            };
            match it.phase {
                Phase::Ready => {
                    let snapshots = world.snapshots(scope, it.number);
                    actions.extend(snapshots.iter().map(|at| Action::Begin(t, gateway, *at)));
                }
                // Later is the same, with questions that come late.
                Phase::Preparing { prepared: [0, 0] } | Phase::Refreshing { answered: 0, .. }
                    if scope.is_impatient(index) =>
                {
                    actions.push(Action::GiveUp(t, gateway));
                }
                _ => {}
            }
        }
        if world.recoveries[index].is_some() || world.recoveries_left[index] == 0 {
            return;
        }
        for p in 0..PARTITIONS as PartitionIndex {
            let leader = &world.partitions[usize::from(p)].leader;
            if let Marker::Prepared { .. } = leader.applied.markers[index] {
                actions.push(Action::Recover(t, p));
            }
        }
    }
}

fn properties() -> Vec<Property<Commit>> {
    fn never(world: &World, broken: Broken) -> bool {
        world.history.broken != Some(broken)
    }
    vec![
        Property::always("a known outcome never changes", |_, w| {
            never(w, Broken::OutcomeChanged)
        }),
        Property::always("what is committed is prepared everywhere", |_, w| {
            never(w, Broken::Torn)
        }),
        Property::always("only what is decided becomes visible", |_, w| {
            never(w, Broken::VisibleUndecided)
        }),
        Property::always(
            "the record says committed before anything is resolved",
            |_, w| never(w, Broken::ResolvedFirst),
        ),
        Property::always("no share of what committed is lost", |_, w| {
            never(w, Broken::WriteLost)
        }),
        Property::always("what has ended is not prepared again", |_, w| {
            never(w, Broken::PreparedAgain)
        }),
        Property::always("no two versions have one timestamp", |_, w| {
            never(w, Broken::SameTimestamp)
        }),
        Property::always("no version appears at or below a read", |_, w| {
            never(w, Broken::BelowRead)
        }),
        Property::always("the history is strictly serializable", |_, w| {
            never(w, Broken::NotSerializable)
        }),
    ]
}
