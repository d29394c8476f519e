//! Lets a nemesis set the clocks of nodes that share one machine's.
//!
//! A small library (`clock_hook.c`) is compiled when it is needed and loaded before the program
//! (`LD_PRELOAD`); it stands between a node and `clock_gettime` and `adjtimex`, and does what a file
//! says that the suite writes. So the program is the one that users run, and the machine's clock stays
//! right. Without a C compiler, and where programs are linked statically, there is no hook.
//!
//! The same idea: libfaketime.

use super::proxy::Seat;
use crate::error::SuiteError;
use rustix::time::{ClockId, clock_gettime};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SOURCE: &str = include_str!("clock_hook.c");
/// Fields of the file, each an `i64`.
const FIELDS: usize = 6;

/// What vouches for a node's clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Source {
    /// The kernel, as it is.
    #[default]
    Kernel,
    /// The kernel seems to vouch for this.
    Vouches(Duration),
    /// The kernel seems to vouch for nothing.
    Dead,
}

/// What a node is told of time.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ClockSetting {
    /// How far its physical clock is ahead of the machine's, nanoseconds.
    pub offset_ns: i64,
    /// How much faster it runs, parts in a million, from when this is set on.
    pub drift_ppm: i64,
    /// What vouches for it.
    pub source: Source,
}

/// The compiled library, and one file a node.
#[derive(Clone, Debug)]
pub struct ClockHook {
    library: PathBuf,
    settings: Vec<PathBuf>,
}

impl ClockHook {
    /// Compiles it into a folder, for so many nodes that are told the truth and this source.
    pub fn build(folder: &Path, nodes: usize, source: Source) -> Result<ClockHook, SuiteError> {
        let (code, library) = (folder.join("clock_hook.c"), folder.join("clock_hook.so"));
        std::fs::write(&code, SOURCE).map_err(SuiteError::file("write", &code))?;
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O2", "-o"]);
        compile.arg(&library).arg(&code).arg("-ldl");
        let compiled = compile.output();
        let compiled = compiled.map_err(SuiteError::io(
            "the hook of the clocks needs a C compiler, and 'cc' does not run",
        ))?;
        if !compiled.status.success() {
            return Err(SuiteError::Cluster(format!(
                "the hook of the clocks cannot be compiled: {}",
                String::from_utf8_lossy(&compiled.stderr)
            )));
        }
        let setting = |seat: usize| folder.join(format!("n{}.clock", seat + 1));
        let hook = ClockHook {
            library,
            settings: (0..nodes).map(setting).collect(),
        };
        let truth = ClockSetting {
            source,
            ..ClockSetting::default()
        };
        (0..nodes).try_for_each(|seat| hook.set(seat, truth))?;
        Ok(hook)
    }

    /// Sets what a node is told.
    pub fn set(&self, seat: Seat, setting: ClockSetting) -> Result<(), SuiteError> {
        let path = &self.settings[seat];
        let write = || -> std::io::Result<()> {
            let file = File::options()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .open(path)?;
            let mut before = [0; 8 * FIELDS];
            file.read_at(&mut before, 0)?;
            let version = i64::from_ne_bytes(before[..8].try_into().expect("eight bytes"));
            let fields = fields(setting, monotonic_ns());
            file.write_all_at(&(version + 1).to_ne_bytes(), 0)?;
            file.write_all_at(&fields, 8)?;
            file.write_all_at(&(version + 2).to_ne_bytes(), 0)
        };
        write().map_err(SuiteError::file("write", path))
    }

    /// Loads it before a program that is about to be started.
    pub(crate) fn put_into(&self, command: &mut Command, seat: Seat) {
        command.env("LD_PRELOAD", &self.library);
        command.env("HOROLOG_SUITE_CLOCK", &self.settings[seat]);
    }
}

fn monotonic_ns() -> i64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec * 1_000_000_000 + now.tv_nsec
}

/// All fields but the version.
fn fields(setting: ClockSetting, now_ns: i64) -> Vec<u8> {
    let (source, bound_us) = match setting.source {
        Source::Kernel => (0, 0),
        Source::Vouches(bound) => (1, bound.as_micros() as i64),
        Source::Dead => (2, 0),
    };
    let all = [
        setting.offset_ns,
        setting.drift_ppm,
        now_ns,
        source,
        bound_us,
    ];
    all.iter().flat_map(|field| field.to_ne_bytes()).collect()
}
