//! Durability and nothing else: the store holds exactly the versions that the committed transactions
//! make, whatever crashed on the way. A missing one was lost; one too many was applied twice, or is of
//! a transaction that everybody was told is aborted.

use super::{ModelVersion, StoredVersion, StoredVersions, VersionModel, Violation};
use wire::keys::Key;

const PROPERTY: &str = "durability and exactly-once effects";

pub(super) fn check(model: &VersionModel, stored: &StoredVersions) -> Result<(), Violation> {
    for (key, expected) in model.keys() {
        let found = stored.get(key).map_or(&[][..], |versions| versions);
        check_key(key, expected, found)?;
    }
    let unknown = stored.keys().find(|key| model.versions(key).is_empty());
    match unknown {
        None => Ok(()),
        Some(key) => {
            let why = format!("the store holds {key}, which no committed transaction wrote");
            Err(Violation::new(PROPERTY, &[], why))
        }
    }
}

fn check_key(
    key: &Key,
    expected: &[ModelVersion],
    found: &[StoredVersion],
) -> Result<(), Violation> {
    let mut found = found.iter().peekable();
    for version in expected {
        match found.peek() {
            Some((timestamp, value)) if *timestamp == version.timestamp => {
                if *value != version.value {
                    let why = format!(
                        "{key} at {timestamp} is {value:?} in the store, it should be {:?}",
                        version.value
                    );
                    return Err(Violation::new(PROPERTY, &[version.writer], why));
                }
                found.next();
            }
            _ if version.changes_nothing => {}
            other => {
                let why = format!(
                    "the version {:?} of {key}, written by {:?} at {}, is not in the store; next there is {other:?}",
                    version.value, version.writer, version.timestamp
                );
                return Err(Violation::new(PROPERTY, &[version.writer], why));
            }
        }
    }
    match found.next() {
        None => Ok(()),
        Some((timestamp, value)) => {
            let why = format!(
                "the store holds {value:?} of {key} at {timestamp}, which no committed transaction wrote"
            );
            Err(Violation::new(PROPERTY, &[], why))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{commit, history, key, ts};
    use super::*;
    use crate::workload::put;

    fn verdict(stored: &[(u64, &'static str)]) -> Result<(), Violation> {
        let history = history([
            commit(10, vec![put(&key("a"), "1")]),
            commit(20, vec![put(&key("a"), "1")]),
            commit(30, vec![put(&key("a"), "2")]),
        ]);
        let model = VersionModel::replay(&history).unwrap();
        let versions = stored
            .iter()
            .map(|(at, value)| (ts(*at), Some((*value).into())));
        check(
            &model,
            &StoredVersions::from([(key("a"), versions.collect())]),
        )
    }

    #[test]
    fn a_repeated_value_may_or_may_not_have_a_version() {
        assert_eq!(verdict(&[(10, "1"), (20, "1"), (30, "2")]), Ok(()));
        assert_eq!(verdict(&[(10, "1"), (30, "2")]), Ok(()));
    }

    #[test]
    fn lost_invented_and_changed_versions_are_found() {
        assert!(verdict(&[(10, "1")]).is_err());
        assert!(verdict(&[(10, "1"), (30, "2"), (40, "3")]).is_err());
        assert!(verdict(&[(10, "1"), (25, "9"), (30, "2")]).is_err());
        assert!(verdict(&[(10, "1"), (30, "3")]).is_err());
    }
}
