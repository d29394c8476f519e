//! How far one follower is, as its leader knows it (Ongaro 2014, section 10.2.1: pipelining).
//!
//! ```text
//!            matched rises                    matched rises: the window opens
//!   Probing ─────────────► Pipelining ───────┐
//!   one Append,  ◄──────── many on the way   │
//!   then silence  refused,  ◄────────────────┘
//!                 or silent for too long
//! ```
//!
//! Invariants:
//! - `matched < next`: what is known to be held is not sent again;
//! - what is on the way stays within [`IN_FLIGHT_APPENDS_MAX`] messages, and within
//!   [`IN_FLIGHT_BYTES_MAX`] but for the message that crosses it.

use std::collections::VecDeque;
use std::time::Duration;
use wire::ids::LogIndex;
use wire::message::Entry;

/// Messages with entries on the way to one follower.
pub const IN_FLIGHT_APPENDS_MAX: usize = 64;
/// Bytes of entries on the way to one follower, after which no further message is sent.
pub const IN_FLIGHT_BYTES_MAX: usize = 8 << 20;
/// Bytes of entries in one `Append`. An entry that is larger travels alone.
pub const APPEND_BYTES_MAX: usize = 1 << 20;
/// Entries in one `Append`.
pub const APPEND_ENTRIES_MAX: usize = 4096;
/// Bytes of entries in an `Append` that may well be refused.
pub const PROBE_BYTES_MAX: usize = 64 << 10;
/// What an entry costs on the way beside its body.
const ENTRY_OVERHEAD_BYTES: usize = 32;

const _: () =
    assert!(APPEND_BYTES_MAX <= IN_FLIGHT_BYTES_MAX && PROBE_BYTES_MAX <= APPEND_BYTES_MAX);

/// How many bytes an entry is counted as.
pub(super) fn counted_bytes(entry: &Entry) -> usize {
    entry.body.len() + ENTRY_OVERHEAD_BYTES
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct InFlight {
    last: LogIndex,
    bytes: usize,
}

/// Whether it is known from where to send.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Mode {
    /// Where the logs part is looked for with one message at a time.
    Probing { asked: bool },
    /// They agree up to `next - 1`, as far as is known.
    Pipelining { in_flight: VecDeque<InFlight> },
}

/// One follower's progress.
#[derive(Clone, Debug)]
pub(super) struct Progress {
    matched: LogIndex,
    next: LogIndex,
    mode: Mode,
    /// The commit index that was sent last.
    commit_told: LogIndex,
    /// Since when an answer is waited for.
    waiting_since: Duration,
    /// When it was heard last in this term.
    contact: Duration,
    was_heard: bool,
    needs_snapshot: bool,
    /// It has installed a snapshot, and does not hold yet what was committed meanwhile.
    catching_up: bool,
}

/// What to send next.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ready {
    /// From this entry on; the one before is `previous`.
    pub(super) next: LogIndex,
    /// At most so many bytes of entries.
    pub(super) bytes_max: usize,
}

impl Progress {
    /// Of a follower of whom nothing is known but that the leader's log ended before `next`.
    pub(super) fn new(next: LogIndex, now: Duration) -> Progress {
        Progress {
            matched: LogIndex(0),
            next,
            mode: Mode::Probing { asked: false },
            commit_told: LogIndex(0),
            waiting_since: now,
            contact: now,
            was_heard: false,
            needs_snapshot: false,
            catching_up: false,
        }
    }

    /// Up to here its durable log is the leader's.
    pub(super) fn matched(&self) -> LogIndex {
        self.matched
    }

    /// When it was heard last.
    pub(super) fn contact(&self) -> Duration {
        self.contact
    }

    /// Whether it was not heard in this term yet, or not for so long.
    pub(super) fn is_silent(&self, now: Duration, patience: Duration) -> bool {
        !self.was_heard || now.saturating_sub(self.contact) >= patience
    }

    pub(super) fn needs_snapshot(&self) -> bool {
        self.needs_snapshot
    }

    /// It has installed a snapshot.
    pub(super) fn catch_up(&mut self) {
        self.catching_up = true;
    }

    pub(super) fn is_catching_up(&self) -> bool {
        self.catching_up
    }

    /// After a snapshot it is special until it holds all that is committed, or is not heard any more.
    pub(super) fn maybe_end_catching_up(
        &mut self,
        commit: LogIndex,
        now: Duration,
        patience: Duration,
    ) {
        let is_silent = now.saturating_sub(self.contact) >= patience;
        if self.matched >= commit || is_silent {
            self.catching_up = false;
        }
    }

    /// It was heard.
    pub(super) fn on_contact(&mut self, now: Duration) {
        self.contact = self.contact.max(now);
        self.was_heard = true;
    }

    /// Whether entries may be sent, and from where. What lies below the leader's `base` cannot be.
    pub(super) fn maybe_ready(&mut self, base: LogIndex) -> Option<Ready> {
        if self.next <= base {
            self.next = base.next();
            self.probe();
        }
        let bytes_max = match &self.mode {
            Mode::Probing { asked: true } => return None,
            Mode::Probing { asked: false } => PROBE_BYTES_MAX,
            Mode::Pipelining { in_flight } => {
                let bytes: usize = in_flight.iter().map(|sent| sent.bytes).sum();
                if in_flight.len() >= IN_FLIGHT_APPENDS_MAX || bytes >= IN_FLIGHT_BYTES_MAX {
                    return None;
                }
                APPEND_BYTES_MAX
            }
        };
        Some(Ready {
            next: self.next,
            bytes_max,
        })
    }

    /// Whether a message is due though there are no entries to send: to find where the logs part, or
    /// to tell a commit index.
    pub(super) fn wants_empty(&self, commit: LogIndex) -> bool {
        match self.mode {
            Mode::Probing { asked } => !asked,
            Mode::Pipelining { .. } => self.commit_told < commit,
        }
    }

    /// An `Append` was sent: these entries after `next - 1`, and this commit index.
    pub(super) fn on_sent(&mut self, entries: &[Entry], commit: LogIndex, now: Duration) {
        self.commit_told = self.commit_told.max(commit);
        match &mut self.mode {
            Mode::Probing { asked } => {
                *asked = true;
                self.waiting_since = now;
            }
            Mode::Pipelining { in_flight } => {
                let Some(last) = entries.last() else { return };
                if in_flight.is_empty() {
                    self.waiting_since = now;
                }
                in_flight.push_back(InFlight {
                    last: last.index,
                    bytes: entries.iter().map(counted_bytes).sum(),
                });
                self.next = last.index.next();
            }
        }
    }

    /// It holds everything up to here, durably. Says whether that is news.
    pub(super) fn on_appended(&mut self, matched: LogIndex, now: Duration) -> bool {
        self.on_contact(now);
        self.needs_snapshot = false;
        let news = matched > self.matched;
        self.matched = self.matched.max(matched);
        self.next = self.next.max(self.matched.next());
        match &mut self.mode {
            // Its disk may be slow. What it has not reported would only be sent once more.
            Mode::Probing { .. } if !news => {}
            Mode::Probing { .. } => {
                self.mode = Mode::Pipelining {
                    in_flight: VecDeque::new(),
                };
            }
            Mode::Pipelining { in_flight } => {
                while in_flight.front().is_some_and(|sent| sent.last <= matched) {
                    in_flight.pop_front();
                    self.waiting_since = now;
                }
            }
        }
        news
    }

    /// It does not hold `previous`; the leader's log begins above `base`. An answer to what was
    /// sent before the last change of mind changes nothing.
    pub(super) fn on_refused(
        &mut self,
        previous: LogIndex,
        hint: LogIndex,
        base: LogIndex,
        now: Duration,
    ) {
        self.on_contact(now);
        let stale = match self.mode {
            Mode::Probing { asked } => !asked || previous.next() != self.next,
            Mode::Pipelining { .. } => previous >= self.next,
        };
        if stale || previous <= self.matched {
            return;
        }
        if previous <= base {
            self.needs_snapshot = true;
            return;
        }
        let hint = hint.min(LogIndex(previous.0 - 1)).max(self.matched);
        self.next = hint.next();
        self.probe();
    }

    /// If an answer is overdue, begins to look for where the logs part again. Says whether it was.
    pub(super) fn maybe_resend(&mut self, now: Duration, resend_after: Duration) -> bool {
        let waits = match &self.mode {
            Mode::Probing { asked } => *asked,
            Mode::Pipelining { in_flight } => !in_flight.is_empty(),
        };
        if !waits || now.saturating_sub(self.waiting_since) < resend_after {
            return false;
        }
        if matches!(self.mode, Mode::Pipelining { .. }) {
            self.next = self.matched.next();
        }
        self.probe();
        true
    }

    fn probe(&mut self) {
        self.mode = Mode::Probing { asked: false };
    }

    /// Asserts what must hold of a follower of a leader whose log ends at `last`.
    pub(super) fn invariants(&self, last: LogIndex) {
        assert!(
            self.matched < self.next,
            "what is held is not sent again: matched {} and next {}",
            self.matched,
            self.next
        );
        assert!(
            self.next <= last.next(),
            "only what is there is sent: next {} and last {last}",
            self.next
        );
        if let Mode::Pipelining { in_flight } = &self.mode {
            assert!(
                in_flight.len() <= IN_FLIGHT_APPENDS_MAX,
                "the window holds: {} messages of at most {IN_FLIGHT_APPENDS_MAX}",
                in_flight.len()
            );
        }
    }
}
