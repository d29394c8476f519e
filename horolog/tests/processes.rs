//! The program as its users have it: real processes, real sockets, real files, real kills.
//!
//! Each test is a story. The stories run one after the other, because each of them wants both the
//! machine's cores and a fair clock:
//! - [`processes::first_steps`]: three nodes, every command, each node as the entry;
//! - [`processes::transfers_under_kills`]: no money is made or lost while nodes are killed;
//! - [`processes::transfers_under_pauses`]: nor while they stand still and go on (SIGSTOP, SIGCONT);
//! - [`processes::transfers_under_handovers`]: nor while leaders hand over, and nobody has to wait;
//! - [`processes::handing_over`]: a node that stops hands over first, and `transfer` refuses with a reason;
//! - [`processes::held_locks`]: locks of open transactions are waited for, passed by, wounded, and lapse;
//! - [`processes::acknowledged_writes`]: what was acknowledged survives the death of all nodes at once;
//! - [`processes::soak`]: endless overwrites leave memory, disk and starts where they are;
//! - [`processes::packages`]: real records go in and come out, and hot counters are exact;
//! - [`processes::bad_disks`]: full, failing and damaged disks each have a defined end;
//! - [`processes::retention`]: old versions are kept as long as was asked;
//! - [`processes::checked_histories`]: recorded histories are judged, with an exit code for scripts;
//! - [`processes::jepsen`]: the suite of faults, in short, and that it would find what is wrong;
//! - [`processes::wrong_input`]: mistakes are refused with the remedy;
//! - [`processes::crowd`]: ten thousand clients on one node, and what its metrics say meanwhile;
//! - [`processes::rebuilt_nodes`]: nodes that were away for long, lost their data or were rebuilt come back whole;
//! - [`processes::local_cluster`]: `dev` keeps its data, and is there at once.
//!
//! What a real process cannot be made to suffer (unsynced writes lost, torn sectors, clocks that lie)
//! the simulation does.
//!
//! `HOROLOG_KILLS` kills all nodes so often while acknowledged writes are noted down.
//! `HOROLOG_SOAK_SECONDS` makes the soak long enough for figures.
//! `HOROLOG_E2E_SECONDS` and `HOROLOG_E2E_CLIENTS` make the transfers run longer, and with more clients;
//! `HOROLOG_E2E_GAP_MAX_MS` and `HOROLOG_E2E_GAP_MEDIAN_MS` say how long a partition may be silent after
//! a fault, `HOROLOG_E2E_SEED` which nodes are struck.

mod processes {
    mod io;

    mod acknowledged_writes;
    mod bad_disks;
    mod checked_histories;
    mod crowd;
    mod first_steps;
    mod handing_over;
    mod held_locks;
    mod jepsen;
    mod local_cluster;
    mod packages;
    mod probing;
    mod rebuilt_nodes;
    mod retention;
    mod soak;
    mod transfers;
    mod transfers_under_handovers;
    mod transfers_under_kills;
    mod transfers_under_pauses;
    mod wrong_input;
}
