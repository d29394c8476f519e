//! `comments`: writes of single keys in different partitions, and reads of all of them in one transaction.

use super::super::driving::Workload;
use super::super::layout::Layout;
use super::super::session::{Attempt, Done, Session, commit_at_once, shuffle};
use super::{int, scans};
use crate::error::SuiteError;
use std::sync::atomic::{AtomicU64, Ordering};
use verify::history::Form;

const PART: &str = "comment";

/// Comments.
pub(crate) struct Comments {
    layout: Layout,
    next: AtomicU64,
}

impl Comments {
    async fn read(&self, session: &mut Session) -> Result<bool, SuiteError> {
        session.invoke("read", Form::Nil)?;
        let attempt = self.read_all(session).await;
        session.complete(attempt).await
    }

    async fn read_all(&self, session: &mut Session) -> Attempt {
        if session.random.chance(1, 2) {
            let rows = scans::in_transaction(session, &self.layout, PART).await?;
            return Done::read(Form::vector(rows.into_iter().map(|(id, _)| int(id))));
        }
        // One request, in any order: which gateway serves it is chosen by the first key. Those that are begun
        // after this count is read are not looked for; a later one is then not seen either.
        let mut ids: Vec<u64> = (0..self.next.load(Ordering::Relaxed)).collect();
        shuffle(&mut ids, &mut session.random);
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| self.layout.key(PART, *id)).collect();
        let values = session.client.get_many(&keys).await?;
        let found = ids.iter().zip(values).filter(|(_, value)| value.is_some());
        Done::read(Form::vector(found.map(|(id, _)| int(*id))))
    }
}

impl Workload for Comments {
    const NAME: &'static str = "comments";
    const RATE: u32 = 60;

    fn new(layout: Layout) -> Comments {
        let next = AtomicU64::new(0);
        Comments { layout, next }
    }

    async fn operate(&self, session: &mut Session) -> Result<(), SuiteError> {
        let size = self.next.load(Ordering::Relaxed);
        if session.random.chance(1, 3 + size / 100) {
            return self.read(session).await.map(|_| ());
        }
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        session.invoke("write", int(id))?;
        let write = session.client.transaction();
        let write = write.put(self.layout.key(PART, id), id.to_string());
        let attempt = commit_at_once(write, int(id)).await.map(|(_, done)| done);
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
