//! Timestamps: 52 bits of microseconds since 1970 above 12 bits of a logical counter, ordered as one
//! integer (Kulkarni et al., *Logical Physical Clocks*, 2014; pattern Hybrid Clock).

use serde::{Deserialize, Serialize};
use std::fmt;
use std::time::Duration;

const LOGICAL_BITS: u32 = 12;

/// A point in the order of all transactions.
///
/// The upper 52 bits are microseconds since 1970-01-01 UTC, the lower 12 a logical counter. The
/// successor of a timestamp is that integer plus one, so a run of events within one microsecond
/// spills into the next, never out of order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Timestamp(u64);

impl Timestamp {
    /// Before every event.
    pub const ZERO: Timestamp = Timestamp(0);
    /// After every event; as a limit it means "unbounded".
    pub const MAX: Timestamp = Timestamp(u64::MAX);

    /// The first timestamp of a microsecond since 1970.
    pub const fn from_micros(micros: u64) -> Timestamp {
        Timestamp(micros << LOGICAL_BITS)
    }

    /// From the integer that [`Timestamp::to_bits`] gave.
    pub const fn from_bits(bits: u64) -> Timestamp {
        Timestamp(bits)
    }

    /// The whole integer: microseconds and counter.
    pub const fn to_bits(self) -> u64 {
        self.0
    }

    /// Microseconds since 1970.
    pub const fn micros(self) -> u64 {
        self.0 >> LOGICAL_BITS
    }

    /// The logical counter within the microsecond.
    pub const fn logical(self) -> u32 {
        (self.0 & ((1 << LOGICAL_BITS) - 1)) as u32
    }

    /// The smallest timestamp above this one. `MAX` is its own successor.
    pub const fn next(self) -> Timestamp {
        Timestamp(self.0.saturating_add(1))
    }

    /// The largest timestamp below this one. `ZERO` is its own predecessor.
    pub const fn previous(self) -> Timestamp {
        Timestamp(self.0.saturating_sub(1))
    }

    /// This timestamp moved forward by a whole number of microseconds.
    pub const fn plus(self, duration: Duration) -> Timestamp {
        Timestamp(
            self.0
                .saturating_add((duration.as_micros() as u64) << LOGICAL_BITS),
        )
    }

    /// This timestamp moved back by a whole number of microseconds.
    pub const fn minus(self, duration: Duration) -> Timestamp {
        Timestamp(
            self.0
                .saturating_sub((duration.as_micros() as u64) << LOGICAL_BITS),
        )
    }

    /// How far `self` lies above `other`, to the microsecond; zero if it does not.
    pub const fn since(self, other: Timestamp) -> Duration {
        Duration::from_micros(self.micros().saturating_sub(other.micros()))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self == Timestamp::MAX {
            return f.write_str("unbounded");
        }
        write!(
            f,
            "{}.{:06}+{}",
            self.micros() / 1_000_000,
            self.micros() % 1_000_000,
            self.logical()
        )
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Why a text is not a timestamp.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ParseTimestampError {
    /// It is written in another way.
    #[error(
        "'{0}' is not a timestamp: write SECONDS.MICROSECONDS+COUNTER as the store prints it, for example 1790000000.000000+0"
    )]
    Form(String),
    /// It is written as one, but there is none so late.
    #[error(
        "the timestamp '{0}' is out of range: the last one is 4503599627.370495+4095, in the year 2112, and counters end at 4095"
    )]
    OutOfRange(String),
}

impl std::str::FromStr for Timestamp {
    type Err = ParseTimestampError;

    /// Reads what `Display` writes; the fraction and the counter may be left out.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || ParseTimestampError::Form(text.to_owned());
        let too_late = || ParseTimestampError::OutOfRange(text.to_owned());
        let are_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
        // Of digits only the size can be wrong.
        let number = |part: &str| match are_digits(part) {
            true => part.parse::<u64>().map_err(|_| too_late()),
            false => Err(wrong()),
        };
        let (time, logical) = match text.split_once('+') {
            Some((time, logical)) => (time, number(logical)?),
            None => (text, 0),
        };
        let (seconds, fraction) = time.split_once('.').unwrap_or((time, "0"));
        if fraction.len() > 6 || !are_digits(fraction) {
            return Err(wrong());
        }
        let seconds = number(seconds)?;
        let micros = number(&format!("{fraction:0<6}"))?;
        let micros = seconds
            .checked_mul(1_000_000)
            .and_then(|s| s.checked_add(micros));
        let micros = micros.filter(|m| *m < 1 << 52).ok_or_else(too_late)?;
        if logical >= 1 << LOGICAL_BITS {
            return Err(too_late());
        }
        Ok(Timestamp(Timestamp::from_micros(micros).0 + logical))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn successor_spills_into_the_next_microsecond() {
        let last = Timestamp::from_bits(Timestamp::from_micros(6).to_bits() - 1);
        assert_eq!(last.micros(), 5);
        assert_eq!(last.next(), Timestamp::from_micros(6));
        assert_eq!(last.next().previous(), last);
    }

    #[test]
    fn text_reads_back() {
        let t = Timestamp::from_micros(1_790_000_000_000_042).next().next();
        assert_eq!(t.to_string(), "1790000000.000042+2");
        assert_eq!(t.to_string().parse(), Ok(t));
        assert_eq!("7.5".parse(), Ok(Timestamp::from_micros(7_500_000)));
        for wrong in ["", "x", "1.+", "1.2345678", "1+4096", "-1"] {
            assert!(wrong.parse::<Timestamp>().is_err(), "{wrong}");
        }
        for late in [
            "9795508693.000000+0",
            "4503599627.370496",
            "1+4096",
            "99999999999999999999",
        ] {
            let out_of_range = ParseTimestampError::OutOfRange(late.to_owned());
            assert_eq!(late.parse::<Timestamp>(), Err(out_of_range));
        }
        let last = "4503599627.370495+4095".parse::<Timestamp>();
        assert_eq!(last, Ok(Timestamp::MAX));
    }
}
