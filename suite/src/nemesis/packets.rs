//! Frames that are late, lost, doubled, overtaken or damaged, on some or on all links.

use super::{Arena, Harm, Undo};
use crate::error::SuiteError;
use crate::io::proxy::{CHANCE_PARTS, Dialler, Disturbance, Rule};
use std::time::Duration;
use wire::SplitMix64;

/// What frames suffer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Each is late, by a little or by a lot.
    Delay,
    /// Some are lost.
    Loss,
    /// Some come twice.
    Doubling,
    /// Some are overtaken.
    Reordering,
    /// A bit of some is flipped: the receiver must notice, and end the connection.
    Corruption,
}

impl Trouble {
    fn draw(self, random: &mut SplitMix64) -> (Disturbance, String) {
        let mut all = Disturbance::default();
        let mut share = |of_thousand: &[u64]| {
            let drawn = of_thousand[random.below(of_thousand.len() as u64) as usize];
            let parts = (drawn * u64::from(CHANCE_PARTS) / 1000) as u32;
            (parts, format!("{}.{} %", drawn / 10, drawn % 10))
        };
        let words = match self {
            Trouble::Delay => {
                let delays = [(5, 5), (20, 40), (100, 100)];
                let (delay, jitter) = delays[random.below(3) as usize];
                all.delay = Duration::from_millis(delay);
                all.jitter = Duration::from_millis(jitter);
                format!("frames are {delay} to {} ms late", delay + jitter)
            }
            Trouble::Loss => {
                let (parts, words) = share(&[10, 50, 200]);
                all.loss = parts;
                format!("{words} of all frames are lost")
            }
            Trouble::Doubling => {
                let (parts, words) = share(&[50, 300, 1000]);
                all.doubling = parts;
                format!("{words} of all frames come twice")
            }
            Trouble::Reordering => {
                let (parts, words) = share(&[50, 200, 500]);
                all.reordering = parts;
                format!("{words} of all frames are overtaken")
            }
            Trouble::Corruption => {
                let (parts, words) = share(&[2, 10, 50]);
                all.corruption = parts;
                format!("a bit of {words} of all frames is flipped")
            }
        };
        (all, words)
    }
}

pub(super) async fn begin(
    trouble: Trouble,
    arena: &Arena,
    random: &mut SplitMix64,
) -> Result<Harm, SuiteError> {
    let size = arena.size().await;
    let (what, words) = trouble.draw(random);
    let one = random.below(size as u64) as usize;
    let everywhere = random.chance(1, 2);
    let links = (0..size).flat_map(|from| (0..size).map(move |to| (from, to)));
    let hit = links.filter(|(from, to)| from != to && (everywhere || *from == one || *to == one));
    let mut rules: Vec<Rule> = hit
        .map(|(from, to)| Rule::Disturb {
            from: Dialler::Node(from),
            to,
            what,
        })
        .collect();
    // A client's requests are numbered upwards on a connection; another order or a double is a mistake of
    // the client, and damage is found by the same checksum.
    if trouble == Trouble::Delay {
        let to = if everywhere { 0..size } else { one..one + 1 };
        let from = Dialler::Client;
        rules.extend(to.map(|to| Rule::Disturb { from, to, what }));
    }
    let place = match everywhere {
        true => "on all links".to_owned(),
        false => format!("on the links of n{}", one + 1),
    };
    Ok(Harm {
        detail: format!("{words} {place}"),
        undo: vec![Undo::Rules(arena.proxy.add(rules))],
        led: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_trouble_does_something_with_every_seed() {
        let all = [
            Trouble::Delay,
            Trouble::Loss,
            Trouble::Doubling,
            Trouble::Reordering,
            Trouble::Corruption,
        ];
        for trouble in all {
            for seed in 0..10 {
                let (what, words) = trouble.draw(&mut SplitMix64::new(seed));
                assert_ne!(what, Disturbance::default(), "{words}");
            }
        }
    }
}
