//! The page of one run.

use super::STYLE;
use super::chart::{Frame, escaped};
use super::gaps::{Acknowledged, Silence};
use super::samples::Samples;
use super::scale::{count, time};
use crate::probe;
use crate::run::{Gap, Run};
use std::path::Path;
use std::time::Duration;
use verify::Found;

/// A page with a title; the body as it is.
pub(super) fn document(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>{}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        escaped(title)
    )
}

/// What is to be said of a run in one word, and its class in the style.
pub(super) fn verdict_of(run: &Run) -> (&'static str, &'static str) {
    let proves_nothing = run.verdict.is_valid().is_none();
    match run.is_right() {
        true => ("right", "Right"),
        false if proves_nothing && run.broken.is_empty() && run.availability.broken.is_empty() => {
            ("unknown", "Not known")
        }
        false => ("wrong", "Wrong"),
    }
}

pub(super) fn page(run: &Run, samples: &Samples) -> String {
    let frame = Frame::new(samples, &run.faults, &run.phases);
    let acknowledged = Acknowledged::of(samples);
    let parts = [
        head(run),
        figures(run, samples, &acknowledged),
        wrongs(run),
        section("Over time", &over_time(&frame)),
        anomalies(run),
        availability(run, &acknowledged),
        section("What was asked", &latencies(samples)),
        faults(run, &acknowledged),
        files(run),
    ];
    document(
        &format!("{}: {}", run.name, verdict_of(run).1),
        &parts.concat(),
    )
}

fn section(title: &str, body: &str) -> String {
    format!("<section>\n<h2>{}</h2>\n{body}</section>\n", escaped(title))
}

fn head(run: &Run) -> String {
    let (class, word) = verdict_of(run);
    let said = verify::report::text(&run.verdict, &run.expected);
    let said = said.lines().next().unwrap_or_default();
    format!(
        "<header>\n<p class=\"verdict {class}\">{word}</p>\n<h1>{}</h1>\n<p class=\"said\">{}</p>\n\
         <p class=\"again\">The same again:</p>\n<pre class=\"command\">{}</pre>\n</header>\n",
        escaped(&run.name),
        escaped(said),
        escaped(&run.command),
    )
}

fn figures(run: &Run, samples: &Samples, acknowledged: &Acknowledged) -> String {
    let all = run.counts.all().max(1) as f64;
    let share = |number: u64| format!("{:.2} %", 100.0 * number as f64 / all);
    let seconds = (samples.end_ns() as f64 / 1e9).max(0.001);
    let silence = |ns: Option<u64>| ns.map_or("none".to_owned(), time);
    let tiles = [
        (
            count(run.counts.all()),
            format!("operations, {:.0} / s", all / seconds),
        ),
        (
            share(run.counts.ok),
            format!("ok: {}", count(run.counts.ok)),
        ),
        (
            share(run.counts.fail),
            format!("fail: {}", count(run.counts.fail)),
        ),
        (
            share(run.counts.info),
            format!("info: {}", count(run.counts.info)),
        ),
        (count(run.faults.len() as u64), "faults".to_owned()),
        (
            silence(acknowledged.longest().map(|silence| silence.length_ns)),
            "longest without an acknowledged write".to_owned(),
        ),
    ];
    let tile = |(figure, name): &(String, String)| {
        format!(
            "<div><b>{}</b><span>{}</span></div>\n",
            escaped(figure),
            escaped(name)
        )
    };
    format!(
        "<div class=\"figures\">\n{}</div>\n",
        tiles.iter().map(tile).collect::<String>()
    )
}

fn wrongs(run: &Run) -> String {
    let wrong: Vec<&String> = run.availability.broken.iter().chain(&run.broken).collect();
    if wrong.is_empty() {
        return String::new();
    }
    let items = wrong
        .iter()
        .map(|why| format!("<li>{}</li>\n", escaped(why)));
    let items: String = items.collect();
    section(
        "What is wrong beside the history",
        &format!("<ul class=\"wrongs\">\n{items}</ul>\n"),
    )
}

fn over_time(frame: &Frame) -> String {
    format!(
        "<p class=\"legend\">{}</p>\n<h3>Latency, at the time an operation began</h3>\n{}\
         <h3>Rate, at the time an operation ended</h3>\n{}",
        frame.legend(),
        frame.latency(),
        frame.rate(),
    )
}

fn anomalies(run: &Run) -> String {
    let verdict = &run.verdict;
    let lists = [
        ("broken", "What breaks the promise", &verdict.broken),
        ("unknown", "Why nothing can be said", &verdict.unknown),
        ("allowed", "Found, and allowed here", &verdict.harmless),
    ];
    let mut out = String::new();
    for (class, title, list) in lists {
        if !list.is_empty() {
            let mut all: String = list.iter().map(|found| anomaly(found, class)).collect();
            if class == "broken" && !verdict.not.is_empty() {
                let names: Vec<&str> = verdict.not.iter().map(|model| model.name()).collect();
                let names = names.join(", ");
                all += &format!("<p>What cannot hold: {names}, and what is stronger.</p>\n");
            }
            out += &section(title, &all);
        }
    }
    out
}

fn anomaly(found: &Found, class: &str) -> String {
    let name = found.anomaly.name();
    let times = match found.count {
        1 => String::new(),
        times => format!(
            " <span class=\"times\">{} times</span>",
            count(times as u64)
        ),
    };
    let mut out = format!(
        "<article class=\"{class}\">\n<h3>{}{times}</h3>\n<p>{}</p>\n",
        escaped(name),
        escaped(found.meaning()),
    );
    for example in &found.examples {
        out += &format!("<pre class=\"why\">{}</pre>\n", escaped(&example.why));
        if let Some(picture) = &example.picture {
            let drawn = verify::report::svg(name, picture);
            out += &format!("<div class=\"picture\">{drawn}</div>\n");
        }
    }
    if found.count > found.examples.len() {
        let more = count((found.count - found.examples.len()) as u64);
        out += &format!("<p>And {more} more.</p>\n");
    }
    out + "</article>\n"
}

fn ns(duration: Duration) -> u64 {
    duration.as_nanos() as u64
}

fn at(begin_ns: u64) -> String {
    format!("{:.1} s", begin_ns as f64 / 1e9)
}

fn availability(run: &Run, acknowledged: &Acknowledged) -> String {
    let seen = &run.availability;
    let longest = |gaps: &[Gap]| gaps.iter().max_by_key(|gap| gap.length).cloned();
    let mut rows: Vec<(String, String)> = Vec::new();
    if let Some(Silence {
        length_ns,
        begin_ns,
    }) = acknowledged.longest()
    {
        let what = "no write of the workload was acknowledged for, at most".to_owned();
        rows.push((
            what,
            format!("{}, from {} on", time(length_ns), at(begin_ns)),
        ));
    }
    if let Some(median) = acknowledged.median_of_kills(&run.faults) {
        let what = "the same after kills, in the median".to_owned();
        rows.push((what, time(median)));
    }
    if let Some(median) = probe::median(&seen.after_kills) {
        let what = format!(
            "the probe: no write to a partition whose leader was killed ({} gaps), in the median",
            seen.after_kills.len()
        );
        rows.push((what, time(ns(median))));
    }
    let worst = [
        (longest(&seen.after_kills), "the same, at most"),
        (
            longest(&seen.minority_away),
            "the probe: while a minority was away, at most",
        ),
    ];
    for (gap, what) in worst {
        if let Some(gap) = gap {
            let told = format!(
                "{}, {}, from {} on",
                time(ns(gap.length)),
                gap.place,
                at(gap.begin_ns)
            );
            rows.push((what.to_owned(), told));
        }
    }
    let row = |(what, told): &(String, String)| {
        format!(
            "<tr><th>{}</th><td>{}</td></tr>\n",
            escaped(what),
            escaped(told)
        )
    };
    let rows: String = rows.iter().map(row).collect();
    let probes = count(seen.acknowledged);
    section(
        "Did it go on?",
        &format!(
            "<table class=\"facts\">\n{rows}</table>\n<p class=\"note\">The probe writes to every partition all the \
             time; {probes} of its writes were acknowledged.</p>\n"
        ),
    )
}

fn latencies(samples: &Samples) -> String {
    let mut rows = String::new();
    for (function, name) in samples.functions.iter().enumerate() {
        let Some((done, [median, most_of, most])) = samples.latencies(function) else {
            continue;
        };
        rows += &format!(
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td></tr>\n",
            escaped(name),
            count(done as u64),
            time(median),
            time(most_of),
            time(most),
        );
    }
    format!(
        "<table>\n<tr><th>operation</th><th class=\"n\">ok</th><th class=\"n\">median</th>\
         <th class=\"n\">99 of 100 within</th><th class=\"n\">longest</th></tr>\n{rows}</table>\n"
    )
}

fn faults(run: &Run, acknowledged: &Acknowledged) -> String {
    if run.faults.is_empty() {
        return section("Faults", "<p>Nothing was done to the cluster.</p>\n");
    }
    let mut rows = String::new();
    for (number, fault) in (1..).zip(&run.faults) {
        let silence = acknowledged.longest_in(fault);
        let silence = silence.map_or(String::new(), |silence| time(silence.length_ns));
        rows += &format!(
            "<tr><td class=\"n\">{number}</td><td>{}</td><td>{}</td><td class=\"n\">{}</td>\
             <td class=\"n\">{}</td><td class=\"n\">{silence}</td></tr>\n",
            escaped(&fault.name),
            escaped(&fault.detail),
            at(fault.begin_ns),
            time(fault.end_ns.saturating_sub(fault.begin_ns)),
        );
    }
    let table = format!(
        "<div class=\"wide\"><table>\n<tr><th class=\"n\">#</th><th>nemesis</th><th>what was done</th>\
         <th class=\"n\">from</th><th class=\"n\">for</th>\
         <th class=\"n\">longest without an acknowledged write</th></tr>\n{rows}</table></div>\n"
    );
    section("Faults", &table)
}

/// A link that works wherever the folder is moved to, if the file lies in it.
fn link(run: &Run, name: &str, file: &Path) -> String {
    let inside = file.strip_prefix(&run.folder).unwrap_or(file);
    let href = escaped(&inside.display().to_string());
    format!("<a href=\"{href}\">{}</a>", escaped(name))
}

fn files(run: &Run) -> String {
    let mut links = vec![link(run, "history (EDN)", &run.history)];
    let logs = run.node_logs.iter();
    links.extend(logs.map(|(name, file)| link(run, &format!("log of {name}"), file)));
    let nemeses = match run.nemeses.is_empty() {
        true => "none".to_owned(),
        false => run.nemeses.join(", "),
    };
    let facts = [
        ("workload", escaped(&run.workload)),
        ("nemeses", escaped(&nemeses)),
        ("expected", escaped(&run.expected)),
        ("seed", run.seed.to_string()),
        ("version", escaped(&run.version)),
        ("began", escaped(&run.started)),
        ("took", escaped(&time(ns(run.took)))),
        ("files", links.join(" · ")),
    ];
    let facts = facts.map(|(name, told)| format!("<tr><th>{name}</th><td>{told}</td></tr>\n"));
    let left_out = run
        .left_out
        .iter()
        .map(|what| format!("<li>{}</li>\n", escaped(what)));
    let left_out: String = left_out.collect();
    let left_out = match left_out.is_empty() {
        true => String::new(),
        false => format!("<h3>Not looked at</h3>\n<ul>\n{left_out}</ul>\n"),
    };
    section(
        "This run",
        &format!(
            "<table class=\"facts\">\n{}</table>\n{left_out}",
            facts.concat()
        ),
    )
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::judge::judge;
    use crate::nemesis::Promise;
    use crate::run::{Availability, Counts, Fault};
    use verify::history::History;

    const STALE: &str = "
        {:time 1000000, :process 0, :type :invoke, :f :txn, :value [[:append :x 1]]}
        {:time 3000000, :process 0, :type :ok,     :f :txn, :value [[:append :x 1]]}
        {:time 4000000, :process 1, :type :invoke, :f :txn, :value [[:r :x nil]]}
        {:time 5000000, :process 1, :type :ok,     :f :txn, :value [[:r :x []]]}";

    pub(crate) fn run(edn: &str) -> (Run, Samples) {
        let history = History::read_edn(edn.as_bytes()).unwrap();
        let folder = std::path::PathBuf::from("runs/list-append+kill-one");
        let run = Run {
            name: "list-append+kill-one".into(),
            workload: "list-append".into(),
            nemeses: vec!["kill-one".into()],
            seed: 7,
            version: "0.1.0".into(),
            started: "2026-11-24 12:00:00".into(),
            took: Duration::from_secs(9),
            command: "horolog verify jepsen --workload list-append --seed 7".into(),
            history: folder.join("history.edn"),
            node_logs: vec![("n1".into(), folder.join("n1.err"))],
            folder,
            phases: vec![],
            faults: vec![Fault {
                name: "kill-one".into(),
                detail: "n1 <killed>".into(),
                begin_ns: 0,
                end_ns: 9,
            }],
            counts: Counts {
                ok: 2,
                fail: 0,
                info: 0,
            },
            expected: "strict-serializable".into(),
            verdict: judge("list-append", &history, Promise::StrictSerializability).unwrap(),
            availability: Availability::default(),
            broken: vec![],
            left_out: vec!["disks".into()],
        };
        (run, Samples::of(&history).unwrap())
    }

    #[test]
    fn a_page_says_first_what_was_found_and_needs_nothing_else() {
        let (run, samples) = run(STALE);
        let page = page(&run, &samples);
        let place = |what: &str| {
            page.find(what)
                .unwrap_or_else(|| panic!("no {what:?} in {page}"))
        };
        let order = [
            "class=\"verdict wrong\">Wrong",
            "INVALID: 2 operations break strict-serializable",
            "horolog verify jepsen --workload list-append --seed 7",
            "<svg class=\"chart\"",
            "<h3>G-single-item-realtime",
            "class=\"picture\"><svg",
            "<td>n1 &lt;killed&gt;</td>",
            "href=\"history.edn\"",
            "href=\"n1.err\"",
        ];
        assert!(order.map(place).is_sorted(), "{:?}", order.map(place));
        for foreign in ["<script", "src=", "@import", "url(http", "<link"] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        for tag in ["section", "table", "svg", "article", "pre", "div"] {
            let opened = page.matches(&format!("<{tag}")).count();
            assert_eq!(opened, page.matches(&format!("</{tag}>")).count(), "{tag}");
        }
    }

    #[test]
    fn a_run_that_proves_nothing_is_not_called_right() {
        let (nothing, _) = run("{:process 0, :type :invoke, :f :txn, :value [[:r :x nil]]}");
        assert_eq!(verdict_of(&nothing), ("unknown", "Not known"));
        let right = STALE.replace("[:r :x []]", "[:r :x [1]]");
        let (mut right, _) = run(&right);
        assert_eq!(verdict_of(&right), ("right", "Right"));
        right.broken.push("a node ended".into());
        assert_eq!(verdict_of(&right), ("wrong", "Wrong"));
    }
}
