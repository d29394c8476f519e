//! What is explored: how much may happen, and which rule is broken.

use std::fmt;

/// A rule that is not kept by the driver around the core.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mutant {
    /// A restart forgets the vote.
    VoteNotDurable,
    /// A restart forgets the last entry, which was acknowledged.
    EntryNotDurable,
    /// A member whose disk was replaced takes part as if it were new.
    ForgottenTakesPart,
    /// A new leader starts from its own promise, whatever its voters have told.
    VotersPromiseIgnored,
    /// A promise holds once the leader has made it, before a majority has acknowledged it.
    PromiseOfOne,
    /// A leader answers before an entry of its own term is committed.
    ServesBeforeOwnEntry,
}

impl Mutant {
    /// All of them.
    pub const ALL: &[Mutant] = &[
        Mutant::VoteNotDurable,
        Mutant::EntryNotDurable,
        Mutant::ForgottenTakesPart,
        Mutant::VotersPromiseIgnored,
        Mutant::PromiseOfOne,
        Mutant::ServesBeforeOwnEntry,
    ];

    /// Its name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Mutant::VoteNotDurable => "vote-not-durable",
            Mutant::EntryNotDurable => "entry-not-durable",
            Mutant::ForgottenTakesPart => "forgotten-takes-part",
            Mutant::VotersPromiseIgnored => "voters-promise-ignored",
            Mutant::PromiseOfOne => "promise-of-one",
            Mutant::ServesBeforeOwnEntry => "leader-before-own-entry",
        }
    }

    /// Which rule it breaks.
    pub fn about(self) -> &'static str {
        match self {
            Mutant::VoteNotDurable => "a restart forgets the vote",
            Mutant::EntryNotDurable => "a restart forgets an entry that was acknowledged",
            Mutant::ForgottenTakesPart => "who lost its memory takes part as if it were new (0010)",
            Mutant::VotersPromiseIgnored => "a new leader ignores what its voters promised (R9)",
            Mutant::PromiseOfOne => "a promise holds before a majority acknowledged it (R9)",
            Mutant::ServesBeforeOwnEntry => {
                "a leader answers before its own entry is committed (R9)"
            }
        }
    }
}

impl fmt::Display for Mutant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// How often things may still happen.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Budget {
    /// Somebody asks for votes.
    pub elections: u8,
    /// A leader appends an entry of its own.
    pub proposals: u8,
    /// A node stops and starts.
    pub restarts: u8,
    /// A node starts with an empty disk.
    pub losses: u8,
    /// A leader hands over.
    pub transfers: u8,
    /// A leader asks for a higher promise.
    pub promises: u8,
}

/// What is explored: three nodes, and how much may happen.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Scope {
    /// How it is called on the command line.
    pub name: &'static str,
    /// What it is about.
    pub about: &'static str,
    /// How much may happen.
    pub budget: Budget,
    /// Messages may come any number of times.
    pub doubled: bool,
    /// The rule that is broken.
    pub mutant: Option<Mutant>,
}

const NOTHING: Budget = Budget {
    elections: 0,
    proposals: 0,
    restarts: 0,
    losses: 0,
    transfers: 0,
    promises: 0,
};

impl Scope {
    /// All scopes.
    pub fn all() -> Vec<Scope> {
        let scope = |name, about, budget| Scope {
            name,
            about,
            budget,
            doubled: false,
            mutant: None,
        };
        vec![
            scope(
                "elections",
                "two candidacies and an entry of the client's",
                Budget {
                    elections: 2,
                    proposals: 1,
                    ..NOTHING
                },
            ),
            scope(
                "overwritten",
                "three candidacies: entries are replaced",
                Budget {
                    elections: 3,
                    ..NOTHING
                },
            ),
            scope(
                "restarts",
                "two candidacies and a restart",
                Budget {
                    elections: 2,
                    restarts: 1,
                    ..NOTHING
                },
            ),
            scope(
                "promises",
                "two candidacies and promises between them",
                Budget {
                    elections: 2,
                    promises: 1,
                    ..NOTHING
                },
            ),
            scope(
                "promise-restarts",
                "two candidacies, a promise and a restart",
                Budget {
                    elections: 2,
                    promises: 1,
                    restarts: 1,
                    ..NOTHING
                },
            ),
            scope(
                "memory",
                "a candidacy, a lost disk, and another candidacy",
                Budget {
                    elections: 2,
                    losses: 1,
                    ..NOTHING
                },
            ),
            scope(
                "transfers",
                "a planned transfer, a promise, and two candidacies beside",
                Budget {
                    elections: 2,
                    transfers: 1,
                    promises: 1,
                    ..NOTHING
                },
            ),
        ]
    }

    /// The scope of that name.
    pub fn find(name: &str) -> Option<Scope> {
        Scope::all().into_iter().find(|scope| scope.name == name)
    }

    /// The scope in which a broken rule shows, with that rule broken.
    pub fn catching(mutant: Mutant) -> Scope {
        let name = match mutant {
            Mutant::VoteNotDurable | Mutant::EntryNotDurable => "restarts",
            Mutant::ForgottenTakesPart => "memory",
            Mutant::VotersPromiseIgnored | Mutant::PromiseOfOne => "promises",
            Mutant::ServesBeforeOwnEntry => "elections",
        };
        let scope = Scope::find(name).expect("the scopes of mutants are there");
        Scope {
            mutant: Some(mutant),
            ..scope
        }
    }

    /// Messages may come any number of times.
    pub fn doubled(self) -> Scope {
        Scope {
            doubled: true,
            ..self
        }
    }
}
