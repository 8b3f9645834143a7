use super::*;
use crate::nips::session::check_chain;

fn log(secret: &str) -> SessionLog {
    let root = Reference {
        id: EventId::all_zeros(),
        relay: "ws://r".into(),
        author: Some(Keys::generate().public_key()),
    };
    let belonging = Belonging {
        operator: Keys::generate().public_key(),
        root: Some(root),
        relay: "ws://r".into(),
    };
    let redactor = Arc::new(Redactor::new(vec![secret.to_owned()]));
    SessionLog::new(Keys::generate(), redactor, belonging)
}

fn start() -> Start {
    Start {
        operator: None,
        behavior: None,
        role: "chat".into(),
        model: "m".into(),
        provider: "ollama".into(),
        tier: "local".into(),
        adapter: "chat".into(),
        image: "sha256:0".into(),
        env: vec!["linux/amd64".into()],
        config: "c".into(),
        extra: Vec::new(),
    }
}

fn job() -> Reference {
    Reference {
        id: EventId::all_zeros(),
        relay: String::new(),
        author: None,
    }
}

#[test]
fn a_session_is_a_whole_chain_with_true_counts() {
    let mut log = log("hunter2hunter2");
    let mut begun = start();
    let skipped = ["skipped", "hunter2hunter2.pem", "too large"];
    begun.extra.push(skipped.map(str::to_owned).to_vec());
    let mut events = vec![log.start(begun, &job(), "began", 10).unwrap().event];
    let said = serde_json::to_string(&events).unwrap();
    assert!(said.contains(".pem") && !said.contains("hunter2"), "{said}");
    let message = |log: &mut SessionLog, now| {
        log.action(
            ActionKind::Message,
            Vec::new(),
            "said".into(),
            "it is hunter2hunter2",
            now,
        )
    };
    events.push(message(&mut log, 9).unwrap().event);
    events.push(log.error("model", true, "oh", 11).unwrap().event);
    events.push(
        log.end(Outcome::Success, "completed", "", 12)
            .unwrap()
            .event,
    );
    let report = check_chain(&events).unwrap();
    assert_eq!(
        (report.records, report.actions, report.errors, report.ended),
        (4, 1, 1, true)
    );
    assert!(
        events
            .iter()
            .all(|event| !event.content.contains("hunter2"))
    );
    assert!(
        events
            .windows(2)
            .all(|pair| pair[0].created_at <= pair[1].created_at)
    );
}

#[test]
fn a_session_is_named_as_a_person_would_name_it() {
    let alt = |event: &Event| {
        let tag = event.tags.iter().find(|tag| tag.as_slice()[0] == "alt");
        tag.unwrap().as_slice()[1].clone()
    };
    let mut names = Vec::new();
    for (provider, actions) in [("ollama", 2), ("none", 1)] {
        let mut log = log("hunter2hunter2");
        let mut begun = start();
        begun.provider = provider.to_owned();
        names.push(alt(&log.start(begun, &job(), "", 1).unwrap().event));
        for _ in 0..actions {
            let (kind, said) = (ActionKind::Message, String::new());
            log.action(kind, Vec::new(), said, "x", 2).unwrap();
        }
        let end = log.end(Outcome::Success, "completed", "", 3).unwrap();
        names.push(alt(&end.event));
    }
    insta::assert_snapshot!(names.join("\n"), @"
    Session started: chat on m (ollama)
    Session ended: success, 2 actions, 2 s
    Session started: chat
    Session ended: success, 1 action, 2 s
    ");
}

#[test]
fn what_was_not_published_leaves_no_gap() {
    let mut log = log("hunter2hunter2");
    let mut events = vec![log.start(start(), &job(), "", 1).unwrap().event];
    let say = |log: &mut SessionLog| {
        let (kind, alt) = (ActionKind::Message, String::new());
        log.action(kind, Vec::new(), alt, "x", 2).unwrap().event
    };
    events.push(say(&mut log));
    let lost = [
        say(&mut log),
        log.error("model", true, "", 3).unwrap().event,
    ];
    log.take_back(&lost);
    // Twice is once.
    log.take_back(&lost);
    events.push(log.error("record", false, "", 4).unwrap().event);
    events.push(log.end(Outcome::Failed, "record", "", 5).unwrap().event);
    let report = check_chain(&events).unwrap();
    assert_eq!((report.actions, report.errors, report.ended), (1, 1, true));
}

#[test]
fn long_content_is_cut_at_a_character_and_named_by_its_hash() {
    let mut log = log("hunter2hunter2");
    let _ = log.start(start(), &job(), "", 1).unwrap();
    let long = "é".repeat(30_000);
    let entry = log
        .action(ActionKind::Message, Vec::new(), String::new(), &long, 2)
        .unwrap();
    assert!(entry.event.content.len() <= session::MAX_CONTENT);
    assert_eq!(entry.overflow.as_deref(), Some(long.as_str()));
    let tag = entry
        .event
        .tags
        .iter()
        .find(|tag| tag.as_slice()[0] == "truncated")
        .unwrap();
    assert_eq!(
        tag.as_slice()[1..],
        ["60000".into(), hex::encode(Sha256::digest(&long))]
    );
}

#[test]
fn an_abandoned_session_is_closed_where_it_stopped() {
    let mut log = log("hunter2hunter2");
    let keys = log.keys().clone();
    let mut events = vec![log.start(start(), &job(), "", 1).unwrap().event];
    events.push(
        log.action(ActionKind::Message, Vec::new(), String::new(), "x", 2)
            .unwrap()
            .event,
    );
    let belonging = Belonging {
        operator: log.operator,
        root: None,
        relay: "ws://r".into(),
    };
    let redactor = Arc::new(Redactor::new(Vec::new()));
    let resumed =
        SessionLog::resume(keys.clone(), redactor.clone(), belonging.clone(), &events).unwrap();
    events.push(
        resumed
            .end(Outcome::Abandoned, "abandoned", "", 9)
            .unwrap()
            .event,
    );
    assert!(check_chain(&events).unwrap().ended);
    assert!(SessionLog::resume(keys, redactor, belonging, &events).is_none());
}
