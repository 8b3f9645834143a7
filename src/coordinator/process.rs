//! An agent's process: a container with its streams attached, ACP initialised, and a key of its own.

use std::{sync::Arc, time::Duration};

use nostr::Keys;
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use super::context::Context;
use crate::{
    agent::{
        acp::{Limits, Peer},
        claims::Claim,
        journal::Journal,
        manifest::Manifest,
    },
    job::Failure,
    keys::keyring::spellings,
    model::gateway::SessionGateway,
    sandbox::{self, BoxedStream, Control, Exit, LABEL_AGENT, LABEL_SESSION, Spec, Tail},
};

/// How long an agent may take to leave when it is told to.
const HURRY: Duration = Duration::from_millis(300);
/// An agent's raw lines are kept up to this size.
const JOURNAL_BYTES: u64 = 64 << 20;

/// See the module.
pub(super) struct Process {
    context: Arc<Context>,
    /// What was started.
    pub(super) manifest: Manifest,
    /// The image, by content.
    pub(super) image: String,
    /// The conversation with the agent.
    pub(super) peer: Peer,
    /// What it says.
    pub(super) claims: mpsc::Receiver<Claim>,
    /// The session's keys, made beforehand so that a warm process can start at once.
    pub(super) keys: Keys,
    /// What the agent shows to the gateway.
    pub(super) token: String,
    http: Option<mpsc::Receiver<BoxedStream>>,
    serving: JoinSet<()>,
    stderr: Tail,
    exit: watch::Receiver<Option<Exit>>,
    control: Control,
}

impl Process {
    /// Builds the image if it is not there, starts a container, and has the agent initialise.
    ///
    /// # Errors
    /// A sentence for the customer.
    pub(super) async fn start(context: &Arc<Context>, agent: &str) -> Result<Self, Failure> {
        let Some(agent) = context.agents.get(agent) else {
            return Err(Failure::new(
                "agent",
                format!("there is no agent called {agent}"),
            ));
        };
        let manifest = agent.manifest.clone();
        let image = super::image::of(agent)?;
        let image = context
            .runtime
            .prepare(&image)
            .await
            .map_err(|error| no_sandbox(&error))?;
        let keys = context
            .keyring
            .new_session()
            .map_err(|error| internal(&error))?;
        let token = random_hex()?;
        context.redactor.learn(spellings(&keys));
        context.redactor.learn([token.clone()]);

        let public = keys.public_key().to_hex();
        let mut env: Vec<(String, String)> = manifest
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        env.push(("TREEFORT_TOKEN".to_owned(), token.clone()));
        let spec = Spec {
            name: format!("treefort-{}-{}", manifest.name, &public[..12]),
            image: image.clone(),
            argv: manifest.argv.clone(),
            env,
            limits: sandbox::Limits {
                memory_mb: u32::try_from(manifest.limits.memory_mb).unwrap_or(u32::MAX),
                cpus: manifest.limits.cpus,
                pids: manifest.limits.pids,
                ..sandbox::Limits::default()
            },
            labels: vec![
                (LABEL_AGENT.to_owned(), manifest.name.clone()),
                (LABEL_SESSION.to_owned(), public.clone()),
            ],
            workspace: None,
            runtime: None,
        };
        let sandbox = context
            .runtime
            .start(spec)
            .await
            .map_err(|error| no_sandbox(&error))?;
        let journal = Journal::open(
            &context.journal.join(format!("{public}.jsonl")),
            JOURNAL_BYTES,
        )
        .map_err(|error| internal(&error))?;
        let limits = Limits {
            prompt_timeout: Duration::from_secs(context.jobs.timeout_s.saturating_add(60)),
            ..Limits::default()
        };
        let (peer, claims) = Peer::connect(sandbox.agent, journal, limits);
        let process = Self {
            context: context.clone(),
            manifest,
            image: image.to_string(),
            peer,
            claims,
            keys,
            token,
            http: Some(sandbox.http),
            serving: JoinSet::new(),
            stderr: sandbox.stderr,
            exit: sandbox.exit,
            control: sandbox.control,
        };
        match process.initialize().await {
            Ok(()) => Ok(process),
            Err(failure) => {
                process.discard().await;
                Err(failure)
            }
        }
    }

    async fn initialize(&self) -> Result<(), Failure> {
        self.peer
            .initialize()
            .await
            .map_err(|error| self.agent_failed(&error))?;
        if let Some(method) = &self.manifest.auth_method {
            self.peer
                .authenticate(method)
                .await
                .map_err(|error| self.agent_failed(&error))?;
        }
        Ok(())
    }

    /// The agent's name.
    pub(super) fn agent(&self) -> &str {
        &self.manifest.name
    }

    /// Whether the agent still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Carries the agent's HTTP connections to its model from now on.
    pub(super) fn connect_model(&mut self, gateway: SessionGateway) {
        let Some(mut http) = self.http.take() else {
            return;
        };
        self.serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    stream = http.recv() => match stream {
                        Some(stream) => {
                            let gateway = gateway.clone();
                            connections.spawn(async move { gateway.serve(stream).await });
                        }
                        None => return,
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
    }

    /// What went wrong with the agent, with the facts that the host saw.
    pub(super) fn agent_failed(&self, error: &dyn std::fmt::Display) -> Failure {
        let mut sentence = format!("the agent {} failed: {error}", self.manifest.name);
        if let Some(exit) = self.exit.borrow().as_ref() {
            if exit.oom {
                sentence.push_str("; it was killed because its memory ran out");
            } else if let Some(code) = exit.code {
                sentence.push_str(&format!("; it exited with code {code}"));
            }
        }
        let stderr = self.stderr.text();
        if let Some(last) = stderr.lines().rev().find(|line| !line.trim().is_empty()) {
            let last: String = last.chars().filter(|c| !c.is_control()).take(200).collect();
            sentence.push_str(&format!("; its last words: {last}"));
        }
        Failure::new(
            "agent",
            self.context.redactor.redact(&sentence).into_owned(),
        )
    }

    /// Ends the agent and removes its container. The agent may take `grace` to leave by itself, unless
    /// somebody wants its place.
    pub(super) async fn stop(mut self, grace: Duration, wanted: impl Future<Output = ()>) {
        self.peer.end();
        self.serving.abort_all();
        while self.serving.join_next().await.is_some() {}
        drop(self.http);
        tokio::select! {
            _ = self.exit.wait_for(Option::is_some) => {}
            () = tokio::time::sleep(grace) => {}
            () = wanted => {}
        }
        if let Err(error) = self.control.stop(HURRY).await {
            tracing::warn!(%error, "the container did not end as it should");
        }
        // No agent can say them any more.
        let mut secrets = spellings(&self.keys);
        secrets.push(self.token);
        self.context.redactor.forget(&secrets);
    }

    /// Ends a process that served no session: nothing of it is kept.
    pub(super) async fn discard(self) {
        let (context, session) = (self.context.clone(), self.keys.public_key());
        self.stop(Duration::ZERO, std::future::pending()).await;
        if let Err(error) = context.keyring.forget_session(&session) {
            tracing::warn!(%error, "the key of an unused session stays");
        }
        let journal = context.journal.join(format!("{}.jsonl", session.to_hex()));
        if let Err(error) = std::fs::remove_file(journal) {
            tracing::debug!(%error, "no journal to remove");
        }
    }
}

/// The parameters of `session/new` beside its folder.
pub(super) fn meta(history: &[super::conversation::Said]) -> Value {
    if history.is_empty() {
        return Value::Null;
    }
    let said: Vec<Value> = history
        .iter()
        .map(|said| serde_json::json!({"role": said.role, "content": said.text}))
        .collect();
    serde_json::json!({"treefort/history": said})
}

fn no_sandbox(error: &sandbox::Error) -> Failure {
    Failure::new("no-sandbox", format!("{error}. {}", error.hint()))
}

/// A fault of this machine: its details, such as paths, are the owner's business and not a customer's.
fn internal(error: &dyn std::fmt::Display) -> Failure {
    tracing::error!(%error, "a session could not be set up");
    Failure::new(
        "agent",
        "the session could not be set up; the owner's log says why",
    )
}

fn random_hex() -> Result<String, Failure> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).map_err(|error| internal(&error))?;
    Ok(hex::encode(bytes))
}
