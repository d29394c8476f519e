//! Scans outside a transaction: page by page, all at the snapshot of the first page.

use super::io::Route;
use super::pager::Pager;
use super::{Client, Error};
use crate::keys::KeyRange;
use crate::message::{ClientAnswer, ClientRequest, ReadResult, Row, Snapshot};
use clock::Timestamp;

/// The rows of a range, read as they are asked for.
pub struct Scan {
    client: Client,
    pager: Pager,
    at: Option<Timestamp>,
}

impl Scan {
    pub(super) fn new(client: Client, range: KeyRange, at: Option<Timestamp>) -> Scan {
        let pager = Pager::new(range);
        Scan { client, pager, at }
    }

    /// From the last key to the first.
    #[must_use]
    pub fn reverse(mut self) -> Scan {
        self.pager.reverse = true;
        self
    }

    /// At most so many rows.
    #[must_use]
    pub fn limit(mut self, rows: u64) -> Scan {
        self.pager.left = Some(rows);
        self
    }

    /// So many rows are asked for at once; 1,000 unless said otherwise.
    #[must_use]
    pub fn page_rows(mut self, rows: u32) -> Scan {
        self.pager.page_rows = rows;
        self
    }

    /// The snapshot that is read; of a scan of now, `None` until the first page has come.
    pub fn snapshot(&self) -> Option<Timestamp> {
        self.at
    }

    /// The next row; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        loop {
            if let Some(row) = self.pager.take() {
                return Ok(Some(row));
            }
            let Some(page) = self.pager.next_page() else {
                return Ok(None);
            };
            let request = ClientRequest::Read {
                reader: None,
                snapshot: self.at.map_or(Snapshot::Fresh, Snapshot::At),
                requests: vec![page],
            };
            let route = self
                .pager
                .next_key()
                .map_or_else(Route::anywhere, |key| Route::to(&key));
            let answered = self.client.pool.call(&route, &request).await?;
            let (at, rows, rest) = page_of(answered.answer.clone())
                .filter(|(_, _, rest)| self.pager.covered(rest.as_ref()).is_some())
                .ok_or_else(|| answered.unexpected("a page of the scan"))?;
            self.at = Some(at);
            self.pager.on_page(rows, rest);
        }
    }

    /// All rows that are left.
    pub async fn collect(mut self) -> Result<Vec<Row>, Error> {
        let mut rows = Vec::new();
        while let Some(row) = self.next().await? {
            rows.push(row);
        }
        Ok(rows)
    }
}

/// The one page of an answer: snapshot, rows and rest.
pub(super) fn page_of(answer: ClientAnswer) -> Option<(Timestamp, Vec<Row>, Option<KeyRange>)> {
    let ClientAnswer::Read { at, results } = answer else {
        return None;
    };
    let [result] = <[ReadResult; 1]>::try_from(results).ok()?;
    match result {
        ReadResult::Rows { rows, rest } => Some((at, rows, rest)),
        ReadResult::Value(_) => None,
    }
}
