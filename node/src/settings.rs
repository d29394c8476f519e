//! The cluster's settings as this node knows them (pattern Consistent Core).
//!
//! It reads them through its own gateway every few seconds, like any client. Until the first answer it
//! knows none, and then nothing is collected that another setting would keep.

use clock::Now;
use std::time::Duration;
use wire::message::{ClientAnswer, ClientReply, ClientRequest, ReadRequest, ReadResult, Snapshot};
use wire::settings;

/// How often the settings are read.
const READ_EVERY: Duration = Duration::from_secs(3);
/// The numbers of these requests on the node's own connection begin here; others lie below.
const FIRST_NUMBER: u64 = crate::keyspaces::NUMBERS_END;

/// What was read, and when to read again.
#[derive(Debug)]
pub(crate) struct Settings {
    retention: Option<Duration>,
    retention_default: Duration,
    under_way: Option<u64>,
    next_number: u64,
    due_at: Duration,
}

impl Settings {
    /// Nothing is known yet.
    pub(crate) fn new(retention_default: Duration) -> Settings {
        Settings {
            retention: None,
            retention_default,
            under_way: None,
            next_number: FIRST_NUMBER,
            due_at: Duration::ZERO,
        }
    }

    /// How long versions are kept, once that is known.
    pub(crate) fn retention(&self) -> Option<Duration> {
        self.retention
    }

    /// The question that is due now, with its number.
    pub(crate) fn due(&mut self, now: &Now) -> Option<(u64, ClientRequest)> {
        if self.under_way.is_some() || self.due_at > now.monotonic {
            return None;
        }
        let number = self.next_number;
        self.next_number += 1;
        self.under_way = Some(number);
        let request = ClientRequest::Read {
            reader: None,
            snapshot: Snapshot::Fresh,
            requests: vec![ReadRequest::Get {
                key: settings::retention_key(),
            }],
        };
        Some((number, request))
    }

    /// Takes an answer; `false` if it is to somebody else's question.
    pub(crate) fn on_reply(&mut self, number: u64, reply: &ClientReply, now: Duration) -> bool {
        if number < FIRST_NUMBER {
            return false;
        }
        if self.under_way == Some(number) {
            self.under_way = None;
            self.due_at = now + READ_EVERY;
            self.take(reply);
        }
        true
    }

    fn take(&mut self, reply: &ClientReply) {
        let Ok(ClientAnswer::Read { results, .. }) = reply else {
            tracing::debug!(
                ?reply,
                "the settings could not be read; they are looked at again"
            );
            return;
        };
        let retention = match &results[..] {
            [ReadResult::Value(None)] => self.retention_default,
            [ReadResult::Value(Some(found))] => match settings::decode_retention(&found.value) {
                Ok(retention) => retention,
                Err(error) => return tracing::warn!(%error, "the retention stays as it was"),
            },
            other => unreachable!("one key was asked for, not {other:?}"),
        };
        if self.retention.replace(retention) != Some(retention) {
            tracing::info!(?retention, "old versions are kept this long");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clock::Timestamp;
    use wire::message::{RequestError, VersionedValue};

    const DEFAULT: Duration = settings::RETENTION_DEFAULT;

    fn now(seconds: u64) -> Now {
        let time = Duration::from_secs(seconds);
        Now {
            monotonic: time,
            physical: time,
            bound: Some(Duration::ZERO),
        }
    }

    fn answer(value: Option<&'static str>) -> ClientReply {
        let value = value.map(|value| VersionedValue {
            timestamp: Timestamp::ZERO,
            value: value.into(),
        });
        Ok(ClientAnswer::Read {
            at: Timestamp::ZERO,
            results: vec![ReadResult::Value(value)],
        })
    }

    fn ask(settings: &mut Settings, at: u64, reply: ClientReply) -> Option<Duration> {
        let (number, _) = settings.due(&now(at)).expect("it is due");
        assert_eq!(settings.due(&now(at)), None, "one question at a time");
        assert!(settings.on_reply(number, &reply, Duration::from_secs(at)));
        settings.retention()
    }

    #[test]
    fn the_retention_is_not_known_before_it_was_read_and_follows_then() {
        let mut settings = Settings::new(DEFAULT);
        let failed = Err(RequestError::Overloaded { retry_ms: 1 });
        assert_eq!(ask(&mut settings, 0, failed), None);
        assert_eq!(settings.due(&now(2)), None);
        assert_eq!(ask(&mut settings, 3, answer(None)), Some(DEFAULT));
        let short = Some(Duration::from_secs(20));
        assert_eq!(ask(&mut settings, 6, answer(Some("20000"))), short);
        assert_eq!(ask(&mut settings, 9, answer(Some("soon"))), short);
    }

    #[test]
    fn answers_to_others_are_left_to_them() {
        let mut settings = Settings::new(DEFAULT);
        assert!(!settings.on_reply(7, &answer(None), Duration::ZERO));
        assert_eq!(settings.retention(), None);
    }
}
