//! Models of the protocols, explored state by state (`stateright`): every order of every step that a
//! small scope allows, where a test or a simulation tries some.
//!
//! - [`commit`]: transactions over several partitions, their recovery, changes of leaders;
//! - [`replication`]: elections, promises, lost disks, around the program's own core;
//! - [`table`], [`io`]: what was explored, in words and in real time.
//!
//! What a model is worth is shown by its mutants: each breaks one rule by its name, and is caught in a
//! scope of its own, with the steps that lead there.
//!
//! `docs/models.md` says what was run and found. The program: `cargo run --release -p models -- --help`.

pub mod commit;
pub mod io;
pub mod replication;
pub mod table;
