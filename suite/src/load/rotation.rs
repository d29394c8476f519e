//! Keys that are used for a while and then followed by new ones, so that every key's history stays short
//! enough to be checked, and begins absent.

use std::sync::{Mutex, MutexGuard, PoisonError};
use wire::SplitMix64;

/// Some keys in use at a time, each for so many uses.
#[derive(Debug)]
pub(super) struct Rotation {
    state: Mutex<State>,
    uses: u32,
}

#[derive(Debug)]
struct State {
    /// Keys in use, and how many uses are left of each.
    active: Vec<(u64, u32)>,
    next: u64,
}

impl Rotation {
    pub(super) fn new(active: u64, uses: u32) -> Rotation {
        let state = State {
            active: (0..active).map(|key| (key, uses)).collect(),
            next: active,
        };
        Rotation {
            state: Mutex::new(state),
            uses,
        }
    }

    /// A key to be used once more, some more often than others.
    pub(super) fn take(&self, random: &mut SplitMix64) -> u64 {
        let mut state = self.state();
        let count = state.active.len() as u64;
        let place = random.below(count).min(random.below(count)) as usize;
        let (key, left) = state.active[place];
        state.active[place].1 = left - 1;
        if left == 1 {
            state.active[place] = (state.next, self.uses);
            state.next += 1;
        }
        key
    }

    /// A key to be looked at, without using it up.
    pub(super) fn look(&self, random: &mut SplitMix64) -> u64 {
        let state = self.state();
        state.active[random.below(state.active.len() as u64) as usize].0
    }

    /// How many keys there have been: 0 to below this.
    pub(super) fn count(&self) -> u64 {
        self.state().next
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics half-way through a change.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_used_up_is_followed_by_a_new_one() {
        let (rotation, mut random) = (Rotation::new(2, 3), SplitMix64::new(1));
        let taken: Vec<u64> = (0..60).map(|_| rotation.take(&mut random)).collect();
        for key in 0..rotation.count() {
            let uses = taken.iter().filter(|taken| **taken == key).count();
            assert!(uses <= 3, "key {key} was used {uses} times");
        }
        assert!(
            (20..=22).contains(&rotation.count()),
            "{}",
            rotation.count()
        );
        assert!(rotation.look(&mut random) >= 18);
    }
}
