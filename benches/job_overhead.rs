//! Job overhead (DESIGN.md §6): from a customer's request on the wire to the result on the wire, with a
//! model that answers at once, through the real program, relay, container and agent.
//!
//! *warm*: the container is up, its streams are attached, ACP is initialised, and it was not used yet.
//! *open*: the session of the same conversation is still open. *cold*: no container is there; beside it the
//! time of a bare `docker run` of the same image, in turns, so that both meet the same machine.
//!
//! Run with `cargo bench --bench job_overhead`. Needs Docker Engine.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a benchmark reports to a person and fails by panicking"
)]

mod common;

use std::{
    process::{Command, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use treefort::model::scripted::{Answer, MODEL, Scripted};

use self::common::{Customer, Up, report};

const ROUNDS: usize = 40;
const COLD_ROUNDS: usize = 15;

/// A bare `docker run` of the image that the sessions use, to the end of its program.
fn docker_run() -> Duration {
    let images = Command::new("docker")
        .args([
            "images",
            "treefort/chat",
            "--format",
            "{{.Repository}}:{{.Tag}}",
        ])
        .output()
        .unwrap();
    let images = String::from_utf8(images.stdout).unwrap();
    let image = images.lines().next().unwrap();
    let began = Instant::now();
    let status = Command::new("docker")
        .args([
            "run",
            "--rm",
            "--network",
            "none",
            "--entrypoint",
            "/treefort",
            image,
            "--version",
        ])
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    began.elapsed()
}

fn question(customer: &Customer, number: usize) -> treefort::nips::Draft {
    customer.ask(5050, &format!("question {number}"))
}

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(run());
}

async fn run() {
    let (model, _serving) = Scripted::start(Arc::new(|_| Answer::new("done").at_once()))
        .await
        .unwrap();

    let up = Up::start(&model, MODEL, "[sessions]\nidle_s = 0\nwarm = 1");
    let mut customer = Customer::connect(&up).await;
    let mut warm = Vec::new();
    for number in 0..ROUNDS {
        up.wait_for_warm(number);
        warm.push(customer.job(question(&customer, number)).await.0);
    }
    let p50 = report("warm (bar: p50 <= 20 ms)", warm);
    drop((customer, up));

    let up = Up::start(&model, MODEL, "[sessions]\nidle_s = 60\nwarm = 0");
    let mut customer = Customer::connect(&up).await;
    let (_, mut last) = customer.job(question(&customer, 0)).await;
    let mut open = Vec::new();
    for number in 1..=ROUNDS {
        let (time, result) = customer
            .job(question(&customer, number).tag(["e", &last.id.to_hex()]))
            .await;
        last = result;
        open.push(time);
    }
    report("open conversation", open);
    drop((customer, up));

    let up = Up::start(&model, MODEL, "[sessions]\nidle_s = 0\nwarm = 0");
    let mut customer = Customer::connect(&up).await;
    let (mut cold, mut bare) = (Vec::new(), Vec::new());
    for number in 0..COLD_ROUNDS {
        let time = customer.job(question(&customer, number)).await.0;
        if number > 0 {
            cold.push(time);
            bare.push(docker_run());
        }
    }
    let cold = report("cold (request to result)", cold);
    let bare = report("bare docker run", bare);
    println!(
        "cold over bare docker run: {:+.0} ms (bar: <= +150 ms)",
        cold - bare
    );
    assert!(p50 <= 20.0, "the warm bar is missed");
}
