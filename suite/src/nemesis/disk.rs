//! Disks that are full, and bits that flip in what a stopped node keeps.
//!
//! A full disk is made by a limit on the size of files: the next write to the log fails, as it would on a
//! full one, and the node stops with the reason. A damaged node is rebuilt from the others, as
//! `docs/operations.md` tells operators to: one at a time, and only while the others are whole. (Struck one
//! after another without waiting, the last copy of everything is soon gone.)
//!
//! Damage in what was flushed last cannot be told from a write that was cut off, so none is done to the
//! last segment of a log beyond its first half.

use super::{Arena, Harm, Undo};
use crate::error::SuiteError;
use crate::io::is_whole;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use wire::SplitMix64;

/// So long it is waited for that the last node that was rebuilt is whole again.
const WHOLE_WITHIN: Duration = Duration::from_secs(20);
/// No file of the node may grow beyond this, bytes.
const LIMIT: u64 = 4096;

/// What is done to a disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Damage {
    /// Nothing can be written.
    Full,
    /// A bit of the log flips while the node is down.
    FlippedInLog,
    /// A bit of a table flips while the node is down.
    FlippedInTable,
}

pub(super) async fn begin(
    damage: Damage,
    arena: &Arena,
    random: &mut SplitMix64,
) -> Result<Option<Harm>, SuiteError> {
    // The others hold the only copies: one node at a time, and only while all are whole.
    if let Err(why) = arena.watcher.until(WHOLE_WITHIN, is_whole).await {
        tracing::info!("no disk is harmed: {why}");
        return Ok(None);
    }
    let mut cluster = arena.cluster.lock().await;
    cluster.look()?;
    let up = cluster.up();
    if up.len() < cluster.size() {
        return Ok(None);
    }
    let seat = super::draw(&up, 1, random)[0];
    let name = cluster.name(seat).to_owned();
    if damage == Damage::Full {
        if !cluster.limit_files(seat, LIMIT)? {
            return Ok(None);
        }
        return Ok(Some(Harm {
            detail: format!("disk of {name} full"),
            undo: vec![Undo::Start(seat), Undo::Kill(seat)],
            led: Vec::new(),
        }));
    }
    cluster.kill(seat)?;
    let flipped = flip(damage, cluster.data(seat), random)?;
    let restarted = |detail| Harm {
        detail,
        undo: vec![Undo::Rebuild(seat)],
        led: Vec::new(),
    };
    cluster.start(seat)?;
    cluster.let_end(seat);
    Ok(Some(match flipped {
        Some((file, bit)) => restarted(format!(
            "bit {bit} of {} of {name} flipped while it was down",
            file.display()
        )),
        None => restarted(format!("{name} killed (nothing was there to be damaged)")),
    }))
}

/// Flips a bit of what is written in a file of the kind; which.
fn flip(
    damage: Damage,
    data: &Path,
    random: &mut SplitMix64,
) -> Result<Option<(PathBuf, u64)>, SuiteError> {
    let is_log = damage == Damage::FlippedInLog;
    let folder = data.join(if is_log { "log" } else { "store" });
    let mut files = Vec::new();
    list(&folder, &mut files).map_err(SuiteError::file("list", &folder))?;
    files.retain(|file| match is_log {
        true => name(file).starts_with("segment-"),
        false => file.components().any(|part| part.as_os_str() == "tables"),
    });
    files.sort();
    if files.is_empty() {
        return Ok(None);
    }
    let file = files.swap_remove(random.below(files.len() as u64) as usize);
    let bytes = std::fs::read(&file).map_err(SuiteError::file("read", &file))?;
    // A segment is longer than what is written in it: the rest is zeros.
    let written = bytes
        .iter()
        .rposition(|byte| *byte != 0)
        .map_or(0, |at| at + 1);
    let reach = if is_log { written / 2 } else { written };
    if reach == 0 {
        return Ok(None);
    }
    let bit = random.below(8 * reach as u64);
    let at = bit / 8;
    let flipped = bytes[at as usize] ^ (1 << (bit % 8));
    let opened = File::options().write(true).open(&file);
    let written = opened.and_then(|opened| opened.write_all_at(&[flipped], at));
    written.map_err(SuiteError::file("write", &file))?;
    let short = file.strip_prefix(data).unwrap_or(&file).to_owned();
    Ok(Some((short, bit)))
}

fn name(file: &Path) -> &str {
    file.file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("")
}

fn list(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        match path.is_dir() {
            true => list(&path, files)?,
            false => files.push(path),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bit_of_what_is_written_flips() {
        let data = tempfile::tempdir().unwrap();
        let log = data.path().join("log");
        std::fs::create_dir(&log).unwrap();
        let segment = log.join("segment-0000000001.log");
        let mut before = vec![7u8; 100];
        before.resize(4096, 0);
        std::fs::write(&segment, &before).unwrap();
        let mut random = SplitMix64::new(3);
        let flipped = flip(Damage::FlippedInLog, data.path(), &mut random).unwrap();
        let (file, bit) = flipped.unwrap();
        assert_eq!(file, Path::new("log/segment-0000000001.log"));
        assert!(bit < 8 * 50, "bit {bit} is in the second half");
        let after = std::fs::read(&segment).unwrap();
        let differ = before.iter().zip(&after).filter(|(a, b)| a != b).count();
        assert_eq!(differ, 1);
        let tables = flip(Damage::FlippedInTable, data.path(), &mut random);
        assert!(tables.is_err(), "there is no store at all");
    }
}
