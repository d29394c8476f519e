//! A bound on the bytes that wait in a queue between two threads (pattern Request Batch needs one: what
//! gathers while a disk is slow must not grow without end).
//!
//! Invariants
//! - What waits never exceeds the bound, but for one piece that alone is larger.
//! - Whoever waits for room is woken when room is made, or when nobody will take anything any more.

use std::sync::{Arc, Condvar, Mutex};

/// Shared by those who fill a queue and the one who empties it.
#[derive(Clone, Debug)]
pub(crate) struct ByteBudget {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bytes_max: u64,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    bytes: u64,
    is_closed: bool,
}

impl ByteBudget {
    pub(crate) fn new(bytes_max: u64) -> ByteBudget {
        ByteBudget {
            shared: Arc::new(Shared {
                bytes_max,
                state: Mutex::default(),
                changed: Condvar::new(),
            }),
        }
    }

    /// Waits until there is room for so many bytes, and takes it.
    pub(crate) fn take(&self, bytes: u64) {
        let mut state = self.lock();
        while state.bytes > 0 && state.bytes + bytes > self.shared.bytes_max && !state.is_closed {
            let waited = self.shared.changed.wait(state);
            state = waited.expect("nobody panics while holding it");
        }
        state.bytes += bytes;
    }

    /// Gives room back.
    pub(crate) fn give(&self, bytes: u64) {
        let mut state = self.lock();
        assert!(
            state.bytes >= bytes,
            "only what was taken is given back: {bytes} of {}",
            state.bytes
        );
        state.bytes -= bytes;
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Nothing is taken out of the queue any more: nobody waits.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.shared.changed.notify_all();
    }

    /// What waits now, bytes.
    pub(crate) fn bytes(&self) -> u64 {
        self.lock().bytes
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        let state = self.shared.state.lock();
        state.expect("nobody panics while holding it")
    }
}

/// Closes a budget when the thread that empties the queue ends, however it ends.
pub(crate) struct ClosesOnDrop(pub(crate) ByteBudget);

impl Drop for ClosesOnDrop {
    fn drop(&mut self) {
        self.0.close();
    }
}

#[cfg(test)]
#[allow(clippy::disallowed_methods, reason = "two threads of a test")]
mod tests {
    use super::*;
    use std::sync::mpsc::channel;

    #[test]
    fn a_sender_waits_until_there_is_room() {
        let budget = ByteBudget::new(10);
        budget.take(8);
        let (done, is_done) = channel();
        let other = budget.clone();
        let sender = std::thread::spawn(move || {
            other.take(5);
            done.send(()).expect("the test listens");
        });
        assert!(is_done.try_recv().is_err());
        assert_eq!(budget.bytes(), 8);
        budget.give(8);
        is_done.recv().expect("there is room now");
        assert_eq!(budget.bytes(), 5);
        sender.join().expect("it ends");
    }

    #[test]
    fn what_is_larger_than_the_bound_goes_alone() {
        let budget = ByteBudget::new(10);
        budget.take(100);
        budget.give(100);
        budget.take(100);
        assert_eq!(budget.bytes(), 100);
    }

    #[test]
    fn nobody_waits_for_a_thread_that_has_ended() {
        let budget = ByteBudget::new(10);
        budget.take(10);
        let other = budget.clone();
        let sender = std::thread::spawn(move || other.take(1));
        drop(ClosesOnDrop(budget.clone()));
        sender.join().expect("it does not wait for ever");
    }
}
