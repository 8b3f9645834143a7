//! The owner's key for the page: what it signs, what it refuses, and what it reads.

use futures_util::{SinkExt as _, StreamExt as _};
use nostr::{Event, JsonUtil as _, Keys};
use tokio_tungstenite::tungstenite::Message;
use treefort::nips::{Draft, nip90::Scheme};

use super::*;
use crate::{
    harness::{Client, client::tag},
    jobs::statuses,
};

const SECRET: &str = "sk-ant-api03-Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4Zm9vYmFyYmF6cXV4";

fn event(answer: &Answer) -> Event {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let event = Event::from_json(answer.json().to_string()).unwrap();
    event.verify().unwrap();
    event
}

/// A customer that is nobody: the page's connection needs no key, since what it sends is signed already.
async fn connection(page: &Page) -> Client {
    page.treefort.client(&Keys::generate()).await
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_page_asks_is_signed_and_answered() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let provider = page.treefort.coordinator().to_hex();
    let draft = json!({
        "kind": 5050,
        "tags": [["i", "instant", "text"], ["p", provider], ["moment", "1"]],
        "content": "",
    });
    let before = treefort::coordinator::now();
    let job = event(&page.post("/api/sign", &draft).await);
    assert_eq!(job.pubkey, page.treefort.operator().public_key());
    assert!(job.created_at.as_secs() >= before && job.created_at.as_secs() <= before + 10);
    assert_eq!(json!(job.tags), draft["tags"]);
    let answers = connection(&page).await.do_signed_job(&job).await;
    let said = statuses(&answers);
    assert_eq!(said.last().unwrap(), "success", "{said:?}");
    assert!(said.contains(&"6050".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_question_is_read_by_the_coordinator_and_its_answer_by_the_page() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let (operator, provider) = (page.treefort.operator(), page.treefort.coordinator());
    let hidden = json!([
        ["i", format!("instant, not {SECRET}"), "text"],
        ["param", "max_tokens", "9"]
    ]);
    let draft = json!({"kind": 5050, "tags": [], "content": "", "hidden": hidden});
    let answer = page.post("/api/sign", &draft).await;
    assert_eq!(answer.header("treefort-redacted"), Some("true"));
    let job = event(&answer);
    assert_eq!(
        json!(job.tags),
        json!([["encrypted"], ["p", provider.to_hex()]])
    );
    let text = Scheme::Nip44
        .decrypt(&operator, &provider, &job.content)
        .unwrap();
    assert!(
        !text.contains(SECRET) && text.contains("[redacted]"),
        "{text}"
    );
    assert!(!job.as_json().contains("instant"));

    let mut client = connection(&page).await;
    let filter = json!({"kinds": [7000, 6050], "#e": [job.id.to_hex()]});
    client.subscribe("private", filter).await;
    client.raw(json!(["EVENT", job]).to_string()).await;
    let mut events = vec![job.clone()];
    while events.last().unwrap().kind.as_u16() != 6050 {
        events.push(client.next_event().await);
    }
    // Its end comes after its result.
    let end = client.next_event().await;
    client.raw(json!(["CLOSE", "private"]).to_string()).await;
    assert_eq!(end.kind.as_u16(), 7000);
    let plain = page
        .post("/api/decrypt", &json!({"events": events}))
        .await
        .json();
    let plain: Vec<&str> = plain["plain"]
        .as_array()
        .unwrap()
        .iter()
        .map(|one| one.as_str().unwrap())
        .collect();
    assert_eq!(plain.len(), events.len());
    assert_eq!(plain[0], text);
    assert!(
        plain[1].contains(r#"["status","processing""#),
        "{}",
        plain[1]
    );
    assert_eq!(
        plain.last().unwrap(),
        &"answer: instant, not [redacted] (turn 1)"
    );

    // What is not between these two, and what was changed on the way, stays closed.
    let stranger = Keys::generate();
    let by = |keys: &Keys, kind: u16, to: &str, content: String| {
        let draft = Draft::new(kind)
            .tag(["p", to])
            .tag(["encrypted"])
            .content(content);
        draft.sign(keys, 1).unwrap()
    };
    let to_us = |text: &str| {
        Scheme::Nip44
            .encrypt(&stranger, &operator.public_key(), text)
            .unwrap()
    };
    let ours = operator.public_key().to_hex();
    let mut forged = json!(events.last().unwrap());
    forged["content"] = json!(job.content);
    let mut of_another = json!(events.last().unwrap());
    of_another["pubkey"] = json!(stranger.public_key());
    let closed = json!([
        by(&stranger, 6050, &ours, to_us("a word")),
        by(&stranger, 5050, &provider.to_hex(), to_us("a word")),
        by(&operator, 4, &provider.to_hex(), job.content.clone()),
        by(
            &operator,
            5050,
            &stranger.public_key().to_hex(),
            job.content.clone()
        ),
        by(&operator, 5050, &provider.to_hex(), "nonsense".to_owned()),
        forged,
        of_another,
    ]);
    let plain = page
        .post("/api/decrypt", &json!({"events": closed}))
        .await
        .json();
    assert_eq!(
        plain["plain"],
        json!([null, null, null, null, null, null, null])
    );
    // An answer in the clear says what it says.
    let open = client
        .do_signed_job(&event(
            &page
                .post(
                    "/api/sign",
                    &json!({
                        "kind": 5050, "tags": [["i", "instant", "text"]],
                    }),
                )
                .await,
        ))
        .await;
    let plain = page
        .post("/api/decrypt", &json!({"events": [open[0]]}))
        .await
        .json();
    assert_eq!(plain["plain"][0], open[0].content);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_key_signs_what_the_page_is_for_and_nothing_else() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let signs = async |draft: Value| {
        let answer = page.post("/api/sign", &draft).await;
        match answer.status {
            200 => "signed".to_owned(),
            status => format!("{status} {}", answer.code()),
        }
    };
    for kind in [1, 5, 5050, 5870, 5871] {
        let said = signs(json!({"kind": kind, "tags": [["t", "x"]], "content": "x"})).await;
        assert_eq!(said, "signed", "{kind}");
    }
    for kind in [
        0, 3, 4, 6, 7, 13, 14, 1059, 4781, 4782, 4785, 5000, 5051, 6050, 6870, 6871, 7000, 10002,
        24135, 27235, 30000, 30078, 31990, 65535,
    ] {
        let said = signs(json!({"kind": kind, "tags": [["t", "x"]], "content": "x"})).await;
        assert_eq!(said, "403 kind", "{kind}");
    }
    let relay = format!("ws://{}", page.address());
    let auth = |relay: &str| json!([["relay", relay], ["challenge", "abc"]]);
    let port = page.address().split(':').nth(1).unwrap();
    for (draft, said) in [
        (json!({"kind": 5050, "content": "no tags"}), "signed"),
        (
            json!({"kind": 5871, "tags": [["alt", "x"]], "hidden": [["i", "diff", "text"]]}),
            "signed",
        ),
        (json!({"kind": 5870, "hidden": []}), "signed"),
        (json!({"kind": 1, "hidden": [["i", "x"]]}), "403 kind"),
        (json!({"kind": 5, "hidden": []}), "403 kind"),
        (
            json!({"kind": 5050, "hidden": [["i", "x"]], "content": "x"}),
            "400 bad-request",
        ),
        (json!({"kind": 5050, "tags": [[]]}), "400 bad-request"),
        (
            json!({"kind": 5050, "tags": [["", "x"]]}),
            "400 bad-request",
        ),
        (
            json!({"kind": 5050, "tags": [["encrypted"]], "content": "x"}),
            "400 bad-request",
        ),
        (
            json!({"kind": 5050, "tags": [["request", "x"]]}),
            "400 bad-request",
        ),
        (
            json!({"kind": 5050, "hidden": [["encrypted"]]}),
            "400 bad-request",
        ),
        (
            json!({"kind": 5050, "hidden": [["i", "x".repeat(70_000), "text"]]}),
            "413 too-large",
        ),
        (json!({"kind": 5050, "tags": [["i", 1]]}), "400 bad-request"),
        (json!({"kind": 5050, "created_at": 1}), "400 bad-request"),
        (json!({"kind": 5050, "pubkey": "x"}), "400 bad-request"),
        (json!({"kind": 65536}), "400 bad-request"),
        (json!({"kind": "5050"}), "400 bad-request"),
        (json!([]), "400 bad-request"),
        // Who it is, the owner says to this relay alone.
        (json!({"kind": 22242, "tags": auth(&relay)}), "signed"),
        (
            json!({"kind": 22242, "tags": auth(&format!("{relay}/"))}),
            "signed",
        ),
        (
            json!({"kind": 22242, "tags": auth("wss://relay.example")}),
            "403 kind",
        ),
        (
            json!({"kind": 22242, "tags": auth(&format!("{relay}.evil.example"))}),
            "403 kind",
        ),
        (
            json!({"kind": 22242, "tags": auth(&format!("ws://localhost:{port}"))}),
            "403 kind",
        ),
        (json!({"kind": 22242, "tags": auth("")}), "403 kind"),
        (
            json!({"kind": 22242, "tags": [["challenge", "abc"]]}),
            "403 kind",
        ),
        (
            json!({"kind": 22242, "tags": [["relay", relay], ["challenge", "a"], ["x"]]}),
            "403 kind",
        ),
        (
            json!({"kind": 22242, "tags": auth(&relay), "content": "x"}),
            "403 kind",
        ),
    ] {
        assert_eq!(signs(draft.clone()).await, said, "{draft}");
    }
    let cut = page.ask("POST", "/api/sign", "{\"kind\":").await;
    assert_eq!((cut.status, cut.code().as_str()), (400, "bad-request"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_is_left_out_before_it_is_signed() {
    let model = ModelServer::start().await;
    let environment = [("BACKUP_PASSWORD", "correct-horse/battery+staple")];
    let treefort = Treefort::start_in(&model, &[], AT_ONCE, &environment);
    let page = Page::of(treefort).await;
    let nsec = page.treefort.operator().secret_key().to_secret_hex();
    for secret in [SECRET, &nsec, environment[0].1] {
        let draft = json!({
            "kind": 5050,
            "tags": [["i", format!("use {secret} please"), "text"], ["param", "model", secret], ["x", "a", secret]],
            "content": format!("or {secret}"),
        });
        let answer = page.post("/api/sign", &draft).await;
        assert_eq!(answer.header("treefort-redacted"), Some("true"), "{secret}");
        let job = event(&answer);
        assert!(!job.as_json().contains(secret), "{job:?}");
        assert_eq!(tag(&job, "i").unwrap(), "use [redacted] please");
    }
    let draft = json!({"kind": 5050, "tags": [["i", "What is a token?", "text"]]});
    assert_eq!(
        page.post("/api/sign", &draft)
            .await
            .header("treefort-redacted"),
        None
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn where_readers_must_say_who_they_are_the_page_can() {
    let model = ModelServer::start().await;
    let config = format!("{AT_ONCE}[relay]\nread = \"auth\"\n");
    let page = Page::of(Treefort::start_with(&model, &[], &config)).await;
    let url = format!("ws://{}/", page.address());
    let (mut socket, _) = tokio_tungstenite::connect_async(&url).await.unwrap();
    let mut say = async |message: Value| {
        if !message.is_null() {
            socket
                .send(Message::text(message.to_string()))
                .await
                .unwrap();
        }
        let next = tokio::time::timeout(Duration::from_secs(10), socket.next()).await;
        let text = next.unwrap().unwrap().unwrap().into_text().unwrap();
        serde_json::from_str::<Value>(&text).unwrap()
    };
    let hello = say(Value::Null).await;
    assert_eq!(hello[0], "AUTH");
    let closed = say(json!(["REQ", "a", {"kinds": [30078]}])).await;
    assert_eq!(closed[0], "CLOSED", "{closed}");
    let draft =
        json!({"kind": 22242, "tags": [["relay", url], ["challenge", hello[1]]], "content": ""});
    let answer = page.post("/api/sign", &draft).await;
    assert_eq!(answer.header("treefort-redacted"), None);
    let accepted = say(json!(["AUTH", event(&answer)])).await;
    assert_eq!(
        (&accepted[0], &accepted[2]),
        (&json!("OK"), &json!(true)),
        "{accepted}"
    );
    let answered = say(json!(["REQ", "a", {"kinds": [30078]}])).await;
    assert!(
        answered[0] == "EVENT" || answered[0] == "EOSE",
        "{answered}"
    );
}
