//! Exploring in real time.
#![allow(clippy::disallowed_methods)] // How long an exploration took is measured: that is what it is for.

use stateright::{Checker, HasDiscoveries, Model};
use std::fmt::Display;
use std::hash::Hash;
use std::time::{Duration, Instant};

/// When an exploration ends early.
#[derive(Clone, Copy, Default, Debug)]
pub struct Limits {
    /// After so many steps.
    pub depth: Option<usize>,
    /// After about so many states.
    pub states: Option<usize>,
}

/// A way to a state that must not be.
#[derive(Clone, Debug)]
pub struct Counterexample {
    /// What does not hold there.
    pub property: &'static str,
    /// The steps that lead there.
    pub steps: Vec<String>,
}

/// What was explored and found.
#[derive(Clone, Debug)]
pub struct Exploration {
    /// Steps that were taken.
    pub states: usize,
    /// Different states.
    pub unique: usize,
    /// Of the longest way.
    pub depth: usize,
    /// Whether nothing is left to explore.
    pub is_exhausted: bool,
    /// How long it took.
    pub took: Duration,
    /// The shortest way to something wrong, if there is one.
    pub counterexample: Option<Counterexample>,
}

/// Explores breadth first, with one thread, until something is wrong, a limit is reached or nothing is left.
pub fn explore<M>(model: M, limits: Limits) -> Exploration
where
    M: Model + Send + Sync + 'static,
    M::State: Clone + Hash + PartialEq + Send + Sync + 'static,
    M::Action: Clone + PartialEq + Display,
{
    let began = Instant::now();
    let mut builder = model
        .checker()
        .threads(1)
        .finish_when(HasDiscoveries::AnyFailures);
    if let Some(depth) = limits.depth {
        // The first state counts as a step.
        builder = builder.target_max_depth(depth + 1);
    }
    if let Some(states) = limits.states {
        builder = builder.target_state_count(states);
    }
    let checker = builder.spawn_bfs().join();
    let took = began.elapsed();
    let depth = checker.max_depth().saturating_sub(1);
    let found = checker
        .discoveries()
        .into_iter()
        .min_by_key(|(name, _)| *name);
    let counterexample = found.map(|(property, path)| Counterexample {
        property,
        steps: path
            .into_actions()
            .iter()
            .map(ToString::to_string)
            .collect(),
    });
    Exploration {
        states: checker.state_count(),
        unique: checker.unique_state_count(),
        depth,
        is_exhausted: counterexample.is_none()
            && limits.depth.is_none_or(|most| depth < most)
            && limits
                .states
                .is_none_or(|most| checker.state_count() < most),
        took,
        counterexample,
    }
}
