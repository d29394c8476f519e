//! Transactions that append to lists and read them.

use crate::error::SuiteError;
use crate::run::{Counts, Load};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, PoisonError};
use tokio::task::JoinSet;
use verify::history::{Form, Misuse};
use wire::SplitMix64;
use wire::client::{Client, Error};

/// Lists that are appended to at a time; after some appends each is followed by a new one.
const LISTS: u64 = 6;
/// Appends of all lists together, until all are followed by new ones.
const APPENDS_A_GENERATION: i64 = 200;

enum Step {
    Append(i64, i64),
    Read(i64),
}

struct Lists {
    next: AtomicI64,
}

fn key(list: i64) -> String {
    // Spread over the alphabet, so over the partitions.
    let letter = b'a' + (list * 7).rem_euclid(26) as u8;
    format!("{}list-{list}", char::from(letter))
}

fn form(steps: &[Step], read: Option<&[Vec<i64>]>) -> Form {
    let mut read = read.map(|lists| lists.iter());
    Form::vector(steps.iter().map(|step| match step {
        Step::Append(list, element) => {
            Form::vector([Form::keyword("append"), (*list).into(), (*element).into()])
        }
        Step::Read(list) => {
            let told = read.as_mut().and_then(Iterator::next);
            let told = told.map_or(Form::Nil, |list| {
                Form::vector(list.iter().map(|element| (*element).into()))
            });
            Form::vector([Form::keyword("r"), (*list).into(), told])
        }
    }))
}

/// How an operation ended.
enum Ended {
    Ok(Vec<Vec<i64>>),
    Fail,
    Info,
}

async fn run(client: &Client, steps: &[Step]) -> Ended {
    let mut transaction = client.begin();
    let mut read = Vec::new();
    for step in steps {
        match step {
            Step::Append(list, element) => transaction.append(key(*list), format!("{element},")),
            Step::Read(list) => match transaction.get(key(*list)).await {
                Ok(value) => read.push(value.map_or(Vec::new(), |value| elements(&value.value))),
                // Nothing was sent but questions.
                Err(_) => return Ended::Fail,
            },
        }
    }
    match transaction.commit().await {
        Ok(_) => Ended::Ok(read),
        Err(Error::Aborted { .. }) => Ended::Fail,
        Err(_) => Ended::Info,
    }
}

/// What is read; text that nobody wrote is an element that nobody appended.
fn elements(value: &[u8]) -> Vec<i64> {
    let text = String::from_utf8_lossy(value);
    let all = text.split_terminator(',');
    all.map(|element| element.parse().unwrap_or(-1)).collect()
}

impl Lists {
    fn draw(&self, random: &mut SplitMix64) -> Vec<Step> {
        let count = 1 + random.below(4);
        let step = |_| {
            let next = self.next.load(Ordering::Relaxed);
            let generation = next / APPENDS_A_GENERATION;
            let list = generation * LISTS as i64 + random.below(LISTS) as i64;
            match random.chance(1, 2) {
                true => Step::Append(list, self.next.fetch_add(1, Ordering::Relaxed)),
                false => Step::Read(list),
            }
        };
        (0..count).map(step).collect()
    }

    fn all(&self) -> impl Iterator<Item = i64> {
        let generation = self.next.load(Ordering::Relaxed) / APPENDS_A_GENERATION;
        0..(generation + 1) * LISTS as i64
    }
}

fn misused(misuse: Misuse) -> SuiteError {
    SuiteError::Load(misuse.to_string())
}

struct Process {
    client: Client,
    load: Load,
    number: i64,
    counts: Counts,
}

impl Process {
    async fn ask(&mut self, steps: &[Step]) -> Result<(), SuiteError> {
        let time = self.load.clock.nanoseconds() as i64;
        let asked = form(steps, None);
        {
            let recorder = self.load.recorder.lock();
            let mut recorder = recorder.unwrap_or_else(PoisonError::into_inner);
            recorder
                .invoke(time, self.number, "txn", &asked)
                .map_err(misused)?;
        }
        let ended = run(&self.client, steps).await;
        let time = self.load.clock.nanoseconds() as i64;
        let recorder = self.load.recorder.lock();
        let mut recorder = recorder.unwrap_or_else(PoisonError::into_inner);
        let recorded = match ended {
            Ended::Ok(read) => {
                self.counts.ok += 1;
                recorder.ok(time, self.number, &form(steps, Some(&read)))
            }
            Ended::Fail => {
                self.counts.fail += 1;
                recorder.fail(time, self.number, &asked)
            }
            Ended::Info => {
                self.counts.info += 1;
                let told = recorder.info(time, self.number, &asked);
                self.number = recorder.new_process();
                told
            }
        };
        recorded.map_err(misused)
    }
}

async fn connect(addresses: &[String]) -> Result<Client, SuiteError> {
    let client = Client::connect(addresses).await;
    client.map_err(|error| SuiteError::Load(error.to_string()))
}

pub(super) async fn drive(addresses: &[String], load: Load) -> Result<Counts, SuiteError> {
    let lists = Arc::new(Lists {
        next: AtomicI64::new(0),
    });
    let mut random = SplitMix64::new(load.seed);
    let mut processes = JoinSet::new();
    for number in 0..load.processes {
        let (lists, mut random) = (lists.clone(), random.fork());
        let mut process = Process {
            client: connect(addresses).await?,
            load: load.clone(),
            number: number as i64,
            counts: Counts::default(),
        };
        processes.spawn(async move {
            while !process.load.stop.is_cancelled() {
                process.ask(&lists.draw(&mut random)).await?;
            }
            Ok::<Counts, SuiteError>(process.counts)
        });
    }
    let mut counts = Counts::default();
    while let Some(ended) = processes.join_next().await {
        let ended = ended.map_err(|error| SuiteError::Load(error.to_string()))??;
        counts.ok += ended.ok;
        counts.fail += ended.fail;
        counts.info += ended.info;
    }
    load.quiet.cancelled().await;
    let number = {
        let recorder = load.recorder.lock();
        recorder
            .unwrap_or_else(PoisonError::into_inner)
            .new_process()
    };
    let mut last = Process {
        client: connect(addresses).await?,
        load,
        number,
        counts,
    };
    for list in lists.all() {
        last.ask(&[Step::Read(list)]).await?;
    }
    Ok(last.counts)
}
