//! A run in words, for a terminal.

use crate::run::Run;

/// A run in words.
pub fn words(run: &Run) -> String {
    let mut lines = vec![
        format!(
            "{}: {}",
            run.name,
            if run.is_right() { "right" } else { "WRONG" }
        ),
        format!(
            "  {} operations: {} ok, {} fail, {} info; {} faults; {:.0} s; seed {}",
            run.counts.all(),
            run.counts.ok,
            run.counts.fail,
            run.counts.info,
            run.faults.len(),
            run.took.as_secs_f64(),
            run.seed
        ),
    ];
    let verdict = verify::report::text(&run.verdict, &run.expected);
    lines.extend(verdict.lines().map(|line| format!("  {line}")));
    let availability = &run.availability;
    let longest = |gaps: &[crate::run::Gap]| gaps.iter().map(|gap| gap.length).max();
    if let Some(median) = crate::probe::median(&availability.after_kills) {
        lines.push(format!(
            "  after {} kills of leaders: no write acknowledged for {median:.2?} in the median, {:.2?} at most",
            availability.after_kills.len(),
            longest(&availability.after_kills).unwrap_or_default()
        ));
    }
    if let Some(longest) = longest(&availability.minority_away) {
        lines.push(format!(
            "  while a minority was away: no write acknowledged for {longest:.2?} at most"
        ));
    }
    let wrong = availability.broken.iter().chain(&run.broken);
    lines.extend(wrong.map(|why| format!("  WRONG: {why}")));
    lines.extend(
        run.left_out
            .iter()
            .map(|what| format!("  not judged: {what}")),
    );
    if !run.is_right() {
        lines.push(format!("  again: {}", run.command));
    }
    lines.push(String::new());
    for fault in &run.faults {
        lines.push(format!(
            "  {:8.2} to {:8.2} s  {}: {}",
            fault.begin_ns as f64 / 1e9,
            fault.end_ns as f64 / 1e9,
            fault.name,
            fault.detail
        ));
    }
    lines.join("\n") + "\n"
}
