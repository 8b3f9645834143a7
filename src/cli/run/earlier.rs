//! The conversation that a question goes on with.

use std::path::Path;

use nostr::{Event, EventId, Filter, Kind as EventKind, PublicKey};

use super::{Args, gone};
use crate::{
    agent::{manifest::Driver, registry::Registry},
    cli::{
        compare::load,
        error::{CommandError, Kind, Problem},
        gather::{self, Target},
        launch::Connection,
        output,
        text::{ago, one_line, truncate},
        view, workspace,
    },
    nips::{
        kind,
        nip90::Comparison,
        session::{Body, Record},
        workspace::{Operation, Task, Which},
    },
};

/// Jobs and results that are looked at to find the last conversation.
const LOOKED_AT: usize = 200;
/// Columns of what a conversation was about.
const TITLE: usize = 50;

/// The conversation that a job goes on from.
pub(super) struct Earlier {
    /// Its last answer.
    pub(super) result: Event,
    /// Who gave it.
    pub(super) agent: Option<String>,
    /// What was asked.
    pub(super) title: String,
}

impl Earlier {
    /// Says which one it is.
    pub(super) fn say(&self) {
        let now = nostr::Timestamp::now().as_secs();
        let when = ago(self.result.created_at.as_secs(), now);
        let room = output::progress_columns().saturating_sub(20 + when.len());
        let title = truncate(&one_line(&self.title), room.min(TITLE));
        let agent = self.agent.as_deref().unwrap_or("the agent");
        let line = match title.as_str() {
            "" => format!("· going on with {}, {when}", one_line(agent)),
            title => format!("· going on with “{title}”, {when}"),
        };
        workspace::aside(&line);
    }
}

/// The newest result that no job went on from, and its agent: the last conversation here. That is one about this
/// folder, else one without any; one about another folder is not meant, and a command is no conversation unless its
/// agent is named.
///
/// # Errors
/// When there is none.
pub(super) async fn last_conversation(
    args: &Args,
    agents: &Registry,
    connection: &mut Connection,
) -> Result<Earlier, CommandError> {
    let operator = connection.keyring.operator().public_key();
    let kinds = |kinds: [u16; 2]| Filter::new().kinds(kinds.map(EventKind::from));
    let asked = kinds([kind::TEXT_GENERATION, kind::AGENT_TASK]).author(operator);
    let asked = connection.client.newest(asked, LOOKED_AT).await?;
    let told = kinds([kind::JOB_FEEDBACK, kind::JOB_FEEDBACK]);
    let told = told.author(connection.coordinator()).pubkey(operator);
    let told = connection.client.newest(told, LOOKED_AT).await?;
    let gone_on = gone::on_from(&asked, &told, connection.coordinator());
    let text = kind::result_of(EventKind::from(kind::TEXT_GENERATION)).as_u16();
    let answered = kinds([text, kind::AGENT_TASK_RESULT])
        .author(connection.coordinator())
        .pubkey(operator);
    let answered = connection.client.newest(answered, LOOKED_AT).await?;
    let here = args.workspace.clone().unwrap_or_else(|| ".".into());
    let here = here.canonicalize().unwrap_or(here);
    let works_on_files = |name: &str| {
        agents
            .get(name)
            .is_some_and(|agent| agent.manifest.workspace)
    };
    let wants_files = args.agent.as_deref().is_none_or(works_on_files);
    // One without a folder, should there be none of this folder.
    let (mut found, mut elsewhere) = (None, None);
    let keys = connection.keyring.operator().clone();
    let coordinator = connection.coordinator();
    let one_of = |job: &Event| {
        let tags = load::tags_of(job, &keys, &coordinator);
        Comparison::find(tags.iter().map(Vec::as_slice)).map(|one| one.id)
    };
    for result in &answered {
        let job = view::ids(result, "e").next();
        let Some(job) = asked.iter().find(|asked| Some(asked.id) == job) else {
            continue;
        };
        let agent = param(job, "agent");
        let command = agent
            .as_deref()
            .and_then(|name| agents.get(name))
            .is_some_and(|agent| agent.manifest.driver == Driver::Exec);
        let folder = param(job, "workspace");
        let foreign = folder
            .as_deref()
            .is_some_and(|folder| here != Path::new(folder));
        if gone_on.contains(&result.id) || foreign || (command && args.agent != agent) {
            continue;
        }
        let earlier = Earlier {
            title: view::prompt(job),
            result: result.clone(),
            agent,
        };
        if folder.is_some() != wants_files && elsewhere.is_some() {
            continue;
        }
        let rivals: Vec<&Event> = match one_of(job) {
            None => Vec::new(),
            of => asked
                .iter()
                .filter(|other| one_of(other) == of && has_answer(other, &answered))
                .collect(),
        };
        let at = (earlier, rivals);
        if folder.is_some() == wants_files {
            found = Some(at);
            break;
        }
        elsewhere = Some(at);
    }
    match found.or(elsewhere) {
        Some((_, rivals)) if rivals.len() > 1 => {
            let named = |job: &&&Event| args.agent.is_some() && param(job, "agent") == args.agent;
            let named: Vec<&&Event> = rivals.iter().filter(named).collect();
            let chosen = match named[..] {
                [one] => one.id.to_hex(),
                _ => chosen(&rivals, &here, connection).await?.to_hex(),
            };
            return last_result(connection, &chosen).await;
        }
        Some((earlier, _)) => return Ok(earlier),
        None => {}
    }
    Err(CommandError::new(Kind::Failed, Problem::NoSession)
        .hint("start one: treefort run \"a question\""))
}

/// A parameter of a job that is in the clear.
fn param(job: &Event, name: &str) -> Option<String> {
    let mut params = view::tags(job, "param");
    let found = params.find(|tag| tag.get(1).is_some_and(|it| it == name));
    found.and_then(|tag| tag.get(2).cloned())
}

/// Whether one of these is the answer to a job.
fn has_answer(job: &Event, answered: &[Event]) -> bool {
    answered
        .iter()
        .any(|result| view::ids(result, "e").next() == Some(job.id))
}

/// The session that is meant when several were asked the last question: the one that was brought home.
///
/// # Errors
/// When none was: nobody guesses then.
async fn chosen(
    rivals: &[&Event],
    here: &Path,
    connection: &mut Connection,
) -> Result<PublicKey, CommandError> {
    if rivals.iter().any(|job| param(job, "workspace").is_some()) {
        let task = Task {
            which: Which::Project(here.to_string_lossy().into_owned()),
            operation: Operation::Checkpoints,
        };
        if let Some(session) = workspace::request(connection, &task).await?.workspace {
            return Ok(session);
        }
    }
    let jobs: Vec<EventId> = rivals.iter().map(|job| job.id).collect();
    let handed = view::of_kind(kind::AGENT_TASK)
        .author(connection.coordinator())
        .custom_tags(gather::ROOT, jobs.iter().map(EventId::to_hex));
    let handed = connection.client.query(handed).await?;
    let mut named = Vec::new();
    for job in rivals {
        let own = handed
            .iter()
            .find(|inner| view::ids(inner, "E").next() == Some(job.id));
        if let Some(session) = own.and_then(|inner| view::people(inner).next()) {
            let agent = param(job, "agent").or(param(job, "model"));
            let agent = agent
                .as_deref()
                .map_or_else(|| "the agent".to_owned(), one_line);
            named.push(format!("{} ({agent})", view::short(&session.to_hex())));
        }
    }
    Err(CommandError::new(Kind::Usage, Problem::SeveralAsked(named))
        .hint("treefort run --continue=ID \"…\""))
}

/// The newest result of a conversation, which the next job points at, and the agent that gave it.
pub(super) async fn last_result(
    connection: &mut Connection,
    session: &str,
) -> Result<Earlier, CommandError> {
    let coordinator = connection.coordinator();
    let operator = connection.keyring.operator().public_key();
    let target = gather::resolve(&mut connection.client, coordinator, Some(session)).await?;
    let story = gather::story(&mut connection.client, coordinator, target).await?;
    let agent = agent_of(&story);
    // Times are in seconds: the last one is the one that no job went on from.
    let jobs = story.iter();
    let jobs = jobs.filter(|it| it.pubkey == operator && kind::is_job_request(it.kind));
    let gone_on = gone::on_from(jobs, &story, coordinator);
    let asked = |result: &Event| {
        let job = view::ids(result, "e").next();
        let asked = story.iter().find(|event| Some(event.id) == job);
        asked.map(view::prompt).unwrap_or_default()
    };
    story
        .iter()
        .rev()
        .find(|event| {
            event.pubkey == coordinator
                && !gone_on.contains(&event.id)
                && kind::is_job_result(event.kind)
                && view::people(event).any(|key| key == operator)
        })
        .map(|result| Earlier {
            result: result.clone(),
            agent,
            title: asked(result),
        })
        .ok_or_else(|| {
            let name = match target {
                Target::Session(key) => view::short(&key.to_hex()),
                Target::Job(id) => view::short(&id.to_hex()),
            };
            CommandError::new(Kind::Failed, Problem::NothingToContinue(name))
        })
}

/// The agent of a conversation.
fn agent_of(story: &[Event]) -> Option<String> {
    story
        .iter()
        .rev()
        .find_map(|event| match Record::parse(event).ok()?.body {
            Body::Start(start) => Some(start.adapter),
            _ => None,
        })
}
