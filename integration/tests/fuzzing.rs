//! What strangers write is read or refused, and never a panic: frames, messages, the log, histories, scenarios.
//! Whatever is read is written and read again, and is the same.
//!
//! `HOROLOG_FUZZ_CASES=1000000 cargo test --release -p integration --test fuzzing` is a long run;
//! `HOROLOG_FUZZ_SEED=7` another one. An input that broke something goes into `tests/corpus/PARSER/` by the fix.
//! The shell's grammar is fuzzed in the program's crate (`commands::shell`).

use bytes::BytesMut;
use integration::fuzz::mutated;
use integration::io::{corpus, fuzz_cases};
use integration::simulation::{Scenario, SimulationOptions};
use partition::log::{LogRecord, SegmentBytes, SegmentWriter, recover};
use std::path::Path;
use tokio_util::codec::Decoder;
use verify::history::History;
use wire::SplitMix64;
use wire::frame::{Frame, FrameCodec, FrameKind, encode_frame};
use wire::handshake::{Goodbye, Hello, HelloReply};
use wire::ids::{LogIndex, PartitionId, Term};
use wire::keys::{Descriptor, KeyRange};
use wire::message::{ClientReply, ClientRequest, Entry, FoundingMessage, LogPosition, PeerFrame};

fn seed() -> u64 {
    let text = std::env::var("HOROLOG_FUZZ_SEED").unwrap_or_else(|_| "1".to_owned());
    text.parse().expect("HOROLOG_FUZZ_SEED is a number")
}

fn of(parser: &str) -> Vec<Vec<u8>> {
    corpus(
        &Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/corpus")
            .join(parser),
    )
}

/// Gives the corpus as it is, then what is made of it, to a parser. How many inputs were accepted.
fn fuzz(corpus: &[Vec<u8>], parse: impl Fn(&[u8]) -> bool) -> usize {
    let mut accepted = corpus.iter().filter(|input| parse(input)).count();
    let mut random = SplitMix64::new(seed());
    for _ in 0..fuzz_cases() {
        accepted += usize::from(parse(&mutated(&mut random, corpus)));
    }
    accepted
}

/// One of every message, as the golden file has them.
fn messages() -> Vec<Vec<u8>> {
    let golden = include_str!("../../wire/tests/golden/golden.txt");
    let hex = golden.lines().filter_map(|line| line.split_once(' '));
    let bytes = |text: &str| -> Vec<u8> {
        let digits = (0..text.len() / 2).map(|at| &text[2 * at..2 * at + 2]);
        let read = digits.map(|two| u8::from_str_radix(two, 16).expect("the golden file is hex"));
        read.collect()
    };
    hex.map(|(_, text)| bytes(text.trim())).collect()
}

fn again<T>(frame: &Frame) -> bool
where
    T: serde::Serialize + serde::de::DeserializeOwned + PartialEq + std::fmt::Debug,
{
    let Ok(message) = frame.decode::<T>() else {
        return false;
    };
    let mut out = BytesMut::new();
    encode_frame(frame.kind, frame.number, &message, 1 << 20, &mut out)
        .expect("what was read can be written");
    let mut codec = FrameCodec::before_handshake();
    codec.handshake_done();
    let written = codec.decode(&mut out).expect("we wrote it");
    let read = written.expect("it is whole").decode::<T>();
    assert_eq!(read.expect("we wrote it"), message);
    true
}

fn read_as_everything(body: &[u8]) -> bool {
    let frame = Frame {
        kind: FrameKind::Peer,
        version: 1,
        number: 7,
        body: body.to_vec().into(),
    };
    let read = [
        again::<PeerFrame>(&frame),
        again::<ClientRequest>(&frame),
        again::<ClientReply>(&frame),
        again::<FoundingMessage>(&frame),
        again::<Hello>(&frame),
        again::<HelloReply>(&frame),
        again::<Goodbye>(&frame),
    ];
    read.contains(&true)
}

#[test]
fn messages_are_read_or_refused() {
    let mut inputs = messages();
    assert!(
        inputs.len() > 100,
        "the golden file has {} instances",
        inputs.len()
    );
    inputs.extend(of("messages"));
    let accepted = fuzz(&inputs, read_as_everything);
    assert!(accepted > 100, "only {accepted} inputs were messages");
}

#[test]
fn frames_are_read_or_refused() {
    let mut inputs = of("frames");
    for message in messages() {
        let mut frame = BytesMut::new();
        encode_frame(FrameKind::Peer, 3, &message, 1 << 20, &mut frame).expect("it is short");
        inputs.push(frame.to_vec());
    }
    let accepted = fuzz(&inputs, |input| {
        let mut source = BytesMut::from(input);
        let mut codec = FrameCodec::before_handshake();
        let mut read = false;
        while let Ok(Some(frame)) = codec.decode(&mut source) {
            read |= read_as_everything(&frame.body) || !frame.body.is_empty();
        }
        read
    });
    assert!(accepted > 100, "only {accepted} inputs were frames");
}

/// A log with something of everything.
fn segment() -> Vec<u8> {
    let partition = PartitionId(2);
    let position = |index| LogPosition {
        term: Term(1),
        index: LogIndex(index),
    };
    let descriptor = Descriptor {
        partition,
        generation: wire::ids::Generation(1),
        range: KeyRange::new(wire::keys::Key::least(), None),
        members: vec![wire::ids::NodeId(1)],
    };
    let mut writer = SegmentWriter::new();
    writer.append(&LogRecord::Meta {
        kind: 1,
        body: b"who I am"[..].into(),
    });
    writer.append(&LogRecord::ReplicaInstalled {
        partition,
        incarnation: 1,
        descriptor,
        base: position(0),
    });
    writer.append(&LogRecord::HardState {
        partition,
        term: Term(1),
        voted_for: Some(wire::ids::NodeId(1)),
    });
    for index in 1..6 {
        writer.append(&LogRecord::Entry {
            partition,
            entry: Entry {
                term: Term(1),
                index: LogIndex(index),
                body: vec![index as u8; 40].into(),
            },
        });
    }
    writer.append(&LogRecord::Ceiling {
        timestamp: clock::Timestamp::from_micros(9),
    });
    writer.pending().to_vec()
}

#[test]
fn logs_are_recovered_or_refused() {
    let mut inputs = of("log");
    inputs.push(segment());
    let accepted = fuzz(&inputs, |input| {
        let segment = SegmentBytes {
            file: "1",
            epoch: 1,
            bytes: input,
        };
        let Ok(recovery) = recover(&[segment]) else {
            return false;
        };
        let entries = recovery
            .log
            .replicas
            .values()
            .map(|replica| &replica.entries);
        for entries in entries {
            // What is accepted of the log above is a beginning of it, byte for byte.
            for entry in entries {
                assert_eq!(
                    entry.body,
                    vec![entry.index.0 as u8; 40],
                    "a damaged entry was accepted"
                );
            }
        }
        true
    });
    assert!(accepted > 100, "only {accepted} inputs were logs");
}

#[test]
fn histories_in_edn_and_json_are_read_or_refused() {
    let verify = Path::new(env!("CARGO_MANIFEST_DIR")).join("../verify/tests/histories/hand");
    let mut edn = corpus(&verify);
    edn.extend(of("edn"));
    let accepted = fuzz(&edn, |input| {
        let Ok(history) = History::read_edn(input) else {
            return false;
        };
        let written = history.to_edn();
        let read = History::read_edn(written.as_bytes());
        let read = read.unwrap_or_else(|error| panic!("{error}: {written}"));
        assert_eq!(read.to_edn(), written);
        true
    });
    assert!(accepted > 50, "only {accepted} inputs were histories");
    let accepted = fuzz(&of("json"), |input| History::read_json(input).is_ok());
    assert!(
        accepted > 50,
        "only {accepted} inputs were histories in JSON"
    );
}

#[test]
fn scenarios_are_read_or_refused() {
    let mut inputs = of("scenarios");
    inputs.push(
        Scenario::draw(1, &SimulationOptions::default())
            .to_json()
            .into(),
    );
    let accepted = fuzz(&inputs, |input| {
        let text = String::from_utf8_lossy(input);
        let Ok(scenario) = Scenario::from_json(&text) else {
            return false;
        };
        let read = Scenario::from_json(&scenario.to_json());
        assert_eq!(read.expect("we wrote it"), scenario);
        true
    });
    assert!(accepted > 50, "only {accepted} inputs were scenarios");
}
