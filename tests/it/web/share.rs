//! A session as a file for others.

use nostr::{Event, JsonUtil as _};
use treefort::nips::{Draft, nip90::Scheme};

use super::*;

/// The session that did a job, when it has ended.
async fn session_of(page: &Page, job: &Event) -> String {
    let mut client = page.treefort.client(&page.treefort.operator()).await;
    let deadline = tokio::time::Instant::now() + Duration::from_secs(30);
    loop {
        let ends = json!({"kinds": [4785], "#E": [job.id.to_hex()]});
        if let [end] = client.query(ends).await.as_slice() {
            return end.pubkey.to_hex();
        }
        assert!(tokio::time::Instant::now() < deadline, "no end");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_the_file_that_export_writes_and_verify_takes() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let mut client = page.treefort.client(&page.treefort.operator()).await;
    let (job, _) = client
        .do_job(&client.job(page.treefort.coordinator(), "instant"))
        .await;
    let session = session_of(&page, &job).await;

    let place = tempfile::tempdir().unwrap();
    let path = |name: &str| place.path().join(name).to_str().unwrap().to_owned();
    let (html, lines) = (path("there.html"), path("there.jsonl"));
    let export = ["export", &session, "--html", &html, "--bundle", &lines];
    let export = page.treefort.command(&export).await;
    assert!(export.status.success(), "{export:?}");
    for (form, exported, content_type) in [
        ("html", &html, "text/html; charset=utf-8"),
        ("jsonl", &lines, "application/jsonl"),
    ] {
        let answer = page.get(&format!("/api/share/{session}?form={form}")).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), Some(content_type));
        let name = format!("attachment; filename=\"treefort-{}.{form}\"", &session[..8]);
        assert_eq!(answer.header("content-disposition"), Some(name.as_str()));
        assert_eq!(answer.body, std::fs::read(exported).unwrap(), "{form}");
        let here = path(form);
        std::fs::write(&here, &answer.body).unwrap();
        let verified = page.treefort.command(&["verify", &here]).await;
        assert!(verified.status.success(), "{verified:?}");
        assert!(answer.text().contains(&job.id.to_hex()));
    }
    for (path, status) in [
        (session.clone(), 400),
        (format!("{session}?form=exe"), 400),
        (format!("{session}?form=html&form=jsonl"), 400),
        (format!("{}?form=html", "0".repeat(64)), 404),
        (format!("{}?form=html", page.treefort.coordinator()), 404),
        ("..%2Fkeys?form=html".to_owned(), 404),
        ("?form=html".to_owned(), 404),
    ] {
        assert_eq!(
            page.get(&format!("/api/share/{path}")).await.status,
            status,
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_private_session_no_word_is_handed_on() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let (operator, provider) = (page.treefort.operator(), page.treefort.coordinator());
    let hidden = json!([["i", "instant secrets of mine", "text"]]).to_string();
    let draft = Draft::new(5050)
        .tag(["p", &provider.to_hex()])
        .tag(["encrypted"])
        .content(
            Scheme::Nip44
                .encrypt(&operator, &provider, &hidden)
                .unwrap(),
        );
    let mut client = page.treefort.client(&operator).await;
    let job = client.sign(&draft);
    client.send(&job).await;
    let session = session_of(&page, &job).await;
    let answer = page.get(&format!("/api/share/{session}?form=jsonl")).await;
    assert_eq!(answer.status, 200);
    let text = answer.text();
    assert!(
        !text.contains("instant") && !text.contains(&job.content),
        "{text}"
    );
    for line in text.lines() {
        let event = Event::from_json(line).unwrap();
        event.verify().unwrap();
        assert!(matches!(event.kind.as_u16(), 0 | 4781..=4785), "{line}");
    }
}
