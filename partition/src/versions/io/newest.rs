//! The newest version of each key at or below a timestamp.
//!
//! ```text
//!   rows:   a@9 a@7 a@2 │ b@8 b@1 │ c@3        asked as of 7: a@7, b@1, c@3
//! ```
//!
//! Rows that do not count are stepped over; after a few of one key, one jump goes over all of them. So a
//! key with a million versions costs no more than one with ten.

use super::fjall_reader::{View, damaged, failed};
use crate::versions::row_keys::{self as rows, RowRange};
use crate::versions::{StoreError, VersionRow};
use clock::Timestamp;
use fjall::{Guard, Iter};
use std::ops::Bound;
use wire::keys::{Key, KeyRange};

/// So many rows of one key are stepped over before a jump.
const STEPS_MAX: usize = 8;

/// Goes through a range of keys in one direction.
pub(super) struct Newest<'a> {
    view: &'a View,
    at: Timestamp,
    reverse: bool,
    start: Bound<Vec<u8>>,
    end: Bound<Vec<u8>>,
    rows: Iter,
    steps: usize,
    /// Forwards: the key that was given last. Backwards: the version that is given unless a newer comes.
    last: Option<VersionRow>,
}

impl<'a> Newest<'a> {
    /// The range may not be empty.
    pub(super) fn new(
        view: &'a View,
        range: &KeyRange,
        at: Timestamp,
        reverse: bool,
    ) -> Newest<'a> {
        let (start, end) = rows::versions_in(view.incarnation, range);
        let rows = view.rows((start.clone(), end.clone()));
        Newest {
            view,
            at,
            reverse,
            start,
            end,
            rows,
            steps: 0,
            last: None,
        }
    }

    /// The next key's newest version.
    pub(super) fn next(&mut self) -> Result<Option<VersionRow>, StoreError> {
        if self.reverse {
            self.next_backwards()
        } else {
            self.next_forwards()
        }
    }

    /// Of each key the newest version comes first: the first at or below `at` is given.
    fn next_forwards(&mut self) -> Result<Option<VersionRow>, StoreError> {
        while let Some(guard) = self.rows.next() {
            let row = version(guard)?;
            let is_given = self.last.as_ref().is_some_and(|last| last.key == row.key);
            if row.timestamp <= self.at && !is_given {
                self.steps = 0;
                self.last = Some(row.clone());
                return Ok(Some(row));
            }
            self.steps += 1;
            if self.steps >= STEPS_MAX {
                let to = if is_given {
                    Bound::Excluded(self.row_key(&row.key, Timestamp::ZERO))
                } else {
                    Bound::Included(self.row_key(&row.key, self.at))
                };
                self.jump((to, self.end.clone()));
            }
        }
        Ok(None)
    }

    /// Of each key the newest version comes last: the last at or below `at` is given.
    fn next_backwards(&mut self) -> Result<Option<VersionRow>, StoreError> {
        while let Some(guard) = self.rows.next_back() {
            let row = version(guard)?;
            let given = self.last.take_if(|last| last.key != row.key);
            self.steps = if given.is_some() { 0 } else { self.steps + 1 };
            let newest = if self.steps >= STEPS_MAX {
                let before = Bound::Excluded(self.row_key(&row.key, Timestamp::MAX));
                self.jump((self.start.clone(), before));
                self.view.get(&row.key, self.at)?
            } else {
                Some(row).filter(|row| row.timestamp <= self.at)
            };
            self.last = newest.or(self.last.take());
            if given.is_some() {
                return Ok(given);
            }
        }
        Ok(self.last.take())
    }

    fn row_key(&self, key: &Key, timestamp: Timestamp) -> Vec<u8> {
        rows::version_key(self.view.incarnation, key, timestamp)
    }

    fn jump(&mut self, to: RowRange) {
        self.rows = self.view.rows(to);
        self.steps = 0;
    }
}

/// A version from its row.
pub(super) fn version(guard: Guard) -> Result<VersionRow, StoreError> {
    let (row, value) = guard.into_inner().map_err(failed)?;
    let (key, timestamp) = rows::decode_version_key(&row).ok_or_else(|| damaged(&row))?;
    rows::decode_version(key, timestamp, &value).ok_or_else(|| damaged(&row))
}
