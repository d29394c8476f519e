//! A run as a page for a browser.
//!
//! What the runner calls of this module: `write(&Run, &History) -> io::Result<PathBuf>` writes `report.html` into the
//! run's folder, and `write_index(folder, &[Run])` a page that leads to all of them.
