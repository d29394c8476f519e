//! A run as a page for a browser, and in words for a terminal.
//!
//! `report.html` is one file that needs nothing else: style and pictures stand in it, and no script. It begins with
//! what was found and with the command that repeats the run; then what was asked and how it went over time,
//! with the faults shaded behind; then what is wrong, in words and pictures; then where everything lies.
//!
//! | file | what it does |
//! | --- | --- |
//! | `samples` | a history as times and ends of operations |
//! | `gaps` | for how long nothing was acknowledged |
//! | `scale`, `chart` | axes; latency and rate over time as SVG |
//! | `page`, `style.css` | the page of a run |
//! | `index` | the page that leads to the pages of all runs |
//! | `words` | a run in words |

mod chart;
mod gaps;
mod index;
mod page;
mod samples;
mod scale;
mod words;

pub use index::write_index;
pub use words::words;

use crate::error::SuiteError;
use crate::run::Run;
use samples::Samples;
use std::path::PathBuf;
use verify::history::History;

const STYLE: &str = include_str!("style.css");

/// Writes a run's report into its folder, as `report.html` and `report.txt`; where the page is.
pub fn write(run: &Run, history: &History) -> Result<PathBuf, SuiteError> {
    let malformed = |error| SuiteError::Load(format!("the history is not well formed: {error}"));
    let samples = Samples::of(history).map_err(malformed)?;
    let text = run.folder.join("report.txt");
    std::fs::write(&text, words(run)).map_err(SuiteError::file("write", &text))?;
    let path = run.folder.join("report.html");
    std::fs::write(&path, page::page(run, &samples)).map_err(SuiteError::file("write", &path))?;
    Ok(path)
}
