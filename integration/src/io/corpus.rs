//! Corpora of fuzzed parsers, and how long to fuzz.

use std::path::Path;

/// Inputs for each parser in the usual tests; `HOROLOG_FUZZ_CASES` asks for more.
const CASES: u64 = 20_000;

/// Every file below a directory, by name.
///
/// # Panics
/// If it cannot be read: a test without its corpus tests nothing.
pub fn corpus(directory: &Path) -> Vec<Vec<u8>> {
    let mut files = Vec::new();
    add(directory, &mut files);
    files.sort();
    files.into_iter().map(|(_, bytes)| bytes).collect()
}

fn add(directory: &Path, files: &mut Vec<(std::path::PathBuf, Vec<u8>)>) {
    let entries = std::fs::read_dir(directory);
    let entries = entries.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    for entry in entries {
        let entry = entry.unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
        let path = entry.path();
        match path.is_dir() {
            true => add(&path, files),
            false => {
                let bytes = std::fs::read(&path);
                let bytes = bytes.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
                files.push((path, bytes));
            }
        }
    }
}

/// How many inputs each parser gets.
pub fn fuzz_cases() -> u64 {
    match std::env::var("HOROLOG_FUZZ_CASES") {
        Err(_) => CASES,
        Ok(text) => text
            .parse()
            .unwrap_or_else(|_| panic!("HOROLOG_FUZZ_CASES={text} is no number")),
    }
}
