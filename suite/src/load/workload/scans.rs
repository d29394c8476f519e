//! Reads of everything that belongs to a part of a workload, over all partitions, of one snapshot.

use super::super::layout::Layout;
use super::super::session::{Session, Undone};
use wire::message::{Row, VersionedValue};

/// Rows of the part by their numbers, in the order of the scan.
pub(super) type Rows = Vec<(u64, VersionedValue)>;

fn of_part(layout: &Layout, part: &str, rows: &mut Rows, row: Row) {
    if let Some(number) = layout.number(part, &row.key) {
        rows.push((number, row.version));
    }
}

/// By a transaction that scans range after range.
pub(super) async fn in_transaction(
    session: &mut Session,
    layout: &Layout,
    part: &str,
) -> Result<Rows, Undone> {
    let mut transaction = session.client.begin();
    let mut rows = Rows::new();
    for range in layout.ranges(part) {
        let mut scan = transaction.scan(range);
        while let Some(row) = scan.next().await? {
            of_part(layout, part, &mut rows, row);
        }
    }
    Ok(rows)
}

/// Page by page with a few rows each, forwards or backwards, outside of any transaction: the first page draws
/// the snapshot, and all that follow are read at it. One vector a range.
pub(super) async fn by_pages(
    session: &mut Session,
    layout: &Layout,
    part: &str,
    page_rows: u32,
) -> Result<Vec<Rows>, Undone> {
    let mut all = Vec::new();
    let mut at = None;
    let reverse = session.random.chance(1, 2);
    for range in layout.ranges(part) {
        let scan = match at {
            None => session.client.scan(range),
            Some(at) => session.client.at(at).scan(range),
        };
        let mut scan = scan.page_rows(page_rows);
        if reverse {
            scan = scan.reverse();
        }
        let mut rows = Rows::new();
        while let Some(row) = scan.next().await? {
            of_part(layout, part, &mut rows, row);
        }
        at = scan.snapshot();
        all.push(rows);
    }
    Ok(all)
}
