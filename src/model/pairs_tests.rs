//! Every dialect of an agent at every kind of model server, over real HTTP: what works is written down in
//! `agents/models.md`, and what is written there works.

pub(super) mod agent;
mod server;

use std::fmt::Write as _;

use serde_json::{Value, json};

use self::agent::{Heard, counting, heard, request};
use self::server::{Answer, READ, Told, WRITTEN, acts, told};
use super::gateway::providers_tests::{at, config, post, sent, whole};
use super::gateway::tests::Bench;
use super::testing::{Act, Upstream, upstream};
use super::{Budget, CallStatus, Dialect, ModelError};

const PICTURE: &str = "iVBORw0KGgo=";
const RESULT: &str = "forty-two";
/// The page, and what stands around its table.
const PAGE: &str = "agents/models.md";
const BEGIN: &str = "<!-- A test writes this table: TREEFORT_WRITE_TABLES=1 cargo nextest run --lib -E 'test(every_pair_does_what_the_page_says)' -->\n";
const END: &str = "<!-- Here the table ends. -->\n";
/// Who sets this has the table written anew.
const WRITE: &str = "TREEFORT_WRITE_TABLES";

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
struct Call {
    id: String,
    name: String,
    arguments: Value,
}

const DIALECTS: &[(Dialect, &str)] = &[
    (Dialect::OpenAi, "OpenAI chat completions"),
    (Dialect::Responses, "OpenAI responses"),
    (Dialect::Anthropic, "Anthropic messages"),
    (Dialect::Gemini, "Gemini"),
    (Dialect::Ollama, "Ollama"),
];

/// A kind of server: what it is called, its provider's name, and what it speaks.
#[derive(Debug, Clone, Copy)]
struct Kind(&'static str, &'static str, Dialect);

const KINDS: &[Kind] = &[
    Kind("Ollama", "ollama", Dialect::Ollama),
    Kind("llama.cpp, vLLM and their like", "box", Dialect::OpenAi),
    Kind("OpenAI", "openai", Dialect::OpenAi),
    Kind("Anthropic", "anthropic", Dialect::Anthropic),
    Kind("Google", "gemini", Dialect::Gemini),
];

impl Kind {
    /// What is spoken to it for an agent of a dialect.
    fn wire(self, dialect: Dialect) -> Dialect {
        match (dialect, self.2) {
            (_, Dialect::Ollama) => Dialect::Ollama,
            (Dialect::Responses, _) if self.1 == "openai" => Dialect::Responses,
            (ours, theirs) if ours == theirs => ours,
            _ => Dialect::OpenAi,
        }
    }

    /// Whether it says what its model thinks: in OpenAI's chat completions the companies do not.
    fn thinks(self, wire: Dialect) -> bool {
        wire != Dialect::OpenAi || self.1 == "box"
    }

    fn path(self, wire: Dialect) -> &'static str {
        match (wire, self.2) {
            (Dialect::Ollama, _) => "post /api/chat ",
            (Dialect::Responses, _) => "post /v1/responses ",
            (Dialect::Anthropic, _) => "post /v1/messages ",
            (Dialect::Gemini, _) => "post /v1beta/models/big-1:",
            (Dialect::OpenAi, Dialect::Gemini) => "post /v1beta/openai/chat/completions ",
            (Dialect::OpenAi, _) => "post /v1/chat/completions ",
        }
    }
}

/// An agent's session in front of a server.
struct Pair {
    dialect: Dialect,
    kind: Kind,
    bench: Bench,
    server: Upstream,
}

impl Pair {
    async fn new(dialect: Dialect, kind: Kind) -> Self {
        let server = upstream(Vec::new()).await;
        let mut config = config(&[(kind.1, kind.2, &server)]);
        if kind.2 == Dialect::Ollama {
            config.providers.clear();
            config.ollama.clone_from(&server.url);
        }
        let bench = at(config, &[&format!("{}:big-1", kind.1)], Budget::default());
        Self {
            dialect,
            kind,
            bench,
            server,
        }
    }

    /// One exchange: the status, what the agent heard, and what the server was told.
    async fn exchange(&mut self, stream: bool, acts: Vec<Act>) -> (u16, Heard, Told) {
        self.server.set(acts);
        let (path, body) = request(self.dialect, stream);
        let (status, answer) = post(&self.bench, path, &body).await;
        let call = self.bench.call().await;
        match call.status {
            CallStatus::Ok => assert_eq!(status, 200),
            CallStatus::Failed(error) => {
                assert!(!matches!(error, ModelError::Malformed), "{error}")
            }
        }
        let wire = self.kind.wire(self.dialect);
        let (head, request) = sent(&self.server);
        assert!(head.starts_with(self.kind.path(wire)), "{head}");
        (status, heard(self.dialect, &answer), told(wire, &request))
    }

    async fn answered(&mut self, stream: bool, answer: &Answer) -> (u16, Heard, Told) {
        let acts = acts(self.kind.wire(self.dialect), stream, answer);
        self.exchange(stream, acts).await
    }

    /// Who says how long a prompt is before it is sent.
    async fn beforehand(&mut self) -> &'static str {
        let Some((path, field)) = counting(self.dialect) else {
            return "not asked";
        };
        let (_, body) = request(self.dialect, false);
        self.server
            .set(vec![whole("200 OK", &json!({ field: 777 }))]);
        self.server.requests.lock().unwrap().clear();
        let (status, answer) = post(&self.bench, path, &body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        let asked = !self.server.requests.lock().unwrap().is_empty();
        match (status, answer[field].as_u64(), asked) {
            (200, Some(777), true) => "counted",
            // A picture alone is so many.
            (200, Some(1_600..2_000), false) => "estimated",
            _ => "no",
        }
    }
}

/// What a pair can do, one cell for each column.
async fn cells(dialect: Dialect, kind: Kind) -> Vec<(&'static str, &'static str)> {
    let mut pair = Pair::new(dialect, kind).await;
    let wire = kind.wire(dialect);
    let good = |good: bool| if good { "yes" } else { "no" };
    let call = |id: &str, a: u64| Call {
        id: id.to_owned(),
        name: "look".to_owned(),
        arguments: json!({ "a": a }),
    };
    let words = Answer {
        words: vec!["well", ", hé"],
        ..Answer::default()
    };
    let (status, streamed, told) = pair.answered(true, &words).await;
    let (at_once, heard, _) = pair.answered(false, &words).await;
    let counted = |heard: &Heard| heard.usage == Some((READ, WRITTEN));
    let counts = counted(&streamed) && counted(&heard);
    let streams = status == 200 && streamed.words == ["well", ", hé"];
    let whole_answers = at_once == 200 && heard.words.concat() == "well, hé";
    let given = told.text.contains("be brief") && told.tools == ["look"];
    let results = told.results == [("c1".to_owned(), RESULT.to_owned())];
    let mut called = [given && results && told.calls == [call("c1", 1)], true];
    let mut thought = kind.thinks(wire);
    for stream in [true, false] {
        for (at, calls) in [vec![call("c2", 2)], vec![call("c2", 2), call("c3", 3)]]
            .into_iter()
            .enumerate()
        {
            let answer = Answer {
                words: vec!["so"],
                calls: calls.clone(),
                ..Answer::default()
            };
            let (_, heard, _) = pair.answered(stream, &answer).await;
            called[at] &= heard.calls == calls && heard.words == ["so"];
        }
        let answer = Answer {
            thinking: if kind.thinks(wire) { "hm" } else { "" },
            ..words.clone()
        };
        let (_, heard, _) = pair.answered(stream, &answer).await;
        thought &= heard.thinking == "hm" && heard.words.concat() == "well, hé";
    }
    let boom = match wire {
        Dialect::Ollama => json!({"error": "boom"}),
        _ => json!({"error": {"message": "boom"}}),
    };
    let says = |heard: &Heard| {
        heard
            .error
            .as_ref()
            .is_some_and(|said| said.contains("boom"))
    };
    let mut before = true;
    for stream in [true, false] {
        let refused = vec![whole("500 Internal Server Error", &boom)];
        let (status, heard, _) = pair.exchange(stream, refused).await;
        before &= status == 502 && says(&heard);
    }
    let fails = Answer {
        fails: true,
        ..words
    };
    let (status, heard, _) = pair.answered(true, &fails).await;
    let inside = status == 200 && heard.words == ["well", ", hé"] && says(&heard);
    vec![
        ("Words as they come", good(streams)),
        ("at once", good(whole_answers)),
        ("Tools and results", good(called[0])),
        ("several calls", good(called[1])),
        ("Pictures", good(told.pictures == [PICTURE])),
        ("Thoughts", good(thought)),
        ("Tokens used", good(counts)),
        ("Tokens beforehand", pair.beforehand().await),
        ("Errors before", good(before)),
        ("inside", good(inside)),
    ]
}

/// `TREEFORT_WRITE_TABLES=1 cargo nextest run --lib -E 'test(every_pair_does_what_the_page_says)'` writes the table.
#[tokio::test]
async fn every_pair_does_what_the_page_says() {
    let mut table = String::new();
    for (dialect, title) in DIALECTS {
        for kind in KINDS {
            let cells = cells(*dialect, *kind).await;
            if table.is_empty() {
                let names: Vec<&str> = cells.iter().map(|(name, _)| *name).collect();
                writeln!(
                    table,
                    "| Agent speaks | Model is at | {} |",
                    names.join(" | ")
                )
                .unwrap();
                writeln!(table, "|{}", "---|".repeat(names.len() + 2)).unwrap();
            }
            let cells: Vec<&str> = cells.iter().map(|(_, cell)| *cell).collect();
            writeln!(table, "| {title} | {} | {} |", kind.0, cells.join(" | ")).unwrap();
        }
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect(BEGIN);
    let (written, after) = rest.split_once(END).expect(END);
    let table = format!("\n{table}\n");
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{table}{END}{after}")).unwrap();
        return;
    }
    assert!(
        written == table,
        "{PAGE} says otherwise; {WRITE}=1 writes it anew. It is:\n{table}"
    );
}
