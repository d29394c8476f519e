//! Keyspaces by name. Names lie in the system's own keyspace:
//!
//! ```text
//!   keyspace/<name> -> id, decimal          keyspace-next -> the next free id, decimal
//! ```
//!
//! `default` has the id 1 whether it is written down or not. Ids are never given twice.

use super::{Client, Error, prefix};
use crate::ids::KeyspaceId;
use crate::keys::{DEFAULT_KEYSPACE, SYSTEM_KEYSPACE};
use crate::message::VersionedValue;

/// The longest name of a keyspace, bytes.
pub const KEYSPACE_NAME_BYTES_MAX: usize = 128;
/// The name that everybody has.
const DEFAULT_NAME: &str = "default";
const NAME_PREFIX: &str = "keyspace/";
const NEXT_ID: &str = "keyspace-next";
const FIRST_FREE_ID: u32 = 2;

fn check_name(name: &str) -> Result<String, Error> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=KEYSPACE_NAME_BYTES_MAX).contains(&name.len()) && name.chars().all(fits) {
        return Ok(format!("{NAME_PREFIX}{name}"));
    }
    Err(Error::KeyspaceName {
        name: name.to_owned(),
        max: KEYSPACE_NAME_BYTES_MAX,
    })
}

fn parse_id(version: &VersionedValue) -> Result<KeyspaceId, Error> {
    let text = std::str::from_utf8(&version.value).ok();
    let id = text.and_then(|text| text.parse().ok());
    id.map(KeyspaceId).ok_or_else(|| {
        let value = version.value.escape_ascii();
        Error::user(format!(
            "the system's keyspace holds '{value}' for the id of a keyspace"
        ))
    })
}

/// The name and id of a row; `None` for `default`, which everybody knows without it.
fn listed(name: &[u8], version: &VersionedValue) -> Result<Option<(String, KeyspaceId)>, Error> {
    let name = String::from_utf8_lossy(name).into_owned();
    if name == DEFAULT_NAME {
        return Ok(None);
    }
    Ok(Some((name, parse_id(version)?)))
}

impl Client {
    /// A handle on the keyspace of this name.
    pub async fn keyspace(&self, name: &str) -> Result<Client, Error> {
        if name == DEFAULT_NAME {
            return Ok(self.with_keyspace_id(DEFAULT_KEYSPACE));
        }
        let system = self.with_keyspace_id(SYSTEM_KEYSPACE);
        match system.get(check_name(name)?).await? {
            Some(id) => Ok(self.with_keyspace_id(parse_id(&id)?)),
            None => Err(Error::NoSuchKeyspace { name: name.into() }),
        }
    }

    /// Creates a keyspace and gives a handle on it.
    pub async fn create_keyspace(&self, name: &str) -> Result<Client, Error> {
        let exists = || Error::KeyspaceExists { name: name.into() };
        if name == DEFAULT_NAME {
            return Err(exists());
        }
        let key = check_name(name)?;
        let system = self.with_keyspace_id(SYSTEM_KEYSPACE);
        let id = system.transact(async |t| {
            if t.get(&key).await?.is_some() {
                return Err(exists());
            }
            let next = t.get_for_update(NEXT_ID).await?;
            let id = next
                .as_ref()
                .map_or(Ok(KeyspaceId(FIRST_FREE_ID)), parse_id)?;
            t.put(&key, id.0.to_string());
            t.put(NEXT_ID, (id.0 + 1).to_string());
            Ok(id)
        });
        Ok(self.with_keyspace_id(id.await?))
    }

    /// All keyspaces by name, `default` first.
    pub async fn keyspaces(&self) -> Result<Vec<(String, KeyspaceId)>, Error> {
        let mut all = vec![(DEFAULT_NAME.to_owned(), DEFAULT_KEYSPACE)];
        let system = self.with_keyspace_id(SYSTEM_KEYSPACE);
        let mut rows = system.scan(prefix(NAME_PREFIX));
        while let Some(row) = rows.next().await? {
            let name = &row.key.user()[NAME_PREFIX.len()..];
            all.extend(listed(name, &row.version)?);
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::Timestamp;

    #[test]
    fn the_row_of_the_default_keyspace_is_not_listed_again() {
        let id = |id: &'static str| VersionedValue {
            timestamp: Timestamp::ZERO,
            value: id.into(),
        };
        assert_eq!(listed(b"default", &id("1")).unwrap(), None);
        let orders = Some(("orders".to_owned(), KeyspaceId(7)));
        assert_eq!(listed(b"orders", &id("7")).unwrap(), orders);
        assert!(listed(b"orders", &id("x")).is_err());
    }
}
