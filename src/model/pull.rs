//! Getting a model for the local server, through `ollama-rs`.
//!
//! Its pull stream (0.3.6) keeps bytes until their newline has come, unlike its chat stream, and tells errors
//! inside the stream apart; what is missing is that a server which says nothing is given up.

use std::time::Duration;

use futures_util::StreamExt as _;
use ollama_rs::Ollama;
use ollama_rs::error::OllamaError;

use super::local::{Error, Local};
use super::provider::{OLLAMA, Providers};

/// How long the server may say nothing. Checking a large file's digest takes a while.
const SILENCE: Duration = Duration::from_secs(600);
/// The longest name.
const NAME_CHARS: usize = 200;

/// How far a pull is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pulled {
    /// What the server does.
    pub status: String,
    /// Bytes of the part that is being fetched, and how many have come.
    pub part: Option<(u64, u64)>,
}

/// Why a model's name cannot be pulled.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum NameError {
    /// It is another provider's.
    #[error("the models of {0} are not on this machine; use one with --model {0}:name")]
    Provider(String),
    /// It is no name.
    #[error("'{0}' is not a model's name; one is qwen2.5-coder:7b, for example")]
    Shape(String),
}

/// Checks a name before it reaches the server: `[host/][namespace/]model[:tag]`.
///
/// # Errors
///
/// [`NameError`], which says what is wrong.
pub fn check_name(name: &str, providers: &Providers) -> Result<String, NameError> {
    let target = providers.resolve(name);
    if target.provider.name() != OLLAMA {
        return Err(NameError::Provider(target.provider.name().to_owned()));
    }
    let model = target.model;
    let wrong = || NameError::Shape(model.chars().take(60).filter(|c| !c.is_control()).collect());
    let (path, tag) = match model.rsplit_once(':') {
        // A port in a host's name is before a slash.
        Some((path, tag)) if !tag.contains('/') => (path, tag),
        _ => (model.as_str(), "latest"),
    };
    let plain = |part: &str| {
        let known = |c: char| c.is_ascii_alphanumeric() || "-._".contains(c);
        part.starts_with(|c: char| c.is_ascii_alphanumeric()) && part.chars().all(known)
    };
    let parts: Vec<&str> = path.split('/').collect();
    let host = |part: &str| match part.split_once(':') {
        Some((host, port)) => plain(host) && port.parse::<u16>().is_ok(),
        None => plain(part),
    };
    let good = match parts.as_slice() {
        [name] => plain(name),
        [namespace, name] => plain(namespace) && plain(name),
        [server, namespace, name] => host(server) && plain(namespace) && plain(name),
        _ => false,
    };
    if good && plain(tag) && model.len() <= NAME_CHARS {
        Ok(model)
    } else {
        Err(wrong())
    }
}

impl Local {
    /// Has the server fetch a model; `progress` hears how far it is.
    ///
    /// # Errors
    ///
    /// [`Error::Pull`], [`Error::Unreachable`].
    pub async fn pull(&self, model: &str, mut progress: impl FnMut(Pulled)) -> Result<(), Error> {
        let failed = |source| match source {
            OllamaError::ReqwestError(error) if error.is_connect() => self.unreachable(Some(error)),
            source => Error::Pull {
                model: model.to_owned(),
                why: sentence(&source),
                source,
            },
        };
        let silent = || Error::Silent {
            model: model.to_owned(),
            after: SILENCE,
        };
        let ollama = Ollama::builder()
            .url(self.endpoint().url().clone())
            .reqwest_client(self.client().clone())
            .build();
        let asking = ollama.pull_model_stream(model.to_owned(), false);
        let asked = tokio::time::timeout(SILENCE, asking).await;
        let mut stream = asked.map_err(|_| silent())?.map_err(failed)?;
        let mut last = String::new();
        loop {
            let next = tokio::time::timeout(SILENCE, stream.next()).await;
            match next.map_err(|_| silent())? {
                Some(Ok(status)) => {
                    last.clone_from(&status.message);
                    progress(Pulled {
                        part: status.total.map(|all| (all, status.completed.unwrap_or(0))),
                        status: status.message,
                    });
                }
                Some(Err(error)) => return Err(failed(error)),
                None if last == "success" => return Ok(()),
                None => {
                    return Err(failed(OllamaError::Other(
                        "the server stopped early".to_owned(),
                    )));
                }
            }
        }
    }
}

/// What the server says about it, in one line.
fn sentence(error: &OllamaError) -> String {
    let text = match error {
        OllamaError::InternalError(error) => error.message.clone(),
        // The body of an answer with another status, `{"error": …}`.
        OllamaError::Other(body) => serde_json::from_str::<serde_json::Value>(body)
            .ok()
            .and_then(|body| body["error"].as_str().map(str::to_owned))
            .unwrap_or_else(|| body.clone()),
        OllamaError::JsonError(_) => "its answer cannot be read".to_owned(),
        _ => "the connection broke".to_owned(),
    };
    let clean = text.trim().chars();
    clean
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(300)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing::{Act, OK, send, upstream};
    use crate::model::{Config, Endpoint};

    fn check(name: &str) -> Result<String, NameError> {
        let endpoint = Endpoint::parse("").unwrap();
        let providers = Providers::new(&Config::default(), &endpoint, &|_| None).unwrap();
        check_name(name, &providers)
    }

    #[test]
    fn only_names_of_models_reach_the_server() {
        for name in [
            "qwen3",
            "qwen2.5-coder:7b",
            "library/qwen3:latest",
            "hf.co/bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M",
            "box:5000/me/model:v1",
        ] {
            assert_eq!(check(name), Ok(name.to_owned()));
        }
        assert_eq!(check("ollama:qwen3"), Ok("qwen3".to_owned()));
        assert_eq!(
            check("openai:gpt-5"),
            Err(NameError::Provider("openai".to_owned()))
        );
        for name in [
            "",
            "a b",
            "../x",
            "-x",
            "x:",
            ":x",
            "a/b/c/d",
            "a//b",
            "x:y:z",
            "https://x/y",
            "ünicode",
            "box:port/me/x",
        ] {
            assert!(matches!(check(name), Err(NameError::Shape(_))), "{name:?}");
        }
        assert!(check(&"x".repeat(201)).is_err());
    }

    async fn pull(acts: Vec<Act>) -> (Vec<Pulled>, Result<(), Error>, String) {
        let server = upstream(acts).await;
        let local = Local::new(&Config {
            ollama: server.url.clone(),
            ..Config::default()
        })
        .unwrap();
        let mut seen = Vec::new();
        let pulled = local.pull("qwen3:8b", |pulled| seen.push(pulled)).await;
        let request = server.requests.lock().unwrap().pop().unwrap();
        (seen, pulled, request)
    }

    #[tokio::test]
    async fn a_pull_tells_how_far_it_is_also_when_a_character_is_cut() {
        let line =
            "{\"status\":\"pulling ü\",\"digest\":\"sha256:ab\",\"total\":10,\"completed\":5}\n";
        let at = line.find('ü').unwrap() + 1;
        let (seen, pulled, request) = pull(vec![
            send(OK),
            send("{\"status\":\"pulling manifest\"}\n"),
            send(&line.as_bytes()[..at]),
            Act::Wait(Duration::from_millis(30)),
            send(&line.as_bytes()[at..]),
            send("{\"status\":\"success\"}\n"),
        ])
        .await;
        pulled.unwrap();
        assert!(request.starts_with("POST /api/pull ") && request.contains("qwen3:8b"));
        let expected = [
            ("pulling manifest", None),
            ("pulling ü", Some((10, 5))),
            ("success", None),
        ];
        let seen: Vec<_> = seen.iter().map(|p| (p.status.as_str(), p.part)).collect();
        assert_eq!(seen, expected);
    }

    #[tokio::test]
    async fn a_pull_that_fails_says_why() {
        let error = "{\"error\":\"pull model manifest: file does not exist\"}\n";
        let (_, pulled, _) = pull(vec![send(OK), send(error)]).await;
        let said = pulled.unwrap_err().to_string();
        assert!(
            said.contains("pull model manifest: file does not exist"),
            "{said}"
        );
        let error = "{\"error\":\"no disk\\u0007 left\"}";
        let head = format!(
            "HTTP/1.1 500 Internal Server Error\r\nContent-Length: {}\r\n\r\n{error}",
            error.len()
        );
        let (_, pulled, _) = pull(vec![send(head)]).await;
        let said = pulled.unwrap_err().to_string();
        assert!(said.contains("no disk  left"), "{said}");
        let (_, pulled, _) = pull(vec![send(OK), send("{\"status\":\"pulling\"}\n")]).await;
        assert!(matches!(pulled, Err(Error::Pull { .. })));
    }
}
