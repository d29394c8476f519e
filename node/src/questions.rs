//! Questions to other nodes about their coordinators (R8), each answered once: by the node, or by
//! *unknown* when it cannot be reached or is silent. Recovery is safe at any time, so an early
//! *unknown* costs work, never correctness.

use std::collections::BTreeMap;
use std::time::Duration;
use wire::ids::NodeId;
use wire::message::RequestNumber;

/// A node that has not answered within this is taken for dead.
const SILENCE_MAX: Duration = Duration::from_millis(300);

#[derive(Debug)]
struct Question {
    asked_as: RequestNumber,
    node: NodeId,
    asked_at: Duration,
}

#[derive(Debug, Default)]
pub(crate) struct Questions {
    next_number: u64,
    open: BTreeMap<RequestNumber, Question>,
}

impl Questions {
    /// Numbers on the wire hold this start's number, so that an answer to an earlier life pairs with
    /// nothing.
    pub(crate) fn new(start: u32) -> Questions {
        Questions {
            next_number: u64::from(start) << 40,
            open: BTreeMap::new(),
        }
    }

    pub(crate) fn ask(
        &mut self,
        now: Duration,
        asked_as: RequestNumber,
        node: NodeId,
    ) -> RequestNumber {
        self.next_number += 1;
        let number = RequestNumber(self.next_number);
        self.open.insert(
            number,
            Question {
                asked_as,
                node,
                asked_at: now,
            },
        );
        number
    }

    /// The gateway's own number of the question that this answers.
    pub(crate) fn on_answer(
        &mut self,
        from: NodeId,
        number: RequestNumber,
    ) -> Option<RequestNumber> {
        self.open
            .get(&number)
            .filter(|question| question.node == from)?;
        self.open.remove(&number).map(|question| question.asked_as)
    }

    /// The questions that will have no answer: their node is down or silent.
    pub(crate) fn take_unanswered(
        &mut self,
        now: Duration,
        is_up: impl Fn(NodeId) -> bool,
    ) -> Vec<RequestNumber> {
        let lost = |q: &Question| !is_up(q.node) || now >= q.asked_at + SILENCE_MAX;
        let numbers: Vec<_> = self
            .open
            .iter()
            .filter(|(_, q)| lost(q))
            .map(|(number, _)| *number)
            .collect();
        numbers
            .iter()
            .filter_map(|number| self.open.remove(number))
            .map(|q| q.asked_as)
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_answered_once_by_the_node_or_by_silence() {
        let mut questions = Questions::new(1);
        let number = questions.ask(Duration::ZERO, RequestNumber(5), NodeId(2));
        assert_eq!(questions.on_answer(NodeId(3), number), None, "another node");
        assert_eq!(
            questions.on_answer(NodeId(2), number),
            Some(RequestNumber(5))
        );
        assert_eq!(questions.on_answer(NodeId(2), number), None, "doubled");
        questions.ask(Duration::ZERO, RequestNumber(6), NodeId(2));
        assert!(
            questions
                .take_unanswered(Duration::from_millis(299), |_| true)
                .is_empty()
        );
        let silent = questions.take_unanswered(SILENCE_MAX, |_| true);
        assert_eq!(silent, [RequestNumber(6)]);
        questions.ask(SILENCE_MAX, RequestNumber(7), NodeId(2));
        assert_eq!(
            questions.take_unanswered(SILENCE_MAX, |_| false),
            [RequestNumber(7)]
        );
    }
}
