//! Lost update: several committed transactions read the same version of a key and all wrote the key
//! (Adya's H_lu; Bailis and others, *Highly Available Transactions*, 2013).
//!
//! Most are cycles too. But where one of the writes is never read its place in the order of versions
//! is not known, and the cycle not closed; this check needs no order.

use super::table::{Access, Table};
use crate::verdict::{Finding, Findings};

pub(super) fn check(table: &Table, findings: &mut Findings) {
    // (key, what was read first, who): equal neighbours after sorting collide.
    let mut updates: Vec<(u32, Access, u32)> = Vec::new();
    for transaction in table.committed() {
        let all = table.of(transaction);
        for (place, one) in all.iter().enumerate() {
            if !matches!(one.access, Access::Write(_)) {
                continue;
            }
            let mut earlier = all[..place].iter().filter(|other| other.key == one.key);
            // The first write of the key counts, after a read of it.
            let first = earlier.next();
            let wrote = earlier.any(|other| matches!(other.access, Access::Write(_)));
            if let Some(read) = first.filter(|first| !wrote && is_read(first.access)) {
                updates.push((one.key, read.access, transaction));
            }
        }
    }
    updates.sort_by(|a, b| a.0.cmp(&b.0).then_with(|| order(table, a.1, b.1)));
    let same = |a: &(u32, Access, u32), b: &(u32, Access, u32)| {
        a.0 == b.0 && order(table, a.1, b.1).is_eq()
    };
    for rivals in updates.chunk_by(same).filter(|rivals| rivals.len() > 1) {
        findings.add_with("lost-update", || {
            let (key, read, _) = rivals[0];
            let who: Vec<u32> = rivals.iter().map(|rival| rival.2).collect();
            let quotes: Vec<String> = who.iter().map(|t| format!("\n  {}", table.quote(*t))).collect();
            let why = format!(
                "{} transactions read key {} as {} and wrote it: each after the first overwrote an update that it had not seen{}",
                who.len(),
                table.key_text(key),
                text(table, read),
                quotes.concat()
            );
            Finding::new("lost-update", why, &table.places(&who))
        });
    }
}

fn is_read(access: Access) -> bool {
    matches!(access, Access::List { .. } | Access::Register(_))
}

fn list<'a>(table: &'a Table, access: Access) -> &'a [u64] {
    match access {
        Access::List { from, to } => &table.elements[from as usize..to as usize],
        _ => &[],
    }
}

fn order(table: &Table, a: Access, b: Access) -> std::cmp::Ordering {
    match (a, b) {
        (Access::Register(a), Access::Register(b)) => a.cmp(&b),
        _ => {
            let (a, b) = (list(table, a), list(table, b));
            a.len().cmp(&b.len()).then_with(|| a.cmp(b))
        }
    }
}

fn text(table: &Table, access: Access) -> String {
    match access {
        Access::Register(super::table::NONE) => "nil".to_owned(),
        Access::Register(version) => table.value_text(version),
        other => table.list_text(list(table, other)),
    }
}
