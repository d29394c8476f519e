//! A page that leads to the pages of all runs.

use super::chart::escaped;
use super::page::{document, verdict_of};
use super::scale::{count, time};
use crate::error::SuiteError;
use crate::probe;
use crate::run::Run;
use std::path::{Path, PathBuf};

/// Writes `index.html` into the folder in which the folders of the runs lie; where it is.
pub fn write_index(folder: &Path, runs: &[Run]) -> Result<PathBuf, SuiteError> {
    let path = folder.join("index.html");
    std::fs::write(&path, index(runs)).map_err(SuiteError::file("write", &path))?;
    Ok(path)
}

fn index(runs: &[Run]) -> String {
    let right = runs.iter().filter(|run| run.is_right()).count();
    let (class, word) = match right == runs.len() && !runs.is_empty() {
        true => ("right", "Right"),
        false => ("wrong", "Not right"),
    };
    let rows: String = runs.iter().map(row).collect();
    let operations: u64 = runs.iter().map(|run| run.counts.all()).sum();
    let body = format!(
        "<header>\n<p class=\"verdict {class}\">{word}</p>\n<h1>{right} of {} runs are right</h1>\n\
         <p class=\"said\">{} operations in all.</p>\n</header>\n<div class=\"wide\"><table>\n\
         <tr><th></th><th>run</th><th class=\"n\">operations</th><th class=\"n\">ok</th><th class=\"n\">fail</th>\
         <th class=\"n\">info</th><th class=\"n\">faults</th><th class=\"n\">median after kills of leaders</th>\
         <th>found</th></tr>\n{rows}</table></div>\n",
        runs.len(),
        count(operations),
    );
    document("Runs", &body)
}

fn row(run: &Run) -> String {
    let (class, word) = verdict_of(run);
    let median = probe::median(&run.availability.after_kills);
    let median = median.map_or(String::new(), |median| time(median.as_nanos() as u64));
    let mut found: Vec<&str> = run.verdict.anomalies();
    let others = run.availability.broken.iter().chain(&run.broken);
    found.extend(others.map(String::as_str));
    format!(
        "<tr><td><span class=\"mark {class}\">{word}</span></td><td><a href=\"{name}/report.html\">{name}</a></td>\
         <td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{}</td>\
         <td class=\"n\">{}</td><td class=\"n\">{median}</td><td>{}</td></tr>\n",
        count(run.counts.all()),
        count(run.counts.ok),
        count(run.counts.fail),
        count(run.counts.info),
        run.faults.len(),
        escaped(&found.join("; ")),
        name = escaped(&run.name),
    )
}

#[cfg(test)]
mod tests {
    use super::super::page::tests::run;
    use super::*;

    #[test]
    fn every_run_is_linked_and_what_is_wrong_is_named() {
        let stale = "
            {:process 0, :type :invoke, :f :txn, :value [[:append :x 1]]}
            {:process 0, :type :ok,     :f :txn, :value [[:append :x 1]]}
            {:process 1, :type :invoke, :f :txn, :value [[:r :x nil]]}
            {:process 1, :type :ok,     :f :txn, :value [[:r :x []]]}";
        let (wrong, _) = run(stale);
        let (mut right, _) = run(&stale.replace("[:r :x []]", "[:r :x [1]]"));
        right.name = "list-append+pause".into();
        let page = index(&[wrong, right]);
        assert!(page.contains("1 of 2 runs are right"), "{page}");
        assert!(page.contains("href=\"list-append+pause/report.html\""));
        assert!(page.contains("<td>G-single-item-realtime</td>"));
        assert!(index(&[]).contains("Not right"));
    }
}
