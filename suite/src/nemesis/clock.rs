//! Clocks that are set, run at a wrong speed, or that nothing vouches for.
//!
//! | change | inside the bound? | what must hold |
//! | --- | --- | --- |
//! | set by half the bound, a drift that stays inside | yes | strict serializability |
//! | everything else | no | serializability, atomicity, durability; and the node says that its clock is out of bound |

use super::{Arena, Harm, Undo, leading, names};
use crate::error::SuiteError;
use crate::io::proxy::Seat;
use crate::io::{ClockSetting, Source};
use std::time::Duration;
use wire::SplitMix64;

/// A node whose clock left its bound says so within this.
const SAID_WITHIN: Duration = Duration::from_secs(8);
/// Steps of a clock that strobes, and the time between two.
const STROBES: u32 = 20;
const STROBE_EVERY: Duration = Duration::from_millis(50);

/// What is done to a clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClockChange {
    /// Set, ahead or back, by half the bound: every node by an offset of its own.
    Inside,
    /// Set, ahead or back, by twice the bound.
    Twice,
    /// Set, ahead or back, by a thousand times the bound.
    Thousand,
    /// Set back and forth many times a second.
    Strobe,
    /// A twentieth too fast or too slow.
    Drift,
    /// Back by two seconds while the node is down.
    BackOverRestart,
    /// Nothing vouches for it any more.
    SourceDead,
}

/// What a change leaves of the store's promise.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Promise {
    /// All of it.
    StrictSerializability,
    /// Everything but the order of real time.
    Serializability,
}

impl ClockChange {
    /// What must hold while it acts and after it.
    pub fn promise(self) -> Promise {
        match self {
            // A node that knows that nothing vouches for its clock serves nothing that rests on it.
            ClockChange::Inside | ClockChange::SourceDead => Promise::StrictSerializability,
            _ => Promise::Serializability,
        }
    }

    /// Whether the node must say that it does not rely on its clock. What decision 0013 says cannot be
    /// known need not be said: an error within two bounds, which two right clocks can show to each other,
    /// and a step back by less than what a log remembers.
    fn must_be_said(self) -> bool {
        use ClockChange::*;
        !matches!(self, Inside | Twice | BackOverRestart)
    }

    /// Whether nodes are to ask the kernel, which the hook answers for.
    pub fn asks_kernel(self) -> bool {
        self == ClockChange::SourceDead
    }
}

/// What nodes are told of time when nothing is done to it.
pub(crate) fn truth(asks_kernel: bool, bound: Duration) -> ClockSetting {
    ClockSetting {
        source: match asks_kernel {
            true => Source::Vouches(bound),
            false => Source::Kernel,
        },
        ..ClockSetting::default()
    }
}

/// The bound that is used where nothing else is stated.
pub(crate) const BOUND: Duration = Duration::from_micros(500);

pub(super) async fn begin(
    change: ClockChange,
    arena: &Arena,
    random: &mut SplitMix64,
) -> Result<Option<Harm>, SuiteError> {
    let (up, bound) = {
        let cluster = arena.cluster.lock().await;
        (cluster.up(), cluster.clock_bound().unwrap_or(BOUND))
    };
    let leaders = arena.watcher.leaders().await;
    let seats = match change {
        ClockChange::Inside => up,
        _ => super::draw(&up, 1, random),
    };
    let Some(first) = seats.first().copied() else {
        return Ok(None);
    };
    let led: Vec<_> = leaders
        .iter()
        .filter(|(_, seat)| seats.contains(seat))
        .map(|(partition, _)| *partition)
        .collect();
    let honest = truth(change.asks_kernel(), bound);
    let mut undo: Vec<Undo> = Vec::new();
    for seat in &seats {
        undo.push(Undo::Clock(*seat, honest));
    }
    let sign = if random.chance(1, 2) { 1 } else { -1 };
    let bound_ns = bound.as_nanos() as i64;
    let set = async |seat: Seat, setting: ClockSetting| {
        arena.cluster.lock().await.set_clock(seat, setting)
    };
    let by = |offset_ns: i64| ClockSetting {
        offset_ns,
        ..honest
    };
    let words = match change {
        ClockChange::Inside => {
            for seat in &seats {
                let half = (bound_ns / 2) as u64;
                let offset = random.below(2 * half + 1) as i64 - half as i64;
                set(*seat, by(offset)).await?;
            }
            "set by up to half the bound".to_owned()
        }
        ClockChange::Twice => {
            set(first, by(sign * 2 * bound_ns)).await?;
            format!("set by {} us, twice the bound", sign * 2 * bound_ns / 1000)
        }
        ClockChange::Thousand => {
            set(first, by(sign * 1000 * bound_ns)).await?;
            format!(
                "set by {} ms, a thousand times the bound",
                sign * bound_ns / 1000
            )
        }
        ClockChange::Strobe => {
            for step in 0..STROBES {
                let offset = if step % 2 == 0 { 40 * bound_ns } else { 0 };
                set(first, by(sign * offset)).await?;
                tokio::time::sleep(STROBE_EVERY).await;
            }
            format!(
                "set back and forth by {} ms, {STROBES} times",
                40 * bound_ns / 1_000_000
            )
        }
        ClockChange::Drift => {
            let drift_ppm = sign * 50_000;
            let setting = ClockSetting {
                drift_ppm,
                ..honest
            };
            set(first, setting).await?;
            format!("drifts by {} %", drift_ppm / 10_000)
        }
        ClockChange::BackOverRestart => {
            arena.cluster.lock().await.kill(first)?;
            set(first, by(-2_000_000_000)).await?;
            arena.cluster.lock().await.start(first)?;
            "set back by 2 s while the node was down".to_owned()
        }
        ClockChange::SourceDead => {
            let source = Source::Dead;
            set(first, ClockSetting { source, ..honest }).await?;
            "vouched for by nothing".to_owned()
        }
    };
    let harm = Harm {
        detail: format!("clock of {} {words}{}", names(&seats), leading(&led)),
        undo,
        led,
    };
    if change.must_be_said()
        && let Err(error) = said(first, arena).await
    {
        super::end(&harm, arena).await?;
        return Err(SuiteError::Broken(format!("{}: {error}", harm.detail)));
    }
    Ok(Some(harm))
}

/// Waits until the node says that it does not rely on its clock, or did not since it started.
async fn said(seat: Seat, arena: &Arena) -> Result<(), String> {
    let said = arena.watcher.until(SAID_WITHIN, |statuses| {
        let status = statuses[seat].as_ref().map_err(Clone::clone)?;
        match status.clock_trouble.is_some() || status.clock_quarantines > 0 {
            true => Ok(()),
            false => Err(format!(
                "the node does not say within {SAID_WITHIN:?} that its clock is out of bound"
            )),
        }
    });
    said.await.map(|_| ())
}
