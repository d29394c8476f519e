//! Connections of clients that end in mid-commit, and commits that arrive twice.

use super::{Arena, Harm, Undo};
use crate::error::SuiteError;
use crate::io::proxy::{CHANCE_PARTS, ClientFault, Rule};

pub(super) async fn begin(what: ClientFault, arena: &Arena) -> Result<Harm, SuiteError> {
    let size = arena.size().await;
    let rules = (0..size).map(|to| Rule::Clients { to, what });
    let percent = |parts: u32| format!("{} %", parts * 100 / CHANCE_PARTS);
    let mut words = Vec::new();
    if what.cut_before + what.cut_after > 0 {
        words.push(format!(
            "connections end before {} and after {} of all requests",
            percent(what.cut_before),
            percent(what.cut_after)
        ));
    }
    if what.replay > 0 {
        words.push(format!(
            "{} of all commits are sent once more, through any node",
            percent(what.replay)
        ));
    }
    Ok(Harm {
        detail: words.join("; "),
        undo: vec![Undo::Rules(arena.proxy.add(rules))],
        led: Vec::new(),
    })
}
