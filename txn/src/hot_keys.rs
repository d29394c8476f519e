//! Which keys were fought over of late (R11).
//!
//! A transaction that finds one of its keys here queues for that key's lock before its first attempt,
//! instead of preparing its other keys and holding them while it waits for this one. So a hot key costs
//! each transaction one place in a queue, not an attempt that has to be aborted through the log.
//!
//! A guess from this gateway's own experience: a wrong one costs a lock that was not needed, or an
//! attempt that fails.

use std::collections::BTreeMap;
use std::time::Duration;
use wire::keys::Key;

/// A key stays hot for so long after it was last fought over.
const HOT_FOR: Duration = Duration::from_secs(2);
/// The most keys that are remembered; beyond, those that cooled down longest ago are forgotten first.
const HOT_KEYS_MAX: usize = 4096;
/// Whoever waited for a lock at least this long has met a hot key.
pub(crate) const LONG_WAIT: Duration = Duration::from_millis(5);

/// Keys that were fought over, and until when they count as hot.
#[derive(Debug, Default)]
pub(crate) struct HotKeys {
    until: BTreeMap<Key, Duration>,
}

impl HotKeys {
    /// Somebody had to wait for this key, or was refused because of it.
    pub(crate) fn note(&mut self, key: Key, now: Duration) {
        if self.until.len() >= HOT_KEYS_MAX && !self.until.contains_key(&key) {
            self.until.retain(|_, until| *until > now);
            if self.until.len() >= HOT_KEYS_MAX {
                return;
            }
        }
        self.until.insert(key, now + HOT_FOR);
    }

    /// Whether a key is hot.
    pub(crate) fn is_hot(&self, key: &Key, now: Duration) -> bool {
        self.until.get(key).is_some_and(|until| *until > now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wire::keys::DEFAULT_KEYSPACE;

    fn key(number: usize) -> Key {
        Key::new(DEFAULT_KEYSPACE, number.to_string().as_bytes())
    }

    #[test]
    fn a_key_cools_down() {
        let mut hot = HotKeys::default();
        hot.note(key(1), Duration::ZERO);
        assert!(hot.is_hot(&key(1), HOT_FOR - Duration::from_nanos(1)));
        assert!(!hot.is_hot(&key(1), HOT_FOR));
        assert!(!hot.is_hot(&key(2), Duration::ZERO));
    }

    #[test]
    fn memory_is_bounded_and_cold_keys_make_room() {
        let mut hot = HotKeys::default();
        for number in 0..HOT_KEYS_MAX {
            hot.note(key(number), Duration::ZERO);
        }
        hot.note(key(HOT_KEYS_MAX), Duration::ZERO);
        assert!(!hot.is_hot(&key(HOT_KEYS_MAX), Duration::ZERO));
        hot.note(key(HOT_KEYS_MAX), HOT_FOR);
        assert!(hot.is_hot(&key(HOT_KEYS_MAX), HOT_FOR));
        assert_eq!(hot.until.len(), 1);
    }
}
