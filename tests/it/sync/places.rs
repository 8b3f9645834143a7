//! Relays that others name, as time goes by: their places are taken, become free and are lost, their names lead elsewhere,
//! and what was said to somebody leaves when it becomes known where they read.

use std::{path::Path, sync::atomic::Ordering};

use super::{
    far::{FAR, Far, Names, in_own_network, names, trap},
    tls::{self, certificate},
    *,
};
use crate::harness::client::{status, tag};

/// A treefort beside a relay on the internet, and a friend whose jobs it takes.
struct World {
    folder: tempfile::TempDir,
    far: Far,
    names: Names,
    relay: Foreign,
    treefort: Treefort,
    friend: Keys,
    _model: ModelServer,
}

impl World {
    async fn new(sync: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let far = Far::new();
        let names = names(folder.path());
        let tls = certificate(folder.path(), "relay.example");
        let relay = Foreign::start_on(far.listen(443), Manner::default(), Some(tls));
        let model = ModelServer::start().await;
        let roots = folder.path().join("relay.example.pem");
        let environment = [NO_DOCKER, ("SSL_CERT_FILE", roots.to_str().unwrap())];
        let mut treefort = Treefort::start_in(&model, &[], "", &environment);
        set(&mut treefort, sync);
        let friend = Keys::generate();
        let allow = treefort
            .command(&["allow", &friend.public_key().to_hex()])
            .await;
        assert!(allow.status.success(), "{allow:?}");
        Self {
            folder,
            far,
            names,
            relay,
            treefort,
            friend,
            _model: model,
        }
    }

    /// Another relay at the same host.
    fn at_port(&self, port: u16) -> Foreign {
        let tls = again(self.folder.path());
        Foreign::start_on(self.far.listen(port), Manner::default(), Some(tls))
    }

    fn job(&self, text: &str, relays: &[&str]) -> Event {
        let draft = Draft::new(5050)
            .tag(["i", text, "text"])
            .tag(["p", &self.treefort.coordinator().to_hex()]);
        let draft = match relays {
            [] => draft,
            _ => draft.tag(std::iter::once("relays").chain(relays.iter().copied())),
        };
        draft.sign(&self.friend, now()).unwrap()
    }

    /// Has a job answered (there is no sandbox in this network, so that it says); gives what was said.
    async fn answered(&self, text: &str, relays: &[&str]) -> Vec<Event> {
        let job = self.job(text, relays);
        let mut client = self.treefort.client(&self.friend).await;
        client.do_signed_job(&job).await;
        self.answers(&job).await
    }

    async fn answers(&self, job: &Event) -> Vec<Event> {
        let us = self.treefort.coordinator().to_hex();
        let mine = json!({"kinds": [7000, 6050], "authors": [us], "#e": [job.id]});
        let found = has(&self.treefort, mine).await;
        assert!(!found.is_empty());
        found
    }

    async fn status(&self) -> Value {
        told(&self.treefort, &["sync", "--json"]).await
    }

    /// How it stands with a relay; nothing when none is known by this address.
    async fn of(&self, url: &str) -> Value {
        let status = self.status().await;
        let relays = status["relays"].as_array().unwrap();
        let found = relays.iter().find(|one| one["url"] == url);
        found.cloned().unwrap_or_default()
    }
}

/// The certificate that was made before.
fn again(folder: &Path) -> tokio_rustls::TlsAcceptor {
    tls::served(folder, "relay.example")
}

async fn arrived(world: &World, relay: &Foreign, events: &[Event], what: &str) {
    until(what, &world.treefort, async || {
        events.iter().all(|event| relay.has(&event.id))
    })
    .await;
}

#[test]
fn what_finds_no_place_leaves_when_one_is_free_also_after_a_restart() {
    in_own_network(
        "sync::places::what_finds_no_place_leaves_when_one_is_free_also_after_a_restart",
        async {
            let sync = "[named_by_others]\njobs = true\nmost = 1\n";
            let mut world = World::new(sync).await;
            // Nobody answers there, and it has the one place.
            const AWAY: &str = "wss://relay.example:8443";
            let first = world.answered("first", &[AWAY]).await;
            let later = world.answered("later", &["wss://relay.example"]).await;
            let taken_back = world.answered("taken back", &["wss://relay.example"]).await;
            let unplaced = later.len() + taken_back.len();
            until("all of it waits for a place", &world.treefort, async || {
                world.status().await["unplaced"] == unplaced
            })
            .await;
            for event in &taken_back {
                let id = event.id.to_hex();
                let back = world.treefort.command(&["unpublish", &id, "--yes"]).await;
                let said = String::from_utf8_lossy(&back.stdout).into_owned();
                assert!(said.contains("it had not left"), "{back:?}");
            }
            assert_eq!(world.status().await["unplaced"], later.len());
            assert_eq!(world.status().await["left_out"], 0);
            world.treefort.kill();
            world.treefort.up();
            assert_eq!(world.status().await["unplaced"], later.len());
            assert_eq!(world.relay.connections(), 0);
            let away = world.at_port(8443);
            arrived(&world, &away, &first, "it is back").await;
            arrived(&world, &world.relay, &later, "there is a place").await;
            assert_eq!(world.status().await["unplaced"], 0);
            same_bytes(&away, &first);
            same_bytes(&world.relay, &later);
        },
    );
}

#[test]
fn what_is_at_a_relay_that_lost_its_place_is_asked_back_there() {
    in_own_network(
        "sync::places::what_is_at_a_relay_that_lost_its_place_is_asked_back_there",
        async {
            let sync = "[named_by_others]\njobs = true\nmost = 1\n";
            let mut world = World::new(sync).await;
            let other = world.at_port(8443);
            let mut first = world.answered("first", &["wss://relay.example"]).await;
            first.extend(world.answered("and", &["wss://relay.example"]).await);
            arrived(&world, &world.relay, &first, "it is there").await;
            until("nothing is under way", &world.treefort, async || {
                world.of("wss://relay.example/").await["tally"]["waiting"] == 0
            })
            .await;
            let second = world
                .answered("second", &["wss://relay.example:8443"])
                .await;
            arrived(&world, &other, &second, "the other one has the place").await;
            for restarted in [false, true] {
                if restarted {
                    world.treefort.kill();
                    world.treefort.up();
                }
                let event = &first[usize::from(restarted)];
                let before = world.relay.count();
                let id = event.id.to_hex();
                let back = world.treefort.command(&["unpublish", &id, "--yes"]).await;
                let said = String::from_utf8_lossy(&back.stdout).into_owned();
                assert!(said.contains("wss://relay.example/"), "{back:?}");
                assert!(!said.contains(":8443"), "it was never there: {said}");
                until("it is asked back", &world.treefort, async || {
                    world.relay.count() > before
                })
                .await;
                let (deletion, _) = world.relay.kept().pop().unwrap();
                assert_eq!(deletion.kind.as_u16(), 5);
                assert_eq!(tag(&deletion, "e"), Some(id));
            }
            // It has no place for all that.
            let third = world.answered("third", &["wss://relay.example:8443"]).await;
            arrived(&world, &other, &third, "the other one has it still").await;
            assert_eq!(other.count(), second.len() + third.len());
        },
    );
}

#[test]
fn a_name_that_leads_elsewhere_meanwhile_is_refused_and_nothing_is_lost() {
    in_own_network(
        "sync::places::a_name_that_leads_elsewhere_meanwhile_is_refused_and_nothing_is_lost",
        async {
            let world = World::new("[named_by_others]\njobs = true\n").await;
            const URL: &str = "wss://relay.example/";
            let near = trap(443);
            let first = world.answered("first", &[URL]).await;
            arrived(&world, &world.relay, &first, "it is there").await;
            until("nothing more is said", &world.treefort, async || {
                world.of(URL).await["connected"] == false
            })
            .await;
            let connections = world.relay.connections();
            world.names.lead("127.0.0.1");
            let second = world.answered("second", &[URL]).await;
            for to in ["127.0.0.1", "10.0.0.1"] {
                world.names.lead(to);
                let refused = format!("leads to {to}, where it must not go");
                until("it is refused", &world.treefort, async || {
                    let problem = world.of(URL).await["problem"].clone();
                    problem
                        .as_str()
                        .is_some_and(|words| words.contains(&refused))
                })
                .await;
            }
            assert_eq!(near.load(Ordering::SeqCst), 0, "nothing here was asked");
            assert_eq!(world.relay.connections(), connections);
            world.names.lead(FAR);
            arrived(&world, &world.relay, &second, "it leads there again").await;
            let all: Vec<Event> = first.into_iter().chain(second).collect();
            same_bytes(&world.relay, &all);
            assert_eq!(near.load(Ordering::SeqCst), 0);
        },
    );
}

#[test]
fn where_somebody_reads_is_heard_from_a_relay_and_followed_only_when_the_owner_says_so() {
    in_own_network(
        "sync::places::where_somebody_reads_is_heard_from_a_relay_and_followed_only_when_the_owner_says_so",
        async {
            let home = Foreign::start(Manner::default()).await;
            let follows = stream("both", &[home.url()]);
            let mut world = World::new(&follows).await;
            until("it listens", &world.treefort, async || {
                !home.asked("REQ").is_empty()
            })
            .await;
            let job = world.job("where do I read", &[]);
            home.publish(&job);
            let said = json!({"kinds": [7000], "#e": [job.id]});
            until("it is answered", &world.treefort, async || {
                let said = has(&world.treefort, said.clone()).await;
                said.iter().any(|event| status(event).as_str() == "error")
            })
            .await;
            let answers = world.answers(&job).await;
            arrived(&world, &home, &answers, "it is answered where it came from").await;
            let list = |keys: &Keys| {
                Draft::new(10002)
                    .tag(["r", "wss://loop.example", "write"])
                    .tag(["r", "wss://relay.example/inbox"])
                    .sign(keys, now())
                    .unwrap()
            };
            let (theirs, strangers) = (list(&world.friend), list(&Keys::generate()));
            let lists = json!({"ids": ids([&theirs, &strangers])});
            for one in [&theirs, &strangers] {
                home.publish(one);
                // Whether or not it asked for it.
                home.replay(one);
            }
            tokio::time::sleep(Duration::from_secs(2)).await;
            assert!(has(&world.treefort, lists.clone()).await.is_empty());
            let asks_for_lists = || {
                let asked = home.asked("REQ");
                asked
                    .iter()
                    .any(|asked| asked[2]["kinds"] == json!([10002]))
            };
            assert!(!asks_for_lists(), "off is off");
            assert_eq!(world.relay.connections(), 0, "off is off");
            let readers = format!("{follows}[named_by_others]\nreaders = true\n");
            set(&mut world.treefort, &readers);
            arrived(&world, &world.relay, &answers, "it is where they read").await;
            assert!(asks_for_lists());
            home.replay(&strangers);
            tokio::time::sleep(Duration::from_millis(500)).await;
            assert_eq!(
                ids(&has(&world.treefort, lists).await),
                ids([&theirs]),
                "nobody spoke to us but this one"
            );
            same_bytes(&world.relay, &answers);
        },
    );
}

#[test]
fn an_answer_goes_to_a_relay_of_the_owners_too_when_that_is_where_somebody_reads() {
    in_own_network(
        "sync::places::an_answer_goes_to_a_relay_of_the_owners_too_when_that_is_where_somebody_reads",
        async {
            let home = Foreign::start(Manner::default()).await;
            let relays = [home.url(), "wss://relay.example".to_owned()];
            let readers = stream("both", &relays) + "[named_by_others]\nreaders = true\n";
            let world = World::new(&readers).await;
            // Only another relay knows where they read, who ask here.
            let list = Draft::new(10002)
                .tag(["r", "wss://relay.example"])
                .sign(&world.friend, now())
                .unwrap();
            home.publish(&list);
            until("it listens", &world.treefort, async || {
                !home.asked("REQ").is_empty()
            })
            .await;
            let answers = world.answered("where do I read", &[]).await;
            arrived(&world, &world.relay, &answers, "it is where they read").await;
            same_bytes(&world.relay, &answers);
            assert!(answers.iter().all(|answer| !home.has(&answer.id)));
        },
    );
}
