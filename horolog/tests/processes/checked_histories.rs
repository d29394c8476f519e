//! Histories in files are judged by `verify check`, with an exit code for scripts.

use super::io::{Program, repository, story};
use std::time::Duration;

const VALID: i32 = 0;
const INVALID: i32 = 1;
const NOT_JUDGED: i32 = 2;

fn history(name: &str) -> String {
    let path = repository().join("verify/tests/histories").join(name);
    path.to_str().expect("a path in UTF-8").to_owned()
}

#[tokio::test]
async fn a_verdict_is_told_in_words_in_json_in_pictures_and_as_exit_code() {
    story(Duration::ZERO, async {
        let program = Program::find();
        let check = async |file: &str, more: &[&str]| {
            let file = history(file);
            program
                .run(&[&["verify", "check", &file], more].concat())
                .await
        };
        let lists = ["--workload", "list-append"];

        let valid = check("hand/la-valid.edn", &lists).await;
        assert_eq!(valid.code, Some(VALID), "{}{}", valid.out, valid.err);
        assert!(
            valid.out.starts_with("valid: 4 operations"),
            "{}",
            valid.out
        );

        let pictures = tempfile::tempdir().expect("a temporary directory");
        let directory = pictures.path().to_str().expect("a path in UTF-8");
        let stale = check(
            "hand/la-stale-read-rt.edn",
            &[&lists[..], &["--svg", directory]].concat(),
        )
        .await;
        assert_eq!(stale.code, Some(INVALID), "{}{}", stale.out, stale.err);
        for part in [
            "INVALID: 3 operations break strict-serializable: G-single-item-realtime",
            "T2 read key 1 as [] and so did not see 1, which T1 appended next",
            "T1 had been answered (event 1) before T2 was begun (event 2).",
            "What cannot hold: strong-snapshot-isolation.",
        ] {
            assert!(stale.out.contains(part), "no '{part}' in: {}", stale.out);
        }
        let picture = pictures.path().join("G-single-item-realtime-1.svg");
        let picture = std::fs::read_to_string(picture).expect("the cycle was drawn");
        assert!(
            picture.contains("realtime: T1 had been answered"),
            "{picture}"
        );

        let weaker = [&lists[..], &["--model", "serializable", "--json"]].concat();
        let json = check("hand/la-stale-read-rt.edn", &weaker)
            .await
            .json_lines()
            .remove(0);
        assert_eq!(json["valid"], true, "{json}");
        let json = check("hand/la-G1a.edn", &weaker)
            .await
            .json_lines()
            .remove(0);
        assert_eq!(json["broken"][0]["anomaly"], "G1a", "{json}");
        assert_eq!(
            json["broken"][0]["examples"][0]["events"],
            serde_json::json!([3, 1]),
            "{json}"
        );

        let register = check(
            "cas-register/bad/rethink-fail-minimal.edn",
            &["--workload", "register"],
        )
        .await;
        assert_eq!(
            register.code,
            Some(INVALID),
            "{}{}",
            register.out,
            register.err
        );
        assert!(
            register.out.contains("not-linearizable"),
            "{}",
            register.out
        );
    })
    .await;
}

#[tokio::test]
async fn what_cannot_be_judged_is_told_with_its_place() {
    story(Duration::ZERO, async {
        let program = Program::find();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let path = directory.path().join("history.edn");
        let file = path.to_str().expect("a path in UTF-8");
        let check = ["verify", "check", file, "--workload", "list-append"];

        let missing = program.run(&check).await;
        missing.expect_refusal(NOT_JUDGED, &["history.edn"]);

        let write = |text: &str| std::fs::write(&path, text).expect("the history is written");
        write("{:process 0, :type :invoke, :f :txn, :value [[:append 1 1]]}\n{:process 0, :type :okay}");
        let unreadable = program.run(&check).await;
        unreadable.expect_refusal(NOT_JUDGED, &["history.edn: line 2, column 14", ":okay"]);

        write("{:process 0, :type :ok, :f :txn, :value [[:append 1 1]]}");
        let malformed = program.run(&check).await;
        malformed.expect_refusal(NOT_JUDGED, &["completion-without-invocation", "line 1"]);

        write("");
        let nothing = program.run(&check).await;
        nothing.expect_refusal(NOT_JUDGED, &[]);
        assert!(nothing.out.contains("empty-transaction-graph"), "{}", nothing.out);

        let waits = program.run(&["verify", "check", file, "--workload", "watch"]).await;
        waits.expect_refusal(NOT_JUDGED, &["waits for watches"]);
    })
    .await;
}
