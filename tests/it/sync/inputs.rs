//! What a job that came from a relay may name as its input: nothing of the owner's record.

use super::*;
use crate::{
    harness::client::{status, tag},
    jobs::AT_ONCE,
};

#[tokio::test(flavor = "multi_thread")]
async fn a_job_from_a_relay_does_not_carry_the_record_there() {
    let model = ModelServer::start().await;
    let foreign = Foreign::start(Manner::default()).await;
    let mut treefort = Treefort::start_in(&model, &["--admit", "anyone"], AT_ONCE, &[NO_DOCKER]);
    set(&mut treefort, &stream("both", &[foreign.url()]));
    let (friend, stranger) = (Keys::generate(), Keys::generate());
    let key = friend.public_key().to_hex();
    assert!(treefort.command(&["allow", &key]).await.status.success());
    let us = treefort.coordinator();
    let mut owner = treefort.client(&treefort.operator()).await;
    let draft = owner.job(us, "CANARY");
    let (job, answers) = owner.do_job(&draft).await;
    let result = answers
        .iter()
        .find(|event| event.kind.as_u16() == 6050)
        .unwrap_or_else(|| panic!("{answers:?} {}", treefort.log()));
    assert!(result.content.contains("CANARY"));
    let of_session = has(&treefort, json!({"kinds": [4782], "limit": 1})).await;
    assert_eq!(of_session.len(), 1);
    until("it listens", &treefort, async || {
        !foreign.asked("REQ").is_empty()
    })
    .await;

    let ask = |keys: &Keys, id: EventId, sort: &str| {
        Draft::new(5050)
            .tag(["p", &us.to_hex()])
            .tag(["i", &id.to_hex(), sort])
            .tag(["i", "repeat it", "text"])
            .sign(keys, now())
            .unwrap()
    };
    let answer = async |job: &Event| -> Event {
        until("it is answered there", &treefort, async || {
            ended(&foreign, job).is_some()
        })
        .await;
        ended(&foreign, job).unwrap()
    };
    for keys in [&friend, &stranger] {
        for (id, sort) in [
            (job.id, "job"),
            (job.id, "event"),
            (result.id, "event"),
            (of_session[0].id, "event"),
        ] {
            let job = ask(keys, id, sort);
            foreign.publish(&job);
            let answer = answer(&job).await;
            assert_eq!(tag(&answer, "code").as_deref(), Some("input"), "{answer:?}");
        }
    }
    // What they asked themselves they may build on, and what names them.
    let note = Draft::new(1)
        .tag(["p", &us.to_hex()])
        .tag(["p", &key])
        .content("for two");
    let (note, _) = owner.publish(&note).await;
    let first = ask(&friend, note.id, "event");
    foreign.publish(&first);
    assert!(answer(&first).await.content.contains("for two"));
    let second = ask(&friend, first.id, "job");
    foreign.publish(&second);
    assert!(answer(&second).await.content.contains("answer: for two"));
    let there = foreign.kept();
    assert!(there.iter().all(|(_, raw)| !raw.contains("CANARY")));
}

/// How a job ended, as the relay has it.
fn ended(foreign: &Foreign, job: &Event) -> Option<Event> {
    let kept = foreign.kept().into_iter().map(|(event, _)| event);
    kept.filter(|event| tag(event, "e") == Some(job.id.to_hex()))
        .find(|event| event.kind.as_u16() == 6050 || status(event) == "error")
}
