//! How long a history of many list-append transactions takes to be read and checked, and how much
//! memory: `cargo run --release -p verify --example scale -- [TRANSACTIONS [CLIENTS [ISOLATION]]]`, the
//! last one of strict, snapshot, read-committed, none: of the database that served them.
//!
//! The history is generated into a file by a process of its own, so that the memory that is told is
//! that of reading and checking alone. One thread does everything.

// A benchmark reads the clock.
#![allow(clippy::disallowed_methods)]

use std::error::Error;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::Instant;
use verify::generator::{Isolation, Options, Shape, generate, to_history};
use verify::history::History;
use verify::{Expectation, Model, check_list_append};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |at: usize, default: usize| -> Result<usize, Box<dyn Error>> {
        arguments
            .get(at)
            .map_or(Ok(default), |text| Ok(text.parse()?))
    };
    if arguments.first().is_some_and(|first| first == "generate") {
        let isolation = isolation(&arguments[4])?;
        let path = Path::new(&arguments[1]);
        return write_history(path, number(2, 100_000)?, number(3, 20)?, isolation);
    }
    let (transactions, clients) = (number(0, 100_000)?, number(1, 20)?);
    let served = arguments.get(2).map_or("strict", |text| text);
    isolation(served)?;
    let path =
        std::env::temp_dir().join(format!("horolog-verify-scale-{}.edn", std::process::id()));
    let file = Removed(path);
    let status = std::process::Command::new(std::env::current_exe()?)
        .arg("generate")
        .arg(&file.0)
        .args([&transactions.to_string(), &clients.to_string(), served])
        .status()?;
    if !status.success() {
        return Err("the history could not be generated".into());
    }
    let bytes = std::fs::metadata(&file.0)?.len();
    println!(
        "{transactions} transactions by {clients} clients ({served}), {} MB of EDN",
        bytes / 1_000_000
    );
    measure(&file.0)
}

fn isolation(name: &str) -> Result<Isolation, Box<dyn Error>> {
    match name {
        "strict" => Ok(Isolation::Strict),
        "snapshot" => Ok(Isolation::Snapshot),
        "read-committed" => Ok(Isolation::ReadCommitted),
        "none" => Ok(Isolation::None),
        _ => Err(format!("'{name}' is none of strict, snapshot, read-committed, none").into()),
    }
}

/// Deleted in the end, however that comes.
struct Removed(PathBuf);

impl Drop for Removed {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("{} is left behind: {error}", self.0.display());
        }
    }
}

fn write_history(
    path: &Path,
    transactions: usize,
    clients: usize,
    isolation: Isolation,
) -> Result<(), Box<dyn Error>> {
    let options = Options {
        seed: 1,
        transactions,
        clients,
        keys: 10,
        writes_per_key_max: 32,
        micro_operations_max: 4,
        failed_percent: 2,
        unknown_percent: 1,
        isolation,
        shape: Shape::Lists,
    };
    let history = to_history(&generate(&options), Shape::Lists);
    let mut file = std::io::BufWriter::new(std::fs::File::create(path)?);
    file.write_all(history.to_edn().as_bytes())?;
    Ok(file.flush()?)
}

fn measure(path: &Path) -> Result<(), Box<dyn Error>> {
    let began = Instant::now();
    let history = History::read_edn(std::fs::File::open(path)?)?;
    let read = began.elapsed();
    let verdict = check_list_append(&history, &Expectation::of(Model::STRICT_SERIALIZABLE))?;
    let whole = began.elapsed();
    println!("read     {:>8.3} s", read.as_secs_f64());
    println!("check    {:>8.3} s", (whole - read).as_secs_f64());
    println!("together {:>8.3} s", whole.as_secs_f64());
    match peak_memory_kib() {
        Some(kib) => println!("memory   {:>8} MiB at most", kib / 1024),
        None => println!("memory   not told by this system"),
    }
    println!(
        "verdict  {:?} of {} operations: {:?}",
        verdict.is_valid(),
        verdict.operations,
        verdict.anomalies()
    );
    Ok(())
}

/// What Linux tells of this process.
fn peak_memory_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}
