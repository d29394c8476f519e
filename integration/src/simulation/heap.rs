//! Virtual time: the events to come, ordered by (time, sequence).
//!
//! Invariants:
//! - Time never moves back: an event is never scheduled before the one that is being handled.
//! - Events of one instant happen in the order in which they were scheduled, so a run is a function
//!   of its seed alone.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

/// Ordered as they are declared. Events are large and stay where they are; these move about in the heap.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Scheduled {
    time: Duration,
    sequence: u64,
    place: usize,
}

/// The events to come.
pub struct EventHeap<E> {
    heap: BinaryHeap<Reverse<Scheduled>>,
    events: Vec<Option<E>>,
    free: Vec<usize>,
    sequence: u64,
    now: Duration,
}

impl<E> EventHeap<E> {
    /// Nothing to come, at time zero.
    pub fn new() -> EventHeap<E> {
        EventHeap {
            heap: BinaryHeap::new(),
            events: Vec::new(),
            free: Vec::new(),
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
        let place = self.free.pop().unwrap_or(self.events.len());
        if place == self.events.len() {
            self.events.push(Some(event));
        } else {
            self.events[place] = Some(event);
        }
        self.heap.push(Reverse(Scheduled {
            time,
            sequence: self.sequence,
            place,
        }));
    }

    /// Lets an event happen so much later.
    pub fn after(&mut self, delay: Duration, event: E) {
        self.at(self.now + delay, event);
    }

    /// When the next event happens.
    pub fn next_time(&self) -> Option<Duration> {
        self.heap.peek().map(|Reverse(scheduled)| scheduled.time)
    }

    /// Moves time to the next event and takes it.
    pub fn pop(&mut self) -> Option<E> {
        let Reverse(scheduled) = self.heap.pop()?;
        self.now = scheduled.time;
        self.free.push(scheduled.place);
        self.events[scheduled.place].take()
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
