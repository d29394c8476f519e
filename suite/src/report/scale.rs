//! Axes: from values to places of a picture, with round ticks and their units.

/// A tick: its place, and what stands at it.
pub(super) type Tick = (f64, String);

/// A linear axis from 0.
#[derive(Clone, Copy, Debug)]
pub(super) struct Linear {
    most: f64,
    from: f64,
    to: f64,
}

impl Linear {
    /// From 0 at the place `from` to at least `most` at the place `to`.
    pub(super) fn new(most: f64, from: f64, to: f64) -> Linear {
        let most = if most > 0.0 { most } else { 1.0 };
        Linear { most, from, to }
    }

    /// The same, up to a whole tick.
    pub(super) fn rounded_up(most: f64, ticks: usize, from: f64, to: f64) -> Linear {
        let linear = Linear::new(most, from, to);
        let step = linear.step(ticks);
        Linear::new((linear.most / step).ceil() * step, from, to)
    }

    pub(super) fn place(self, value: f64) -> f64 {
        self.from + (self.to - self.from) * (value / self.most).clamp(0.0, 1.0)
    }

    /// The least of 1, 2 and 5 times a power of ten that gives no more than so many ticks.
    fn step(self, ticks: usize) -> f64 {
        let rough = self.most / ticks as f64;
        let power = 10f64.powf(rough.log10().floor());
        let fits = |factor: &f64| factor * power >= rough * 0.999;
        [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0) * power
    }

    /// About so many round ticks.
    pub(super) fn ticks(self, count: usize) -> Vec<Tick> {
        let step = self.step(count);
        let all = (0..).map(|number| f64::from(number) * step);
        let inside = all.take_while(|value| *value <= self.most * 1.0001);
        inside
            .map(|value| (self.place(value), plain(value)))
            .collect()
    }
}

/// A logarithmic axis of times, nanoseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Times {
    least: f64,
    most: f64,
    from: f64,
    to: f64,
}

impl Times {
    /// Whole decades around these times.
    pub(super) fn around(least_ns: u64, most_ns: u64, from: f64, to: f64) -> Times {
        let least = (least_ns.max(1) as f64).log10().floor();
        let most = (most_ns.max(1) as f64 * 1.0001)
            .log10()
            .ceil()
            .max(least + 1.0);
        Times {
            least,
            most,
            from,
            to,
        }
    }

    pub(super) fn place(self, ns: u64) -> f64 {
        let part = ((ns.max(1) as f64).log10() - self.least) / (self.most - self.least);
        self.from + (self.to - self.from) * part.clamp(0.0, 1.0)
    }

    /// One a decade.
    pub(super) fn ticks(self) -> Vec<Tick> {
        let decades = self.least as i32..=self.most as i32;
        let tick = |decade| {
            let ns = 10f64.powi(decade) as u64;
            (self.place(ns), time(ns))
        };
        decades.map(tick).collect()
    }
}

/// A number without needless digits.
fn plain(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

/// A time with its unit and three digits.
pub(super) fn time(ns: u64) -> String {
    let (value, unit) = match ns {
        0..1_000 => (ns as f64, "ns"),
        1_000..1_000_000 => (ns as f64 / 1e3, "µs"),
        1_000_000..1_000_000_000 => (ns as f64 / 1e6, "ms"),
        _ => (ns as f64 / 1e9, "s"),
    };
    let digits = if value >= 100.0 {
        0
    } else if value >= 10.0 {
        1
    } else {
        2
    };
    let text = format!("{value:.digits$}");
    let text = match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.'),
        false => &text,
    };
    format!("{text} {unit}")
}

/// A count with its thousands apart.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut out = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            out.push(',');
        }
        out.push(digit);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: Vec<Tick>) -> Vec<String> {
        ticks.into_iter().map(|(_, label)| label).collect()
    }

    #[test]
    fn ticks_are_round_and_few() {
        let axis = Linear::new(60.0, 0.0, 600.0);
        assert_eq!(
            labels(axis.ticks(8)),
            ["0", "10", "20", "30", "40", "50", "60"]
        );
        assert_eq!(axis.place(30.0), 300.0);
        let rounded = Linear::rounded_up(173.0, 4, 100.0, 0.0);
        assert_eq!(labels(rounded.ticks(4)), ["0", "50", "100", "150", "200"]);
        assert_eq!(rounded.place(200.0), 0.0);
        assert_eq!(
            labels(Linear::new(0.0, 0.0, 1.0).ticks(2)),
            ["0", "0.5", "1"]
        );
    }

    #[test]
    fn times_have_decades_and_units() {
        let axis = Times::around(400_000, 12_000_000_000, 300.0, 0.0);
        let decades = ["100 µs", "1 ms", "10 ms", "100 ms", "1 s", "10 s", "100 s"];
        assert_eq!(labels(axis.ticks()), decades);
        assert_eq!(
            (axis.place(100_000), axis.place(100_000_000_000)),
            (300.0, 0.0)
        );
        assert_eq!(time(1_234_567), "1.23 ms");
        assert_eq!(time(12_345_678_901), "12.3 s");
        assert_eq!(time(250_000_000), "250 ms");
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
    }
}
