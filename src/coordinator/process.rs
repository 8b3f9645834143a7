//! An agent's process: a container with its streams attached, ACP initialised, and a key of its own.

mod failing;
mod manner;
mod models;

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use nostr::{Keys, PublicKey};
use serde_json::Value;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
};

use self::{failing::no_sandbox, manner::journal_of};
use super::{
    context::Context,
    memory::{self, Resumes},
    reach::Reach,
};
use crate::{
    agent::{
        acp::{Limits, Peer},
        claims::Claim,
        journal::Journal,
        manifest::{Driver, History, Launch, Manifest},
    },
    egress::Rules,
    job::Failure,
    keys::keyring::spellings,
    model::gateway::SessionGateway,
    recorder::redact::Learned,
    sandbox::{self, AgentIo, BoxedStream, Control, Exit, LABEL_AGENT, LABEL_SESSION, Spec, Tail},
};

/// How long a permission may wait for its checkpoint; then the agent is answered all the same.
const PERMISSION_WAIT: Duration = Duration::from_secs(20);
/// As good as for ever.
const A_YEAR: Duration = Duration::from_secs(365 * 86_400);
/// How long an agent may take to leave when it is told to.
const HURRY: Duration = Duration::from_millis(300);
/// What an agent calls its model: the gateway asks the session's own whatever it says, so a container can
/// be ready before anybody chose one.
const SESSION_MODEL: &str = "session";
/// An agent's raw lines are kept up to this size.
const JOURNAL_BYTES: u64 = 64 << 20;

/// See the module.
pub(super) struct Process {
    context: Arc<Context>,
    /// What was started.
    pub(super) manifest: Manifest,
    /// The image, by content.
    pub(super) image: String,
    /// How it is spoken to.
    pub(super) talk: Talk,
    /// Whether it takes pictures in its prompts.
    pub(super) takes_pictures: bool,
    /// What it can do with conversations that it kept.
    pub(super) resumes: Resumes,
    /// Whether what it keeps is there again for its next process.
    pub(super) keeps: bool,
    /// The command that it is, for an agent that is one.
    pub(super) command: Option<String>,
    /// The session's keys, made beforehand so that a warm process can start at once.
    pub(super) keys: Keys,
    /// What the agent shows to the gateway.
    pub(super) token: String,
    gateway: Option<SessionGateway>,
    /// Its raw lines.
    journal: Journal,
    http: Option<mpsc::Receiver<BoxedStream>>,
    /// Its way out, when its job was given a network.
    pub(super) reach: Option<Reach>,
    /// The way to what its programs listen on.
    inward: sandbox::Inward,
    /// What it listened on when it was ready: its own machinery, and nothing that it built.
    machinery: BTreeSet<u16>,
    serving: JoinSet<()>,
    /// Its key and its token, for as long as it can say them.
    _secrets: Learned,
    stderr: Tail,
    exit: watch::Receiver<Option<Exit>>,
    control: Control,
}

/// How an agent is spoken to.
pub(super) enum Talk {
    /// The Agent Client Protocol: what is asked, and what it says.
    Acp {
        /// The conversation.
        peer: Peer,
        /// What it says.
        claims: mpsc::Receiver<Claim>,
    },
    /// A command that writes and ends.
    Exec {
        /// What it writes; nothing once that was taken.
        output: Mutex<Option<AgentIo>>,
    },
}

/// What a process is started with.
pub(super) struct Start<'a> {
    /// Which agent.
    pub(super) agent: &'a str,
    /// The session's keys.
    pub(super) keys: Keys,
    /// The folder that it works on, when the agent has one.
    pub(super) tree: Option<PathBuf>,
    /// The folder for what it keeps for its next process.
    pub(super) state: Option<PathBuf>,
    /// The person's own folder that it was copied from.
    pub(super) project: Option<PathBuf>,
    /// The command, for an agent that is one.
    pub(super) command: Option<&'a str>,
    /// What it may reach outside of its sandbox; nothing, as a rule.
    pub(super) network: Option<Rules>,
    /// Where the lines of its image's build go, should that have to be built first.
    pub(super) progress: Option<sandbox::Progress>,
}

impl Process {
    /// A process that waits for its session: with keys and, if it works on files, an empty folder of its own.
    ///
    /// # Errors
    /// A sentence for the customer.
    pub(super) async fn warm(context: &Arc<Context>, agent: &str) -> Result<Self, Failure> {
        let keys = new_keys(context)?;
        let works_on_files = context
            .agents
            .get(agent)
            .is_some_and(|agent| agent.manifest.workspace);
        let tree = if works_on_files {
            Some(context.workspaces.reserve(keys.public_key()).await?)
        } else {
            None
        };
        let state = match context.agents.get(agent) {
            Some(agent) if memory::keeps(&agent.manifest) => {
                Some(context.workspaces.reserve_state(keys.public_key()).await?)
            }
            _ => None,
        };
        let start = Start {
            agent,
            keys: keys.clone(),
            tree,
            state,
            project: None,
            command: None,
            network: None,
            progress: None,
        };
        let started = Self::start(context, start).await;
        if started.is_err() {
            forget(context, &keys.public_key()).await;
        }
        started
    }

    /// Builds the image if it is not there, starts a container, and has the agent initialise. What was
    /// reserved for the keys is the caller's to forget when this fails.
    ///
    /// # Errors
    /// A sentence for the customer.
    pub(super) async fn start(context: &Arc<Context>, start: Start<'_>) -> Result<Self, Failure> {
        let Start {
            agent,
            keys,
            tree,
            state,
            project,
            command,
            network,
            progress,
        } = start;
        let Some(agent) = context.agents.get(agent) else {
            return Err(Failure::new(
                "agent",
                format!("there is no agent called {agent}"),
            ));
        };
        let manifest = agent.manifest.clone();
        let image = super::image::of(agent, context.agents.base())?;
        let image = context
            .runtime
            .prepare(&image, progress)
            .await
            .map_err(|error| no_sandbox(context, &error, &manifest.name))?;
        let token = random_hex()?;
        let mut secrets = spellings(&keys);
        secrets.push(token.clone());
        let secrets = context.redactor.learn_while(secrets);

        let public = keys.public_key().to_hex();
        let reach = network.map(|rules| Reach::new(context, rules));
        let mut env = manifest.environment(&Launch {
            model: SESSION_MODEL.to_owned(),
            context: manifest.context(context.num_ctx),
            output: manifest.context(context.num_ctx) / 4,
            token: token.clone(),
        });
        if reach.is_some() {
            let named = Reach::environment();
            env.retain(|(name, _)| !named.iter().any(|(own, _)| own == name));
            env.extend(named);
        }
        if let Some(resume) = manifest.resume.as_ref().filter(|_| state.is_some()) {
            let places = serde_json::json!(resume.state).to_string();
            env.push((sandbox::STATE_VARIABLE.to_owned(), places));
        }
        let keeps = state.is_some();
        let mut argv = manifest.argv.clone();
        argv.extend(command.map(str::to_owned));
        let spec = Spec {
            name: format!("treefort-{}-{}", manifest.name, &public[..12]),
            image: image.clone(),
            argv,
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
            workspace: tree,
            state,
            private: project.into_iter().collect(),
            runtime: None,
        };
        let sandbox = context
            .runtime
            .start(spec)
            .await
            .map_err(|error| no_sandbox(context, &error, &manifest.name))?;
        let journal = match manifest.driver {
            Driver::Acp => Journal::open(&journal_of(context, &keys.public_key()), JOURNAL_BYTES)
                .map_err(|error| internal(&error))?,
            Driver::Exec => Journal::none(),
        };
        let limits = Limits {
            // The turn keeps its time itself: it stands still while somebody is asked.
            prompt_timeout: A_YEAR,
            permission_wait: PERMISSION_WAIT,
            ..Limits::default()
        };
        let talk = match manifest.driver {
            Driver::Acp => {
                let (peer, claims) = Peer::connect(sandbox.agent, journal.clone(), limits);
                Talk::Acp { peer, claims }
            }
            Driver::Exec => Talk::Exec {
                output: Mutex::new(Some(sandbox.agent)),
            },
        };
        let mut process = Self {
            context: context.clone(),
            manifest,
            image: image.to_string(),
            talk,
            takes_pictures: false,
            resumes: Resumes::default(),
            keeps,
            command: command.map(str::to_owned),
            keys,
            token,
            gateway: None,
            journal,
            http: Some(sandbox.http),
            reach,
            inward: sandbox.inward,
            machinery: BTreeSet::new(),
            serving: JoinSet::new(),
            _secrets: secrets,
            stderr: sandbox.stderr,
            exit: sandbox.exit,
            control: sandbox.control,
        };
        // A command runs already, an agent waits for its prompt. Without a network nobody takes what comes out.
        if let Some(reach) = &process.reach {
            if matches!(process.talk, Talk::Exec { .. }) {
                reach.begin();
            }
            reach.serve(sandbox.net, &mut process.serving);
        }
        match process.initialize().await {
            Ok(()) => {
                if process.manifest.workspace && matches!(process.talk, Talk::Acp { .. }) {
                    process.machinery = process.inward.ports().await.unwrap_or_default();
                }
                Ok(process)
            }
            Err(failure) => {
                process.discard().await;
                Err(failure)
            }
        }
    }

    async fn initialize(&mut self) -> Result<(), Failure> {
        let Talk::Acp { peer, .. } = &self.talk else {
            return Ok(());
        };
        let asked = async {
            let info = peer.initialize().await?;
            let pictures = info.capabilities.pointer("/promptCapabilities/image");
            if let Some(method) = &self.manifest.auth_method {
                peer.authenticate(method).await?;
            }
            let resumes = Resumes::of(&info);
            Ok((pictures == Some(&Value::Bool(true)), resumes))
        };
        match asked.await {
            Ok((pictures, resumes)) => {
                self.takes_pictures = pictures;
                self.resumes = resumes;
                Ok(())
            }
            Err(error) => Err(self.agent_failed(&error).await),
        }
    }

    /// Stops the agent for a moment, from another task.
    pub(super) fn pause(&self) -> sandbox::Handle {
        self.control.handle()
    }

    /// The way to what its programs listen on.
    pub(super) fn inward(&self) -> sandbox::Inward {
        self.inward.clone()
    }

    /// What it listened on before it was asked for anything.
    pub(super) fn machinery(&self) -> BTreeSet<u16> {
        self.machinery.clone()
    }

    /// How it ended; `None` while it runs.
    pub(super) fn exit(&self) -> watch::Receiver<Option<Exit>> {
        self.exit.clone()
    }

    /// The agent's name.
    pub(super) fn agent(&self) -> &str {
        &self.manifest.name
    }

    /// Whether the agent still runs.
    pub(super) fn is_alive(&self) -> bool {
        self.exit.borrow().is_none()
    }

    /// Ends the agent and removes its container. The agent may take `grace` to leave by itself, unless
    /// somebody wants its place.
    pub(super) async fn stop(mut self, grace: Duration, wanted: impl Future<Output = ()>) {
        self.leave(grace, wanted, HURRY).await;
    }

    /// Ends the agent as it stands, without a word to it, and removes its container.
    pub(super) async fn kill(&mut self) {
        self.leave(Duration::ZERO, std::future::ready(()), Duration::ZERO)
            .await;
    }

    async fn leave(&mut self, grace: Duration, wanted: impl Future<Output = ()>, hurry: Duration) {
        match &mut self.talk {
            Talk::Acp { peer, .. } => peer.end(),
            Talk::Exec { output } => {
                drop(
                    output
                        .get_mut()
                        .unwrap_or_else(PoisonError::into_inner)
                        .take(),
                );
            }
        }
        self.serving.abort_all();
        while self.serving.join_next().await.is_some() {}
        drop(self.http.take());
        tokio::select! {
            _ = self.exit.wait_for(Option::is_some) => {}
            () = tokio::time::sleep(grace) => {}
            () = wanted => {}
        }
        if let Err(error) = self.control.stop(hurry).await {
            tracing::warn!(%error, "the container did not end as it should");
        }
    }

    /// Ends a process that served no session: nothing of it is kept.
    pub(super) async fn discard(self) {
        let (context, session) = (self.context.clone(), self.keys.public_key());
        self.stop(Duration::ZERO, std::future::pending()).await;
        forget(&context, &session).await;
    }
}

/// Keys for a session.
///
/// # Errors
/// When they cannot be stored.
pub(super) fn new_keys(context: &Context) -> Result<Keys, Failure> {
    context
        .keyring
        .new_session()
        .map_err(|error| internal(&error))
}

/// Removes what was kept for a session that never began: its note, its key, its journal, its folder.
pub(super) async fn forget(context: &Arc<Context>, session: &PublicKey) {
    let (state, key) = (context.state.clone(), *session);
    let noted = tokio::task::spawn_blocking(move || match state.is_session(&key) {
        Ok(true) => state.forget_session(&key),
        known => known.map(drop),
    });
    if !matches!(noted.await, Ok(Ok(()))) {
        tracing::warn!("the note of an unused session stays");
    }
    if let Err(error) = context.keyring.forget_session(session) {
        tracing::warn!(%error, "the key of an unused session stays");
    }
    if let Err(error) = std::fs::remove_file(journal_of(context, session)) {
        tracing::debug!(%error, "no journal to remove");
    }
    context.workspaces.forget(*session).await;
}

/// The parameters of `session/new` beside its folder.
pub(super) fn meta(manifest: &Manifest, history: &[super::conversation::Said]) -> Value {
    let mut meta = manifest.meta();
    if manifest.history == History::Meta && !history.is_empty() {
        let said = history
            .iter()
            .map(|said| serde_json::json!({"role": said.role, "content": said.text}));
        meta.insert("treefort/history".to_owned(), said.collect());
    }
    if meta.is_empty() {
        return Value::Null;
    }
    Value::Object(meta)
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
