//! PID 1, which has the agent's user: what an agent can do to it, and what one that is not ours
//! can do to the host.

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use treefort::sandbox::{Content, Error, Image};

use super::{Home, Host, attack, attempt, bound, image};
use crate::sandbox::{Backend, busybox, on_each};

on_each!(image;
    an_agent_has_no_stream_of_its_init_and_no_place_of_its_listener,
    an_agent_that_starves_its_init_ends_itself_only,
    an_agent_out_of_processes_is_still_ended,
);

async fn an_agent_has_no_stream_of_its_init_and_no_place_of_its_listener(home: Home) {
    let host = Host::new();
    let results = attempt(
        &home,
        &host,
        &[
            "/busybox ls /proc/self/fd | /busybox wc -l",
            "/attack listen 127.0.0.1 11434",
            "/attack kill-1 9 && /attack kill-1 19 && /attack kill-1 11; echo still here",
        ],
    )
    .await;
    // Three of its own, and the folder that is listed.
    assert_eq!(results[0].0.trim(), "4", "{results:?}");
    assert!(
        results[1].1 != 0 && results[1].0.contains("in use"),
        "{results:?}"
    );
    assert!(results[2].0.contains("still here"), "{results:?}");
    host.assert_unchanged();
    home.end().await;
}

/// The same user may lower its init's limits: it ends or starves its own sandbox, and no more.
async fn an_agent_that_starves_its_init_ends_itself_only(home: Home) {
    let host = Host::new();
    for (how, value) in [("cpu", 1), ("as", 4096), ("nofile", 3)] {
        let script = format!(
            "/attack limit-1 {how} {value}; for i in 1 2 3 4 5 6 7 8; do \
             echo x | /busybox nc -w 1 127.0.0.1 11434; /busybox head -c 300000 /dev/zero; done; exit 3",
        );
        let sandbox = home
            .runtime
            .start(bound(&home, &host, &script))
            .await
            .unwrap();
        // It may end by itself or hang; its owner ends it at any time.
        let mut sandbox = sandbox;
        let mut said = [0; 15];
        sandbox.agent.read_exact(&mut said).await.unwrap();
        assert_eq!(&said, b"limit-1: got it", "{how}");
        tokio::time::sleep(Duration::from_secs(2)).await;
        let began = Instant::now();
        let exit = sandbox.stop(Duration::from_secs(1)).await.unwrap();
        assert!(began.elapsed() < Duration::from_secs(20), "{how}");
        assert!(exit.code.is_some(), "{how}: {exit:?}");
    }
    host.assert_unchanged();
    home.end().await;
}

async fn an_agent_out_of_processes_is_still_ended(home: Home) {
    let host = Host::new();
    let script = "echo lit; bomb() { bomb | bomb & }; (bomb) & while :; do :; done";
    let mut sandbox = home
        .runtime
        .start(bound(&home, &host, script))
        .await
        .unwrap();
    let mut lit = [0; 4];
    sandbox.agent.read_exact(&mut lit).await.unwrap();
    let began = Instant::now();
    sandbox.stop(Duration::from_secs(1)).await.unwrap();
    assert!(began.elapsed() < Duration::from_secs(30));
    host.assert_unchanged();
    home.end().await;
}

/// A PID 1 that is not ours, so that every byte of the multiplexer is the adversary's.
#[tokio::test]
async fn a_hostile_init_costs_the_host_nothing_but_its_own_sandbox() {
    let mut evil = Image::new(
        "test-evil",
        "FROM scratch\nCOPY attack /treefort\nCOPY busybox /busybox\n",
    );
    evil.files
        .push(("attack".to_owned(), Content::File(attack())));
    evil.files
        .push(("busybox".to_owned(), Content::File(busybox())));
    let home = Home::of(Backend::Docker, &evil).await;
    let each = [
        "zeros", "noise", "huge", "streams", "twice", "half", "silent", "drip", "closed", "stderr",
    ];
    futures_util::future::join_all(each.map(|how| start_evil(&home, how))).await;
    home.end().await;
}

/// The same for a launcher that is not ours.
#[tokio::test]
async fn a_hostile_launcher_costs_the_host_nothing_but_its_own_sandbox() {
    let home = Home::launched_by(attack(), &image()).await;
    let each = [
        "zeros", "noise", "huge", "streams", "twice", "half", "silent", "drip", "closed", "stderr",
    ];
    futures_util::future::join_all(each.map(|how| start_evil(&home, how))).await;
    home.end().await;
}

async fn start_evil(home: &Home, how: &str) {
    let mut spec = home.spec("");
    spec.name = crate::sandbox::unique(&format!("treefort-test-{how}"));
    spec.env.push(("HOW".to_owned(), how.to_owned()));
    let began = Instant::now();
    match home.runtime.start(spec).await {
        Err(Error::Protocol(_) | Error::Start { .. }) => {}
        Err(error) => panic!("{how}: {error}"),
        // It had an agent's stream before it broke a rule.
        Ok(mut sandbox) => {
            assert_eq!(how, "twice");
            let ended = sandbox.exit.wait_for(Option::is_some);
            let ended = tokio::time::timeout(Duration::from_secs(20), ended).await;
            let exit = ended.expect("it is ended").unwrap().clone().unwrap();
            assert!(exit.violation.is_some(), "{exit:?}");
            drop(sandbox.control.stop(Duration::ZERO).await);
        }
    }
    assert!(began.elapsed() < Duration::from_secs(60), "{how}");
}
