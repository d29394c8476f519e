//! `pages`: groups of elements, each group added by one transaction over several partitions, are read by scans
//! of a few rows a page while that goes on.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Done, Session, commit_at_once};
use super::{int, scans};
use crate::error::SuiteError;
use std::sync::atomic::{AtomicU64, Ordering};
use verify::history::Form;

const PART: &str = "element";
/// Elements of a group.
const GROUP: u64 = 4;
/// The least rows of a page, and how many more it may have.
const PAGE_ROWS: (u32, u32) = (3, 60);

/// Groups of elements.
pub(crate) struct Pages {
    layout: Layout,
    next: AtomicU64,
}

impl Pages {
    async fn read(&self, session: &mut Session) -> Result<bool, SuiteError> {
        session.invoke("read", Form::Nil)?;
        let rows = PAGE_ROWS.0 + session.random.below(PAGE_ROWS.1.into()) as u32;
        let attempt = scans::by_pages(session, &self.layout, PART, rows).await;
        let attempt = attempt.and_then(|pages| {
            let page = |rows: scans::Rows| Form::vector(rows.into_iter().map(|(e, _)| int(e)));
            Done::read(Form::vector(pages.into_iter().map(page)))
        });
        session.complete(attempt).await
    }
}

impl Workload for Pages {
    const NAME: &'static str = "pages";
    const RATE: u32 = 40;

    fn new(layout: Layout) -> Pages {
        let next = AtomicU64::new(0);
        Pages { layout, next }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        let size = self.next.load(Ordering::Relaxed);
        if session.random.chance(1, 4 + size / 100) {
            return self.read(session).await.map(|_| ());
        }
        let from = self.next.fetch_add(GROUP, Ordering::Relaxed);
        let group = Form::vector((from..from + GROUP).map(int));
        session.invoke("add", group.clone())?;
        let mut add = session.client.transaction();
        for element in from..from + GROUP {
            add = add.put(self.layout.key(PART, element), element.to_string());
        }
        let attempt = commit_at_once(add, group).await.map(|(_, done)| done);
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
