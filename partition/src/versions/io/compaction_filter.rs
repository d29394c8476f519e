//! What compaction removes: versions below a retention horizon, and rows of replicas that are gone
//! (pattern Versioned Value; the idea is that of Cockroach's and TiKV's compaction filters).
//!
//! ```text
//!   rows of one key, newest first:   @90   @70 │ @40   @20   @10        horizon 50
//!                                    kept  kept│ kept  removed
//! ```
//!
//! A compaction goes through the rows of some tables in their order and cannot see the others. It removes
//! a version only if it has just seen a newer one of the same key at or below the horizon, which stays; so
//! whatever lies in other tables, reads at or above the horizon find the same. What it cannot see to be
//! superseded stays until another compaction sees both.
//!
//! Invariants
//! - The horizons used here are those of batches that are in the tables: no crash takes them back.
//! - The newest version at or below the horizon stays, a tombstone too: tombstones go by the replicated
//!   sweep alone, since an older version may lie in a table that this compaction does not see.
//! - Before it is told which replicas are kept, nothing is removed.

use crate::versions::Live;
use crate::versions::row_keys::{self as rows, Owner};
use clock::Timestamp;
use fjall::compaction::filter::{
    CompactionFilter, CompactionFilterResult, Context, Factory, ItemAccessor, Verdict,
};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use wire::ids::PartitionId;

type Replica = (PartitionId, u32);

/// What is kept, shared with the compactions that begin.
#[derive(Debug, Default)]
pub(super) struct Retention {
    kept: Mutex<Option<Arc<Kept>>>,
}

/// What one compaction goes by.
#[derive(Clone, Debug, Default)]
struct Kept {
    live: Live,
    /// By incarnation and first key.
    spans: BTreeMap<(u32, Vec<u8>), Span>,
}

#[derive(Clone, Debug)]
struct Span {
    partition: PartitionId,
    /// The first key that does not belong to it.
    end: Option<Vec<u8>>,
    horizon: Timestamp,
}

impl Retention {
    /// The rows of these replicas are kept, with these horizons, and no others.
    pub(super) fn set_live(&self, live: &Live, horizons: &BTreeMap<Replica, Timestamp>) {
        let mut kept = Kept {
            live: live.clone(),
            spans: BTreeMap::new(),
        };
        for (partition, incarnation, range) in &live.replicas {
            let horizon = horizons.get(&(*partition, *incarnation)).copied();
            let span = Span {
                partition: *partition,
                end: range.end.as_ref().map(rows::escaped),
                horizon: horizon.unwrap_or_default(),
            };
            let start = rows::escaped(&range.start);
            kept.spans.insert((*incarnation, start), span);
        }
        *self.lock() = Some(Arc::new(kept));
    }

    /// Horizons that are in the tables now.
    pub(super) fn raise(&self, horizons: &BTreeMap<Replica, Timestamp>) {
        let mut kept = self.lock();
        let Some(kept) = kept.as_mut() else { return };
        let horizon_of = |incarnation: u32, span: &Span| {
            let horizon = horizons.get(&(span.partition, incarnation));
            horizon.copied().filter(|horizon| *horizon > span.horizon)
        };
        let mut spans = kept.spans.iter();
        if spans.any(|((incarnation, _), span)| horizon_of(*incarnation, span).is_some()) {
            for ((incarnation, _), span) in &mut Arc::make_mut(kept).spans {
                span.horizon = horizon_of(*incarnation, span).unwrap_or(span.horizon);
            }
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Kept>>> {
        self.kept.lock().expect("nobody panics while holding it")
    }
}

/// Makes a filter for each compaction.
pub(super) struct RetentionFactory(pub(super) Arc<Retention>);

impl Factory for RetentionFactory {
    fn name(&self) -> &str {
        "retention"
    }

    fn make_filter(&self, _: &Context) -> Box<dyn CompactionFilter> {
        Box::new(Filter::new(self.0.lock().clone()))
    }
}

/// One compaction.
struct Filter {
    kept: Option<Arc<Kept>>,
    incarnation: u32,
    /// The key whose rows are passing, as it stands in them.
    key: Vec<u8>,
    /// Of that key: `None` if it belongs to no replica that is kept.
    horizon: Option<Timestamp>,
    /// A version of the key at or below its horizon was seen, and stays.
    has_newer: bool,
}

impl Filter {
    fn new(kept: Option<Arc<Kept>>) -> Filter {
        Filter {
            kept,
            incarnation: 0,
            key: Vec::new(),
            horizon: None,
            has_newer: false,
        }
    }

    fn is_needed(&mut self, row: &[u8]) -> bool {
        let Some(kept) = &self.kept else { return true };
        match rows::owner(row) {
            Some(Owner::Version {
                incarnation,
                escaped,
                timestamp,
            }) => {
                if incarnation != self.incarnation || *escaped != self.key {
                    self.incarnation = incarnation;
                    self.key.clear();
                    self.key.extend_from_slice(escaped);
                    self.horizon = kept.horizon_of(incarnation, escaped);
                    self.has_newer = false;
                }
                self.is_version_needed(timestamp)
            }
            Some(Owner::Replica(partition, incarnation)) => kept.live.needs(partition, incarnation),
            // A damaged row is for whoever reads it to report.
            None => true,
        }
    }

    fn is_version_needed(&mut self, timestamp: Timestamp) -> bool {
        let Some(horizon) = self.horizon else {
            return false;
        };
        if timestamp > horizon {
            return true;
        }
        !std::mem::replace(&mut self.has_newer, true)
    }
}

impl Kept {
    /// The horizon of the replica that a key belongs to; zero if it may be in the making.
    fn horizon_of(&self, incarnation: u32, escaped: &[u8]) -> Option<Timestamp> {
        let named = self.named_horizon_of(incarnation, escaped);
        let unnamed = (incarnation >= self.live.below).then_some(Timestamp::ZERO);
        named.or(unnamed)
    }

    fn named_horizon_of(&self, incarnation: u32, escaped: &[u8]) -> Option<Timestamp> {
        let up_to = (incarnation, escaped.to_vec());
        let ((of, _), span) = self.spans.range(..=up_to).next_back()?;
        let is_inside = span.end.as_ref().is_none_or(|end| escaped < &end[..]);
        (*of == incarnation && is_inside).then_some(span.horizon)
    }
}

impl CompactionFilter for Filter {
    fn filter_item(&mut self, item: ItemAccessor<'_>, _: &Context) -> CompactionFilterResult {
        // Each version's row is written once, so nothing older of the same row can come to light.
        Ok(match self.is_needed(item.key()) {
            true => Verdict::Keep,
            false => Verdict::Destroy,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use wire::keys::{Key, KeyRange};

    const P2: PartitionId = PartitionId(2);

    fn key(text: &'static str) -> Key {
        Key::from_bytes(Bytes::from_static(text.as_bytes()))
    }

    type Lives = (PartitionId, u32, KeyRange);

    fn lives(
        partition: PartitionId,
        incarnation: u32,
        start: &'static str,
        end: &'static str,
    ) -> Lives {
        (
            partition,
            incarnation,
            KeyRange::new(key(start), Some(key(end))),
        )
    }

    fn version(incarnation: u32, text: &'static str, bits: u64) -> Vec<u8> {
        rows::version_key(incarnation, &key(text), Timestamp::from_bits(bits))
    }

    fn filter(replicas: &[Lives], horizons: &[(Replica, u64)]) -> Filter {
        let retention = Retention::default();
        let live = Live {
            replicas: replicas.to_vec(),
            below: 5,
        };
        retention.set_live(&live, &BTreeMap::new());
        let horizons = horizons.iter();
        let horizons = horizons.map(|(replica, bits)| (*replica, Timestamp::from_bits(*bits)));
        retention.raise(&horizons.collect());
        Filter::new(retention.lock().clone())
    }

    #[test]
    fn the_newest_version_at_or_below_the_horizon_stays_and_older_ones_go() {
        let replicas = [lives(P2, 1, "a", "m"), lives(PartitionId(3), 1, "m", "z")];
        let mut filter = filter(&replicas, &[((P2, 1), 50)]);
        let mut is_needed = |text, bits| filter.is_needed(&version(1, text, bits));
        assert_eq!(
            [90, 50, 40, 20].map(|bits| is_needed("b", bits)),
            [true, true, false, false]
        );
        // The same key begins another's.
        assert_eq!([40, 20].map(|bits| is_needed("bb", bits)), [true, false]);
        // The neighbour's horizon is its own.
        assert_eq!([40, 20].map(|bits| is_needed("m", bits)), [true, true]);
    }

    #[test]
    fn rows_of_replicas_that_are_not_kept_go() {
        let mut filter = filter(&[lives(P2, 2, "a", "m")], &[]);
        assert!(filter.is_needed(&version(2, "b", 1)));
        for row in [version(1, "b", 1), version(2, "m", 1), version(3, "b", 1)] {
            assert!(!filter.is_needed(&row));
        }
        // It may be in the making.
        for row in [
            version(5, "z", 2),
            version(5, "z", 1),
            rows::meta_key(P2, 6, b"x"),
        ] {
            assert!(filter.is_needed(&row));
        }
        assert!(filter.is_needed(&rows::meta_key(P2, 2, b"x")));
        assert!(!filter.is_needed(&rows::meta_key(P2, 1, b"x")));
        assert!(!filter.is_needed(&rows::applied_key(P2, 1)));
    }

    #[test]
    fn before_it_is_told_what_is_kept_nothing_goes() {
        let retention = Retention::default();
        retention.raise(&[((P2, 1), Timestamp::from_bits(50))].into());
        let mut filter = Filter::new(retention.lock().clone());
        for bits in [3, 2, 1] {
            assert!(filter.is_needed(&version(1, "b", bits)));
        }
    }
}
