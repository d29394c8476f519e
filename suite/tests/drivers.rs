//! Every driver against a small cluster of real nodes on real sockets: what it records is judged right by its
//! checker, and with one lie put into it, wrong. A driver whose history cannot fail proves nothing.

use clock::io::BoundSource;
use node::io::{Server, ServerHandle, ServerOptions};
use std::fs::File;
use std::io::BufWriter;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use suite::io::RunClock;
use suite::judge::judge;
use suite::load::{self, DRIVERS, Driver};
use suite::nemesis::Promise;
use suite::run::{Counts, Load};
use tokio_util::sync::CancellationToken;
use verify::history::{History, Kind, Recorder};
use wire::client::{Client, ClientOptions};

const NODES: usize = 3;
const PARTITIONS: usize = 4;
const PROCESSES: usize = 8;
/// A founding on a machine that may be busy.
const FOUNDED_WITHIN: Duration = Duration::from_secs(30);
/// Of each driver; those of a group run side by side.
const DRIVEN_FOR: Duration = Duration::from_millis(2500);
const SIDE_BY_SIDE: usize = 4;
/// The least operations that must have succeeded: more than a handful, on a machine that may be busy.
const OK_MIN: u64 = 30;

struct Cluster {
    servers: Vec<ServerHandle>,
    addresses: Vec<String>,
}

impl Cluster {
    fn start(directory: &Path) -> Cluster {
        let listener = |_| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let listeners: Vec<TcpListener> = (0..NODES).map(listener).collect();
        let address = |listener: &TcpListener| listener.local_addr().unwrap().to_string();
        let addresses: Vec<String> = listeners.iter().map(address).collect();
        let servers = listeners.into_iter().enumerate().map(|(number, listener)| {
            Server::start(ServerOptions {
                data: directory.join(format!("node-{number}")),
                listener,
                advertise: None,
                join: addresses.clone(),
                splits: cluster::even_splits(PARTITIONS),
                clock: BoundSource::Fixed(Duration::from_micros(500)),
                disk_reserve: None,
                small: true,
                held_back_bytes_max: node::HELD_BACK_BYTES_MAX,
                timing: node::Timing::default(),
                limits: wire::io::ListenerLimits::default(),
                metrics: None,
            })
            .unwrap()
        });
        Cluster {
            servers: servers.collect(),
            addresses,
        }
    }

    /// Waits until a write is acknowledged.
    async fn founded(&self) {
        let options = ClientOptions {
            connect_timeout: FOUNDED_WITHIN,
            ..ClientOptions::default()
        };
        let client = Client::connect_with(&self.addresses, options)
            .await
            .unwrap();
        client.put("founded", "yes").await.unwrap();
    }

    fn stop(self) {
        self.servers.iter().for_each(ServerHandle::stop);
        for server in self.servers {
            server.join().unwrap();
        }
    }
}

/// What a driver recorded, in EDN.
async fn drive(driver: &'static Driver, addresses: &[String], folder: &Path) -> (Counts, String) {
    let path = folder.join(driver.name);
    let file = BufWriter::new(File::create(&path).unwrap());
    let load = Load {
        processes: PROCESSES,
        seed: 7,
        clock: RunClock::start(),
        recorder: Arc::new(Mutex::new(Recorder::new(file))),
        stop: CancellationToken::new(),
        quiet: CancellationToken::new(),
    };
    let (stop, quiet) = (load.stop.clone(), load.quiet.clone());
    let recorder = load.recorder.clone();
    let ends = async {
        tokio::time::sleep(DRIVEN_FOR).await;
        stop.cancel();
        quiet.cancel();
    };
    let (driven, ()) = tokio::join!(load::drive(driver, addresses, load), ends);
    let counts = driven.unwrap_or_else(|error| panic!("{}: {error}", driver.name));
    let recorder = Arc::into_inner(recorder).expect("nobody records any more");
    recorder.into_inner().unwrap().finish().unwrap();
    (counts, std::fs::read_to_string(&path).unwrap())
}

fn found(workload: &str, edn: &str) -> Vec<&'static str> {
    let history = History::read_edn(edn.as_bytes()).unwrap();
    let verdict = judge(workload, &history, Promise::StrictSerializability);
    let verdict = verdict.unwrap_or_else(|error| panic!("{workload}: {error}"));
    if verdict.is_valid() != Some(true) {
        println!("{}", verify::report::text(&verdict, workload));
    }
    verdict.anomalies()
}

/// An operation of a new process at the end: function, what is asked, what is told.
type Lie = (&'static str, String, String);

/// A lie that would be one whatever was recorded, and what is found of it.
fn lies(workload: &str, edn: &str) -> (Vec<Lie>, &'static str) {
    let one =
        |f: &'static str, asked: &str, told: &str| vec![(f, asked.to_owned(), told.to_owned())];
    let two = |first: (&'static str, &str, &str), second: (&'static str, &str, &str)| {
        let owned = |(f, asked, told): (&'static str, &str, &str)| (f, asked.into(), told.into());
        vec![owned(first), owned(second)]
    };
    let read = |told: &str| one("read", "nil", told);
    match workload {
        // Of a key of their own: which others were written depends on how fast the machine was.
        "list-append" => (
            two(
                ("txn", "[[:append 999 1]]", "[[:append 999 1]]"),
                ("txn", "[[:r 999 nil]]", "[[:r 999 []]]"),
            ),
            "G-single-item-realtime",
        ),
        "rw-register" => (
            two(
                ("txn", "[[:w 999 1]]", "[[:w 999 1]]"),
                ("txn", "[[:r 999 nil]]", "[[:r 999 nil]]"),
            ),
            "G-single-item-realtime",
        ),
        "bank" => (read("{0 801 1 0 2 0 3 0 4 0 5 0 6 0 7 0}"), "wrong-total"),
        "set" => (read("[]"), "lost-element"),
        "pages" => (read("[[0 1]]"), "torn-group"),
        "register" => (one("read", "[0 nil]", "[0 -1]"), "not-linearizable"),
        "multi-register" => {
            let asked = "[[:r 0 nil] [:r 1 nil]]";
            (
                one("txn", asked, "[[:r 0 -1] [:r 1 nil]]"),
                "not-linearizable",
            )
        }
        "monotonic" => (
            two(
                ("read", "[0 nil]", "[0 1000000]"),
                ("read", "[0 nil]", "[0 1]"),
            ),
            "went-back",
        ),
        "sequential" => (
            one("read", "[0 nil]", "[0 [3 nil nil 0]]"),
            "later-without-earlier",
        ),
        "comments" => {
            let last = value_of_last(edn, ":type :ok", ":f :write");
            (read(&format!("[{last}]")), "causal-reverse")
        }
        "long-fork" => {
            let saw = |a: &str, b: &str| format!("[[:r 0 {a}] [:r 1 {b}] [:r 2 1] [:r 3 1]]");
            let asked = "[[:r 0 nil] [:r 1 nil] [:r 2 nil] [:r 3 nil]]";
            let both = [saw("1", "nil"), saw("nil", "1")];
            (
                both.map(|told| ("txn", asked.to_owned(), told)).into(),
                "long-fork",
            )
        }
        "counter" => (one("read", "[0 nil]", "[0 1000000]"), "out-of-bounds"),
        "predicate" => (one("read", "[0 nil]", "[0 [0 1]]"), "phantom"),
        "internal" => (
            one("txn", "[[:w 1 5] [:r 1 nil]]", "[[:w 1 5] [:r 1 6]]"),
            "internal",
        ),
        "exactly-once" => (read("[]"), "lost-commit"),
        "temporal" => {
            let last = value_of_last(edn, ":type :ok", ":f :read-at");
            let (place, _) = last.rsplit_once(' ').unwrap();
            let (asked, told) = (format!("{place} nil]"), format!("{place} -1]"));
            (one("read-at", &asked, &told), "history-changed")
        }
        other => panic!("no lie is known for '{other}'"),
    }
}

/// The value of the last event with these words.
fn value_of_last(edn: &str, kind: &str, f: &str) -> String {
    let line = edn
        .lines()
        .rfind(|line| line.contains(kind) && line.contains(f));
    let (_, value) = line.unwrap().split_once(":value ").unwrap();
    value.trim_end_matches('}').to_owned()
}

fn with_lies(edn: &str, lies: &[Lie]) -> String {
    let mut edn = edn.to_owned();
    for (number, (f, asked, told)) in lies.iter().enumerate() {
        let process = 1_000_000 + number;
        for (kind, value) in [("invoke", asked), ("ok", told)] {
            edn += &format!("{{:process {process}, :type :{kind}, :f :{f}, :value {value}}}\n");
        }
    }
    edn
}

/// An acknowledged operation of which it is said later that it was aborted.
fn with_contradiction(edn: &str) -> String {
    let history = History::read_edn(edn.as_bytes()).unwrap();
    let operations = history.operations().unwrap().all;
    let acknowledged = operations.iter().find(|o| o.outcome(&history) == Kind::Ok);
    let index = history.events()[acknowledged.unwrap().invocation()].index;
    format!("{edn}{{:process :outcome, :type :info, :f :outcome, :value [{index} :aborted]}}\n")
}

#[test]
fn what_drivers_record_is_right_and_a_lie_in_it_is_found() {
    let folder = tempfile::tempdir().unwrap();
    let cluster = Cluster::start(folder.path());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    runtime.unwrap().block_on(async {
        cluster.founded().await;
        for group in DRIVERS.chunks(SIDE_BY_SIDE) {
            let driven = group.iter().map(|driver| {
                let (addresses, folder) = (cluster.addresses.clone(), folder.path().to_owned());
                tokio::spawn(async move { (driver, drive(driver, &addresses, &folder).await) })
            });
            for driven in driven.collect::<Vec<_>>() {
                let (driver, (counts, edn)) = driven.await.unwrap();
                examine(driver.name, counts, &edn);
            }
        }
    });
    cluster.stop();
}

fn examine(name: &str, counts: Counts, edn: &str) {
    println!("{name}: {counts:?}");
    assert!(counts.ok >= OK_MIN, "{name}: only {counts:?}");
    assert_eq!(found(name, edn), [""; 0], "{name}");
    let (lies, anomaly) = lies(name, edn);
    let of_lie = found(name, &with_lies(edn, &lies));
    assert!(
        of_lie.contains(&anomaly),
        "{name}: {of_lie:?} instead of {anomaly}"
    );
    let of_outcome = found(name, &with_contradiction(edn));
    assert!(
        of_outcome.contains(&"contradicting-outcomes"),
        "{name}: {of_outcome:?}"
    );
}
