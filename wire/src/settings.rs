//! Settings of the whole cluster, kept in the system's keyspace (pattern Consistent Core):
//!
//! ```text
//!   setting/retention -> milliseconds, decimal; not there: an hour
//! ```
//!
//! Every node looks at them every few seconds; nothing else distributes them.

use crate::keys::{Key, SYSTEM_KEYSPACE};
use bytes::Bytes;
use std::time::Duration;

/// Where the retention stands in the system's keyspace.
pub const RETENTION: &str = "setting/retention";
/// So long old versions are kept if nobody said otherwise.
pub const RETENTION_DEFAULT: Duration = Duration::from_secs(60 * 60);
/// The shortest retention. What is closed is that far behind, so a shorter one would free nothing more.
pub const RETENTION_MIN: Duration = Duration::from_secs(15);
/// The longest retention: ten years.
pub const RETENTION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 60 * 60);

/// The value of a setting is not what its key promises.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{RETENTION} in the system's keyspace is '{0}', which is no retention: set it again")]
pub struct UnreadableRetention(String);

/// The key of the retention.
pub fn retention_key() -> Key {
    Key::new(SYSTEM_KEYSPACE, RETENTION.as_bytes())
}

/// The value of a retention; `None` if it is shorter or longer than can be.
pub fn encode_retention(retention: Duration) -> Option<Bytes> {
    let fits = (RETENTION_MIN..=RETENTION_MAX).contains(&retention);
    fits.then(|| retention.as_millis().to_string().into())
}

/// Reads what [`encode_retention`] wrote.
pub fn decode_retention(value: &[u8]) -> Result<Duration, UnreadableRetention> {
    let millis = std::str::from_utf8(value)
        .ok()
        .and_then(|text| text.parse().ok());
    let retention = millis.map(Duration::from_millis);
    let retention = retention.filter(|it| (RETENTION_MIN..=RETENTION_MAX).contains(it));
    retention.ok_or_else(|| UnreadableRetention(value.escape_ascii().to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retention_reads_back_and_nothing_else_does() {
        for retention in [RETENTION_MIN, RETENTION_DEFAULT, RETENTION_MAX] {
            let value = encode_retention(retention).expect("it fits");
            assert_eq!(decode_retention(&value), Ok(retention));
        }
        assert_eq!(encode_retention(Duration::from_secs(1)), None);
        for wrong in ["", "1", "1h", "-5"] {
            assert!(decode_retention(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }
}
