//! A customer made of other people's code: NDK or nostr-tools, run by Node.js (`tests/foreign/`).
//!
//! The tests here play the provider themselves, so that it is known what the customer notices before it is
//! let loose on the real one.

mod provider;

use std::{path::Path, process::Stdio, time::Duration};

use nostr::{Keys, PublicKey};
use serde::Deserialize;
use tokio::process::Command;

use self::provider::{Fault, Provider};

/// Which code the customer is made of.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Library {
    Ndk,
    NostrTools,
}

/// How the job is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    Plain,
    Nip04,
    Nip44,
}

/// What the customer saw, in the words of `tests/foreign/customer.mjs`.
#[derive(Debug, Deserialize)]
pub(crate) struct Summary {
    /// `success`, `error` or `timeout`.
    pub(crate) outcome: String,
    /// The statuses, in order.
    pub(crate) feedback: Vec<String>,
    /// The statuses with `result` where it came.
    pub(crate) order: Vec<String>,
    pub(crate) code: Option<String>,
    pub(crate) result: Option<String>,
    /// How many results there were.
    pub(crate) results: usize,
    /// Whether every `request` was the job verbatim; `None` without a result.
    pub(crate) request_ok: Option<bool>,
    /// Whether the job was the first `e` of every answer.
    pub(crate) first_e_ok: Option<bool>,
    /// For encrypted jobs, whether no answer had an `i` or a `param`.
    pub(crate) no_clear_input: Option<bool>,
    /// What the library could not make sense of.
    pub(crate) broken: Vec<String>,
}

/// Has a foreign customer send one job and wait for its end.
pub(crate) async fn ask(
    relay: &str,
    provider: &PublicKey,
    customer: &Keys,
    library: Library,
    mode: Mode,
    prompt: &str,
) -> Summary {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/foreign");
    assert!(
        folder.join("node_modules").is_dir(),
        "the customer's libraries are missing: run `tests/run setup`"
    );
    let library = match library {
        Library::Ndk => "ndk",
        Library::NostrTools => "nostr-tools",
    };
    let mode = match mode {
        Mode::Plain => "plain",
        Mode::Nip04 => "nip04",
        Mode::Nip44 => "nip44",
    };
    let output = Command::new("node")
        .arg("customer.mjs")
        .args(["--relay", relay, "--provider", &provider.to_hex()])
        .args(["--library", library, "--mode", mode, "--timeout", "60"])
        .args(["--prompt", prompt])
        .env("CUSTOMER_KEY", customer.secret_key().to_secret_hex())
        .current_dir(folder)
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = tokio::time::timeout(Duration::from_secs(90), output)
        .await
        .expect("the customer hangs")
        .unwrap();
    let stdout = String::from_utf8(output.stdout).unwrap();
    let last = stdout.lines().last().unwrap_or_default();
    let mut line: serde_json::Value = serde_json::from_str(last).unwrap_or_else(|_| {
        let stderr = String::from_utf8_lossy(&output.stderr);
        panic!("the customer failed ({}): {stderr}", output.status)
    });
    serde_json::from_value(line["summary"].take()).unwrap()
}

const LIBRARIES: [Library; 2] = [Library::Ndk, Library::NostrTools];
const MODES: [Mode; 3] = [Mode::Plain, Mode::Nip04, Mode::Nip44];

#[tokio::test]
async fn foreign_customer_reads_a_right_provider() {
    let provider = Provider::start(Fault::None).await;
    for library in LIBRARIES {
        for mode in MODES {
            let customer = Keys::generate();
            let key = provider.public_key();
            let seen = ask(&provider.url(), &key, &customer, library, mode, "Hello").await;
            let place = format!("{library:?} {mode:?}: {seen:?}");
            assert_eq!(seen.outcome, "success", "{place}");
            assert_eq!(seen.order, ["processing", "result", "success"], "{place}");
            assert_eq!(seen.result.as_deref(), Some("You said: Hello"), "{place}");
            assert_eq!(seen.request_ok, Some(true), "{place}");
            assert_eq!(seen.first_e_ok, Some(true), "{place}");
            let hidden = (mode != Mode::Plain).then_some(true);
            assert_eq!(seen.no_clear_input, hidden, "{place}");
            assert!(seen.broken.is_empty(), "{place}");
        }
    }
}

#[tokio::test]
async fn foreign_customer_notices_a_wrong_provider() {
    for (fault, library, mode) in [
        (Fault::BareText, Library::Ndk, Mode::Nip44),
        (Fault::BareText, Library::NostrTools, Mode::Nip04),
        (Fault::OtherJobFirst, Library::NostrTools, Mode::Plain),
        (Fault::OtherRequest, Library::Ndk, Mode::Plain),
        (Fault::Refuses, Library::Ndk, Mode::Nip04),
    ] {
        let provider = Provider::start(fault).await;
        let customer = Keys::generate();
        let key = provider.public_key();
        let seen = ask(&provider.url(), &key, &customer, library, mode, "Hello").await;
        let noticed = match fault {
            Fault::None => false,
            Fault::BareText => !seen.broken.is_empty(),
            Fault::OtherJobFirst => seen.first_e_ok == Some(false),
            Fault::OtherRequest => seen.request_ok == Some(false),
            Fault::Refuses => {
                seen.feedback == ["error"]
                    && seen.code.as_deref() == Some("input")
                    && seen.results == 0
            }
        };
        assert!(noticed, "{fault:?} was not noticed: {seen:?}");
    }
}
