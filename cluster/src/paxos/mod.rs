//! Founding a cluster once, without a command for it (pattern Paxos; Lamport, *Paxos Made Simple*,
//! 2001: one decree, every founder is proposer, acceptor and learner).
//!
//! ```text
//!   proposer            acceptors (all founders, the proposer too)
//!      | Prepare(b) ------> promised := b, if b is not below it
//!      | <----- Promise(b, what was accepted, with its ballot)
//!      |   a majority promised: take the value accepted at the highest ballot, else one's own
//!      | Accept(b, v) ----> promised := b, accepted := (b, v), if b is not below promised
//!      | <------------ Accepted(b)
//!      |   a majority accepted: v is chosen, for ever
//!      | Founded(v) ------> all; and again to whoever asks later
//! ```
//!
//! Nothing distinguishes "has this cluster been founded?" from phase 1: a founder that knows the
//! founding answers every `Prepare` and `Accept` with it, so a majority is asked before anything is
//! proposed, and a node that comes late joins what it finds.
//!
//! Invariants:
//! - At most one value is ever chosen: any two majorities share an acceptor, and it tells.
//! - One ballot carries one value: rounds only grow, a ballot names its proposer by its place in the
//!   list, and no ballot leaves a node before it is in that node's log.
//! - A promise or an acceptance is in the log before anyone is told of it. Every turn whose messages
//!   lean on the acceptor's state persists that state again, so `after_log` means the right flush
//!   also when the message is a repetition.
//! - A proposer counts its own promise and its own acceptance only together with another's: those
//!   answer messages that left after its own log write. A list of one has no other, and nobody to
//!   contradict it either.
//! - All of it holds within one list. An acceptor refuses every other list, and nothing is proposed
//!   while a founder is known to have been started with another one, for majorities of two lists
//!   need not meet.
//!
//! Left out: a founder whose disk is emptied *during* the founding forgets what it accepted, and is
//! then a faulty acceptor that Paxos does not tolerate. The window closes as soon as all founders
//! know the result, which they are told at once.

mod acceptor;
mod founder;
mod proposer;

#[cfg(test)]
mod scenarios;
#[cfg(test)]
mod simulation;

pub use founder::{Founder, FounderEffect};

use std::time::Duration;

/// After how much silence a message is sent again to those that did not answer it.
pub const RESEND_AFTER: Duration = Duration::from_millis(250);
/// The founders begin one after the other, in the order of the list, so far apart: the first one is
/// usually done before the second one begins.
pub const STAGGER: Duration = Duration::from_millis(30);
/// The longest that a founder stands back after it was outbid the first time; doubled each time.
pub const BACK_OFF: Duration = Duration::from_millis(200);
/// The longest that a founder ever stands back.
pub const BACK_OFF_MAX: Duration = Duration::from_secs(2);
/// The most refusals that are kept to be shown.
pub const REFUSALS_MAX: usize = 64;
/// No round gets here by itself; a message that claims one is not believed.
pub const ROUND_MAX: u64 = 1 << 48;

const _: () = assert!(
    STAGGER.as_millis() < BACK_OFF.as_millis() && BACK_OFF.as_millis() < BACK_OFF_MAX.as_millis(),
    "a founder that was outbid stands back longer than the gap between two that begin"
);
