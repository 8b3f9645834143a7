//! A session's request, whatever its dialect, and how it becomes a call to one of the session's models.

use bytes::Bytes;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;

use super::dialect::anthropic::{self, Messages};
use super::dialect::gemini::{Generate, Method};
use super::dialect::ollama::ChatRequest;
use super::dialect::openai::{Flavour, OpenAiChat};
use super::dialect::sse::Frame;
use super::dialect::{Clock, Dialect, to_ollama, to_openai};
use super::provider::{Provider, Target};
use super::{ModelError, ModelName, ModelOptions};

/// Anthropic's version of its API when a session names none.
const ANTHROPIC_VERSION: &str = "2023-06-01";

/// What a session asks for, by its path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `POST /api/chat`
    Ollama,
    /// `POST /v1/chat/completions`
    OpenAi,
    /// `POST /v1/messages`, and whether it only counts.
    Anthropic(bool),
    /// `POST /v1beta/models/…:…`
    Gemini(Method),
}

/// A request that passed its dialect's allow list.
#[derive(Debug)]
pub(super) enum Chat {
    Ollama(ChatRequest),
    OpenAi(OpenAiChat),
    Anthropic(Messages, HeaderMap),
    Gemini(Generate),
}

/// A call that can be made.
#[derive(Debug)]
pub(super) struct Outgoing {
    pub(super) url: String,
    pub(super) headers: HeaderMap,
    pub(super) body: Value,
    /// What the server speaks.
    pub(super) dialect: Dialect,
    pub(super) output: Output,
}

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
    /// Ollama's lines in OpenAI's words.
    ToOpenAi(Box<to_ollama::Encoder>),
    /// OpenAI's answer as Ollama's lines.
    ToOllama(Box<to_openai::Decoder>),
}

impl Route {
    /// Which route a path of `POST` is.
    pub(super) fn of_path(path: &str) -> Option<Self> {
        match path {
            "/api/chat" => Some(Self::Ollama),
            "/v1/chat/completions" => Some(Self::OpenAi),
            "/v1/messages" => Some(Self::Anthropic(false)),
            "/v1/messages/count_tokens" => Some(Self::Anthropic(true)),
            path => Method::of_path(path).map(Self::Gemini),
        }
    }
}

impl Chat {
    /// Reads a body; the error is a sentence for the session.
    pub(super) fn parse(route: Route, headers: &HeaderMap, body: &[u8]) -> Result<Self, String> {
        match route {
            Route::Ollama => ChatRequest::parse(body).map(Self::Ollama),
            Route::OpenAi => OpenAiChat::parse(body).map(Self::OpenAi),
            Route::Gemini(method) => Generate::parse(body, method).map(Self::Gemini),
            Route::Anthropic(count) => {
                let messages = Messages::parse(body, count)?;
                Ok(Self::Anthropic(messages, anthropic_headers(headers)))
            }
        }
    }

    /// Which API it was.
    pub(super) fn dialect(&self) -> Dialect {
        match self {
            Self::Ollama(_) => Dialect::Ollama,
            Self::OpenAi(_) => Dialect::OpenAi,
            Self::Anthropic(..) => Dialect::Anthropic,
            Self::Gemini(_) => Dialect::Gemini,
        }
    }

    /// Whether the answer is to come in pieces.
    pub(super) fn streams(&self) -> bool {
        match self {
            Self::Ollama(chat) => chat.streams(),
            Self::OpenAi(chat) => chat.stream,
            Self::Anthropic(chat, _) => chat.stream,
            Self::Gemini(chat) => chat.method == Method::Stream,
        }
    }

    /// Whether it asks how many tokens there are and for no answer.
    pub(super) fn only_counts(&self) -> bool {
        match self {
            Self::Anthropic(chat, _) => chat.count,
            Self::Gemini(chat) => chat.method == Method::Count,
            Self::Ollama(_) | Self::OpenAi(_) => false,
        }
    }

    /// Whether a provider can be asked this. Anthropic's and Gemini's words are not translated.
    pub(super) fn suits(&self, provider: &Provider) -> bool {
        match self {
            Self::Ollama(_) | Self::OpenAi(_) => true,
            Self::Anthropic(..) => provider.dialect() == Dialect::Anthropic,
            Self::Gemini(_) => provider.dialect() == Dialect::Gemini,
        }
    }

    /// The call to a model of the session's.
    pub(super) fn call(
        &self,
        target: &Target,
        options: &ModelOptions,
        keep_alive: &str,
    ) -> Result<Outgoing, ModelError> {
        let provider = &target.provider;
        let rejected = |message| ModelError::Rejected {
            status: 400,
            message,
        };
        let name = target.name();
        let model = target.model.as_str();
        let url = provider.url();
        match (self, provider.dialect()) {
            (Self::Ollama(chat), Dialect::Ollama) => {
                let body = chat.rebuild(&ModelName::from(model), options, keep_alive);
                Ok(to_server(url, "api/chat", body, Output::Lines))
            }
            (Self::OpenAi(chat), Dialect::Ollama) => {
                let body = to_ollama::request(chat, model, options, keep_alive);
                let encoder = to_ollama::Encoder::new(name, chat, &Clock::now());
                let output = Output::ToOpenAi(Box::new(encoder));
                Ok(to_server(url, "api/chat", body.map_err(rejected)?, output))
            }
            (Self::Ollama(chat), _) => {
                let chat = to_openai::request(chat).map_err(rejected)?;
                let output = Output::ToOllama(Box::new(to_openai::Decoder::new(name)));
                compatible(target, &chat, options, output)
            }
            (Self::OpenAi(chat), _) => {
                let output = if chat.stream {
                    Output::OpenAi(chat.include_usage)
                } else {
                    Output::Whole
                };
                compatible(target, chat, options, output)
            }
            (Self::Anthropic(chat, headers), Dialect::Anthropic) => {
                let path = if chat.count { "/count_tokens" } else { "" };
                let mut headers = headers.clone();
                with_key(&mut headers, provider, "x-api-key", "")?;
                Ok(Outgoing {
                    url: format!("{url}/v1/messages{path}"),
                    headers,
                    body: chat.rebuild(model, options),
                    dialect: Dialect::Anthropic,
                    output: Output::own(self.streams()),
                })
            }
            (Self::Gemini(chat), Dialect::Gemini) => {
                let mut headers = HeaderMap::new();
                with_key(&mut headers, provider, "x-goog-api-key", "")?;
                let model = in_path(model).ok_or_else(|| ModelError::NotFound {
                    model: name.to_string(),
                })?;
                Ok(Outgoing {
                    url: format!("{url}/v1beta/models/{model}:{}", chat.method.suffix()),
                    headers,
                    body: chat.rebuild(model, options),
                    dialect: Dialect::Gemini,
                    output: Output::own(self.streams()),
                })
            }
            _ => Err(ModelError::Dialect {
                model: name.to_string(),
                api: self.dialect().title(),
            }),
        }
    }
}

fn to_server(url: &str, path: &str, body: Value, output: Output) -> Outgoing {
    Outgoing {
        url: format!("{url}/{path}"),
        headers: HeaderMap::new(),
        body,
        dialect: Dialect::Ollama,
        output,
    }
}

/// A call of a provider's OpenAI-compatible endpoint, which all of them have.
fn compatible(
    target: &Target,
    chat: &OpenAiChat,
    options: &ModelOptions,
    output: Output,
) -> Result<Outgoing, ModelError> {
    let provider = &target.provider;
    let path = match provider.dialect() {
        Dialect::Anthropic => "v1/chat/completions",
        Dialect::Gemini => "v1beta/openai/chat/completions",
        Dialect::OpenAi | Dialect::Ollama => "chat/completions",
    };
    let flavour = match (provider.is_built_in(), provider.dialect()) {
        (true, Dialect::OpenAi) => Flavour::OpenAi,
        (_, Dialect::Anthropic | Dialect::Gemini) => Flavour::Compatible,
        _ => Flavour::Common,
    };
    let mut headers = HeaderMap::new();
    with_key(&mut headers, provider, AUTHORIZATION.as_str(), "Bearer ")?;
    Ok(Outgoing {
        url: format!("{}/{path}", provider.url()),
        headers,
        body: chat.rebuild(&target.model, options, flavour),
        dialect: Dialect::OpenAi,
        output,
    })
}

/// Puts the provider's key where it wants it.
fn with_key(
    headers: &mut HeaderMap,
    provider: &Provider,
    name: &'static str,
    prefix: &str,
) -> Result<(), ModelError> {
    if provider.key_env().is_empty() {
        return Ok(());
    }
    let value = provider.key().and_then(|key| key.header(prefix));
    let value = value.ok_or_else(|| ModelError::NoKey {
        provider: provider.name().to_owned(),
        env: provider.key_env().to_owned(),
    })?;
    headers.insert(HeaderName::from_static(name), value);
    Ok(())
}

/// A model's name as a segment of a URL's path; `None` for one that would be more than that.
fn in_path(model: &str) -> Option<&str> {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
    (!model.is_empty() && !model.starts_with('.') && model.chars().all(plain)).then_some(model)
}

/// What passes of the session's headers.
fn anthropic_headers(given: &HeaderMap) -> HeaderMap {
    let mut headers = HeaderMap::new();
    let date =
        |value: &&str| value.len() == 10 && value.chars().all(|c| c.is_ascii_digit() || c == '-');
    let text = |name: &str| given.get(name).and_then(|value| value.to_str().ok());
    let version = text("anthropic-version").filter(date);
    let version = HeaderValue::from_str(version.unwrap_or(ANTHROPIC_VERSION));
    let version = version.unwrap_or(HeaderValue::from_static(ANTHROPIC_VERSION));
    headers.insert(HeaderName::from_static("anthropic-version"), version);
    if let Some(betas) = text("anthropic-beta").and_then(anthropic::betas)
        && let Ok(betas) = HeaderValue::from_str(&betas)
    {
        headers.insert(HeaderName::from_static("anthropic-beta"), betas);
    }
    headers
}

impl Output {
    fn own(stream: bool) -> Self {
        if stream { Self::Events } else { Self::Whole }
    }

    /// What a frame becomes; nothing when it is not for the session. There is no frame when the stream ended
    /// without a word of its own for that.
    pub(super) fn encode(&mut self, frame: Option<Frame>, done: bool) -> Bytes {
        const DONE: &[u8] = b"data: [DONE]\n\n";
        match (self, frame) {
            (Self::ToOllama(decoder), frame) => decoder.frame(frame.as_ref(), done).into(),
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
                    return Bytes::new();
                }
                frame.encode().into()
            }
            (Self::ToOpenAi(encoder), Some(frame)) => encoder.line(&frame.data).unwrap_or_default(),
        }
    }
}

/// Whether a frame of OpenAI's holds the counts alone.
fn is_counts(data: &[u8]) -> bool {
    let Ok(value) = serde_json::from_slice::<Value>(data) else {
        return false;
    };
    value["usage"].is_object() && value["choices"].as_array().is_some_and(Vec::is_empty)
}
