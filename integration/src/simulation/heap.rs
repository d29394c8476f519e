//! Virtual time: the events to come, ordered by (time, sequence).
//!
//! Invariants:
//! - Time never moves back: an event is never scheduled before the one that is being handled.
//! - Events of one instant happen in the order in which they were scheduled, so a run is a function
//!   of its seed alone.

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::time::Duration;

struct Scheduled<E> {
    time: Duration,
    sequence: u64,
    event: E,
}

impl<E> PartialEq for Scheduled<E> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl<E> Eq for Scheduled<E> {}

impl<E> PartialOrd for Scheduled<E> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Scheduled<E> {
    /// The earliest is the greatest: the standard heap gives the greatest first.
    fn cmp(&self, other: &Self) -> Ordering {
        (other.time, other.sequence).cmp(&(self.time, self.sequence))
    }
}

/// The events to come.
pub struct EventHeap<E> {
    heap: BinaryHeap<Scheduled<E>>,
    sequence: u64,
    now: Duration,
}

impl<E> EventHeap<E> {
    /// Nothing to come, at time zero.
    pub fn new() -> EventHeap<E> {
        EventHeap {
            heap: BinaryHeap::new(),
            sequence: 0,
            now: Duration::ZERO,
        }
    }

    /// Virtual time: the time of the event that was taken last.
    pub fn now(&self) -> Duration {
        self.now
    }

    /// Lets an event happen at `time`.
    pub fn at(&mut self, time: Duration, event: E) {
        assert!(
            time >= self.now,
            "an event is scheduled in the past: at {time:?}, now is {:?}",
            self.now
        );
        self.sequence += 1;
        self.heap.push(Scheduled {
            time,
            sequence: self.sequence,
            event,
        });
    }

    /// Lets an event happen so much later.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// When the next event happens.
    pub fn next_time(&self) -> Option<Duration> {
        self.heap.peek().map(|scheduled| scheduled.time)
    }

    /// Moves time to the next event and takes it.
    pub fn pop(&mut self) -> Option<E> {
        let scheduled = self.heap.pop()?;
        self.now = scheduled.time;
        Some(scheduled.event)
    }

    /// Moves time forward to a moment before which nothing happens.
    pub fn advance_to(&mut self, time: Duration) {
        if let Some(next) = self.next_time() {
            assert!(
                time <= next,
                "time would skip an event: to {time:?}, next is {next:?}"
            );
        }
        self.now = self.now.max(time);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_the_order_of_scheduling() {
        let mut heap = EventHeap::new();
        let ms = Duration::from_millis;
        heap.at(ms(2), 'c');
        heap.at(ms(1), 'a');
        heap.at(ms(2), 'd');
        heap.at(ms(1), 'b');
        let order: String = std::iter::from_fn(|| heap.pop()).collect();
        assert_eq!(order, "abcd");
        assert_eq!(heap.now(), ms(2));
    }

    #[test]
    #[should_panic(expected = "scheduled in the past")]
    fn time_does_not_move_back() {
        let mut heap = EventHeap::new();
        heap.at(Duration::from_millis(2), ());
        heap.pop();
        heap.at(Duration::from_millis(1), ());
    }
}
