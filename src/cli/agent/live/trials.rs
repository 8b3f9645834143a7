//! The trials, in their order: each is a job, and what came of it is read from its record.

use std::{path::Path, time::Duration};

use nostr::{Event, EventId, Filter, Kind as EventKind, Timestamp};
use tokio::time::{Instant, timeout_at};

use super::{
    super::super::{
        client::{self, Update},
        error::CommandError,
        gather,
        launch::Connection,
        text::{one_line, truncate},
        view::{self, Feedback},
    },
    script::{FILE, TEXT, WAIT, WORD, WRITE, Watched},
};
use crate::{
    agent::manifest::{Driver, Manifest},
    nips::{
        Draft, kind,
        nip90::{
            Status,
            request::{ASK, PERMISSIONS},
        },
        reference::tag_value,
    },
};

/// How long one job may take.
const PATIENCE: Duration = Duration::from_secs(120);
/// How long a session's end may come after its job's.
const ENDING: Duration = Duration::from_secs(10);
/// What stopping takes beside the agent's own grace.
const STOPPING: Duration = Duration::from_secs(5);
/// Bytes of a prompt for one token, roughly.
const TOKEN_BYTES: u64 = 4;
/// Columns of what an agent said.
const SAID: usize = 80;

/// What came of a trial.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Works,
    Failed,
    /// It does not apply to this agent.
    Left,
}

/// One trial.
#[derive(Debug)]
pub(super) struct Tried {
    pub(super) what: &'static str,
    pub(super) verdict: Verdict,
    pub(super) detail: String,
    pub(super) fix: String,
}

impl Tried {
    fn new(what: &'static str, verdict: Verdict, detail: impl Into<String>) -> Self {
        Self {
            what,
            verdict,
            detail: detail.into(),
            fix: String::new(),
        }
    }

    /// What is wrong with its folder, before anything can be tried.
    pub(super) fn wrong(detail: String, fix: &str) -> Self {
        Self::of("its folder", false, detail, fix)
    }

    fn of(what: &'static str, works: bool, detail: impl Into<String>, fix: &str) -> Self {
        let verdict = if works {
            Verdict::Works
        } else {
            Verdict::Failed
        };
        let mut tried = Self::new(what, verdict, detail);
        if !works {
            fix.clone_into(&mut tried.fix);
        }
        tried
    }
}

/// A job and all that was published about it.
struct Done {
    events: Vec<Event>,
    /// To the session's start.
    started: Option<Duration>,
    took: Duration,
    /// What the coordinator said last; none when it did not end in time.
    end: Option<Feedback>,
}

impl Done {
    fn result(&self) -> Option<&Event> {
        let mut events = self.events.iter();
        events.find(|event| kind::is_job_result(event.kind))
    }

    fn records(&self, kind: u16) -> impl Iterator<Item = &Event> {
        self.events
            .iter()
            .filter(move |event| event.kind.as_u16() == kind)
    }

    fn ended(&self) -> bool {
        self.records(kind::SESSION_END).next().is_some()
    }

    fn succeeded(&self) -> bool {
        self.end
            .as_ref()
            .is_some_and(|end| end.status == Status::Success)
    }

    /// Why it did not succeed.
    fn why(&self) -> String {
        match &self.end {
            Some(end) => end.sentence.clone(),
            None => format!("nothing came of it within {} s", PATIENCE.as_secs()),
        }
    }
}

/// What is tried with an agent.
struct Bench<'a> {
    connection: &'a mut Connection,
    manifest: &'a Manifest,
    project: &'a Path,
    watched: &'a Watched,
    /// Whether it did, the first time.
    asks_its_model: bool,
}

/// Tries everything.
///
/// # Errors
/// When treefort itself fails.
pub(super) async fn all(
    connection: &mut Connection,
    manifest: &Manifest,
    project: &Path,
    watched: &Watched,
) -> Result<Vec<Tried>, CommandError> {
    let mut bench = Bench {
        connection,
        manifest,
        project,
        watched,
        asks_its_model: false,
    };
    let mut tried = Vec::new();
    let first = bench.first(&mut tried).await?;
    if first.succeeded() {
        if bench.asks_its_model {
            bench.stops(&mut tried).await?;
        }
        bench.asks(&mut tried).await?;
        bench.remembers(&first, &mut tried).await?;
    }
    Ok(tried)
}

impl Bench<'_> {
    /// A whole turn: start, model, tools, answer.
    async fn first(&mut self, tried: &mut Vec<Tried>) -> Result<Done, CommandError> {
        let manifest = self.manifest;
        // A command that asks no model is its prompt.
        let prompt = match manifest.needs_a_model() {
            true => format!("Write {FILE}. {WRITE}"),
            false => format!("echo {WORD}"),
        };
        let done = self.job(&prompt, &[], None).await?;
        let calls = self.watched.take();
        self.asks_its_model = !calls.is_empty();
        tried.push(match done.started {
            Some(after) => Tried::new(
                "starts",
                Verdict::Works,
                format!(
                    "in {:.1} s, in a sandbox without a network",
                    after.as_secs_f64()
                ),
            ),
            None => Tried::of(
                "starts",
                false,
                done.why(),
                "the sentence says what it lacks; `treefort doctor` looks at the rest",
            ),
        });
        if done.started.is_none() {
            return Ok(done);
        }
        if manifest.needs_a_model() {
            // What asks for a title has no tools.
            let real = calls.iter().find(|call| !call.tools.is_empty());
            let first = real.or(calls.first());
            let first = first.map_or(0, |call| call.bytes as u64);
            let context = u64::from(manifest.context(crate::model::Config::default().num_ctx));
            let tokens = first / TOKEN_BYTES;
            tried.push(Tried::of(
                "asks its model",
                !calls.is_empty(),
                match calls.len() {
                    0 => "not once".to_owned(),
                    1 => format!("once, with {first} bytes, about {tokens} tokens"),
                    n => format!("{n} times; it begins with {first} bytes, about {tokens} tokens"),
                },
                "it finds the model at http://127.0.0.1:11434 with the token in TREEFORT_TOKEN as its key",
            ));
            if !calls.is_empty() {
                tried.push(Tried::of(
                    "leaves room to work",
                    tokens * 2 <= context,
                    format!("about {tokens} of the {context} tokens that its models are given"),
                    "say less to the model by itself, or set `context` under [model] in agent.toml",
                ));
            }
        }
        self.acts(&done, &calls, tried);
        let answer = done.result().map(|result| result.content.clone());
        let expected = answer.as_deref().is_some_and(|text| text.contains(WORD));
        // A command that asks no model says what it likes.
        let works = done.succeeded() && (expected || !manifest.needs_a_model());
        let said = match &answer {
            Some(text) => format!("“{}”", truncate(&one_line(text), SAID)),
            None => done.why(),
        };
        tried.push(Tried::of(
            "answers",
            works,
            said,
            "the model's last words should be its answer: as agent_message_chunk (ACP), or on its standard output",
        ));
        tried.push(Tried::of(
            "ends",
            done.ended(),
            format!("the job took {:.1} s in all", done.took.as_secs_f64()),
            "it should leave when its input is closed; `grace_s` says how long that may take",
        ));
        Ok(done)
    }

    /// What it did, and what it said about it.
    fn acts(&self, done: &Done, calls: &[crate::model::scripted::Asked], tried: &mut Vec<Tried>) {
        let left = match (self.manifest.workspace, self.manifest.needs_a_model()) {
            (false, _) => Some("it works on no files"),
            (true, false) => Some("it has no model that could have it do so"),
            (true, true) => None,
        };
        if let Some(left) = left {
            tried.push(Tried::new("writes a file", Verdict::Left, left));
            return;
        }
        let tools = calls.iter().map(|call| call.tools.as_slice());
        let tools = tools.max_by_key(|tools| tools.len()).unwrap_or_default();
        let names: Vec<&str> = tools.iter().map(|tool| tool.name.as_str()).collect();
        let names = one_line(&names.join(", "));
        let facts: Vec<&Event> = done
            .records(kind::ACTION)
            .filter(|record| tag_value(record, "path") == Some(FILE))
            .collect();
        let written = facts
            .iter()
            .any(|fact| fact.content.contains(TEXT.trim_end()));
        // A command may have done what it is for without a model's tools.
        if self.manifest.driver == Driver::Exec && names.is_empty() {
            let detail = "it offers its model no tools";
            tried.push(Tried::new("writes a file", Verdict::Left, detail));
            return;
        }
        tried.push(Tried::of(
            "writes a file",
            written,
            format!("with one of its tools: {names}"),
            "the model has to be offered a tool that writes files (path, content) or runs commands (command)",
        ));
        let claimed = written
            && facts
                .iter()
                .all(|fact| tag_value(fact, "claimed").is_some());
        tried.push(Tried::of(
            "says what it does",
            claimed,
            "what the host saw is what it said",
            "report each tool as tool_call and tool_call_update (ACP), with kind, locations and status",
        ));
    }

    /// It stops when it is told to, with the model in the middle of an answer.
    async fn stops(&mut self, tried: &mut Vec<Tried>) -> Result<(), CommandError> {
        let job = self.publish(&format!("Wait. {WAIT}"), &[], None).await?;
        let deadline = Instant::now() + PATIENCE;
        while self.watched.take().is_empty() && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let told = Instant::now();
        self.cancel(&job).await?;
        let done = self.follow(&job, told).await?;
        let most = Duration::from_secs(self.manifest.grace_s) + STOPPING;
        tried.push(Tried::of(
            "stops when told to",
            done.ended() && done.took <= most,
            format!("{:.1} s after it was told to", done.took.as_secs_f64()),
            "end the turn on session/cancel, and leave when the input is closed",
        ));
        Ok(())
    }

    /// It asks its owner before it acts, where it is said to.
    async fn asks(&mut self, tried: &mut Vec<Tried>) -> Result<(), CommandError> {
        if !self.manifest.asks() || !self.manifest.workspace {
            let detail = "its manifest does not say that it does";
            tried.push(Tried::new("asks before it acts", Verdict::Left, detail));
            return Ok(());
        }
        let ask = [vec![
            "param".to_owned(),
            PERMISSIONS.to_owned(),
            ASK.to_owned(),
        ]];
        let job = self
            .publish(&format!("Write {FILE}. {WRITE}"), &ask, None)
            .await?;
        let asked = self.question(&job).await?;
        self.cancel(&job).await?;
        let _ended = self.follow(&job, Instant::now()).await?;
        self.watched.take();
        tried.push(Tried::of(
            "asks before it acts",
            asked.is_some(),
            asked.unwrap_or_else(|| "it acted without a question".to_owned()),
            "ask with session/request_permission; `ask_mode` names the mode in which it does, `asks = false` says that it never does",
        ));
        Ok(())
    }

    /// It goes on with a conversation by itself, where it is said to.
    async fn remembers(
        &mut self,
        first: &Done,
        tried: &mut Vec<Tried>,
    ) -> Result<(), CommandError> {
        let (Some(_), Some(result)) = (&self.manifest.resume, first.result()) else {
            let detail = "its manifest has no [resume]: it is told a summary";
            tried.push(Tried::new("remembers", Verdict::Left, detail));
            return Ok(());
        };
        let earlier = result.id;
        let done = self.job("And then?", &[], Some(earlier)).await?;
        self.watched.take();
        let start = done.records(kind::SESSION_START).next();
        let resumed = start.and_then(|start| tag_value(start, "resumed"));
        tried.push(Tried::of(
            "remembers",
            resumed == Some("agent") && done.succeeded(),
            match resumed {
                Some("agent") => "the conversation went on in another sandbox".to_owned(),
                _ => format!("it was told a summary; {}", done.why()),
            },
            "advertise loadSession, and keep the conversation in the folders that [resume] names",
        ));
        Ok(())
    }

    async fn job(
        &mut self,
        prompt: &str,
        more: &[Vec<String>],
        earlier: Option<EventId>,
    ) -> Result<Done, CommandError> {
        let asked = Instant::now();
        let job = self.publish(prompt, more, earlier).await?;
        self.follow(&job, asked).await
    }

    /// Publishes a job of the agent's.
    async fn publish(
        &mut self,
        prompt: &str,
        more: &[Vec<String>],
        earlier: Option<EventId>,
    ) -> Result<Event, CommandError> {
        let kinds = &self.manifest.kinds;
        let kind = match kinds.contains(&kind::AGENT_TASK) {
            true => kind::AGENT_TASK,
            false => kinds.first().copied().unwrap_or(kind::AGENT_TASK),
        };
        let project = self.project.to_string_lossy().into_owned();
        let folder = self.manifest.workspace && earlier.is_none();
        let job = Draft::new(kind)
            .tag(["i", prompt, "text"])
            .tag(["p", &self.connection.coordinator().to_hex()])
            .tag(["param", "agent", &self.manifest.name])
            .tag_opt(folder.then_some(["param", "workspace", &project]))
            .tags(more.iter().cloned())
            .tags(earlier.map(|id| vec!["e".to_owned(), id.to_hex()]))
            .sign(
                self.connection.keyring.operator(),
                Timestamp::now().as_secs(),
            )
            .map_err(client::Error::from)?;
        let records: Vec<EventKind> = (kind::SESSION_START..=kind::SESSION_END)
            .map(EventKind::from)
            .collect();
        let author = self.connection.coordinator();
        let filters = vec![
            Filter::new().author(author).event(job.id),
            Filter::new()
                .kinds(records)
                .custom_tag(gather::ROOT, job.id.to_hex()),
        ];
        self.connection.client.subscribe(filters).await?;
        self.connection.client.publish(&job).await?;
        Ok(job)
    }

    /// Hears of a job until it and its session have ended.
    async fn follow(&mut self, job: &Event, since: Instant) -> Result<Done, CommandError> {
        let mut done = Done {
            events: Vec::new(),
            started: None,
            took: Duration::ZERO,
            end: None,
        };
        let mut until = Instant::now() + PATIENCE;
        while let Ok(update) = timeout_at(until, self.connection.client.next()).await {
            let Update::Event(event) = update?.1 else {
                continue;
            };
            if !about(&event, job) {
                continue;
            }
            if event.kind.as_u16() == kind::SESSION_START {
                done.started.get_or_insert(since.elapsed());
            }
            let feedback = Feedback::of(&event);
            done.events.push(*event);
            let over = |end: &Feedback| matches!(end.status, Status::Success | Status::Error);
            if let Some(end) = feedback.filter(over) {
                done.end = Some(end);
                until = until.min(Instant::now() + ENDING);
            }
            if done.end.is_some() && (done.ended() || done.started.is_none()) {
                break;
            }
        }
        done.took = since.elapsed();
        Ok(done)
    }

    /// The first question of a job's agent; none when it ends without one.
    async fn question(&mut self, job: &Event) -> Result<Option<String>, CommandError> {
        let until = Instant::now() + PATIENCE;
        while let Ok(update) = timeout_at(until, self.connection.client.next()).await {
            let Update::Event(event) = update?.1 else {
                continue;
            };
            if !about(&event, job) {
                continue;
            }
            if tag_value(&event, "l") == Some("question") {
                let first = event.content.lines().next().unwrap_or_default();
                return Ok(Some(format!("“{}”", truncate(&one_line(first), SAID))));
            }
            if Feedback::of(&event)
                .is_some_and(|said| matches!(said.status, Status::Success | Status::Error))
            {
                return Ok(None);
            }
        }
        Ok(None)
    }

    async fn cancel(&mut self, job: &Event) -> Result<(), CommandError> {
        let event = Draft::new(kind::DELETION)
            .tag(["e", &job.id.to_hex()])
            .tag(["k", &job.kind.as_u16().to_string()])
            .tag(["p", &self.connection.coordinator().to_hex()])
            .sign(
                self.connection.keyring.operator(),
                Timestamp::now().as_secs(),
            )
            .map_err(client::Error::from)?;
        Ok(self.connection.client.publish(&event).await?)
    }
}

/// Whether an event is about this job, and not about one before it.
fn about(event: &Event, job: &Event) -> bool {
    let root = tag_value(event, "E");
    root == Some(job.id.to_hex().as_str()) || view::ids(event, "e").any(|id| id == job.id)
}
