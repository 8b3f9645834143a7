//! NIP-50 at the wire: what is found, in which order, and what never is.

use std::{collections::HashSet, fs, path::Path};

use super::*;

const DAY: u64 = 86_400;

fn text(keys: &Keys, kind: u16, content: &str, at: u64) -> Event {
    Draft::new(kind).content(content).sign(keys, at).unwrap()
}

/// A bus with notes of these texts, each a second older than the one before it.
async fn with(texts: &[&str]) -> (Bus, Client, Vec<String>) {
    let bus = Bus::searched(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let (newest, mut ids) = (now(), Vec::new());
    for (at, content) in texts.iter().enumerate() {
        let event = text(&keys, 1, content, newest - at as u64);
        assert!(client.publish(&event).await.0);
        ids.push(event.id.to_hex());
    }
    (bus, client, ids)
}

impl Client {
    async fn found(&mut self, search: &str) -> Vec<String> {
        self.req("s", &[json!({ "search": search })]).await
    }

    async fn counted(&mut self, filters: &[Value]) -> Value {
        let mut message = vec![json!("COUNT"), json!("c")];
        message.extend_from_slice(filters);
        self.send(Value::Array(message)).await;
        self.next().await
    }
}

#[tokio::test]
async fn what_was_acknowledged_is_found_at_once_and_after_a_restart() {
    let bus = Bus::searched(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    for number in 0..30 {
        let event = note(&keys, &format!("treehouse number{number}"));
        assert!(client.publish(&event).await.0);
        let found = client.found(&format!("Treehouse NUMBER{number}")).await;
        assert_eq!(found, [event.id.to_hex()]);
    }
    let bus = bus.again().await;
    let mut client = bus.client().await;
    assert_eq!(client.found("treehouse").await.len(), 30);
    assert!(announced(&bus).await.contains(&json!(50)));
}

#[tokio::test]
async fn all_words_have_to_be_there_folded_and_in_any_order() {
    let (_bus, mut client, ids) = with(&[
        "Der Apfel fällt nicht weit vom Stamm: Straße",
        "An apple a day",
        "日本語のテキストを検索する",
        "don't panic, it is only a naïve résumé",
    ])
    .await;
    for (search, wanted) in [
        ("apfel STRASSE", vec![0]),
        ("fallt weit", vec![0]),
        ("apple apfel", vec![]),
        ("day apple", vec![1]),
        ("日本", vec![2]),
        ("検索", vec![2]),
        ("本日", vec![]),
        ("索", vec![2]),
        ("naive resume", vec![3]),
        ("apple include:spam language:en", vec![1]),
        ("appl", vec![]),
        ("!?", vec![]),
    ] {
        let wanted: Vec<String> = wanted.iter().map(|at: &usize| ids[*at].clone()).collect();
        assert_eq!(client.found(search).await, wanted, "{search}");
    }
    // Nothing but extensions restricts nothing.
    assert_eq!(client.found("include:spam").await, ids);
}

#[tokio::test]
async fn the_best_comes_first_and_the_limit_cuts_after_that() {
    let filler = "and so on with many other words that nobody looks for ".repeat(20);
    let bus = Bus::searched(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let mut put = async |content: &str, age: u64| {
        let event = text(&keys, 1, content, now() - age);
        assert!(client.publish(&event).await.0);
        event.id.to_hex()
    };
    let long = put(&format!("squirrel {filler}"), 0).await;
    let short = put("a squirrel in the tree", 2 * DAY).await;
    let often = put("squirrel squirrel squirrel in the tree", 2 * DAY).await;
    let old = put("a squirrel in the oak", 1000 * DAY).await;
    for number in 0..20 {
        put(&format!("the tree number {number}"), number).await;
    }
    assert_eq!(
        client.found("squirrel").await,
        [often.as_str(), &short, &old, &long]
    );
    let best = client
        .req("s", &[json!({"search": "squirrel", "limit": 1})])
        .await;
    assert_eq!(best, [often.as_str()]);
    // The rare word weighs more than the common one: all have both.
    assert_eq!(client.found("tree squirrel").await[0], often);
    // Ranked over several filters, each event once; those without a search come last.
    let several = client
        .req(
            "s",
            &[
                json!({"search": "squirrel oak"}),
                json!({"search": "squirrel", "limit": 2}),
                json!({"ids": [long, short]}),
            ],
        )
        .await;
    let once: HashSet<&String> = several.iter().collect();
    assert_eq!((several.len(), once.len()), (4, 4));
    assert_eq!(several[3], long);
}

#[tokio::test]
async fn the_other_fields_of_a_filter_hold_too_and_so_does_a_count() {
    let bus = Bus::searched(Config::default()).await;
    let mut client = bus.client().await;
    let (anna, bert) = (Keys::generate(), Keys::generate());
    let then = now() - 1000;
    let tagged = Draft::new(1)
        .content("lighthouse keeper")
        .tag(["t", "sea"])
        .sign(&anna, then)
        .unwrap();
    let plain = text(&bert, 1, "lighthouse", then + 100);
    let article = Draft::new(30023)
        .content("nothing")
        .tag(["d", "x"])
        .tag(["title", "The Lighthouse"])
        .sign(&anna, then + 200)
        .unwrap();
    let job = Draft::new(5050)
        .tag(["i", "draw a lighthouse", "text"])
        .tag(["i", "lighthouse.example", "url"])
        .sign(&anna, then + 300)
        .unwrap();
    let profile = Draft::new(0)
        .content(r#"{"name":"Li\u0067hthouse","picture":"https://shore.example/"}"#)
        .sign(&bert, then + 400)
        .unwrap();
    let reaction = text(&bert, 7, "lighthouse", then + 500);
    for event in [&tagged, &plain, &article, &job, &profile, &reaction] {
        assert!(client.publish(event).await.0);
    }
    let table = [
        (
            json!({"kinds": [1], "authors": [anna.public_key()]}),
            vec![&tagged],
        ),
        (json!({"#t": ["sea"]}), vec![&tagged]),
        (json!({"kinds": [30023, 5050]}), vec![&article, &job]),
        (
            json!({"since": then + 50, "until": then + 150}),
            vec![&plain],
        ),
        (json!({"ids": [profile.id, reaction.id]}), vec![&profile]),
        (json!({"kinds": [7]}), vec![]),
        (json!({"kinds": []}), vec![]),
        (json!({"since": 20, "until": 10}), vec![]),
    ];
    for (mut filter, wanted) in table {
        filter["search"] = json!("lighthouse");
        let found: HashSet<String> = client
            .req("s", &[filter.clone()])
            .await
            .into_iter()
            .collect();
        let wanted: HashSet<String> = wanted.iter().map(|event| event.id.to_hex()).collect();
        assert_eq!(found, wanted, "{filter}");
        let answer = client.counted(&[filter.clone()]).await;
        assert_eq!(answer[2]["count"], wanted.len(), "{filter}: {answer}");
    }
    assert!(client.found("shore").await.is_empty());
    let union = [
        json!({"search": "lighthouse", "kinds": [1]}),
        json!({"search": "keeper"}),
    ];
    assert_eq!(client.counted(&union).await[2]["count"], 2);
    let mixed = [json!({"search": "lighthouse"}), json!({"kinds": [7]})];
    let refused = client.counted(&mixed).await;
    client
        .send(json!(["NEG-OPEN", "n", {"search": "lighthouse"}, "6100000200"]))
        .await;
    assert_eq!(client.next().await[0], "NEG-ERR");
    assert_eq!(refused[0], "CLOSED");
    assert!(refused[2].as_str().unwrap().starts_with("unsupported:"));
    let soon = Draft::new(1)
        .content("lighthouse")
        .tag(["expiration", (now() + 5).to_string().as_str()])
        .sign(&anna, then)
        .unwrap();
    assert!(client.publish(&soon).await.0);
    let filter = json!({"search": "lighthouse", "ids": [soon.id]});
    assert_eq!(client.counted(&[filter]).await[2]["count"], 1);
    tokio::time::sleep(Duration::from_secs(6)).await;
    let answer = client
        .counted(&[json!({"search": "lighthouse", "kinds": [1]})])
        .await;
    assert_eq!(answer[2]["count"], 2, "an expired event is not found");
}

#[tokio::test]
async fn what_is_encrypted_is_not_found_whoever_asks() {
    let bus = Bus::searched(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let own = keys.public_key().to_hex();
    assert!(client.auth(&keys).await.0);
    for kind in [4, 13, 14, 1059, 1060, 30078, 10000] {
        let event = Draft::new(kind)
            .content("zanzibar")
            .tag(["p", own.as_str()])
            .sign(&keys, now())
            .unwrap();
        assert!(client.publish(&event).await.0, "{kind}");
    }
    for kind in [5050, 6050, 5870, 6870, 4782] {
        let event = Draft::new(kind)
            .content("zanzibar")
            .tag(["encrypted"])
            .sign(&keys, now())
            .unwrap();
        assert!(client.publish(&event).await.0, "{kind}");
    }
    let filter = json!({"search": "zanzibar", "kinds": [1059, 5050]});
    assert!(client.req("s", &[filter]).await.is_empty());
    assert!(client.found("zanzibar").await.is_empty());
    let event = text(&keys, 6050, "zanzibar", now());
    assert!(client.publish(&event).await.0);
    // It comes to the subscription of before, which is live, and nothing else does.
    let live = client.next().await;
    assert_eq!(live[2]["id"], event.id.to_hex());
    assert_eq!(client.found("zanzibar").await, [event.id.to_hex()]);
}

#[tokio::test]
async fn after_the_stored_ones_come_live_events_with_all_words() {
    let bus = Bus::searched(Config::default()).await;
    let mut reader = bus.client().await;
    let mut writer = bus.client().await;
    let keys = Keys::generate();
    let filters = [json!({"search": "red fox", "kinds": [1]})];
    assert!(reader.req("live", &filters).await.is_empty());
    for (kind, content) in [(1, "a red dog"), (7, "red fox"), (1, "FOX, not réd")] {
        let event = text(&keys, kind, content, now());
        assert!(writer.publish(&event).await.0);
        if content.starts_with("FOX") {
            assert_eq!(reader.next().await[2]["id"], event.id.to_hex());
        }
    }
    reader.silent().await;
}

#[tokio::test]
async fn what_was_deleted_or_replaced_is_not_found() {
    let bus = Bus::searched(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let gone = note(&keys, "walrus");
    let stays = note(&keys, "walrus too");
    let first = text(&keys, 0, r#"{"name":"walrus"}"#, now() - 10);
    for event in [&gone, &stays, &first] {
        assert!(client.publish(event).await.0);
    }
    assert_eq!(client.found("walrus").await.len(), 3);
    let deletion = Draft::new(5)
        .tag(["e", gone.id.to_hex().as_str()])
        .sign(&keys, now())
        .unwrap();
    let second = text(&keys, 0, r#"{"name":"seal"}"#, now());
    assert!(client.publish(&deletion).await.0);
    assert!(client.publish(&second).await.0);
    assert_eq!(client.found("walrus").await, [stays.id.to_hex()]);
    assert_eq!(client.found("seal").await, [second.id.to_hex()]);
    let answer = client.counted(&[json!({"search": "walrus"})]).await;
    assert_eq!(answer[2]["count"], 1);
}

/// Every file below a folder.
fn files(folder: &Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() {
            true => found.extend(files(&path)),
            false => found.push(path),
        }
    }
    found
}

#[tokio::test]
async fn what_was_purged_leaves_nothing_in_the_index_and_no_word_is_ever_in_it() {
    let bus = Bus::searched(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let secret = note(&keys, "the launchcode is swordfish");
    let other = note(&keys, "the weather is fine");
    assert!(client.publish(&secret).await.0);
    assert!(client.publish(&other).await.0);
    assert_eq!(client.found("swordfish").await, [secret.id.to_hex()]);
    let folder = bus.home().join("search");
    let clear = |word: &str| {
        files(&folder).iter().any(|file| {
            let bytes = fs::read(file).unwrap();
            bytes
                .windows(word.len())
                .any(|window| window == word.as_bytes())
        })
    };
    assert!(!clear("swordfish") && !clear(secret.id.to_hex().as_str()));
    assert_eq!(
        bus.relay.purge(vec![secret.id], Vec::new()).await.unwrap(),
        1
    );
    assert!(client.found("swordfish").await.is_empty());
    // Each database has a key of its own, which goes with its folder.
    let mark = folder.join("mark");
    fs::write(&mark, "").unwrap();
    assert!(bus.relay.erase().await.unwrap());
    assert!(!mark.exists());
    assert!(client.found("swordfish").await.is_empty());
    assert_eq!(client.found("weather").await, [other.id.to_hex()]);
}

#[tokio::test]
async fn an_index_that_is_missing_damaged_or_of_another_store_is_built_again() {
    let bus = Bus::searched(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    let mut ids = HashSet::new();
    for number in 0..300 {
        let event = note(&keys, &format!("otter number{number}"));
        assert!(client.publish(&event).await.0);
        ids.insert(event.id.to_hex());
    }
    assert_eq!(client.found("otter").await.len(), 300);
    drop(client);
    let damages: [fn(&Path); 4] = [
        |folder| fs::remove_dir_all(folder).unwrap(),
        |folder| {
            for file in files(folder) {
                fs::write(file, "no database").unwrap();
            }
        },
        |folder| {
            fs::remove_dir_all(folder).unwrap();
            fs::write(folder, "a file").unwrap();
        },
        |folder| {
            for file in files(folder) {
                let bytes = fs::read(&file).unwrap();
                fs::write(&file, &bytes[..bytes.len().min(100)]).unwrap();
            }
        },
    ];
    let mut bus = bus;
    for (number, damage) in damages.into_iter().enumerate() {
        bus = bus.again_after(|home| damage(&home.join("search"))).await;
        let mut client = bus.client().await;
        let found: HashSet<String> = client.found("otter").await.into_iter().collect();
        assert_eq!(found, ids, "damage {number}");
    }
    // The index of this store beside another store.
    bus = bus
        .again_after(|home| fs::remove_dir_all(home.join("events")).unwrap())
        .await;
    let mut client = bus.client().await;
    for number in 0..300 {
        assert!(
            client
                .publish(&note(&keys, &format!("beaver{number}")))
                .await
                .0
        );
    }
    drop(client);
    bus = bus.again().await;
    let mut client = bus.client().await;
    assert!(client.found("otter").await.is_empty());
    assert_eq!(client.found("beaver299").await.len(), 1);
}

#[tokio::test]
async fn a_text_of_many_words_and_a_search_of_many_are_bounded() {
    let bus = Bus::searched(Config::default()).await;
    let mut client = bus.client().await;
    let keys = Keys::generate();
    // As many words as fit into an event, and all of the longest.
    let many: String = (0..1_000_000_u32)
        .map(|number| format!("{number:x} "))
        .take_while({
            let mut bytes = 0;
            move |word| {
                bytes += word.len();
                bytes < 450_000
            }
        })
        .collect();
    let accents = "a\u{300}\u{301}".repeat(80_000);
    let long = "x".repeat(400_000);
    for content in [&many, &accents, &long] {
        assert!(client.publish(&note(&keys, content)).await.0);
    }
    assert_eq!(client.found("1f").await.len(), 1);
    assert_eq!(client.found(&"x".repeat(100)).await.len(), 1);
    assert_eq!(client.found(&"a".repeat(100)).await.len(), 1);
    let beyond = format!("{:x}", 8192);
    assert!(client.found(&beyond).await.is_empty());
    let size: u64 = files(&bus.home().join("search"))
        .iter()
        .map(|file| std::os::unix::fs::MetadataExt::blocks(&fs::metadata(file).unwrap()) * 512)
        .sum();
    assert!(size < 4 << 20, "{size}");
    for search in [
        "w ".repeat(600),
        (0..33).map(|n| format!("w{n} ")).collect(),
    ] {
        let reason = client.closed(json!(["REQ", "s", {"search": search}])).await;
        assert!(
            reason.starts_with("invalid: a search has at most"),
            "{reason}"
        );
    }
}

#[tokio::test]
async fn without_a_search_filters_that_ask_for_one_are_closed_with_the_reason() {
    let bus = Bus::searched(Config {
        search: false,
        ..Config::default()
    })
    .await;
    let mut client = bus.client().await;
    let reason = client.closed(json!(["REQ", "s", {"search": "x"}])).await;
    assert_eq!(reason, "unsupported: this relay does not search");
    let answer = client.counted(&[json!({"search": "x"})]).await;
    assert_eq!(answer[0], "CLOSED");
    assert!(!bus.home().join("search").exists());
    let nips = announced(&bus).await;
    assert!(!nips.is_empty() && !nips.contains(&json!(50)));
}

/// The NIPs that the relay's document names.
async fn announced(bus: &Bus) -> Vec<Value> {
    let document = bus
        .get(
            "/",
            &format!(
                "Host: {}\r\nAccept: application/nostr+json\r\n",
                bus.address
            ),
        )
        .await;
    let (_, body) = document.split_once("\r\n\r\n").unwrap();
    let document: Value = serde_json::from_str(body).unwrap();
    document["supported_nips"].as_array().unwrap().clone()
}
