//! A session's request, whatever its dialect, and how it becomes a call to the session's model server.

use bytes::Bytes;
use serde_json::Value;

use super::dialect::{
    Clock, Dialect, ollama::ChatRequest, openai::OpenAiChat, sse::Frame, to_ollama,
};
use super::{ModelName, ModelOptions};

/// A request that passed its dialect's allow list.
#[derive(Debug)]
pub(super) enum Chat {
    /// `POST /api/chat`
    Ollama(ChatRequest),
    /// `POST /v1/chat/completions`
    OpenAi(OpenAiChat),
}

/// How an answer becomes the session's.
#[derive(Debug)]
pub(super) enum Output {
    /// Lines as they come.
    Lines,
    /// Ollama's lines in OpenAI's words.
    OpenAi(Box<to_ollama::Encoder>),
}

impl Chat {
    /// Reads a body; the error is a sentence for the session.
    pub(super) fn parse(dialect: Dialect, body: &[u8]) -> Result<Self, String> {
        match dialect {
            Dialect::Ollama => ChatRequest::parse(body).map(Self::Ollama),
            Dialect::OpenAi => OpenAiChat::parse(body).map(Self::OpenAi),
        }
    }

    /// Which API it was.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Ollama(_) => Dialect::Ollama,
            Self::OpenAi(_) => Dialect::OpenAi,
        }
    }

    /// Whether the answer is to come in pieces.
    pub(super) fn streams(&self) -> bool {
        match self {
            Self::Ollama(chat) => chat.streams(),
            Self::OpenAi(chat) => chat.stream,
        }
    }

    /// Fewer tokens than the prompt has in any language.
    pub(super) fn least_tokens(&self) -> u64 {
        match self {
            Self::Ollama(chat) => chat.least_tokens(),
            Self::OpenAi(chat) => chat.least_tokens(),
        }
    }

    /// The body for Ollama's `/api/chat`.
    pub(super) fn for_ollama(
        &self,
        model: &ModelName,
        options: &ModelOptions,
        keep_alive: &str,
    ) -> Result<(Value, Output), String> {
        match self {
            Self::Ollama(chat) => Ok((chat.rebuild(model, options, keep_alive), Output::Lines)),
            Self::OpenAi(chat) => {
                let body = to_ollama::request(chat, &model.0, options, keep_alive)?;
                let encoder = to_ollama::Encoder::new(model.clone(), chat, &Clock::now());
                Ok((body, Output::OpenAi(Box::new(encoder))))
            }
        }
    }
}

impl Output {
    /// What a frame becomes; nothing when it is not for the session.
    pub(super) fn encode(&mut self, frame: Frame) -> Option<Bytes> {
        match self {
            Self::Lines => {
                let mut line = frame.data;
                line.push(b'\n');
                Some(line.into())
            }
            Self::OpenAi(encoder) => encoder.line(&frame.data),
        }
    }
}
