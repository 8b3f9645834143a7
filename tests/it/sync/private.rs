//! What leaves of real sessions: that there was work and how it ended, and of private ones nothing.

use nostr::PublicKey;
use treefort::nips::nip90::Scheme;

use super::*;
use crate::jobs::AT_ONCE;

#[tokio::test(flavor = "multi_thread")]
async fn starts_and_ends_leave_words_do_not_and_of_a_private_job_nothing_does() {
    let model = ModelServer::start().await;
    // The answer to an end is still awaited when the one to the start is there.
    let manner = Manner {
        slow: 400,
        ..Manner::default()
    };
    let foreign = Foreign::start(manner).await;
    let sync = stream("both", &[foreign.url()]);
    let own = sync.split_once("[[stream]]").unwrap().1;
    // The default policy.
    let mut treefort = Treefort::start_in(&model, &[], AT_ONCE, &[NO_DOCKER]);
    set(&mut treefort, &format!("[[stream]]{own}"));
    let (operator, us) = (treefort.operator(), treefort.coordinator());
    let mut client = treefort.client(&operator).await;
    let clear = client.sign(&client.job(us, "a clear canary"));
    let hidden = json!([["i", "a hidden canary", "text"]]).to_string();
    let hidden = Scheme::Nip44.encrypt(&operator, &us, &hidden).unwrap();
    let private = client.sign(
        &Draft::new(5050)
            .tag(["encrypted"])
            .tag(["p", &us.to_hex()])
            .content(hidden),
    );
    for job in [&private, &clear] {
        assert_eq!(client.send(job).await[2], true);
    }
    // A friend asks here, and nobody else: the answer repeats the question.
    let mut friend = treefort.client(&Keys::generate()).await;
    let key = friend.keys.public_key().to_hex();
    let allowed = treefort.command(&["allow", &key]).await;
    assert!(allowed.status.success(), "{allowed:?}");
    let asked = friend.job(us, "a friend's canary");
    let (_, answers) = friend.do_job(&asked).await;
    assert!(answers.len() > 1, "{answers:?}");
    let ends = json!({"kinds": [4785]});
    until("both end", &treefort, async || {
        let mut client = treefort.client(&operator).await;
        client.query(ends.clone()).await.len() == 3
    })
    .await;
    let sessions = client.query(json!({"kinds": [4781, 4785]})).await;
    let root = |event: &Event| crate::harness::client::tag(event, "E");
    let of = |job: &Event| -> Vec<Event> {
        let id = Some(job.id.to_hex());
        let theirs = sessions.iter().filter(|event| root(event) == id);
        theirs.cloned().collect()
    };
    let (of_clear, of_private) = (of(&clear), of(&private));
    assert_eq!((of_clear.len(), of_private.len()), (2, 2));
    until("the clear one leaves", &treefort, async || {
        of_clear.iter().all(|event| foreign.has(&event.id))
    })
    .await;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let kept = foreign.kept();
    let kinds: BTreeSet<u16> = kept.iter().map(|(event, _)| event.kind.as_u16()).collect();
    assert!(
        kinds.is_subset(&BTreeSet::from([0, 4781, 4785, 31990])),
        "{kinds:?}"
    );
    let session = of_clear[0].pubkey;
    let introduced =
        |(event, _): &(Event, String)| event.pubkey == session && event.kind.as_u16() == 0;
    assert!(kept.iter().any(introduced), "the session introduces itself");
    for (event, raw) in &kept {
        assert_ne!(event.pubkey, of_private[0].pubkey, "{raw}");
        assert!(!raw.contains("canary"), "{raw}");
        assert!(!raw.contains(&private.id.to_hex()), "{raw}");
    }
    // Nor is the relay told whose words are listened for, but of sessions that it knows.
    let named = |key: &PublicKey| {
        let questions = foreign.asked("REQ");
        questions
            .iter()
            .any(|question| question.to_string().contains(&key.to_hex()))
    };
    let known: Vec<PublicKey> = foreign
        .kept()
        .iter()
        .filter(|(event, _)| event.kind.as_u16() == 4781)
        .map(|(event, _)| event.pubkey)
        .collect();
    assert!(known.contains(&session));
    until(
        "whoever is known there is listened for",
        &treefort,
        async || known.iter().all(named),
    )
    .await;
    assert!(!named(&of_private[0].pubkey));
    // What never leaves does not when it is asked for either; a session that is asked for goes whole.
    let refused = treefort
        .command(&["publish", &of_private[0].pubkey.to_hex(), "--yes"])
        .await;
    assert!(!refused.status.success(), "{refused:?}");
    let records = json!({"authors": [session], "kinds": [4781, 4782, 4785]});
    let records = client.query(records).await;
    assert!(records.len() > 2);
    let asked = treefort
        .command(&["publish", &session.to_hex(), "--yes"])
        .await;
    assert!(asked.status.success(), "{asked:?}");
    until("the session leaves", &treefort, async || {
        records.iter().all(|event| foreign.has(&event.id))
    })
    .await;
    assert!(
        foreign.sent().values().all(|count| *count == 1),
        "one was sent twice"
    );
}
