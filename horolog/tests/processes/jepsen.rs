//! The suite of faults, in short: it finds nothing wrong with the store, and it would if there were.

use super::io::{Ended, Program, story};
use std::fs;
use std::path::Path;
use std::time::Duration;

/// A run of some seconds, with what comes before and after.
const MORE: Duration = Duration::from_secs(60);

async fn jepsen(program: &Program, out: &Path, more: &[&str]) -> Ended {
    let out = out.to_str().expect("a path in UTF-8");
    let jepsen = ["verify", "jepsen", "--out", out, "--seed", "7"];
    program.run_within(MORE, &[&jepsen, more].concat()).await
}

#[tokio::test]
async fn lists_survive_kills_and_lost_frames_and_a_history_with_a_lost_append_does_not() {
    story(MORE, async {
        let program = Program::find();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let out = directory.path().join("runs");
        let nemesis = ["--nemesis", "kill-leader+packet-loss", "--time", "8"];
        let ran = jepsen(&program, &out, &nemesis).await;
        let said = format!("{}{}", ran.out, ran.err);
        assert_eq!(ran.code, Some(0), "{said}");
        assert!(said.contains("1 runs were right, 0 wrong"), "{said}");
        for part in ["kill-leader: n", "packet-loss: ", "of all frames are lost"] {
            assert!(said.contains(part), "no '{part}' in: {said}");
        }

        // The last read of all forgets what it saw last: as if an acknowledged append were lost.
        let folder = out.join("list-append+kill-leader+packet-loss");
        let history = folder.join("history.edn");
        let whole = fs::read_to_string(&history).expect("the run left its history");
        let spoilt = without_last_element(&whole);
        let file = folder.join("spoilt.edn");
        fs::write(&file, spoilt).expect("writes");
        let check = |file: &Path| {
            let file = file.to_str().expect("a path in UTF-8").to_owned();
            let program = program.clone();
            async move {
                let check = ["verify", "check", &file, "--workload", "list-append"];
                program.run(&check).await
            }
        };
        let right = check(&history).await;
        assert_eq!(right.code, Some(0), "{}{}", right.out, right.err);
        let wrong = check(&file).await;
        assert_eq!(wrong.code, Some(1), "{}{}", wrong.out, wrong.err);
        assert!(wrong.out.contains("INVALID"), "{}", wrong.out);
    })
    .await;
}

/// Takes the last element of the last read that saw more than one away.
fn without_last_element(history: &str) -> String {
    let mut lines: Vec<String> = history.lines().map(str::to_owned).collect();
    let is_read = |line: &&mut String| {
        line.contains(":type :ok") && line.contains("[[:r ") && line.ends_with("]]]}")
    };
    let mut reads = lines.iter_mut().rev().filter(is_read);
    let read = reads
        .find(|line| {
            line.rsplit('[')
                .next()
                .is_some_and(|list| list.contains(' '))
        })
        .expect("the final reads saw lists");
    let (before, _) = read
        .rsplit_once(' ')
        .expect("there is more than one element");
    *read = format!("{before}]]]}}");
    lines.join("\n") + "\n"
}

#[tokio::test]
async fn what_cannot_be_run_is_told_with_what_it_waits_for() {
    story(Duration::ZERO, async {
        let program = Program::find();
        let directory = tempfile::tempdir().expect("a temporary directory");
        let list = program.run(&["verify", "jepsen", "--list"]).await;
        assert_eq!(list.code, Some(0), "{}", list.err);
        for part in [
            "kill-leader",
            "waits for splits and merges",
            "waits for watches",
        ] {
            assert!(list.out.contains(part), "no '{part}' in: {}", list.out);
        }
        let refused = async |more: &[&str], parts: &[&str]| {
            let ran = jepsen(&program, directory.path(), more).await;
            ran.expect_refusal(2, parts);
        };
        refused(&["--nemesis", "split"], &["waits for splits"]).await;
        refused(&["--nemesis", "kill-eleven"], &["kill-leader", "'+'"]).await;
        refused(&["--workload", "watch"], &["waits for watches"]).await;
        refused(&["--nemesis-hook", "true"], &["--connect"]).await;
    })
    .await;
}
