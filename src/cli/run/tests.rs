use nostr::Keys;

use super::*;

#[test]
fn the_job_is_one_that_any_provider_reads() {
    let (operator, coordinator) = (Keys::generate(), Keys::generate());
    let result = Draft::new(6050).sign(&coordinator, 1).unwrap();
    let earlier = Reference::to(&result, "ws://r");
    let job = job_draft(
        "hello",
        coordinator.public_key(),
        &Work::text(Some("chat")),
        Some("llama3"),
        Some(&earlier),
    )
    .sign(&operator, 2)
    .unwrap();
    let request = crate::nips::nip90::JobRequest::parse(&job, &coordinator).unwrap();
    assert_eq!(request.param("agent"), Some("chat"));
    assert_eq!(request.param("model"), Some("llama3"));
    assert_eq!(request.earlier, [result.id]);
    assert_eq!(request.providers, [coordinator.public_key()]);
    assert_eq!(super::super::view::prompt(&job), "hello");
}

#[test]
fn the_exit_code_follows_the_machine_word() {
    let code = |word| failure("x".into(), word, true).kind().code();
    assert_eq!(code(Some("no-model")), 4);
    assert_eq!(code(Some("no-sandbox")), 3);
    assert_eq!(code(Some("not-admitted")), 5);
    assert_eq!(code(Some("timeout")), 1);
    assert_eq!(code(None), 1);
}

#[test]
fn refuses_an_empty_or_endless_prompt() {
    let read = |prompt: &str| prompt::read(&[prompt.to_owned()]);
    assert_eq!(read(" \n").unwrap_err().kind(), Kind::Usage);
    let endless = "x".repeat(prompt::MAX_PROMPT + 1);
    assert_eq!(read(&endless).unwrap_err().kind(), Kind::Usage);
    assert_eq!(read("hi").unwrap(), "hi");
}

#[test]
fn words_without_quotation_marks_get_a_hint() {
    let words = ["why", "is", "the", "sky", "blue"].map(str::to_owned);
    let error = prompt::read(&words).unwrap_err();
    assert_eq!(error.kind(), Kind::Usage);
    insta::assert_snapshot!(anstream::adapter::strip_str(&error.to_string()), @r#"
    error: the question came in several parts: put it in quotation marks
    hint: treefort run "why is …"
    "#);
}
