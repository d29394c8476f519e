//! Latency and rate over time, with the faults shaded behind, as SVG that the page's style colours.
//!
//! ```text
//!   phases           quiet │        faulted          │ healed
//!   kill-leader            │   ▐1▌     ▐3▌     ▐5▌   │          lanes: which fault is which
//!   packets-delay          │       ▐2▌     ▐4▌       │
//!   100 ms ┤         · ·   │  ·░··░░·░·░░·░░··░░··   │ · ·      the same times shaded behind the points
//!   ...
//! ```
//!
//! Names stand in lanes of their own, so nothing that is written ever lies on something else.

use super::samples::{Sample, Samples};
use super::scale::{Linear, Tick, Times, count};
use crate::run::{Fault, Phase};
use std::collections::BTreeSet;
use std::fmt::Write;
use verify::history::Kind;

/// How wide all pictures are; heights of the two plots.
const WIDTH: f64 = 1000.0;
const LATENCY_HEIGHT: f64 = 300.0;
const RATE_HEIGHT: f64 = 160.0;
/// What is left and right of a plot; the left also holds the names of lanes.
const LEFT_MIN: f64 = 84.0;
const RIGHT: f64 = 18.0;
const LANE_HEIGHT: f64 = 18.0;
/// What a character of a name takes.
const CHARACTER: f64 = 6.8;
/// A fault's number is written into its lane if that is so wide.
const NUMBER_WIDTH: f64 = 16.0;
/// Nothing is drawn narrower than this.
const WIDTH_MIN: f64 = 1.5;
/// Points of the curve of a rate.
const WINDOWS: u64 = 150;
const NS: f64 = 1e9;
/// Colours of nemeses in the style; further ones begin anew.
const COLOURS: usize = 6;

/// What both pictures share: times of the run and what was done to it.
pub(super) struct Frame<'a> {
    samples: &'a Samples,
    faults: &'a [Fault],
    phases: &'a [(Phase, u64)],
    names: Vec<&'a str>,
    end_ns: u64,
    x: Linear,
    left: f64,
}

impl<'a> Frame<'a> {
    pub(super) fn new(
        samples: &'a Samples,
        faults: &'a [Fault],
        phases: &'a [(Phase, u64)],
    ) -> Frame<'a> {
        let mut names: Vec<&str> = Vec::new();
        for fault in faults {
            if !names.contains(&fault.name.as_str()) {
                names.push(&fault.name);
            }
        }
        let longest = names.iter().map(|name| name.chars().count()).max();
        let left = (longest.unwrap_or(0) as f64 * CHARACTER + 20.0).max(LEFT_MIN);
        let last = faults.iter().map(|fault| fault.end_ns).max().unwrap_or(0);
        let end_ns = samples.end_ns().max(last).max(1);
        Frame {
            samples,
            faults,
            phases,
            names,
            end_ns,
            x: Linear::new(end_ns as f64 / NS, left, WIDTH - RIGHT),
            left,
        }
    }

    fn x(&self, ns: u64) -> f64 {
        self.x.place(ns as f64 / NS)
    }

    fn colour(&self, fault: &Fault) -> usize {
        let place = self.names.iter().position(|name| *name == fault.name);
        place.unwrap_or(0) % COLOURS
    }

    /// Phases and lanes; how high they are.
    fn lanes(&self, out: &mut String) -> f64 {
        for (place, (phase, from)) in self.phases.iter().enumerate() {
            let to = self
                .phases
                .get(place + 1)
                .map_or(self.end_ns, |next| next.1);
            let (from, to) = (self.x(*from), self.x(to));
            let name = phase_name(*phase);
            if to - from > name.len() as f64 * CHARACTER {
                text(out, "phase", "middle", (from + to) / 2.0, 13.0, name);
            }
        }
        let top = LANE_HEIGHT + 2.0;
        for (lane, name) in self.names.iter().enumerate() {
            let y = top + lane as f64 * LANE_HEIGHT;
            text(out, "lane", "end", self.left - 8.0, y + 12.5, name);
        }
        for (number, fault) in (1..).zip(self.faults) {
            let lane = self
                .names
                .iter()
                .position(|name| *name == fault.name)
                .unwrap_or(0);
            let (from, to) = (self.x(fault.begin_ns), self.x(fault.end_ns));
            let (y, width) = (top + lane as f64 * LANE_HEIGHT, (to - from).max(WIDTH_MIN));
            add(
                out,
                format_args!(
                    r#"<rect class="fault f{}" x="{from:.1}" y="{:.1}" width="{width:.1}" height="{:.1}" rx="2"><title>{number}. {}: {}</title></rect>"#,
                    self.colour(fault),
                    y + 2.0,
                    LANE_HEIGHT - 4.0,
                    escaped(&fault.name),
                    escaped(&fault.detail),
                ),
            );
            if width > NUMBER_WIDTH {
                text(
                    out,
                    "number",
                    "middle",
                    from + width / 2.0,
                    y + 13.0,
                    &number.to_string(),
                );
            }
        }
        top + self.names.len() as f64 * LANE_HEIGHT + 14.0
    }

    /// The plot's ground: faults, phases, axes.
    fn ground(&self, out: &mut String, top: f64, bottom: f64, y: &[Tick], y_name: &str) {
        for fault in self.faults {
            let (from, to) = (self.x(fault.begin_ns), self.x(fault.end_ns));
            add(
                out,
                format_args!(
                    r#"<rect class="shade f{}" x="{from:.1}" y="{top:.1}" width="{:.1}" height="{:.1}"/>"#,
                    self.colour(fault),
                    (to - from).max(WIDTH_MIN),
                    bottom - top,
                ),
            );
        }
        for (place, label) in y {
            line(out, "grid", (self.left, *place), (WIDTH - RIGHT, *place));
            text(out, "tick", "end", self.left - 8.0, place + 4.0, label);
        }
        for (place, label) in self.x.ticks(12) {
            line(out, "grid", (place, bottom), (place, bottom + 5.0));
            text(out, "tick", "middle", place, bottom + 18.0, &label);
        }
        for (_, from) in self.phases.iter().skip(1) {
            line(out, "border", (self.x(*from), top), (self.x(*from), bottom));
        }
        line(out, "axis", (self.left, bottom), (WIDTH - RIGHT, bottom));
        let middle = (self.left + WIDTH - RIGHT) / 2.0;
        text(
            out,
            "name",
            "middle",
            middle,
            bottom + 34.0,
            "time since the run began (s)",
        );
        let (x, y) = (14.0, (top + bottom) / 2.0);
        add(
            out,
            format_args!(
                r#"<text class="name" text-anchor="middle" transform="translate({x:.1} {y:.1}) rotate(-90)">{}</text>"#,
                escaped(y_name),
            ),
        );
    }

    /// How long each operation took, by when it was begun.
    pub(super) fn latency(&self) -> String {
        let mut body = String::new();
        let top = self.lanes(&mut body);
        let bottom = top + LATENCY_HEIGHT;
        let latencies = || self.samples.all.iter().map(Sample::latency_ns);
        let (least, most) = (latencies().min(), latencies().max());
        let y = Times::around(
            least.unwrap_or(1_000_000),
            most.unwrap_or(1_000_000),
            bottom,
            top,
        );
        self.ground(&mut body, top, bottom, &y.ticks(), "latency (log scale)");
        for kind in KINDS {
            let of_kind = self.samples.all.iter().filter(|sample| sample.kind == kind);
            // Points that fall on one place are one point.
            let points: BTreeSet<(i64, i64)> = of_kind
                .map(|sample| {
                    let (x, y) = (self.x(sample.begin_ns), y.place(sample.latency_ns()));
                    (x.round() as i64, y.round() as i64)
                })
                .collect();
            let mut path = String::new();
            for (x, y) in points {
                add(&mut path, format_args!("M{x} {y}h0"));
            }
            if !path.is_empty() {
                let path = path.replace('\n', "");
                add(
                    &mut body,
                    format_args!(r#"<path class="points {}" d="{path}"/>"#, kind.name()),
                );
            }
        }
        svg(&body, bottom + 42.0, "Latency of each operation over time")
    }

    /// How many operations ended a second.
    pub(super) fn rate(&self) -> String {
        let mut body = String::new();
        let (top, bottom) = (8.0, 8.0 + RATE_HEIGHT);
        let window_ns = window_ns(self.end_ns);
        let windows = (self.end_ns / window_ns + 1) as usize;
        let seconds = window_ns as f64 / NS;
        let rates = KINDS.map(|kind| {
            let mut counts = vec![0u64; windows];
            for sample in self.samples.all.iter().filter(|sample| sample.kind == kind) {
                counts[(sample.end_ns / window_ns) as usize] += 1;
            }
            counts
                .into_iter()
                .map(|count| count as f64 / seconds)
                .collect::<Vec<f64>>()
        });
        let most = rates
            .iter()
            .flatten()
            .fold(0.0, |most: f64, rate| most.max(*rate));
        let y = Linear::rounded_up(most, 4, bottom, top);
        self.ground(&mut body, top, bottom, &y.ticks(4), "operations / s");
        for (kind, rates) in KINDS.iter().zip(&rates) {
            if rates.iter().all(|rate| *rate == 0.0) {
                continue;
            }
            let mut path = String::new();
            for (window, rate) in (0u64..).zip(rates) {
                let from = self.x(window * window_ns);
                let to = self.x((window + 1) * window_ns);
                let word = if window == 0 { "M" } else { "L" };
                let y = y.place(*rate);
                add(&mut path, format_args!("{word}{from:.1} {y:.1}H{to:.1}"));
            }
            let path = path.replace('\n', "");
            add(
                &mut body,
                format_args!(r#"<path class="curve {}" d="{path}"/>"#, kind.name()),
            );
        }
        svg(
            &body,
            bottom + 42.0,
            "Operations that ended each second, over time",
        )
    }

    /// What the colours mean.
    pub(super) fn legend(&self) -> String {
        let entry = |kind: Kind| {
            let meaning = match kind {
                Kind::Ok => "certainly done",
                Kind::Fail => "certainly not done",
                Kind::Info | Kind::Invoke => "outcome unknown when the client gave up",
            };
            let (name, number) = (kind.name(), count(self.samples.count(kind) as u64));
            format!(
                r#"<span class="key"><i class="{name}"></i><b>{name}</b> {number}: {meaning}</span>"#
            )
        };
        KINDS.map(entry).concat()
    }
}

/// The many below the few.
const KINDS: [Kind; 3] = [Kind::Ok, Kind::Fail, Kind::Info];

fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Quiet => "quiet",
        Phase::Faulted => "faulted",
        Phase::Healed => "healed",
    }
}

/// Half a second, or more where the run is long.
fn window_ns(end_ns: u64) -> u64 {
    let steps = [500, 1_000, 2_000, 5_000, 10_000, 30_000, 60_000].map(|ms: u64| ms * 1_000_000);
    let fits = |step: &u64| end_ns / step <= WINDOWS;
    steps.into_iter().find(fits).unwrap_or(end_ns / WINDOWS)
}

fn add(out: &mut String, what: std::fmt::Arguments) {
    writeln!(out, "{what}").expect("a String takes whatever is written");
}

fn line(out: &mut String, class: &str, from: (f64, f64), to: (f64, f64)) {
    add(
        out,
        format_args!(
            r#"<line class="{class}" x1="{:.1}" y1="{:.1}" x2="{:.1}" y2="{:.1}"/>"#,
            from.0, from.1, to.0, to.1,
        ),
    );
}

fn text(out: &mut String, class: &str, anchor: &str, x: f64, y: f64, words: &str) {
    add(
        out,
        format_args!(
            r#"<text class="{class}" text-anchor="{anchor}" x="{x:.1}" y="{y:.1}">{}</text>"#,
            escaped(words),
        ),
    );
}

fn svg(body: &str, height: f64, title: &str) -> String {
    format!(
        "<svg class=\"chart\" viewBox=\"0 0 {WIDTH} {height}\" role=\"img\" aria-label=\"{title}\">\n{body}</svg>\n"
    )
}

/// Fit for HTML and XML.
pub(super) fn escaped(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            '&' => out += "&amp;",
            '<' => out += "&lt;",
            '>' => out += "&gt;",
            '"' => out += "&quot;",
            c if c.is_control() && c != '\n' => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    fn samples() -> Samples {
        let sample = |tenth: u64| Sample {
            begin_ns: tenth * SECOND / 10,
            end_ns: tenth * SECOND / 10
                + (1 + tenth % 7) * 700_000 * (1 + 300 * u64::from(tenth == 24)),
            kind: [Kind::Ok, Kind::Ok, Kind::Ok, Kind::Fail][(tenth % 4) as usize],
            function: 0,
            writes: true,
        };
        let mut all: Vec<Sample> = (0..60).map(sample).collect();
        all[30].kind = Kind::Info;
        Samples {
            all,
            functions: vec!["txn".into()],
        }
    }

    fn faults() -> Vec<Fault> {
        let fault = |name: &str, detail: &str, begin: u64, end: u64| Fault {
            name: name.into(),
            detail: detail.into(),
            begin_ns: begin * SECOND,
            end_ns: end * SECOND,
        };
        vec![
            fault("kill-leader", "n2 <leads p3>", 1, 2),
            fault("packets-delay", "all by 40 ms", 2, 4),
            fault("kill-leader", "n1", 3, 4),
        ]
    }

    fn phases() -> Vec<(Phase, u64)> {
        vec![
            (Phase::Quiet, 0),
            (Phase::Faulted, SECOND),
            (Phase::Healed, 5 * SECOND),
        ]
    }

    #[test]
    fn the_pictures_are_as_they_were_looked_at() {
        let (samples, faults, phases) = (samples(), faults(), phases());
        let frame = Frame::new(&samples, &faults, &phases);
        insta::assert_snapshot!("latency", frame.latency());
        insta::assert_snapshot!("rate", frame.rate());
        insta::assert_snapshot!("legend", frame.legend());
    }

    #[test]
    fn nothing_is_drawn_of_nothing_and_everything_lies_inside() {
        let samples = Samples::default();
        let frame = Frame::new(&samples, &[], &[]);
        for picture in [frame.latency(), frame.rate()] {
            assert!(
                !picture.contains("NaN") && !picture.contains("inf"),
                "{picture}"
            );
        }
        let (samples, faults, phases) = (self::samples(), self::faults(), self::phases());
        let frame = Frame::new(&samples, &faults, &phases);
        for (from, to) in [(0, 0), (SECOND, 3 * SECOND), (6 * SECOND, u64::MAX)] {
            for x in [frame.x(from), frame.x(to)] {
                assert!((frame.left..=WIDTH - RIGHT).contains(&x), "{x}");
            }
        }
    }

    #[test]
    fn a_long_run_has_no_more_points_than_can_be_seen() {
        let sample = |number: u64| Sample {
            begin_ns: number * 1_000_000,
            end_ns: number * 1_000_000 + 3_000_000,
            kind: Kind::Ok,
            function: 0,
            writes: true,
        };
        let samples = Samples {
            all: (0..200_000).map(sample).collect(),
            functions: vec!["txn".into()],
        };
        let picture = Frame::new(&samples, &[], &[]).latency();
        assert!(picture.len() < 40_000, "{} bytes", picture.len());
        assert!(window_ns(3600 * SECOND) == 30 * SECOND);
    }
}
