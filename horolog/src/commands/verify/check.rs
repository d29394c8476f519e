//! `verify check`: a history held against a model.

use crate::failure::Failure;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};
use std::fmt::Write as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};
use verify::history::History;
use verify::{Checker, Expectation, Model, UnwrittenValues, Verdict, WORKLOADS, Workload};

/// Check a recorded history
///
/// Finds every anomaly that the model forbids, explains it in words with the operations concerned, and
/// says which models cannot hold. Names of anomalies are those of Adya's and of Elle's.
#[derive(Debug, Args)]
#[command(after_long_help = after_help())]
pub(crate) struct Check {
    /// The history; - for the standard input
    #[arg(value_name = "HISTORY")]
    file: PathBuf,

    /// What its operations are; the list is below
    #[arg(long, value_name = "NAME", value_parser = workload_parser())]
    workload: &'static Workload,

    /// What should hold, several divided by commas; the list is below. For list-append and rw-register
    #[arg(long, value_name = "NAME,…", value_delimiter = ',', value_parser = parse_model)]
    #[arg(default_value = Model::STRICT_SERIALIZABLE.name())]
    model: Vec<Model>,

    /// For rw-register: what may be assumed of each key, to know more of the order of its versions
    #[arg(long, value_name = "WHAT,…", value_delimiter = ',')]
    assume: Vec<Assumption>,

    /// For rw-register: a value that nobody wrote is an initial one, not an anomaly
    #[arg(long)]
    unknown_initial_values: bool,

    /// How the history is written [default: json for .json, .jsonl and .ndjson, else edn]
    #[arg(long, value_name = "FORMAT")]
    format: Option<HistoryFormat>,

    /// Draw each cycle into this directory, as ANOMALY-N.svg
    #[arg(long, value_name = "DIR")]
    svg: Option<PathBuf>,

    /// Print one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// How a history is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum HistoryFormat {
    /// Jepsen's EDN
    Edn,
    /// One JSON object a line
    Json,
}

/// What may be assumed of each key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Assumption {
    /// Each key by itself is linearizable
    LinearizableKeys,
    /// Each key by itself is sequentially consistent
    SequentialKeys,
    /// A transaction that read a version and wrote another wrote the later one
    WritesFollowReads,
}

fn workload_parser() -> impl TypedValueParser<Value = &'static Workload> {
    let names = WORKLOADS.iter().map(|workload| workload.name);
    PossibleValuesParser::new(names.collect::<Vec<_>>())
        .map(|name| Workload::from_name(&name).expect("only names of the list are possible"))
}

fn parse_model(name: &str) -> Result<Model, String> {
    Model::from_name(name).ok_or_else(|| {
        let names: Vec<&str> = Model::all().map(Model::name).collect();
        format!(
            "there is no model '{name}': it is one of {}",
            names.join(", ")
        )
    })
}

fn after_help() -> String {
    let mut help = String::from("Workloads:\n");
    for workload in WORKLOADS {
        let meaning = match workload.checker {
            Checker::WaitsFor(what) => format!("{} (waits for {what})", workload.meaning),
            _ => workload.meaning.to_owned(),
        };
        writeln!(help, "  {:<20}{meaning}", workload.name)
            .expect("a String takes whatever is written");
    }
    help += "\nModels, weak ones first:\n";
    for model in Model::all() {
        writeln!(help, "  {:<36}{}", model.name(), model.meaning())
            .expect("a String takes whatever is written");
    }
    help + "
Exit codes: 0 the history shows nothing that is forbidden, 1 it does, 2 it cannot be judged (unreadable,
not well formed, or it proves nothing).

Examples:
  horolog verify check history.edn --workload list-append
  horolog verify check history.edn --workload list-append --model snapshot-isolation --svg pictures
  horolog verify check history.edn --workload rw-register --assume linearizable-keys
  horolog verify check history.jsonl --workload bank --json"
}

impl Check {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let history = self.read()?;
        let place = self.file.display();
        if let Checker::WaitsFor(what) = self.workload.checker {
            let name = self.workload.name;
            return Err(Failure::usage(format!(
                "the workload '{name}' cannot be checked yet: it waits for {what}"
            )));
        }
        let malformed = |malformed| Failure::usage(malformed).at(&place);
        let settled = history.settled().map_err(malformed)?;
        let judged = self.workload.judge(&settled, &self.expectation());
        let judged = judged.expect("a workload whose checker waits was refused");
        let verdict = judged.map_err(malformed)?;
        if let Some(directory) = &self.svg {
            draw(directory, &verdict)?;
        }
        self.tell(&verdict, &settled.history)?;
        match verdict.is_valid() {
            Some(true) => Ok(()),
            Some(false) => Err(Failure::not_done_and_told()),
            None => Err(Failure::usage("").told()),
        }
    }

    fn expectation(&self) -> Expectation {
        let mut expectation = Expectation::of(Model::STRICT_SERIALIZABLE);
        expectation.models.clone_from(&self.model);
        let assumes = |what| self.assume.contains(&what);
        expectation.assumptions.linearizable_keys = assumes(Assumption::LinearizableKeys);
        expectation.assumptions.sequential_keys = assumes(Assumption::SequentialKeys);
        expectation.assumptions.writes_follow_reads = assumes(Assumption::WritesFollowReads);
        if self.unknown_initial_values {
            expectation.unwritten_values = UnwrittenValues::Initial;
        }
        expectation
    }

    fn read(&self) -> Result<History, Failure> {
        let path = &self.file;
        let source: Box<dyn Read> = match path.as_os_str() == "-" {
            true => Box::new(io::stdin().lock()),
            false => {
                let opened = File::open(path);
                Box::new(
                    opened
                        .map_err(|error| Failure::usage(format!("{}: {error}", path.display())))?,
                )
            }
        };
        let read = match self.format.unwrap_or_else(|| format_of(path)) {
            HistoryFormat::Edn => History::read_edn(source),
            HistoryFormat::Json => History::read_json(source),
        };
        read.map_err(|error| Failure::usage(error).at(path.display()))
    }

    fn tell(&self, verdict: &Verdict, history: &History) -> Result<(), Failure> {
        let text = match self.json {
            true => verify::report::json(verdict, history).to_string(),
            false => verify::report::text(verdict, &self.expected()),
        };
        writeln!(io::stdout().lock(), "{text}").map_err(Failure::from)
    }

    fn expected(&self) -> String {
        match self.workload.checker {
            Checker::Models(_) => {
                let names: Vec<&str> = self.model.iter().map(|model| model.name()).collect();
                names.join(", ")
            }
            _ => format!("the property of '{}'", self.workload.name),
        }
    }
}

fn format_of(path: &Path) -> HistoryFormat {
    match path.extension().and_then(|extension| extension.to_str()) {
        Some("json" | "jsonl" | "ndjson") => HistoryFormat::Json,
        _ => HistoryFormat::Edn,
    }
}

fn draw(directory: &Path, verdict: &Verdict) -> Result<(), Failure> {
    let failed =
        |path: &Path, error: io::Error| Failure::usage(format!("{}: {error}", path.display()));
    std::fs::create_dir_all(directory).map_err(|error| failed(directory, error))?;
    for found in verdict.broken.iter().chain(&verdict.harmless) {
        let pictures = found
            .examples
            .iter()
            .filter_map(|finding| finding.picture.as_ref());
        for (number, picture) in pictures.enumerate() {
            let path = directory.join(format!("{}-{}.svg", found.anomaly, number + 1));
            let title = format!("{}: {}", found.anomaly, found.meaning());
            let drawn = verify::report::svg(&title, picture);
            std::fs::write(&path, drawn).map_err(|error| failed(&path, error))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_help_lists_every_workload_and_model() {
        let help = after_help();
        for name in WORKLOADS
            .iter()
            .map(|w| w.name)
            .chain(Model::all().map(Model::name))
        {
            assert!(help.contains(&format!("\n  {name} ")), "{name} is missing");
        }
    }

    #[test]
    fn the_format_is_told_by_the_name() {
        assert_eq!(format_of(Path::new("a.jsonl")), HistoryFormat::Json);
        assert_eq!(format_of(Path::new("a.edn")), HistoryFormat::Edn);
        assert_eq!(format_of(Path::new("-")), HistoryFormat::Edn);
    }
}
