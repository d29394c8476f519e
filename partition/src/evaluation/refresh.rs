//! Whether what was read still holds at a later timestamp (R5).
//!
//! A read at `to` whose answer is *changed?*. It never waits for locks, because it holds locks itself:
//! another's lock or entry under way at or below `to` counts as a change. Of a
//! snapshot below the retention horizon nobody can tell any more.

use super::{Evaluated, Evaluator, Verdict};
use wire::message::{Change, PartitionReply, Refresh, Rival};

impl Evaluator<'_> {
    pub(super) fn refresh(&mut self, refresh: &Refresh) -> Evaluated<Verdict> {
        self.check_retained(refresh.from)?;
        self.check_not_ahead(refresh.to)?;
        self.check_promised(refresh.to)?;
        let reader = Some(refresh.reader);
        for range in &refresh.reads {
            self.cache.raise(range, refresh.to, reader);
        }
        #[cfg(feature = "mutants")]
        if self.is(crate::Mutant::RefreshChecksNothing) {
            return Ok(answer(None));
        }
        let in_the_way = self.first_in_the_way(refresh);
        #[cfg(feature = "mutants")]
        let in_the_way = in_the_way.filter(|_| !self.is(crate::Mutant::RefreshIgnoresLocks));
        if in_the_way.is_some() {
            return Ok(answer(in_the_way));
        }
        let mut first = None;
        for range in &refresh.reads {
            let changed = self.changed(range, refresh.from, refresh.to).flatten();
            let changed = changed.map(|(key, at)| Change {
                key,
                rival: Rival::Version { at },
            });
            first = first.or(changed);
        }
        if first.is_none() {
            self.check_answered()?;
        }
        Ok(answer(first))
    }

    fn first_in_the_way(&self, refresh: &Refresh) -> Option<Change> {
        refresh.reads.iter().find_map(|range| {
            let locked = self.lock_at_or_below(range, refresh.to, Some(refresh.reader));
            let locked = locked.map(|(key, lock)| (key, lock.name.id, lock.at));
            let written = self.overlay.last_write_in(range, refresh.from, refresh.to);
            let written = written.and_then(|(index, key)| {
                let (id, at) = self.overlay.writer(index)?;
                Some((key, id, at))
            });
            let (key, id, at) = locked.or(written)?;
            Some(Change {
                key: key.clone(),
                rival: Rival::Transaction { id, at },
            })
        })
    }
}

fn answer(changed: Option<Change>) -> Verdict {
    Verdict::Reply(PartitionReply::Refreshed { changed })
}
