//! The bridge is what `nips/openapi.json` says: Schemathesis makes requests out of the description, right ones and wrong
//! ones, and holds the answers of the real program to it.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output, Stdio},
};

use crate::{harness::Treefort, jobs::AT_ONCE, model_server::ModelServer};

/// Requests of each kind.
const EXAMPLES: &str = "30";

/// Where `tests/run setup` puts it: in the target folder.
fn program() -> PathBuf {
    // The folder is `target/debug`, or `target/<platform>/debug`.
    let folders = Path::new(env!("CARGO_BIN_EXE_treefort"))
        .ancestors()
        .skip(2)
        .take(2);
    let mut programs = folders.map(|target| target.join("schemathesis/bin/schemathesis"));
    let found = programs.find(|program| program.exists());
    found.expect("no schemathesis in the target folder; `tests/run setup` gets it")
}

/// Runs it on a description with further options.
fn schemathesis(address: &str, description: &Path, options: &[&str]) -> Output {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let scratch = tempfile::tempdir().unwrap();
    Command::new(program())
        .arg("--no-color")
        .arg("--config-file")
        .arg(root.join("tests/schemathesis.toml"))
        .arg("run")
        .arg(description)
        .args(["--url", &format!("http://{address}")])
        // What a schema cannot say: that an event is signed, and that a filter comes in one of two ways.
        .args([
            "--checks",
            "all",
            "--exclude-checks",
            "positive_data_acceptance",
        ])
        .args(["--max-examples", EXAMPLES, "--continue-on-failure"])
        .args(["--generation-database", "none", "--warnings", "off"])
        .args(options)
        .current_dir(scratch.path())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

fn description() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("nips/openapi.json")
}

const READ_AND_PUBLISH: [&str; 4] = [
    "--phases",
    "coverage,fuzzing",
    "--exclude-path",
    "/events/stream",
];

#[tokio::test(flavor = "multi_thread")]
async fn the_bridge_is_what_its_description_says() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let output = schemathesis(&treefort.address, &description(), &READ_AND_PUBLISH);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
    assert!(said.contains("No issues found"), "{said}");
    // A stream that is right does not end; what is wrong is answered.
    let stream = [
        "--phases",
        "coverage,fuzzing",
        "--include-path",
        "/events/stream",
        "--mode",
        "negative",
        "--request-timeout",
        "5",
    ];
    let output = schemathesis(&treefort.address, &description(), &stream);
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_description_that_is_wrong_is_noticed() {
    let model = ModelServer::start().await;
    let treefort = Treefort::start_with(&model, &[], AT_ONCE);
    let right = std::fs::read_to_string(description()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    for (is, wrong) in [
        // Too little is allowed, and a header that there is not.
        ("\"maximum\": 65535", "\"maximum\": 100"),
        ("\"treefort-seq\": {", "\"treefort-number\": {"),
    ] {
        let changed = right.replace(is, wrong);
        assert_ne!(changed, right, "{is}");
        let file = folder.path().join("openapi.json");
        std::fs::write(&file, changed).unwrap();
        let mut options = READ_AND_PUBLISH.to_vec();
        options.extend(["--max-failures", "1"]);
        let output = schemathesis(&treefort.address, &file, &options);
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(!output.status.success(), "{wrong} was not noticed: {said}");
    }
}
