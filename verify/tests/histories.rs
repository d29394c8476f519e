//! Histories with known verdicts (`histories/README.md` says where each comes from): ours must be the
//! same, anomaly by anomaly.

use std::collections::BTreeSet;
use std::path::PathBuf;
use verify::edn::parse_forms;
use verify::history::{History, Value};
use verify::{Assumptions, Expectation, Model, UnwrittenValues, Verdict};

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("tests/histories")
        .join(name)
}

fn read(name: &str) -> History {
    let file = std::fs::File::open(path(name)).unwrap_or_else(|error| panic!("{name}: {error}"));
    History::read_edn(file).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn names(value: Option<Value>) -> BTreeSet<String> {
    let members = value.into_iter().flat_map(Value::members);
    members
        .filter_map(|member| member.name().map(str::to_owned))
        .collect()
}

/// Models under Elle's names.
fn models(models: &[Model]) -> BTreeSet<String> {
    let name = |model: &Model| match model.name() {
        "strict-serializable" => "strong-serializable".to_owned(),
        name => name.to_owned(),
    };
    models.iter().map(name).collect()
}

fn check(history: &History, checker: &str, expectation: &Expectation) -> Verdict {
    let verdict = match checker {
        "list-append" => verify::check_list_append(history, expectation),
        "rw-register" => verify::check_rw_register(history, expectation),
        other => panic!("no checker {other}"),
    };
    verdict.unwrap_or_else(|malformed| panic!("{malformed}"))
}

fn expectation(options: Value) -> Expectation {
    let flag = |name| {
        options
            .get(name)
            .is_some_and(|value| value.to_string() == "true")
    };
    let models = match options.get("consistency-models") {
        None => vec![Model::STRICT_SERIALIZABLE],
        Some(models) => names(Some(models))
            .iter()
            .map(|name| Model::from_name(name).unwrap_or_else(|| panic!("no model {name}")))
            .collect(),
    };
    Expectation {
        models,
        anomalies: names(options.get("anomalies")).into_iter().collect(),
        assumptions: Assumptions {
            linearizable_keys: flag("linearizable-keys?"),
            sequential_keys: flag("sequential-keys?"),
            writes_follow_reads: flag("wfr-keys?"),
        },
        // As Elle has it.
        unwritten_values: UnwrittenValues::Initial,
    }
}

/// Where we name other kinds of cycles than Elle; the verdicts and the models that are ruled out are the
/// same. Elle looks at one candidate for each kind of cycle in a component and gives the kind up if the
/// candidate turns out to be of another: then it goes on to kinds that the missed one would have
/// implied (of 001, 010, 016 and 043: there is a G-single-item), or ends (047). We look at all of them.
const OTHER_NAMES: &[(&str, &[&str])] = &[
    (
        "unit-list-append-047.edn",
        &["G-single-item", "G0", "incompatible-order"],
    ),
    (
        "sim-brat-list-append-001.edn",
        &["G-single-item", "G0", "G1b", "G1c", "internal"],
    ),
    (
        "sim-brat-list-append-010.edn",
        &[
            "G-single-item",
            "G0",
            "G1b",
            "G1c",
            "internal",
            "lost-update",
        ],
    ),
    (
        "sim-brat-list-append-016.edn",
        &[
            "G-single-item",
            "G0",
            "G1b",
            "G1c",
            "internal",
            "lost-update",
        ],
    ),
    (
        "sim-prefix-list-append-043.edn",
        &["G-single-item", "G0", "incompatible-order"],
    ),
];

/// Checks everything that a manifest lists, and gives what differs.
fn differences(folder: &str) -> Vec<String> {
    let manifest = std::fs::read_to_string(path(folder).join("MANIFEST.edn")).unwrap();
    let forms = parse_forms(&manifest).unwrap();
    let mut differences = Vec::new();
    let mut count = 0;
    for entry in forms.iter() {
        count += 1;
        let file = entry.get("file").and_then(Value::name).unwrap();
        let checker = entry.get("checker").and_then(Value::name).unwrap();
        let history = read(&format!("{folder}/{file}"));
        let verdict = check(&history, checker, &expectation(entry.get("opts").unwrap()));
        let valid = entry.get("valid?").unwrap().to_string() == "true";
        if verdict.is_valid() != Some(valid) {
            differences.push(format!(
                "{file}: valid? should be {valid}, is {:?}: {:?}",
                verdict.is_valid(),
                verdict.anomalies()
            ));
            continue;
        }
        let expected = names(entry.get("anomaly-types"));
        if expected.contains("cycle-search-timeout") {
            continue;
        }
        let found: BTreeSet<String> = verdict.anomalies().into_iter().map(str::to_owned).collect();
        if let Some(ours) = OTHER_NAMES.iter().find(|(name, _)| *name == file) {
            let ours: BTreeSet<String> = ours.1.iter().map(|name| (*name).to_owned()).collect();
            assert_ne!(ours, expected, "{file} is no exception any more");
            assert_eq!(found, ours, "{file}");
        } else if found != expected {
            differences.push(format!(
                "{file}: anomalies should be {expected:?}, are {found:?}"
            ));
        }
        let (not, also_not) = (names(entry.get("not")), names(entry.get("also-not")));
        if !valid
            && (models(&verdict.not), models(&verdict.also_not)) != (not.clone(), also_not.clone())
        {
            differences.push(format!(
                "{file}: rules out {:?}, should {not:?}; also {:?}, should {also_not:?}",
                models(&verdict.not),
                models(&verdict.also_not)
            ));
        }
    }
    assert!(count >= 30, "{folder} lists only {count} histories");
    differences
}

#[test]
fn histories_of_elles_own_tests_get_elles_verdicts() {
    let differences = differences("unit");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

/// Elle takes a value that nobody wrote for an initial one; we do not unless asked to.
#[test]
fn reads_of_values_that_nobody_wrote_are_told() {
    for file in [
        "unit-rw-register-053",
        "unit-rw-register-055",
        "unit-rw-register-056",
        "unit-rw-register-074",
    ] {
        let expectation = Expectation::of(Model::from_name("read-uncommitted").unwrap());
        let verdict = check(
            &read(&format!("unit/{file}.edn")),
            "rw-register",
            &expectation,
        );
        assert!(
            verdict.anomalies().contains(&"garbage-read"),
            "{file}: {:?}",
            verdict.anomalies()
        );
    }
}

#[test]
fn histories_of_simulated_databases_get_elles_verdicts() {
    let differences = differences("sim");
    assert!(differences.is_empty(), "{}", differences.join("\n"));
}

fn hand(file: &str, model: &str) -> Verdict {
    let history = read(&format!("hand/{file}.edn"));
    let checker = if file.starts_with("la-") {
        "list-append"
    } else {
        "rw-register"
    };
    let model = Model::from_name(model).unwrap();
    check(&history, checker, &Expectation::of(model))
}

/// Of `hand/`: under strict-serializable, serializable, snapshot-isolation; and what must be named
/// under the first.
const BY_HAND: &[(&str, [bool; 3], &str)] = &[
    ("la-valid", [true, true, true], ""),
    ("la-info-observed", [true, true, true], ""),
    ("la-info-late-effect", [true, true, true], ""),
    ("la-dangling-observed", [true, true, true], ""),
    ("la-G0", [false, false, false], "G0"),
    ("la-G1a", [false, false, false], "G1a"),
    ("la-G1b", [false, false, false], "G1b"),
    ("la-G1c", [false, false, false], "G1c"),
    ("la-G-single", [false, false, false], "G-single-item"),
    ("la-lost-update", [false, false, false], "lost-update"),
    ("la-long-fork", [false, false, false], "G-nonadjacent-item"),
    ("la-G2-item", [false, false, true], "G2-item"),
    (
        "la-stale-read-rt",
        [false, true, true],
        "G-single-item-realtime",
    ),
    (
        "la-stale-read-session",
        [false, true, true],
        "G-single-item-realtime",
    ),
    (
        "la-lost-write-at-end",
        [false, true, true],
        "G-single-item-realtime",
    ),
    ("la-ww-rt", [false, true, true], "G0-realtime"),
    ("la-internal", [false, false, false], "internal"),
    (
        "la-incompatible-order",
        [false, false, false],
        "incompatible-order",
    ),
    (
        "la-duplicate-elements",
        [false, false, false],
        "duplicate-elements",
    ),
    ("la-dirty-update", [false, false, false], "dirty-update"),
    ("la-garbage-read", [false, false, false], "garbage-read"),
    ("la-info-marked-fail", [false, false, false], "G1a"),
    ("rw-valid", [true, true, true], ""),
    ("rw-G1a", [false, false, false], "G1a"),
    ("rw-G1b", [false, false, false], "G1b"),
    ("rw-G1c", [false, false, false], "G1c"),
    ("rw-G-single", [false, false, false], "G-single-item"),
    ("rw-G2-item", [false, false, true], "G2-item"),
    ("rw-lost-update", [false, false, false], "lost-update"),
    ("rw-internal", [false, false, false], "internal"),
    (
        "rw-stale-nil-rt",
        [false, true, true],
        "G-single-item-realtime",
    ),
    ("rw-stale-read-rt", [true, true, true], ""),
    ("rw-garbage", [false, false, false], "garbage-read"),
];

#[test]
fn histories_made_by_hand_get_the_verdicts_of_their_table() {
    for (file, valid, anomaly) in BY_HAND {
        let models = ["strict-serializable", "serializable", "snapshot-isolation"];
        let verdicts = models.map(|model| hand(file, model));
        let found = [0, 1, 2].map(|which| verdicts[which].is_valid() != Some(false));
        assert_eq!(found, *valid, "{file}: {:?}", verdicts[0].anomalies());
        let names = verdicts[0].anomalies();
        assert!(
            anomaly.is_empty() || names.contains(anomaly),
            "{file}: {anomaly} is not among {names:?}"
        );
    }
    let listed = BY_HAND.len() + 1;
    assert_eq!(
        std::fs::read_dir(path("hand")).unwrap().count(),
        listed,
        "every file has a row"
    );
}

#[test]
fn appends_that_nobody_read_prove_nothing() {
    let verdict = hand("la-ok-write-never-read", "strict-serializable");
    assert_eq!(
        verdict.is_valid(),
        Some(true),
        "real time orders the two: Elle's verdict"
    );
    let verdict = hand("la-ok-write-never-read", "serializable");
    assert_eq!(
        (verdict.is_valid(), verdict.anomalies()),
        (None, vec!["empty-transaction-graph"])
    );
}

#[test]
fn a_process_that_overlaps_itself_is_believed_about_real_time_only() {
    let history = read("unit/unit-list-append-007.edn");
    let check = |name| {
        let expectation = Expectation::of(Model::from_name(name).unwrap());
        verify::check_list_append(&history, &expectation)
    };
    let strict = check("strict-serializable").unwrap();
    assert_eq!(strict.is_valid(), Some(false));
    let refused = check("strong-session-serializable").unwrap_err();
    assert_eq!(
        refused.problem,
        verify::history::Problem::OverlappingOperations
    );
}

#[test]
fn a_stale_read_of_a_register_is_seen_if_keys_are_assumed_linearizable() {
    let mut expectation = Expectation::of(Model::STRICT_SERIALIZABLE);
    expectation.assumptions.linearizable_keys = true;
    let history = read("hand/rw-stale-read-rt.edn");
    let verdict = check(&history, "rw-register", &expectation);
    assert_eq!(verdict.is_valid(), Some(false), "{:?}", verdict.anomalies());
}

#[test]
fn recorded_registers_are_linearizable_or_not_as_known() {
    let register = verify::Workload::from_name("register").unwrap();
    let verify::Checker::Property(check) = &register.checker else {
        panic!("the register is checked for one property");
    };
    for (folder, linearizable, count) in [("good", true, 30), ("bad", false, 4)] {
        let mut files = 0;
        for entry in std::fs::read_dir(path(&format!("cas-register/{folder}"))).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let verdict = check(&read(&format!("cas-register/{folder}/{name}"))).unwrap();
            assert_eq!(
                verdict.is_valid(),
                Some(linearizable),
                "{folder}/{name}: {:?}",
                verdict.broken
            );
            files += 1;
        }
        assert!(files >= count - 3, "{folder} holds {files} histories");
    }
}
