//! Disks that are full, that fail, or that hold what they should not: each has a defined end, and a
//! message that names the place and the remedy.

use super::io::{Cluster, Process, Program, ReservedPort, story, until};
use rustix::fs::{FallocateFlags, fallocate, statvfs};
use rustix::process::{Resource, Rlimit, prlimit};
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tempfile::TempDir;
use wire::SplitMix64;
use wire::client::Client;

/// A node of its own founds its cluster and listens.
const LISTENING_WITHIN: Duration = Duration::from_secs(10);
/// A disk is looked at every second.
const NOTICED_WITHIN: Duration = Duration::from_secs(20);
const STOPPED_WITHIN: Duration = Duration::from_secs(20);
/// One put, while the disk is bad.
const PUT_WITHIN: Duration = Duration::from_secs(5);
/// Large against what anybody else writes meanwhile.
const FILLER_BYTES_MAX: u64 = 8 << 30;

const NOT_DONE: i32 = 1;
const ABORTED: i32 = 3;

/// A cluster of one node.
struct Alone {
    program: Program,
    directory: TempDir,
    port: ReservedPort,
}

impl Alone {
    fn new() -> Alone {
        Alone {
            program: Program::find(),
            directory: tempfile::tempdir().expect("a temporary directory"),
            port: ReservedPort::any(),
        }
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    fn arguments(&self, address: &str, more: &[&str]) -> Vec<String> {
        let data = self.data();
        let data = data.to_str().expect("a path in UTF-8");
        let start = ["start", "--data", data, "--clock-bound", "500us"];
        let alone = ["--listen", address, "--join", address, "--single"];
        let all = [&start[..], &alone, more].concat();
        all.into_iter().map(str::to_owned).collect()
    }

    async fn start(&self, more: &[&str]) -> Process {
        let arguments = self.arguments(&self.port.address(), more);
        let command = self.program.command(&arguments);
        let mut node = Process::start(command, "node", self.directory.path());
        node.says("listening at", LISTENING_WITHIN).await;
        node
    }

    async fn run(&self, command: &[&str]) -> super::io::Ended {
        let address = self.port.address();
        let connect = ["--connect", &address];
        self.program.run(&[command, &connect].concat()).await
    }

    async fn put(&self, key: &str, value: &str) {
        let put = self.run(&["put", key, value]).await;
        assert_eq!(put.code, Some(0), "{}", put.err);
    }

    async fn stop(&self, mut node: Process) {
        node.terminate();
        let (code, _) = node.exit_code(STOPPED_WITHIN).await;
        assert_eq!(code, Some(0), "{}", node.err());
    }

    /// Starts it, which must fail.
    async fn expect_refusal(&self, address: &str, parts: &[&str]) {
        let ended = self.program.run(&self.arguments(address, &[])).await;
        ended.expect_refusal(NOT_DONE, parts);
    }
}

#[tokio::test]
async fn a_full_disk_refuses_writes_serves_reads_and_goes_on_by_itself() {
    story(Duration::ZERO, async {
        let alone = Alone::new();
        let disk = statvfs(alone.directory.path()).expect("a disk can be looked at");
        let free = disk.f_bavail * disk.f_frsize;
        let filler = FILLER_BYTES_MAX.min(free / 2);
        let reserve = format!("{}B", free - filler / 2);
        let _node = alone.start(&["--disk-reserve", &reserve]).await;
        alone.put("a", "before").await;

        let path = alone.directory.path().join("filler");
        let file = File::create(&path).expect("makes a file");
        fallocate(&file, FallocateFlags::empty(), 0, filler).expect("the disk has room for it");
        until("writes are refused", NOTICED_WITHIN, async || {
            let put = alone.run(&["put", "b", "x"]).await;
            match put.code {
                Some(0) => Err("it was taken".to_owned()),
                _ => {
                    put.expect_refusal(ABORTED, &["node n1", "--disk-reserve", "Make room"]);
                    Ok(())
                }
            }
        })
        .await;
        let get = alone.run(&["get", "a"]).await;
        assert!(
            get.out.contains("before"),
            "reads go on: {}{}",
            get.out,
            get.err
        );
        let status = alone.run(&["status"]).await;
        assert!(status.out.contains("NO WRITES"), "{}", status.out);

        drop(file);
        fs::remove_file(&path).expect("removes the file");
        until("writes are taken again", NOTICED_WITHIN, async || {
            let put = alone.run(&["put", "b", "after"]).await;
            (put.code == Some(0)).then_some(()).ok_or(put.err)
        })
        .await;
    })
    .await;
}

#[tokio::test]
async fn a_log_that_cannot_be_written_stops_its_node_and_the_others_go_on() {
    story(Duration::from_secs(30), async {
        let mut cluster = Cluster::found(&["--partitions", "1"]).await;
        let program = cluster.program().clone();
        let list = cluster.list();
        // Beyond this size no file of the node can be written.
        const LIMIT: u64 = 4 << 20;
        let limit = Rlimit {
            current: Some(LIMIT),
            maximum: Some(LIMIT),
        };
        let pid = cluster.node(0).id();
        prlimit(Some(pid), Resource::Fsize, limit).expect("a child of ours can be limited");
        let value = "v".repeat(100_000);
        let mut written = 0;
        while cluster.node(0).ended().is_none() && written < 400 {
            written += 1;
            let put = program
                .run(&["put", &format!("a{written}"), &value, "--connect", &list])
                .await;
            assert_eq!(put.code, Some(0), "the others go on: {}", put.err);
        }
        let (code, _) = cluster.node(0).exit_code(STOPPED_WITHIN).await;
        assert_eq!(code, Some(NOT_DONE), "{}", cluster.node(0).err());
        let said = cluster.node(0).err();
        for part in [
            "the node stopped because its log failed",
            "cannot write",
            "segment-",
        ] {
            assert!(said.contains(part), "no '{part}' in: {said}");
        }
        let others = cluster.addresses()[1..].join(",");
        let put = program
            .run(&["put", "last", "x", "--connect", &others])
            .await;
        assert_eq!(put.code, Some(0), "{}", put.err);
        // Started again without the limit it is one of them.
        cluster.forget_ended(0);
        cluster.start(0);
        cluster.led().await;
        let first = cluster.addresses()[0].clone();
        let get = program.run(&["get", "last", "--connect", &first]).await;
        assert!(get.out.contains('x'), "{}{}", get.out, get.err);
    })
    .await;
}

#[tokio::test]
async fn tables_that_cannot_be_written_stop_their_node_with_the_reason() {
    story(Duration::from_secs(30), async {
        let alone = Alone::new();
        let node = alone.start(&[]).await;
        // Not to be compressed away: its table is the largest.
        let mut random = SplitMix64::new(1);
        let numbers: Vec<String> = (0..1000).map(|_| random.next_u64().to_string()).collect();
        let before = format!("before {}", numbers.concat());
        alone.put("a", &before).await;
        alone.stop(node).await;
        let mut node = alone.start(&[]).await;
        let get = alone.run(&["get", "a"]).await;
        assert_eq!(get.code, Some(0), "its store is open: {}", get.err);
        let table = largest_table(&alone.data().join("store"));
        let folder = table.parent().expect("it lies in a folder");
        let away = alone.data().join("away");
        fs::rename(folder, &away).expect("renames");
        let client = Client::connect(&[alone.port.address()]).await;
        let client = client.expect("the node answers");
        let value = vec![b'v'; 500_000];
        // More than the tree gathers in memory, several times over.
        for n in 0..500 {
            if node.ended().is_some() {
                break;
            }
            // Whether the last ones are acknowledged is not known.
            let put = tokio::time::timeout(PUT_WITHIN, client.put("b", value.clone())).await;
            if !matches!(put, Ok(Ok(_))) {
                break;
            }
            assert!(n < 499, "it goes on without tables");
        }
        let (code, _) = node.exit_code(STOPPED_WITHIN).await;
        let said = node.err();
        assert_eq!(code, Some(NOT_DONE), "{said}");
        for part in [
            "the node stopped because its store failed",
            "a table could not be written",
            "Nothing acknowledged is lost",
        ] {
            assert!(said.contains(part), "no '{part}' in: {said}");
        }
        fs::rename(&away, folder).expect("renames");
        let node = alone.start(&[]).await;
        let get = alone.run(&["get", "a"]).await;
        assert!(get.out.contains("before"), "{}{}", get.out, get.err);
        let get = alone.run(&["get", "b"]).await;
        assert!(get.out.contains("vvv"), "{}{}", get.out, get.err);
        alone.stop(node).await;
    })
    .await;
}

/// Flips bits in a file, and gives its bytes as they were.
fn damage(file: &Path, at: usize) -> Vec<u8> {
    let sound = fs::read(file).expect("reads");
    let mut damaged = sound.clone();
    for byte in &mut damaged[at..at + 16] {
        *byte ^= 0x11;
    }
    fs::write(file, damaged).expect("writes");
    sound
}

fn largest_table(directory: &Path) -> PathBuf {
    let mut waiting = vec![directory.to_owned()];
    let mut largest: Option<(u64, PathBuf)> = None;
    while let Some(directory) = waiting.pop() {
        for file in fs::read_dir(&directory).expect("lists") {
            let path = file.expect("lists").path();
            if path.is_dir() {
                waiting.push(path);
                continue;
            }
            let length = path.metadata().expect("looks").len();
            let is_table = directory.ends_with("tables") && path.extension().is_none();
            if is_table && largest.as_ref().is_none_or(|(most, _)| length > *most) {
                largest = Some((length, path));
            }
        }
    }
    largest.expect("the store has a table").1
}

#[tokio::test]
async fn damage_is_never_served_and_names_the_file_and_the_remedy() {
    story(Duration::ZERO, async {
        let alone = Alone::new();
        let node = alone.start(&[]).await;
        let value = "v".repeat(3000);
        for n in 0..8 {
            alone.put(&format!("a{n}"), &value).await;
        }
        alone.stop(node).await;
        let data = alone.data();
        let remedy = format!("horolog rebuild --data {}", data.display());
        let address = alone.port.address();

        let log = data.join("log").join("segment-0000000001.log");
        let sound = damage(&log, 2000);
        let log_name = log.display().to_string();
        alone
            .expect_refusal(&address, &[&log_name, "damaged", "byte", &remedy])
            .await;
        fs::write(&log, sound).expect("writes");

        let table = largest_table(&data.join("store"));
        let sound = damage(&table, 700);
        // What is damaged is met when the store is opened, or when it is first read.
        let arguments = alone.arguments(&address, &[]);
        let mut node = Process::start(
            alone.program.command(&arguments),
            "damaged",
            alone.directory.path(),
        );
        until("the node stops", NOTICED_WITHIN, async || {
            let scan = alone.run(&["scan"]).await;
            assert_ne!(
                scan.code,
                Some(0),
                "damaged data is never served: {}",
                scan.out
            );
            node.ended().map(|_| ()).ok_or(scan.err)
        })
        .await;
        let said = node.err();
        assert_eq!(
            node.ended().and_then(|ended| ended.code()),
            Some(NOT_DONE),
            "{said}"
        );
        for part in [&table.display().to_string(), "damaged", &remedy] {
            assert!(said.contains(part), "no '{part}' in: {said}");
        }
        fs::write(&table, sound).expect("writes");

        let node = alone.start(&[]).await;
        let get = alone.run(&["get", "a7"]).await;
        assert!(get.out.contains(&value), "whole again: {}", get.err);
        alone.stop(node).await;
    })
    .await;
}

#[tokio::test]
async fn data_of_another_node_and_of_a_newer_format_are_refused() {
    story(Duration::ZERO, async {
        let alone = Alone::new();
        let node = alone.start(&[]).await;
        alone.put("a", "x").await;
        alone.stop(node).await;

        let other = ReservedPort::any();
        let address = alone.port.address();
        let parts = [
            "belongs to the cluster",
            &address,
            "start it with the address that it had",
        ];
        alone.expect_refusal(&other.address(), &parts).await;

        for part in ["log", "store"] {
            let format = alone.data().join(part).join("format");
            let sound = fs::read_to_string(&format).expect("reads");
            fs::write(&format, sound.replace(" 1", " 9")).expect("writes");
            let parts = [part, "format 9", "newer version"];
            alone.expect_refusal(&address, &parts).await;
            fs::write(&format, sound).expect("writes");
        }
        let node = alone.start(&[]).await;
        let get = alone.run(&["get", "a"]).await;
        assert!(get.out.contains('x'), "refusals harm nothing: {}", get.err);
        alone.stop(node).await;
    })
    .await;
}
