//! How many files the process may have open: each connection is one.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Files for the log, the store, other nodes and strangers, beside the clients' connections.
const OTHERS: u64 = 2048;

/// Raises the limit as far as it may be; says so if that is too low for so many connections.
pub(crate) fn allow(connections: u32) {
    let before = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: before.maximum,
        maximum: before.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
    let allowed = getrlimit(Resource::Nofile).current;
    let wanted = u64::from(connections) + OTHERS;
    if allowed.is_some_and(|allowed| allowed < wanted) {
        tracing::warn!(
            ?allowed,
            wanted,
            "the system allows fewer open files than --connections-max may need"
        );
    }
}
