//! A session's request, whatever its dialect, and how it becomes a call to one of the session's models.

use std::borrow::Cow;

use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};

use super::dialect::anthropic::{self, Messages};
use super::dialect::gemini::{self, Generate, Method};
use super::dialect::ollama::{self, ChatRequest};
use super::dialect::openai::{self, Flavour, OpenAiChat};
use super::dialect::prompt::Prompt;
use super::dialect::responses::{self, Responses};
use super::dialect::steps::Steps;
use super::dialect::{Clock, Dialect, to_ollama, to_openai};
use super::output::{Output, Speaker};
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
    /// `POST /v1/responses`
    Responses,
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
    Responses(Responses),
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

impl Route {
    /// Which route a path of `POST` is.
    pub(super) fn of_path(path: &str, query: &str) -> Option<Self> {
        match path {
            "/api/chat" => Some(Self::Ollama),
            "/v1/chat/completions" => Some(Self::OpenAi),
            "/v1/responses" => Some(Self::Responses),
            "/v1/messages" => Some(Self::Anthropic(false)),
            "/v1/messages/count_tokens" => Some(Self::Anthropic(true)),
            path => Method::of_path(path, query).map(Self::Gemini),
        }
    }
}

impl Chat {
    /// Reads a body; the error is a sentence for the session.
    pub(super) fn parse(route: Route, headers: &HeaderMap, body: &[u8]) -> Result<Self, String> {
        match route {
            Route::Ollama => ChatRequest::parse(body).map(Self::Ollama),
            Route::OpenAi => OpenAiChat::parse(body).map(Self::OpenAi),
            Route::Responses => Responses::parse(body).map(Self::Responses),
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
            Self::Responses(_) => Dialect::Responses,
            Self::Anthropic(..) => Dialect::Anthropic,
            Self::Gemini(_) => Dialect::Gemini,
        }
    }

    /// Whether the answer is to come in pieces.
    pub(super) fn streams(&self) -> bool {
        match self {
            Self::Ollama(chat) => chat.streams(),
            Self::OpenAi(chat) => chat.stream,
            Self::Responses(chat) => chat.stream,
            Self::Anthropic(chat, _) => chat.stream,
            Self::Gemini(chat) => matches!(chat.method, Method::Stream | Method::Array),
        }
    }

    /// The content type of the answer.
    pub(super) fn content_type(&self) -> &'static str {
        let list = matches!(self, Self::Gemini(chat) if chat.method == Method::Array);
        self.dialect().content_type(self.streams() && !list)
    }

    /// Whether it asks how many tokens there are and for no answer.
    pub(super) fn only_counts(&self) -> bool {
        match self {
            Self::Anthropic(chat, _) => chat.count,
            Self::Gemini(chat) => chat.method == Method::Count,
            Self::Ollama(_) | Self::OpenAi(_) | Self::Responses(_) => false,
        }
    }

    /// Whether a provider takes this as it is. What others take is said in their words.
    pub(super) fn is_own(&self, provider: &Provider) -> bool {
        match self {
            Self::Ollama(_) => provider.dialect() == Dialect::Ollama,
            Self::OpenAi(_) => provider.dialect() == Dialect::OpenAi,
            // Other servers that speak OpenAI's API have chat completions for sure, and this not always.
            Self::Responses(_) => provider.dialect() == Dialect::OpenAi && provider.is_built_in(),
            Self::Anthropic(..) => provider.dialect() == Dialect::Anthropic,
            Self::Gemini(_) => provider.dialect() == Dialect::Gemini,
        }
    }

    /// How many tokens there are, about, for a provider that does not count them; the error is a sentence for the
    /// session.
    pub(super) fn counted(&self) -> Result<Value, String> {
        let of = |chat: &OpenAiChat| {
            let sent = chat.rebuild("", &ModelOptions::default(), Flavour::Common);
            Prompt::of(&sent).estimate
        };
        Ok(match self {
            Self::Anthropic(chat, _) => json!({"input_tokens": of(&chat.chat()?)}),
            Self::Gemini(chat) => json!({"totalTokens": of(&chat.chat()?)}),
            Self::Ollama(_) | Self::OpenAi(_) | Self::Responses(_) => Value::Null,
        })
    }

    /// The call to a model of the session's.
    pub(super) fn call(
        &self,
        target: &Target,
        options: &ModelOptions,
        keep_alive: &str,
    ) -> Result<Outgoing, ModelError> {
        if self.is_own(&target.provider) {
            return self.own_call(target, options, keep_alive);
        }
        let clock = Clock::now();
        let steps = Box::new(Steps::new(&clock.unique));
        let said = self.said(target.name(), clock);
        let (chat, speaker) = said.map_err(rejected)?;
        let output = Output::Steps(steps, Box::new(speaker));
        match target.provider.dialect() {
            Dialect::Ollama => {
                let body = to_ollama::request(&chat, &target.model, options, keep_alive);
                let body = body.map_err(rejected)?;
                Ok(to_server(target.provider.url(), "api/chat", body, output))
            }
            _ => compatible(target, &chat, options, output),
        }
    }

    /// The same request in OpenAI's words, and who says the answer in the session's; the error is a sentence for
    /// the session.
    fn said(
        &self,
        name: ModelName,
        clock: Clock,
    ) -> Result<(Cow<'_, OpenAiChat>, Speaker), String> {
        let unique = clock.unique.clone();
        Ok(match self {
            Self::Ollama(chat) => {
                let encoder = ollama::answer::Encoder::new(name, &clock, chat.streams());
                (
                    Cow::Owned(to_openai::request(chat)?),
                    Speaker::Ollama(encoder),
                )
            }
            Self::OpenAi(chat) => {
                let encoder = openai::answer::Encoder::new(name, chat, &clock);
                (Cow::Borrowed(chat), Speaker::OpenAi(encoder))
            }
            Self::Responses(chat) => {
                let (said, tools) = chat.chat()?;
                let encoder = responses::answer::Encoder::new(name, tools, clock, chat.stream);
                (Cow::Owned(said), Speaker::Responses(encoder))
            }
            Self::Anthropic(chat, _) => {
                let encoder = anthropic::answer::Encoder::new(name, &unique, chat.stream);
                (Cow::Owned(chat.chat()?), Speaker::Anthropic(encoder))
            }
            Self::Gemini(chat) => {
                let encoder = gemini::answer::Encoder::new(name, &unique, chat.method);
                (Cow::Owned(chat.chat()?), Speaker::Gemini(encoder))
            }
        })
    }

    /// The call to a server that speaks as the session does.
    fn own_call(
        &self,
        target: &Target,
        options: &ModelOptions,
        keep_alive: &str,
    ) -> Result<Outgoing, ModelError> {
        let provider = &target.provider;
        let (url, model) = (provider.url(), target.model.as_str());
        let mut headers = HeaderMap::new();
        let (path, body, output) = match self {
            Self::Ollama(chat) => {
                let body = chat.rebuild(&ModelName::from(model), options, keep_alive);
                return Ok(to_server(url, "api/chat", body, Output::Lines));
            }
            Self::OpenAi(chat) => {
                let output = if chat.stream {
                    Output::OpenAi(chat.include_usage)
                } else {
                    Output::Whole
                };
                return compatible(target, chat, options, output);
            }
            Self::Responses(chat) => {
                with_key(&mut headers, provider, AUTHORIZATION.as_str(), "Bearer ")?;
                let body = chat.rebuild(model, options);
                ("responses".to_owned(), body, Output::own(chat.stream))
            }
            Self::Anthropic(chat, given) => {
                headers.clone_from(given);
                with_key(&mut headers, provider, "x-api-key", "")?;
                let path = if chat.count { "/count_tokens" } else { "" };
                let body = chat.rebuild(model, options);
                (format!("v1/messages{path}"), body, Output::own(chat.stream))
            }
            Self::Gemini(chat) => {
                with_key(&mut headers, provider, "x-goog-api-key", "")?;
                let model = in_path(model).ok_or_else(|| ModelError::NotFound {
                    model: target.name().to_string(),
                })?;
                let path = format!("v1beta/models/{model}:{}", chat.method.suffix());
                let output = match chat.method {
                    Method::Array => Output::List(gemini::answer::List::default()),
                    method => Output::own(method == Method::Stream),
                };
                (path, chat.rebuild(model, options), output)
            }
        };
        Ok(Outgoing {
            url: format!("{url}/{path}"),
            headers,
            body,
            dialect: self.dialect(),
            output,
        })
    }
}

fn rejected(message: String) -> ModelError {
    ModelError::Rejected {
        status: 400,
        message,
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
        Dialect::OpenAi | Dialect::Responses | Dialect::Ollama => "chat/completions",
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
