//! How an answer reaches a session: as it came, or in the words of the session's own API.

use bytes::Bytes;
use serde_json::Value;

use super::ModelError;
use super::dialect::sse::Frame;
use super::dialect::steps::{Step, Steps};
use super::dialect::{Dialect, anthropic, gemini, ollama, openai, responses};

/// How an answer becomes the session's.
#[derive(Debug)]
pub(super) enum Output {
    /// Lines as they come.
    Lines,
    /// One object as it comes.
    Whole,
    /// Events as they come.
    Events,
    /// OpenAI's events; `false`: without the counts, which only the gateway asked for.
    OpenAi(bool),
    /// Events as elements of a list.
    List(gemini::answer::List),
    /// Step by step in other words.
    Steps(Box<Steps>, Box<Speaker>),
}

/// Who says an answer in the words of the session's API.
#[derive(Debug)]
pub(super) enum Speaker {
    Ollama(ollama::answer::Encoder),
    OpenAi(openai::answer::Encoder),
    Anthropic(anthropic::answer::Encoder),
    Gemini(gemini::answer::Encoder),
    Responses(responses::answer::Encoder),
}

impl Speaker {
    fn step(&mut self, step: Step, out: &mut Vec<u8>) {
        match self {
            Self::Ollama(encoder) => encoder.step(step, out),
            Self::OpenAi(encoder) => encoder.step(step, out),
            Self::Anthropic(encoder) => encoder.step(step, out),
            Self::Gemini(encoder) => encoder.step(step, out),
            Self::Responses(encoder) => encoder.step(step, out),
        }
    }
}

impl Output {
    pub(super) fn own(stream: bool) -> Self {
        if stream { Self::Events } else { Self::Whole }
    }

    /// What a frame becomes; nothing when it is not for the session. There is no frame when the stream ended
    /// without a word of its own for that.
    ///
    /// # Errors
    ///
    /// When the answer is longer than any.
    pub(super) fn encode(&mut self, frame: Option<Frame>, done: bool) -> Result<Bytes, ModelError> {
        const DONE: &[u8] = b"data: [DONE]\n\n";
        Ok(match (self, frame) {
            (Self::Steps(steps, speaker), frame) => {
                let mut out = Vec::new();
                for step in steps.frame(frame.as_ref(), done)? {
                    speaker.step(step, &mut out);
                }
                out.into()
            }
            (Self::List(list), frame) => {
                let mut out = Vec::new();
                if let Some(frame) = frame {
                    list.push(&frame.data, &mut out);
                }
                if done {
                    list.end(&mut out);
                }
                out.into()
            }
            (Self::OpenAi(_), None) => Bytes::from_static(DONE),
            (_, None) => Bytes::new(),
            (Self::Lines, Some(frame)) => {
                let mut line = frame.data;
                line.push(b'\n');
                line.into()
            }
            (Self::Whole, Some(frame)) => frame.data.into(),
            (Self::Events, Some(frame)) => frame.encode().into(),
            (Self::OpenAi(counts), Some(frame)) => {
                if !*counts && is_counts(&frame.data) {
                    return Ok(Bytes::new());
                }
                frame.encode().into()
            }
        })
    }

    /// An error inside an answer that has begun.
    pub(super) fn failure(&mut self, dialect: Dialect, error: &ModelError) -> Bytes {
        let body = || dialect.error(error);
        let own = match self {
            Self::List(list) => Some(list.failure(&body())),
            Self::Steps(_, speaker) => match &mut **speaker {
                Speaker::Responses(encoder) => Some(encoder.failure(error)),
                Speaker::Gemini(encoder) => encoder.failure(&body()),
                Speaker::Ollama(_) | Speaker::OpenAi(_) | Speaker::Anthropic(_) => None,
            },
            Self::Lines | Self::Whole | Self::Events | Self::OpenAi(_) => None,
        };
        own.map_or_else(|| dialect.failure(error), Bytes::from)
    }
}

/// Whether a frame of OpenAI's holds the counts alone.
fn is_counts(data: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return false;
    };
    value["usage"].is_object() && value["choices"].as_array().is_some_and(Vec::is_empty)
}
