//! The chat agent's way to its model: one streamed `POST /api/chat` (Ollama's native API) at a time.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ndjson::Lines;

/// One line of an answer. Models without streaming put a whole answer into one.
const LINE_BYTES: usize = 4 * 1024 * 1024;
/// What is read of an error's body.
const ERROR_BYTES: usize = 64 * 1024;

/// A turn of the conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Message {
    /// system, user or assistant.
    pub(super) role: String,
    /// The text.
    pub(super) content: String,
    /// Pictures in base64.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) images: Vec<String>,
}

/// Why there is no (whole) answer: a sentence for people and treefort's machine word.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{sentence}")]
pub(super) struct Failure {
    pub(super) sentence: String,
    pub(super) code: String,
}

impl Failure {
    fn new(sentence: impl Into<String>) -> Self {
        Self {
            sentence: sentence.into(),
            code: "model".to_owned(),
        }
    }
}

/// Where the model is.
#[derive(Debug, Clone)]
pub(super) struct Model {
    client: reqwest::Client,
    url: String,
    token: String,
}

#[derive(Deserialize)]
struct Chunk {
    error: Option<String>,
    code: Option<String>,
    message: Option<ChunkMessage>,
    #[serde(default)]
    done: bool,
    done_reason: Option<String>,
    prompt_eval_count: Option<u64>,
    eval_count: Option<u64>,
}

#[derive(Deserialize)]
struct ChunkMessage {
    content: Option<String>,
    thinking: Option<String>,
}

/// What one line of the answer brought.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) thought: Option<String>,
    pub(super) text: Option<String>,
    pub(super) done: Option<Done>,
}

/// How the answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Done {
    /// The answer reached its length and is not finished.
    pub(super) length: bool,
    pub(super) input: u64,
    pub(super) output: u64,
}

/// An answer that is being written. Dropping it ends the model's work.
#[derive(Debug)]
pub(super) struct Answer {
    response: reqwest::Response,
    lines: Lines,
}

impl Model {
    pub(super) fn new(endpoint: &str, token: &str) -> Result<Self, reqwest::Error> {
        let client = reqwest::Client::builder()
            .no_proxy()
            // A connection that idled may be closed by the gateway just as it is used again.
            .pool_max_idle_per_host(0)
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(Duration::from_secs(5))
            .build()?;
        Ok(Self {
            client,
            url: format!("{}/api/chat", endpoint.trim_end_matches('/')),
            token: token.to_owned(),
        })
    }

    pub(super) async fn ask(&self, messages: &[Message]) -> Result<Answer, Failure> {
        // The gateway replaces the model's name by the session's.
        let body = serde_json::json!({"model": "session", "messages": messages, "stream": true});
        let request = self
            .client
            .post(&self.url)
            .bearer_auth(&self.token)
            .json(&body);
        let mut response = request.send().await.map_err(|error| {
            tracing::warn!(%error, "the model cannot be reached");
            Failure::new("the model cannot be reached")
        })?;
        if response.status().is_success() {
            let lines = Lines::new(LINE_BYTES);
            return Ok(Answer { response, lines });
        }
        let mut text = Vec::new();
        while text.len() < ERROR_BYTES
            && let Ok(Some(part)) = response.chunk().await
        {
            text.extend_from_slice(&part);
        }
        Err(match serde_json::from_slice::<Chunk>(&text) {
            Ok(Chunk {
                error: Some(sentence),
                code,
                ..
            }) => failure(sentence, code),
            _ => Failure::new(format!("the model server answered {}", response.status())),
        })
    }
}

impl Answer {
    /// The next step; after the one with `done` the answer is whole and this is not called again.
    pub(super) async fn next(&mut self) -> Result<Step, Failure> {
        loop {
            if let Some(line) = self.lines.next_line() {
                return step(&line).unwrap_or_else(|| {
                    let sentence = "the model's answer is not what Ollama's API promises";
                    Err(Failure::new(sentence))
                });
            }
            match self.response.chunk().await {
                Ok(Some(bytes)) => self.lines.push(&bytes).map_err(|error| {
                    Failure::new(format!("the model's answer cannot be read: {error}"))
                })?,
                Ok(None) => {
                    let Some(rest) = self.lines.finish() else {
                        return Err(cut_off());
                    };
                    // A last line needs no newline, but then it has to be whole.
                    return step(&rest).unwrap_or_else(|| Err(cut_off()));
                }
                Err(error) => {
                    tracing::warn!(%error, "the model's answer broke off");
                    return Err(cut_off());
                }
            }
        }
    }
}

/// Reads one line; `None` when it is no JSON of the API's.
fn step(line: &[u8]) -> Option<Result<Step, Failure>> {
    let chunk: Chunk = serde_json::from_slice(line).ok()?;
    if let Some(sentence) = chunk.error {
        return Some(Err(failure(sentence, chunk.code)));
    }
    let some = |text: Option<String>| text.filter(|text| !text.is_empty());
    let (text, thought) = match chunk.message {
        Some(message) => (some(message.content), some(message.thinking)),
        None => (None, None),
    };
    let done = chunk.done.then(|| Done {
        length: chunk.done_reason.as_deref() == Some("length"),
        input: chunk.prompt_eval_count.unwrap_or(0),
        output: chunk.eval_count.unwrap_or(0),
    });
    Some(Ok(Step {
        thought,
        text,
        done,
    }))
}

fn failure(sentence: String, code: Option<String>) -> Failure {
    let code = code.unwrap_or_else(|| "model".to_owned());
    Failure { sentence, code }
}

fn cut_off() -> Failure {
    Failure::new("the model's answer was cut off")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_text_thinking_and_the_end() {
        let got =
            step(br#"{"message":{"role":"assistant","content":"","thinking":"hm"},"done":false}"#);
        assert_eq!(got.unwrap().unwrap().thought.as_deref(), Some("hm"));
        let got = step(
            br#"{"message":{"content":"x"},"done":true,"done_reason":"length","prompt_eval_count":3,"eval_count":2}"#,
        )
        .unwrap()
        .unwrap();
        assert_eq!(got.text.as_deref(), Some("x"));
        assert_eq!(
            got.done,
            Some(Done {
                length: true,
                input: 3,
                output: 2
            })
        );
    }

    #[test]
    fn an_error_inside_the_stream_is_an_error() {
        let failure = step(br#"{"error":"out of memory"}"#).unwrap().unwrap_err();
        assert_eq!(
            (failure.sentence.as_str(), failure.code.as_str()),
            ("out of memory", "model")
        );
        let failure = step(br#"{"error":"budget","code":"quota"}"#)
            .unwrap()
            .unwrap_err();
        assert_eq!(failure.code, "quota");
    }
}
