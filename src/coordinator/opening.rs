//! How a session begins, and how it turns to its next job.

use std::sync::Arc;

use nostr::{Event, EventId};
use tokio::sync::mpsc;

use super::{
    attached::{self, Prompt},
    attend::Stand,
    choice,
    context::{Context, now},
    conversation::{self, Said},
    desk::About,
    executor::Order,
    facts::Bench,
    files::{self, Begun, Unused},
    memory::Known,
    process::{self, Process, Talk},
    publisher::PublishError,
    reach,
    session::Session,
    shared::ATTACHED,
    states, summary, words,
};
use crate::{
    agent::acp::SessionId,
    job::Failure,
    model::{gateway::SessionPolicy, local::ModelInfo},
    nips::{
        Draft, Reference,
        draft::SignError,
        kind, nip10, nip89,
        nip90::{Comparison, Scheme, request::NETWORK},
        session::Start,
    },
    recorder::{Belonging, Redactor, SessionLog},
    sandbox,
    store::state::SessionRecord,
    workspace::{Checkpoint, import::Imported},
};

/// Files that an import left out and that the start of a session names.
const SKIPPED: usize = 20;

/// The parameters of a request that the inner job repeats.
const TOLD: [&str; 4] = ["agent", "model", "workspace", NETWORK];

/// What a session begins with beside itself.
pub(super) struct Prepared {
    pub(super) session: Session,
    pub(super) prompt: Prompt,
    pub(super) model: ModelInfo,
    /// What was copied, when that is new.
    pub(super) imported: Option<(Imported, Checkpoint)>,
    /// The state with what its owner attached.
    pub(super) attached: Option<Checkpoint>,
}

impl Session {
    /// Everything that can fail before the first record: the prompt, the model, the files, the container,
    /// the agent.
    pub(super) async fn prepare(
        context: Arc<Context>,
        order: &Order,
        process: Option<Process>,
        progress: sandbox::Progress,
    ) -> Result<Prepared, Failure> {
        let mut unused = Unused::new(&context, process.as_ref());
        let asked = conversation::asked(&context, &order.request).await?;
        let (model, history) = tokio::try_join!(
            choice::model(&context, order),
            conversation::history(&context, order.request.scheme, order.continues)
        )?;
        let Begun {
            mut process,
            held,
            imported,
            latest,
            attached,
            resumed,
            before,
        } = {
            let unused = &mut unused;
            Box::pin(files::begin(
                &context, order, &asked, process, unused, progress,
            ))
            .await?
        };
        let placed = attached.as_ref().map(|(names, _)| names.as_slice());
        let prompt = attached::prompt(
            &context,
            asked,
            &process.manifest,
            &model,
            process.takes_pictures,
            placed.unwrap_or_default(),
        );
        let prompt = match prompt.await {
            Ok(prompt) => prompt,
            Err(failure) => {
                process.discard().await;
                return Err(failure);
            }
        };
        let (calls_in, calls) = mpsc::channel(64);
        if process.manifest.needs_a_model() {
            process.connect_model(context.gateway.admit(SessionPolicy {
                token: process.token.clone(),
                model: model.name.clone(),
                fallback: choice::fallback(&context, order, &model).await,
                options: choice::options(&context, order, &model).await,
                budget: choice::budget(&context, order),
                calls: calls_in,
            }));
        } else {
            process.without_model();
        }
        let record = SessionRecord {
            v: 1,
            session: process.keys.public_key(),
            agent: order.agent.clone(),
            job: order.event.id,
            workspace: held.as_ref().map(|held| held.shared().id),
            started_at: now(),
            ended: false,
        };
        process.begins_with(order);
        // The session is noted before its first record: a crash in between leaves nothing to end.
        let (acp, noted) = tokio::join!(
            acp_session(&process, &history, resumed.clone(), order.asks_its_owner()),
            note(&context, record.clone())
        );
        let acp = match noted.and(acp) {
            Ok(acp) => acp,
            Err(failure) => {
                process.discard().await;
                return Err(failure);
            }
        };
        unused.keep();
        let root = Reference::to(&order.event, &context.relay_url);
        let belonging = Belonging {
            operator: context.admission.operator(),
            root: Some(root.clone()),
            relay: context.relay_url.clone(),
        };
        let log = SessionLog::new(process.keys.clone(), context.redactor.clone(), belonging);
        let about = About {
            session: process.keys.public_key(),
            agent: order.agent.clone(),
            title: String::new(),
            private: order.request.scheme.is_private(),
            workspace: record.workspace,
            project: held.as_ref().and_then(|held| held.shared().about().project),
            thread: None,
            at: record.started_at,
            busy: false,
        };
        let (place, words) = context.desk.sit(about);
        let bench = match (held, latest) {
            (Some(held), Some(latest)) => {
                Some(Bench::new(held, &process, &context.sandbox, latest.tree))
            }
            _ => None,
        };
        // Agents that know nothing of ours get the conversation before in front of the prompt.
        let introduction = match process.manifest.history {
            _ if resumed.is_some() => None,
            crate::agent::manifest::History::Prompt => summary::introduction(&history, &before),
            crate::agent::manifest::History::Meta => None,
        };
        let introduction = match &process.reach {
            Some(reach) => {
                Some(reach.introduction(&process.manifest) + &introduction.unwrap_or_default())
            }
            None => introduction,
        };
        let known = match order.continues {
            None => None,
            Some(_) if resumed.is_some() => Some(Known::Agent),
            Some(_) => (!history.is_empty()).then_some(Known::Summary),
        };
        let session = Self {
            private: order.request.scheme.is_private(),
            stand: Stand::new(0, false),
            owners: process.pause(),
            place,
            words,
            thread: None,
            first_inner: None,
            introduction,
            known,
            bench,
            held: Vec::new(),
            context,
            process,
            log,
            calls,
            acp,
            root,
            record,
            model: model.clone(),
        };
        Ok(Prepared {
            session,
            prompt,
            model,
            imported,
            attached: attached.map(|(_, checkpoint)| checkpoint),
        })
    }

    /// Profile, thread, inner job, start, first checkpoint: what stands before the agent hears its first
    /// word.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(super) async fn begin(
        &mut self,
        order: &Order,
        prompt: &Prompt,
        model: &ModelInfo,
        imported: Option<&(Imported, Checkpoint)>,
        attached: Option<&Checkpoint>,
    ) -> Result<(), PublishError> {
        let context = self.context.clone();
        let manifest = self.process.manifest.clone();
        let name = self.name();
        let profile = nip89::profile(
            &name,
            &format!("{} · {}", manifest.title, model.name),
            "A session of an AI agent, under a key of its own; not a person.",
            Some(&context.admission.operator()),
        );
        let mut events = vec![context.publisher.sign(profile, self.log.keys())?];
        let inner = self.take_job(order, prompt, &mut events)?;
        self.first_inner = Some(inner.clone());
        let mut extra = continued(order);
        extra.extend(self.known.map(Known::tag));
        if let Some(bench) = &self.bench {
            extra.push(vec!["workspace".to_owned(), bench.shared.id.to_hex()]);
        }
        extra.extend(reach::tag_of(self.process.reach.as_ref(), self.private));
        let left_out = |imported| left_out(imported, self.private);
        extra.extend(imported.iter().flat_map(|(imported, _)| left_out(imported)));
        let probe = context.probe.get_or_try_init(|| context.runtime.probe());
        let probe = probe.await.ok();
        let mut env = vec![
            format!("linux/{}", std::env::consts::ARCH),
            format!("sandbox={}", context.runtime.kind()),
            format!(
                "network={}",
                if self.process.reach.is_some() {
                    "proxy"
                } else {
                    "none"
                }
            ),
        ];
        env.extend(probe.into_iter().flat_map(sandbox::Probe::env));
        let start = Start {
            operator: Some(context.admission.operator()),
            behavior: None,
            role: manifest.name.clone(),
            model: model.name.to_string(),
            provider: model.provider.clone(),
            tier: if model.local { "local" } else { "cloud" }.to_owned(),
            adapter: manifest.name.clone(),
            image: self.process.image.clone(),
            env,
            config: Start::config_of(
                &manifest.name,
                "",
                &model.name.0,
                &model.provider,
                &manifest.name,
            ),
            extra,
        };
        let with = if model.provider == "none" {
            String::new()
        } else {
            format!(" on {}", model.name)
        };
        let network = reach::with_network(self.process.reach.as_ref(), self.private);
        let mut content = format!("{name} started{with} in a sandbox {network}.");
        if self.bench.is_some()
            && let Some(probe) = probe
        {
            content.push(' ');
            content.push_str(&match self.process.reach {
                Some(_) => probe.protection.short_with_network(),
                None => probe.protection.short.clone(),
            });
        }
        events.push(self.log.start(start, &inner, &content, now())?.event);
        if let (Some(bench), Some((_, first))) = (&self.bench, imported) {
            let detail = states::checkpoint_detail(
                Some(bench.shared.id),
                first,
                &first.reason,
                self.private,
            );
            let alt = format!("Checkpoint {}: {}", first.number, first.reason);
            events.push(self.log.checkpoint(detail, alt, "", now())?.event);
        }
        if let Some(attached) = attached {
            events.push(states::checkpoint_event(self, attached, ATTACHED, 0)?);
        }
        self.emit(events).await
    }

    /// Turns to a job: the records from here on belong to it, a thread opens, the session is handed its
    /// inner job. What is to be published is appended to `events`.
    ///
    /// # Errors
    /// When something cannot be signed.
    pub(super) fn take_job(
        &mut self,
        order: &Order,
        prompt: &Prompt,
        events: &mut Vec<Event>,
    ) -> Result<Reference, SignError> {
        let context = self.context.clone();
        self.root = Reference::to(&order.event, &context.relay_url);
        self.private = order.request.scheme.is_private();
        self.log.turn_to(self.root.clone());
        self.thread = None;
        if !self.private {
            // What a guest wrote does not go out under the coordinator's key.
            let asked = if order.stranger {
                "A guest asks something.".to_owned()
            } else {
                excerpt(&context.redactor, &prompt.said)
            };
            let text = format!("🧭 {asked}\n{} is on it.", self.name());
            let opening = nip10::opening(&self.root, &[self.log.session()], &text);
            let note = context
                .publisher
                .sign(opening, context.keyring.coordinator())?;
            self.thread = Some(Reference::to(&note, &context.relay_url));
            events.push(note);
        }
        let title = if self.private {
            "a private job".to_owned()
        } else {
            excerpt(&context.redactor, &prompt.said)
        };
        let shared = self.bench.as_ref().map(|bench| &bench.shared);
        self.place.turns_to(About {
            session: self.log.session(),
            agent: self.process.manifest.name.clone(),
            title,
            private: self.private,
            workspace: shared.map(|shared| shared.id),
            project: shared.and_then(|shared| shared.about().project),
            thread: self.thread.as_ref().map(|thread| thread.id),
            at: now(),
            busy: true,
        });
        let inner = self.hand_over(order, prompt)?;
        let reference = Reference::to(&inner, &context.relay_url);
        events.push(inner);
        Ok(reference)
    }

    /// A short name for people, such as `chat-7f3a`.
    fn name(&self) -> String {
        format!(
            "{}-{}",
            self.process.manifest.name,
            &self.log.session().to_hex()[..4]
        )
    }

    /// The inner hop: a job of the coordinator's own for this session (DESIGN.md #4a).
    fn hand_over(&self, order: &Order, asked: &Prompt) -> Result<Event, SignError> {
        let context = &self.context;
        let keys = context.keyring.coordinator();
        let session = self.log.session();
        let prompt = context.redactor.redact(&asked.said);
        let input = vec!["i".to_owned(), prompt.to_string(), "text".to_owned()];
        let files = asked.files.iter().map(|(sha256, name)| {
            let file = ["i", sha256, "blob", "", name];
            file.map(str::to_owned).to_vec()
        });
        let inputs: Vec<Vec<String>> = std::iter::once(input).chain(files).collect();
        let mut draft = Draft::new(kind::AGENT_TASK);
        if self.private {
            let hidden = serde_json::json!(inputs).to_string();
            draft = match Scheme::Nip44.encrypt(keys, &session, &hidden) {
                Ok(content) => draft.tag(["encrypted"]).content(content),
                // Longer than NIP-44 takes: the session has the prompt already, the relay gets its size.
                Err(_) => draft
                    .tag(["encrypted"])
                    .tag(["withheld".to_owned(), prompt.len().to_string()]),
            };
        } else {
            draft = draft.tags(inputs);
        }
        draft = draft
            .tag(["p", &session.to_hex()])
            .tags([self.root.tag("E"), self.root.tag("e")])
            .tag(["param", "depth", "1"]);
        // A request that its customer withdrew is gone, and it was one of several all the same.
        if let Some(one) = Comparison::of(&order.event).filter(|_| !self.private) {
            let quote = one.quote(&context.relay_url, &order.event.pubkey);
            draft = draft.tags([one.tag(), quote]);
        }
        // For the same reason: who does it, where, and what it may reach belong to what is shown of it.
        if !self.private {
            let params = order.request.params.iter();
            draft =
                draft.tags(params.filter(|(name, _)| TOLD.contains(&&**name)).map(
                    |(name, words)| [&["param".to_owned(), name.clone()], &words[..]].concat(),
                ));
        }
        let draft = draft.tag(["alt", "Job handed to a session"]);
        context.publisher.sign(draft, keys)
    }
}

/// What an import left out, for the session's start; of a private job without names.
fn left_out(imported: &Imported, private: bool) -> Vec<Vec<String>> {
    let named = if private { 0 } else { SKIPPED };
    let mut tags: Vec<Vec<String>> = imported
        .skipped
        .iter()
        .take(named)
        .map(|skipped| {
            let path = String::from_utf8_lossy(&skipped.path).into_owned();
            vec![
                "skipped".to_owned(),
                path,
                words::skipped(skipped.why).to_owned(),
            ]
        })
        .collect();
    if imported.ignored > 0 {
        tags.push(vec!["ignored".to_owned(), imported.ignored.to_string()]);
    }
    tags
}

async fn note(context: &Context, record: SessionRecord) -> Result<(), Failure> {
    let state = context.state.clone();
    match tokio::task::spawn_blocking(move || state.put_session(&record)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(error)) => Err(Failure::new(
            "agent",
            format!("the session could not be noted: {error}"),
        )),
        Err(_) => Err(Failure::new("agent", "the session could not be noted")),
    }
}

/// Opens the conversation with the agent; a command has none.
async fn acp_session(
    process: &Process,
    history: &[Said],
    resumed: Option<SessionId>,
    asks: bool,
) -> Result<Option<SessionId>, Failure> {
    let Talk::Acp { peer, .. } = &process.talk else {
        return Ok(None);
    };
    let meta = process::meta(&process.manifest, history);
    let opening = async {
        let acp = match resumed {
            Some(acp) => acp,
            None => peer.new_session(sandbox::WORKSPACE, meta).await?,
        };
        process.set_mode(&acp, asks).await?;
        Ok(acp)
    };
    match opening.await {
        Ok(acp) => Ok(Some(acp)),
        Err(error) => Err(process.agent_failed(&error).await),
    }
}

fn continued(order: &Order) -> Vec<Vec<String>> {
    order
        .continues
        .map(|job: EventId| vec!["continues".to_owned(), job.to_hex()])
        .into_iter()
        .collect()
}

/// The beginning of a text, for a note. Secrets go first: half of one would look like none.
pub(super) fn excerpt(redactor: &Redactor, text: &str) -> String {
    let text = redactor.redact(text);
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(140) {
        Some((cut, _)) => format!("{}…", &line[..cut]),
        None => line,
    }
}
