//! Permissions that wait for whoever reads the claims, and sessions that are loaded again.

use super::*;

const ASKED: &str = r#"{"jsonrpc":"2.0","id":"p1","method":"session/request_permission","params":{"sessionId":"s",
    "toolCall":{"toolCallId":"t"},"options":[{"optionId":"a","kind":"allow_always","name":"x"},
    {"optionId":"o","kind":"allow_once","name":"x"},{"optionId":"r","kind":"reject_once","name":"x"}]}}"#;

fn patient(wait: Duration) -> Limits {
    Limits {
        permission_wait: wait,
        ..Limits::default()
    }
}

async fn ask(fake: &mut Fake) {
    fake.write(&ASKED.replace('\n', "")).await;
}

async fn asked(claims: &mut Receiver<Claim>) -> treefort::agent::claims::Answer {
    match claims.recv().await {
        Some(Claim::Permission(permission)) => permission.answer,
        other => panic!("{other:?}"),
    }
}

fn outcome(line: &Value) -> &Value {
    assert_eq!(line["id"], "p1");
    &line["result"]["outcome"]
}

#[tokio::test]
async fn the_agent_waits_until_something_was_done_first() {
    let (peer, mut claims, mut fake) = start(Journal::none(), patient(Duration::from_secs(30)));
    ask(&mut fake).await;
    let answer = asked(&mut claims).await;
    // Meanwhile the agent can say more, and be asked.
    fake.write(r#"{"jsonrpc":"2.0","method":"news","params":{}}"#)
        .await;
    assert!(matches!(claims.recv().await, Some(Claim::Other { .. })));
    let early = tokio::time::timeout(Duration::from_millis(50), fake.read()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(answer.give(), Some("allow_once"));
    assert_eq!(outcome(&fake.read().await)["optionId"], "o");
    // Once is enough.
    assert_eq!(answer.give(), Some("allow_once"));
    drop(answer);
    let again = tokio::time::timeout(Duration::from_millis(50), fake.read()).await;
    assert!(again.is_err(), "{again:?}");
    drop(peer);
}

#[tokio::test]
async fn nobody_who_answers_means_the_policy_does() {
    let (_peer, mut claims, mut fake) = start(Journal::none(), patient(Duration::from_secs(30)));
    ask(&mut fake).await;
    drop(asked(&mut claims).await);
    assert_eq!(outcome(&fake.read().await)["optionId"], "o");

    let (_peer, mut claims, mut fake) = start(Journal::none(), patient(Duration::from_millis(50)));
    ask(&mut fake).await;
    let forgotten = asked(&mut claims).await;
    assert_eq!(outcome(&fake.read().await)["optionId"], "o");
    assert_eq!(forgotten.give(), Some("allow_once"));
}

#[tokio::test]
async fn a_cancelled_session_is_told_so_whoever_answers() {
    let (peer, mut claims, mut fake) = start(Journal::none(), patient(Duration::from_secs(30)));
    let session = treefort::agent::acp::SessionId("s".to_owned());
    ask(&mut fake).await;
    let answer = asked(&mut claims).await;
    peer.cancel(&session).await.unwrap();
    let mut lines = [fake.read().await, fake.read().await];
    lines.sort_by_key(|line| line.get("method").is_none());
    assert_eq!(lines[0]["method"], "session/cancel");
    assert_eq!(outcome(&lines[1])["outcome"], "cancelled");
    assert_eq!(answer.give(), None);
    ask(&mut fake).await;
    assert_eq!(asked(&mut claims).await.give(), None);
    assert_eq!(outcome(&fake.read().await)["outcome"], "cancelled");
}

#[tokio::test]
async fn a_flood_of_requests_does_not_wait() {
    let (_peer, mut claims, mut fake) = start(Journal::none(), patient(Duration::from_secs(300)));
    let reading = tokio::spawn(async move {
        let mut kept = Vec::new();
        for _ in 0..40 {
            kept.push(asked(&mut claims).await);
        }
        kept
    });
    for _ in 0..40 {
        ask(&mut fake).await;
    }
    for _ in 0..24 {
        assert_eq!(outcome(&fake.read().await)["optionId"], "o");
    }
    // The others wait, and are answered when nobody will.
    let kept = reading.await.unwrap();
    let early = tokio::time::timeout(Duration::from_millis(50), fake.read()).await;
    assert!(early.is_err(), "{early:?}");
    drop(kept);
    for _ in 0..16 {
        assert_eq!(outcome(&fake.read().await)["optionId"], "o");
    }
}

#[tokio::test]
async fn who_holds_an_answer_has_all_the_time_and_chooses_any_option() {
    let (peer, mut claims, mut fake) = start(Journal::none(), patient(Duration::from_millis(50)));
    peer.set_permissions(PermissionPolicy::Reject);
    let asks = ASKED.replace("\"allow_once\"", "\"sometimes\"");
    fake.write(&asks.replace('\n', "")).await;
    let answer = asked(&mut claims).await;
    assert!(answer.hold());
    let kinds: Vec<&str> = answer.options().iter().map(|o| o.kind.as_str()).collect();
    assert_eq!(kinds, ["allow_always", "sometimes", "reject_once"]);
    assert_eq!(answer.no(), Some(2));
    let early = tokio::time::timeout(Duration::from_millis(200), fake.read()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(answer.choose(1), Some("other"));
    assert_eq!(outcome(&fake.read().await)["optionId"], "o");
    assert!(!answer.hold());

    // Its time was over: nobody can take it any more, and the policy of that moment has answered.
    ask(&mut fake).await;
    let late = asked(&mut claims).await;
    assert_eq!(outcome(&fake.read().await)["optionId"], "r");
    assert!(!late.hold());
    assert_eq!(late.choose(0), Some("reject_once"));

    // The holder goes without a word.
    ask(&mut fake).await;
    let held = asked(&mut claims).await;
    assert!(held.hold());
    drop(held);
    assert_eq!(outcome(&fake.read().await)["optionId"], "r");
    ask(&mut fake).await;
    let held = asked(&mut claims).await;
    held.cancel();
    assert_eq!(outcome(&fake.read().await)["outcome"], "cancelled");
    assert_eq!(held.choose(7), None);
}

#[tokio::test]
async fn loads_a_session_where_the_agent_offers_it() {
    let (peer, mut claims, mut fake) = start(Journal::none(), Limits::default());
    let agent = tokio::spawn(async move {
        let request = fake.read().await;
        let offer = json!({"protocolVersion": 1, "agentCapabilities": {"loadSession": true}});
        fake.write(&json!({"jsonrpc": "2.0", "id": request["id"], "result": offer}).to_string())
            .await;
        let request = fake.read().await;
        fake.write(
            r#"{"jsonrpc":"2.0","method":"session/update","params":{"sessionId":"s","update":
            {"sessionUpdate":"agent_message_chunk","content":{"type":"text","text":"before"}}}}"#
                .replace('\n', "")
                .as_str(),
        )
        .await;
        fake.write(&json!({"jsonrpc": "2.0", "id": request["id"], "result": {}}).to_string())
            .await;
        request
    });
    assert!(peer.initialize().await.unwrap().load_session);
    let session = treefort::agent::acp::SessionId("s".to_owned());
    let none = Value::Null;
    peer.load_session(&session, "/workspace", none)
        .await
        .unwrap();
    // The history is there before it returns.
    assert_eq!(claims.try_recv().unwrap(), Claim::Text("before".to_owned()));
    let request = agent.await.unwrap();
    assert_eq!(request["method"], "session/load");
    assert_eq!(
        request["params"],
        json!({"sessionId": "s", "cwd": "/workspace", "mcpServers": []})
    );
}
