//! What a job is: a conversation, or work on a copy of a folder.

use std::{
    collections::HashSet,
    path::{Path, PathBuf},
};

use nostr::{Event, EventId, Filter, Kind as EventKind};

use super::Args;
use crate::{
    agent::{manifest::Driver, registry::Registry},
    cli::{
        error::{CommandError, Kind, Problem},
        launch::Connection,
        output,
        text::one_line,
        view, workspace,
    },
    nips::{
        kind,
        reference::tag_value,
        session::{Body, Record},
        workspace::{Operation, Outcome, Task, Which},
    },
};

/// Jobs and results that are looked at to find the last conversation.
const LOOKED_AT: usize = 200;
/// Files that are named after a job.
const NAMED: usize = 12;

/// What a job is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Work {
    /// Text generation or an agent task.
    pub(super) kind: u16,
    agent: Option<String>,
    /// The folder that it works on.
    folder: Option<PathBuf>,
    ignored: bool,
    tokens: Option<u64>,
    microusd: Option<u64>,
}

impl Work {
    /// A conversation.
    #[cfg(test)]
    pub(super) fn text(agent: Option<&str>) -> Self {
        Self {
            kind: kind::TEXT_GENERATION,
            agent: agent.map(str::to_owned),
            folder: None,
            ignored: false,
            tokens: None,
            microusd: None,
        }
    }

    /// What was asked for: the agent that is named, else the one of the conversation before, else the usual
    /// one.
    ///
    /// # Errors
    /// When the folder is not there, or the agent does not work on files.
    pub(super) fn of(
        args: &Args,
        before: Option<&str>,
        agents: &Registry,
    ) -> Result<Self, CommandError> {
        let name = args.agent.as_deref().or(before);
        let manifest = name
            .and_then(|name| agents.get(name))
            .map(|agent| &agent.manifest);
        let works_on_files = manifest.is_some_and(|manifest| manifest.workspace);
        if !works_on_files && (args.workspace.is_some() || args.ignored) {
            let agent = name.unwrap_or("chat").to_owned();
            return Err(CommandError::new(Kind::Usage, Problem::NoFiles(agent))
                .hint("one that does: treefort run --agent opencode \"…\""));
        }
        let folder = works_on_files.then(|| {
            let folder = args.workspace.clone().unwrap_or_else(|| ".".into());
            folder.canonicalize().map_err(|error| {
                let shown = one_line(&folder.to_string_lossy());
                CommandError::new(Kind::Usage, Problem::NoFolder(shown, error))
            })
        });
        let task = works_on_files
            || manifest.is_some_and(|manifest| !manifest.kinds.contains(&kind::TEXT_GENERATION));
        Ok(Self {
            kind: if task {
                kind::AGENT_TASK
            } else {
                kind::TEXT_GENERATION
            },
            agent: name.map(str::to_owned),
            folder: folder.transpose()?,
            ignored: args.ignored,
            tokens: args.budget_tokens,
            // At least one millionth: less is no budget.
            microusd: args
                .budget_usd
                .map(|dollars| ((dollars * 1e6).ceil() as u64).max(1)),
        })
    }

    /// The job's parameters.
    pub(super) fn params(&self) -> Vec<Vec<String>> {
        let param = |name: &str, value: String| vec!["param".to_owned(), name.to_owned(), value];
        let mut params = Vec::new();
        params.extend(self.agent.clone().map(|agent| param("agent", agent)));
        let budget = |name: &'static str, amount: Option<u64>| {
            amount.map(|amount| param(name, amount.to_string()))
        };
        params.extend(budget("budget_tokens", self.tokens));
        params.extend(budget("budget_microusd", self.microusd));
        if let Some(folder) = &self.folder {
            params.push(param("workspace", folder.to_string_lossy().into_owned()));
            if self.ignored {
                params.push(param("ignored", "true".to_owned()));
            }
        }
        params
    }

    /// Says what changed in the copy, and what can be done with it.
    ///
    /// # Errors
    /// When treefort cannot be asked.
    pub(super) async fn what_next(&self, connection: &mut Connection) -> Result<(), CommandError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let task = Task {
            which: Which::Project(folder.to_string_lossy().into_owned()),
            operation: Operation::Diff {
                from: None,
                to: None,
            },
        };
        let answer = workspace::request(connection, &task).await?;
        let Outcome::Diff {
            files,
            changed,
            left_out,
            left_out_in_all,
            ..
        } = answer.outcome
        else {
            return Ok(());
        };
        if changed == 0 && left_out_in_all == 0 {
            workspace::aside("\nNo file changed.");
            return Ok(());
        }
        if changed == 0 {
            workspace::aside("\nNo file changed that a checkpoint covers.");
            workspace::diff::left_out(&left_out, left_out_in_all);
            return Ok(());
        }
        let bold = anstyle::Style::new().bold();
        output::progress(format!(
            "\n{bold}{} in a copy of {}{bold:#}; your folder is as it was",
            match changed {
                1 => "1 file changed".to_owned(),
                n => format!("{n} files changed"),
            },
            one_line(&folder.to_string_lossy())
        ));
        let shown = &files[..files.len().min(NAMED)];
        for line in workspace::diff::stat(shown, changed) {
            output::progress(line);
        }
        workspace::diff::left_out(&left_out, left_out_in_all);
        workspace::aside(
            "see it: treefort diff · keep it: treefort apply · step back: treefort undo --last",
        );
        Ok(())
    }
}

/// The newest result that no job went on from, and its agent: the last conversation here. One about another
/// folder is not meant, and a command is no conversation unless its agent is named.
///
/// # Errors
/// When there is none.
pub(super) async fn last_conversation(
    args: &Args,
    agents: &Registry,
    connection: &mut Connection,
) -> Result<(Event, Option<String>), CommandError> {
    let operator = connection.keyring.operator().public_key();
    let kinds = |kinds: [u16; 2]| Filter::new().kinds(kinds.map(EventKind::from));
    let asked = kinds([kind::TEXT_GENERATION, kind::AGENT_TASK]).author(operator);
    let asked = connection.client.newest(asked, LOOKED_AT).await?;
    let gone_on: HashSet<EventId> = asked.iter().flat_map(|job| view::ids(job, "e")).collect();
    let text = kind::result_of(EventKind::from(kind::TEXT_GENERATION)).as_u16();
    let answered = kinds([text, kind::AGENT_TASK_RESULT])
        .author(connection.coordinator())
        .pubkey(operator);
    let answered = connection.client.newest(answered, LOOKED_AT).await?;
    let here = args.workspace.clone().unwrap_or_else(|| ".".into());
    let here = here.canonicalize().unwrap_or(here);
    for result in answered {
        let job = view::ids(&result, "e").next();
        let Some(job) = asked.iter().find(|asked| Some(asked.id) == job) else {
            continue;
        };
        let param = |name: &str| {
            let mut tags = job.tags.iter().map(nostr::Tag::as_slice);
            let found = tags.find(|tag| tag[0] == "param" && tag.get(1).is_some_and(|n| n == name));
            found.and_then(|tag| tag.get(2).cloned())
        };
        let agent = param("agent");
        let command = agent
            .as_deref()
            .and_then(|name| agents.get(name))
            .is_some_and(|agent| agent.manifest.driver == Driver::Exec);
        let elsewhere = param("workspace").is_some_and(|folder| here != Path::new(&folder));
        if gone_on.contains(&result.id) || elsewhere || (command && args.agent != agent) {
            continue;
        }
        return Ok((result, agent));
    }
    Err(CommandError::new(Kind::Failed, Problem::NoSession)
        .hint("start one: treefort run \"a question\""))
}

/// The agent of a conversation.
pub(super) fn agent_of(story: &[Event]) -> Option<String> {
    story
        .iter()
        .rev()
        .find_map(|event| match Record::parse(event).ok()?.body {
            Body::Start(start) => Some(start.adapter),
            _ => None,
        })
}

/// A command that failed is a failure here too.
///
/// # Errors
/// When the result says that the command ended with another exit code than 0.
pub(super) fn exit_of(result: &Event) -> Result<(), CommandError> {
    match tag_value(result, "exit") {
        None | Some("0") => Ok(()),
        Some(code) => {
            Err(CommandError::new(Kind::Failed, Problem::Exit(one_line(code))).word(Some("exit")))
        }
    }
}
