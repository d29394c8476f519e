//! The commands, one file each.

pub(crate) mod add;
pub(crate) mod append;
pub(crate) mod bench;
pub(crate) mod cas;
pub(crate) mod delete;
pub(crate) mod dev;
pub(crate) mod get;
pub(crate) mod import;
pub(crate) mod keyspace;
pub(crate) mod max;
pub(crate) mod min;
pub(crate) mod outcome;
pub(crate) mod partitions;
pub(crate) mod put;
pub(crate) mod rebuild;
pub(crate) mod scan;
pub(crate) mod settings;
pub(crate) mod shell;
pub(crate) mod start;
pub(crate) mod status;
pub(crate) mod timestamp;
pub(crate) mod transfer;
pub(crate) mod txn;
pub(crate) mod verify;
