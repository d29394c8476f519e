//! Settings of the whole cluster.

use super::{Client, Error};
use crate::keys::SYSTEM_KEYSPACE;
use crate::settings;
use std::time::Duration;

impl Client {
    /// How long versions are kept after newer ones replaced them; reads at older timestamps fail.
    pub async fn retention(&self) -> Result<Duration, Error> {
        let system = self.with_keyspace_id(SYSTEM_KEYSPACE);
        match system.get(settings::RETENTION).await? {
            None => Ok(settings::RETENTION_DEFAULT),
            Some(found) => settings::decode_retention(&found.value)
                .map_err(|error| Error::user(error.to_string())),
        }
    }

    /// Keeps versions so long from now on; every node learns of it within seconds. What is gone already
    /// does not come back.
    pub async fn set_retention(&self, retention: Duration) -> Result<(), Error> {
        let value = settings::encode_retention(retention).ok_or_else(|| {
            Error::user(format!(
                "a retention of {retention:?} is not possible: choose one from {:?} to ten years",
                settings::RETENTION_MIN
            ))
        })?;
        let system = self.with_keyspace_id(SYSTEM_KEYSPACE);
        system.put(settings::RETENTION, value).await?;
        Ok(())
    }
}
