//! The specifications in `nips/` say nothing that is not so: their JSON parses, their events verify.

use std::{fs, path::Path};

use nostr::{Event, JsonUtil, Keys};
use serde_json::Value;

/// One fenced JSON block of a document.
struct Block {
    /// `file:line` of the opening fence.
    place: String,
    text: String,
}

/// Every ```` ```json ```` block of every document in `nips/`.
fn blocks() -> Vec<Block> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("nips");
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|ext| ext == "md"))
        .collect();
    files.sort();
    files.iter().flat_map(|file| blocks_of(file)).collect()
}

fn blocks_of(file: &Path) -> Vec<Block> {
    let name = file.file_name().unwrap().to_string_lossy();
    let source = fs::read_to_string(file).unwrap();
    let mut found = Vec::new();
    let mut open: Option<Block> = None;
    for (index, line) in source.lines().enumerate() {
        match (&mut open, line.trim()) {
            (None, "```json") => {
                open = Some(Block {
                    place: format!("{name}:{}", index + 1),
                    text: String::new(),
                });
            }
            (Some(_), "```") => found.extend(open.take()),
            (Some(block), _) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, _) => {}
        }
    }
    assert!(open.is_none(), "{name} leaves a JSON block open");
    found
}

fn is_event(value: &Value) -> bool {
    value.get("sig").is_some()
}

#[test]
fn every_json_block_parses() {
    let blocks = blocks();
    assert!(!blocks.is_empty(), "no JSON block was found in nips/");
    for Block { place, text } in blocks {
        serde_json::from_str::<Value>(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
    }
}

#[test]
fn every_signed_example_verifies() {
    let mut seen = 0;
    for Block { place, text } in blocks() {
        let value: Value = serde_json::from_str(&text).unwrap();
        if !is_event(&value) {
            continue;
        }
        let event = Event::from_json(&text).unwrap_or_else(|error| panic!("{place}: {error}"));
        event
            .verify()
            .unwrap_or_else(|error| panic!("{place}: {error}"));
        seen += 1;
    }
    assert!(seen >= 20, "only {seen} signed examples were found");
}

#[test]
fn a_result_in_the_examples_quotes_its_request_verbatim() {
    let mut seen = 0;
    for Block { place, text } in blocks() {
        let value: Value = serde_json::from_str(&text).unwrap();
        if !is_event(&value) {
            continue;
        }
        let event = Event::from_json(&text).unwrap();
        let first = |name: &str| {
            event.tags.iter().find_map(|tag| match tag.as_slice() {
                [key, value, ..] if key == name => Some(value.clone()),
                _ => None,
            })
        };
        let Some(request) = first("request") else {
            continue;
        };
        let request =
            Event::from_json(request).unwrap_or_else(|error| panic!("{place}: request: {error}"));
        request
            .verify()
            .unwrap_or_else(|error| panic!("{place}: request: {error}"));
        assert_eq!(
            first("e"),
            Some(request.id.to_hex()),
            "{place}: the first e"
        );
        assert_eq!(
            event.kind.as_u16(),
            request.kind.as_u16() + 1000,
            "{place}: the kind"
        );
        seen += 1;
    }
    assert!(seen >= 2, "only {seen} results were found");
}

#[test]
fn every_document_is_in_the_table() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("nips");
    let readme = fs::read_to_string(folder.join("README.md")).unwrap();
    for entry in fs::read_dir(folder).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(
            name == "README.md" || readme.contains(&format!("({name})")),
            "nips/README.md does not link {name}"
        );
    }
}

#[test]
fn the_sealed_workspace_task_and_its_answer_open_and_say_what_the_text_says() {
    use treefort::nips::{
        nip90::{JobRequest, Scheme},
        workspace::{Answer, Operation, State, Task, Which},
    };
    let keys = |number: u8| Keys::parse(&format!("{number:064x}")).unwrap();
    let (owner, provider) = (keys(3), keys(5));
    let mut events = blocks().into_iter().filter_map(|block| {
        let event = Event::from_json(&block.text).ok()?;
        block.place.starts_with("workspace.md").then_some(event)
    });
    let (request, result) = (events.next().unwrap(), events.next().unwrap());
    let task = JobRequest::parse(&request, &provider).unwrap();
    assert_eq!(task.scheme, Scheme::Nip44);
    let expected = Task {
        which: Which::Project("/home/me/diary".into()),
        operation: Operation::Undo { to: State::Last },
    };
    assert_eq!(Task::parse(&task).unwrap(), expected);
    assert_eq!(
        (request.pubkey, result.pubkey),
        (owner.public_key(), provider.public_key())
    );
    let text = Scheme::of(&result)
        .decrypt(&owner, &provider.public_key(), &result.content)
        .unwrap();
    let answer: Answer = serde_json::from_str(&text).unwrap();
    assert_eq!(answer.project.as_deref(), Some("/home/me/diary"));
    for event in [request, result] {
        assert!(!event.as_json().contains("diary"));
    }
}
