//! `set`: elements are added one by one and read all together, by a transaction that scans or page by page.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Attempt, Done, Session, commit, commit_at_once};
use super::{int, scans};
use crate::error::SuiteError;
use std::sync::atomic::{AtomicU64, Ordering};
use verify::history::Form;

const PART: &str = "element";
/// Rows of a page: several pages a range.
const PAGE_ROWS: u32 = 100;

/// Elements.
pub(crate) struct Set {
    layout: Layout,
    next: AtomicU64,
}

impl Set {
    async fn add(&self, session: &mut Session, element: u64) -> Attempt {
        let key = self.layout.key(PART, element);
        if session.random.chance(1, 2) {
            let add = session.client.transaction().put(key, element.to_string());
            return Ok(commit_at_once(add, int(element)).await?.1);
        }
        let mut transaction = session.client.begin();
        transaction.get(&key).await?;
        transaction.put(&key, element.to_string());
        Ok(commit(&mut transaction, int(element)).await?.1)
    }

    async fn read(&self, session: &mut Session) -> Result<bool, SuiteError> {
        session.invoke("read", Form::Nil)?;
        let attempt = self.read_all(session).await;
        session.complete(attempt).await
    }

    async fn read_all(&self, session: &mut Session) -> Attempt {
        let rows = match session.random.chance(1, 2) {
            true => scans::in_transaction(session, &self.layout, PART).await?,
            false => {
                let pages = scans::by_pages(session, &self.layout, PART, PAGE_ROWS).await?;
                pages.into_iter().flatten().collect()
            }
        };
        Done::read(Form::vector(
            rows.into_iter().map(|(element, _)| int(element)),
        ))
    }
}

impl Workload for Set {
    const NAME: &'static str = "set";
    const RATE: u32 = 60;

    fn new(layout: Layout) -> Set {
        let next = AtomicU64::new(0);
        Set { layout, next }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        // A read is as long as what was added, so it is made the less often.
        let size = self.next.load(Ordering::Relaxed);
        if session.random.chance(1, 5 + size / 50) {
            return self.read(session).await.map(|_| ());
        }
        let element = self.next.fetch_add(1, Ordering::Relaxed);
        session.invoke("add", int(element))?;
        let attempt = self.add(session, element).await;
        session.complete(attempt).await?;
        Ok(())
    }

    async fn finish(&self, session: &mut Session) -> Result<(), SuiteError> {
        while !self.read(session).await? {
            session.again().await?;
        }
        Ok(())
    }
}
