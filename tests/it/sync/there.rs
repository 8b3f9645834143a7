//! What is there already: found out before anything is sent, by NIP-77 with a relay that knows it and by `ids` else.

use super::{
    others::{RsRelay, address, local_relay},
    *,
};

/// How many events wait, and how many of them the relay has already.
const WAITING: usize = 900;
const THERE: usize = 600;

/// How a relay was asked.
#[derive(Debug, Default, PartialEq, Eq)]
struct Asked {
    /// Reconciliations begun and ended before the first event was sent.
    begun: usize,
    ended: usize,
    /// How many ids were asked for before that, and in all.
    first: usize,
    ids: usize,
    /// Events that were sent before they were asked for.
    unasked: usize,
}

impl Asked {
    fn of(said: &[String]) -> Self {
        let mut asked = Self::default();
        let (mut known, mut sent) = (BTreeSet::new(), false);
        for text in said {
            let message: Value = serde_json::from_str(text).unwrap();
            match message[0].as_str().unwrap() {
                "EVENT" => {
                    sent = true;
                    let id = message[1]["id"].as_str().unwrap();
                    asked.unasked += usize::from(!known.contains(id));
                }
                "NEG-OPEN" => asked.begun += 1,
                "NEG-CLOSE" if !sent => asked.ended += 1,
                "REQ" => {
                    let ids = message[2]["ids"].as_array().unwrap();
                    known.extend(ids.iter().map(|id| id.as_str().unwrap().to_owned()));
                    asked.first += if sent { 0 } else { ids.len() };
                }
                _ => {}
            }
        }
        asked.ids = known.len();
        asked
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_knows_nip77_is_asked_by_it_and_another_one_for_ids() {
    let model = ModelServer::start().await;
    let other = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    let mut here = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    let (local, rs) = (local_relay().await, RsRelay::start().await);
    let operator = here.operator();
    let recipes: Vec<Event> = (0..WAITING).map(|n| recipe(&operator, n)).collect();
    give(&mut here.client(&operator).await, &recipes).await;
    let mut taps = Vec::new();
    for behind in [&other.address, &address(&local).await, &rs.address] {
        let mut client = Client::connect(behind, operator.clone()).await;
        give(&mut client, &recipes[..THERE]).await;
        taps.push(Tap::start(behind).await);
    }
    // It knows it, and says nothing of itself.
    taps[1].introduce(r#"{"supported_nips":[1,77]}"#);
    let urls: Vec<String> = taps.iter().map(Tap::url).collect();
    set(&mut here, &stream("up", &urls));
    until("all is there", &here, async || {
        let status = told(&here, &["sync", "--json"]).await;
        (0..3).all(|at| status["relays"][at]["tally"]["sent"] == WAITING - THERE)
    })
    .await;
    let status = told(&here, &["sync", "--json"]).await;
    for (at, tap) in taps.iter().enumerate() {
        assert_eq!(status["relays"][at]["tally"]["there"], THERE);
        let sent = tap.events();
        assert_eq!(sent.len(), WAITING - THERE);
        for event in &recipes[THERE..] {
            assert_eq!(sent[&event.id], [event.as_json()]);
        }
        let asked = Asked::of(&tap.said());
        eprintln!("relay {at}: {asked:?}");
        if at == 2 {
            assert_eq!((asked.begun, asked.ids, asked.unasked), (0, WAITING, 0));
        } else {
            // All that is lined up by then at once; the rest of the log while that is done.
            assert!(asked.begun >= 1 && asked.begun <= WAITING / 100);
            assert!(asked.ended >= 1 && asked.first == 0);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_cannot_be_asked_as_it_says_is_asked_otherwise_or_sent_to_all_the_same() {
    let model = ModelServer::start().await;
    // It says that it knows NIP-77, and then it refuses, hangs up, or says nothing; the last one answers nothing at all.
    let manners = [
        Negentropy::Refused,
        Negentropy::Cut,
        Negentropy::Unanswered,
        Negentropy::Unanswered,
    ];
    let (mut relays, mut taps) = (Vec::new(), Vec::new());
    for (at, negentropy) in manners.into_iter().enumerate() {
        let manner = Manner {
            negentropy,
            deaf: at == 3,
            ..Manner::default()
        };
        let relay = Foreign::start(manner).await;
        let tap = Tap::start(&relay.address).await;
        tap.introduce(r#"{"supported_nips":[1,77]}"#);
        relays.push(relay);
        taps.push(tap);
    }
    let urls: Vec<String> = taps.iter().map(Tap::url).collect();
    let mut treefort = Treefort::start_in(&model, &[], "", &[NO_DOCKER]);
    let operator = treefort.operator();
    let recipes: Vec<Event> = (0..30).map(|n| recipe(&operator, n)).collect();
    give(&mut treefort.client(&operator).await, &recipes).await;
    // One of them is there already.
    for relay in &relays {
        relay.publish(&recipes[3]);
    }
    set(&mut treefort, &stream("up", &urls));
    let began = Instant::now();
    for (at, relay) in relays.iter().enumerate() {
        let deadline = Instant::now() + 2 * PATIENCE;
        while relay.count() < recipes.len() {
            assert!(Instant::now() < deadline, "relay {at}: {}", treefort.log());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        eprintln!("relay {at}: all is there after {:?}", began.elapsed());
        assert_eq!(relay.asked("NEG-OPEN").len(), 1, "relay {at}");
        assert!(relay.sent().values().all(|count| *count == 1), "relay {at}");
        // Only one that could not be asked is sent what it has.
        assert_eq!(relay.sent().contains_key(&recipes[3].id), at == 3);
    }
}
