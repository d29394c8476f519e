//! For how long no write was acknowledged to any process of the load.
//!
//! This is what the workload's own clients saw. The probe of [`crate::probe`] asks each partition by itself and
//! is what is judged; a workload notices a partition only when it happens to ask it.

use super::samples::{Sample, Samples};
use crate::run::Fault;
use verify::history::Kind;

/// A time without an acknowledged write, nanoseconds on the run's clock.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Silence {
    pub(super) length_ns: u64,
    pub(super) begin_ns: u64,
}

/// When writes were acknowledged, ascending.
pub(super) struct Acknowledged(Vec<u64>);

impl Acknowledged {
    pub(super) fn of(samples: &Samples) -> Acknowledged {
        let is_one = |sample: &&Sample| sample.writes && sample.kind == Kind::Ok;
        let mut all: Vec<u64> = samples
            .all
            .iter()
            .filter(is_one)
            .map(|s| s.end_ns)
            .collect();
        all.sort_unstable();
        Acknowledged(all)
    }

    /// The longest silence of all.
    pub(super) fn longest(&self) -> Option<Silence> {
        self.silences().max()
    }

    /// The longest silence that lies, at least in part, in a fault.
    pub(super) fn longest_in(&self, fault: &Fault) -> Option<Silence> {
        let overlaps = |silence: &Silence| {
            silence.begin_ns < fault.end_ns && fault.begin_ns < silence.begin_ns + silence.length_ns
        };
        self.silences().filter(overlaps).max()
    }

    /// In the middle of the longest silences of all kills.
    pub(super) fn median_of_kills(&self, faults: &[Fault]) -> Option<u64> {
        let kills = faults.iter().filter(|fault| fault.name.starts_with("kill"));
        let silences = kills.filter_map(|fault| self.longest_in(fault));
        let mut all: Vec<u64> = silences.map(|silence| silence.length_ns).collect();
        all.sort_unstable();
        all.get(all.len() / 2).copied()
    }

    fn silences(&self) -> impl Iterator<Item = Silence> {
        self.0.windows(2).map(|pair| Silence {
            length_ns: pair[1] - pair[0],
            begin_ns: pair[0],
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(name: &str, begin_ns: u64, end_ns: u64) -> Fault {
        let (name, detail) = (name.to_owned(), String::new());
        Fault {
            name,
            detail,
            begin_ns,
            end_ns,
        }
    }

    #[test]
    fn silences_belong_to_the_faults_that_they_overlap() {
        let acknowledged = Acknowledged(vec![10, 20, 50, 55, 75, 80]);
        let length = |silence: Option<Silence>| silence.map(|silence| silence.length_ns);
        assert_eq!(length(acknowledged.longest()), Some(30));
        assert_eq!(
            length(acknowledged.longest_in(&fault("x", 49, 52))),
            Some(30)
        );
        assert_eq!(
            length(acknowledged.longest_in(&fault("x", 50, 56))),
            Some(20)
        );
        assert_eq!(length(acknowledged.longest_in(&fault("x", 90, 99))), None);
        let faults = [
            fault("kill-one", 52, 54),
            fault("pause", 21, 22),
            fault("kill-leader", 60, 61),
        ];
        assert_eq!(acknowledged.median_of_kills(&faults), Some(20));
        assert_eq!(acknowledged.median_of_kills(&faults[1..2]), None);
    }
}
