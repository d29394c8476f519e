//! Durations and sizes, read and shown with their units.

use std::time::Duration;

/// Reads a duration such as `50us`, `1.5ms` or `2s`. A number needs its unit.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    let wrong = || {
        format!(
            "'{text}' is not a duration: write a number and its unit, for example 500us, 1.5ms or 2s (units: ns, us, ms, s, min, h)"
        )
    };
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .ok_or_else(wrong)?;
    let (number, unit) = text.split_at(digits);
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let seconds = match unit.trim_start() {
        "ns" => 1e-9,
        "us" | "µs" | "μs" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "min" | "m" => 60.0,
        "h" => 3_600.0,
        _ => return Err(wrong()),
    };
    Duration::try_from_secs_f64(number * seconds).map_err(|_| wrong())
}

/// The most that a clock bound may be: half the drift that nodes allow each other's stamps. With more,
/// nodes whose clocks are right would refuse each other's messages.
const CLOCK_BOUND_MAX: Duration = Duration::from_millis(250);

/// Reads a clock bound: a duration above zero, of use.
pub(crate) fn parse_clock_bound(text: &str) -> Result<Duration, String> {
    let bound = parse_duration(text)?;
    if bound.is_zero() {
        return Err("no clock is exact: a bound must be above zero".to_owned());
    }
    if bound > CLOCK_BOUND_MAX {
        return Err(format!(
            "a bound of {text} is of no use, the most is {CLOCK_BOUND_MAX:?}: every commit would wait for twice the bound"
        ));
    }
    Ok(bound)
}

/// Microseconds with a fitting unit: `50 µs`, `1.5 ms`, `12 s`.
pub(crate) fn micros(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{} ms", short(us as f64 / 1e3)),
        _ => seconds(us as f64 / 1e6),
    }
}

fn seconds(s: f64) -> String {
    match s {
        s if s < 120.0 => format!("{} s", short(s)),
        s if s < 7_200.0 => format!("{} min", short(s / 60.0)),
        s if s < 172_800.0 => format!("{} h", short(s / 3_600.0)),
        s => format!("{} days", short(s / 86_400.0)),
    }
}

/// A number of rows.
pub(crate) fn rows(n: u64) -> String {
    match n {
        1 => "1 row".to_owned(),
        n => format!("{n} rows"),
    }
}

/// A number of bytes in binary units.
pub(crate) fn bytes(n: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = n as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    format!("{} {}", short(value), UNITS[unit])
}

/// Reads a number of bytes such as `512MiB`, `1.5GiB` or `0`.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    let wrong = || {
        format!(
            "'{text}' is not a size: write a number and its unit, for example 512MiB or 1.5GiB (units: B, KiB, MiB, GiB, TiB)"
        )
    };
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(digits.unwrap_or(text.len()));
    let number: f64 = number.parse().map_err(|_| wrong())?;
    let bytes = match unit.trim_start() {
        "" | "B" => number,
        "KiB" | "K" => number * 1024.0,
        "MiB" | "M" => number * 1024.0 * 1024.0,
        "GiB" | "G" => number * 1024.0 * 1024.0 * 1024.0,
        "TiB" | "T" => number * 1024.0 * 1024.0 * 1024.0 * 1024.0,
        _ => return Err(wrong()),
    };
    Ok(bytes as u64)
}

/// At most one digit after the point, none from 100 on or if it is zero.
fn short(value: f64) -> String {
    let text = if value >= 100.0 {
        format!("{value:.0}")
    } else {
        format!("{value:.1}")
    };
    text.strip_suffix(".0").unwrap_or(&text).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        assert_eq!(parse_bytes("0"), Ok(0));
        assert_eq!(parse_bytes("1.5 KiB"), Ok(1536));
        assert_eq!(parse_bytes("2GiB"), Ok(2 << 30));
        for wrong in ["", "GiB", "1 MB", "-1"] {
            assert!(parse_bytes(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn durations_need_their_unit() {
        assert_eq!(parse_duration("50us"), Ok(Duration::from_micros(50)));
        assert_eq!(parse_duration("1.5ms"), Ok(Duration::from_micros(1500)));
        assert_eq!(parse_duration("2 s"), Ok(Duration::from_secs(2)));
        for wrong in ["", "50", "us", "-1s", "1..2s", "1h30", "1e99s"] {
            assert!(parse_duration(wrong).is_err(), "{wrong}");
        }
        assert!(parse_clock_bound("0us").is_err());
        assert!(parse_clock_bound("250ms").is_ok());
        assert!(parse_clock_bound("251ms").unwrap_err().contains("250ms"));
    }

    #[test]
    fn quantities_are_short() {
        assert_eq!(micros(50), "50 µs");
        assert_eq!(micros(1_500), "1.5 ms");
        assert_eq!(micros(12_000_000), "12 s");
        assert_eq!(micros(3_600_000_000), "60 min");
        assert_eq!(bytes(0), "0 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(16 << 20), "16 MiB");
    }
}
