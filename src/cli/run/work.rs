//! What a job is: a conversation, or work on a copy of a folder.

use std::path::{Path, PathBuf};

use nostr::{Event, PublicKey};

use super::Args;
use crate::{
    agent::{manifest::Manifest, registry::Registry},
    cli::{
        compare::contest::Check,
        error::{CommandError, Kind, Problem},
        launch::Connection,
        output,
        text::one_line,
        workspace,
    },
    nips::{
        kind,
        nip90::request::{ASK, CHECK, PERMISSIONS},
        reference::tag_value,
        workspace::{Operation, Outcome, Task, Which},
    },
    workspace::import,
};

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
    ask: bool,
    network: Option<Vec<String>>,
    checks: Vec<String>,
    tokens: Option<u64>,
    microusd: Option<u64>,
}

/// What a person is told while a job starts.
#[derive(Debug, Default)]
pub(in crate::cli) struct Starting {
    /// What happens now, in a few words.
    pub(super) doing: String,
    /// Worth a line of its own.
    pub(super) note: Option<String>,
    /// What is attached to it.
    pub(super) files: Vec<super::attach::Kept>,
}

/// Looks at the folder before anything starts: what no agent may have or what is too large is refused here, and
/// a person is told what is copied.
///
/// # Errors
/// As [`Work::of`], and when the folder is not for agents.
pub(super) fn look(args: &Args, agents: &Registry, home: &Path) -> Result<Starting, CommandError> {
    let mut starting = look_at_folder(args, agents, home)?;
    args.network.look(home, &mut starting)?;
    Ok(starting)
}

fn look_at_folder(args: &Args, agents: &Registry, home: &Path) -> Result<Starting, CommandError> {
    if let Some(name) = args
        .agent
        .as_deref()
        .filter(|name| agents.get(name).is_none())
    {
        let names: Vec<&str> = agents
            .iter()
            .map(|agent| agent.manifest.name.as_str())
            .collect();
        let sentence = format!("there is no agent called {}", one_line(name));
        return Err(CommandError::new(Kind::Failed, Problem::Job(sentence))
            .word(Some("unsupported"))
            .hint(format!(
                "there are these agents: {} (`treefort agents`)",
                names.join(", ")
            )));
    }
    // The agent and the copy of a conversation are known to treefort only.
    if args.go_on.is_some() {
        return Ok(Starting {
            doing: "starting the agent".to_owned(),
            note: None,
            files: Vec::new(),
        });
    }
    let work = Work::of(args, None, agents)?;
    let agent = one_line(work.agent.as_deref().unwrap_or("the agent"));
    let Some(folder) = &work.folder else {
        return Ok(Starting {
            doing: format!("starting {agent}"),
            note: None,
            files: Vec::new(),
        });
    };
    let refused =
        |error: import::Error| CommandError::new(Kind::Failed, error).word(Some("workspace"));
    let folder = import::check_source(folder, home).map_err(refused)?;
    let options = import::Options {
        ignored: work.ignored,
        ..import::Options::default()
    };
    let files = import::weigh(&folder, &options).map_err(refused)?.files;
    let files = match files {
        1 => "1 file".to_owned(),
        n => format!("{} files", thousands(n)),
    };
    Ok(Starting {
        doing: format!("copying {files} and starting {agent}"),
        note: project_above(&folder).map(|project| {
            let name = folder.strip_prefix(&project).unwrap_or(&folder);
            format!(
                "· Only {}/ is copied, a part of the git project {project}. For all of it: --workspace {project}",
                one_line(&name.to_string_lossy()),
                project = one_line(&project.to_string_lossy())
            )
        }),
        files: Vec::new(),
    })
}

/// An amount of money.
pub(super) fn dollars(word: &str) -> Result<f64, String> {
    match word.parse::<f64>() {
        Ok(amount) if amount > 0.0 && amount.is_finite() => Ok(amount),
        _ => Err("give an amount above zero, like 0.50".to_owned()),
    }
}

/// The git project that a folder is a part of, when it is not the whole.
fn project_above(folder: &Path) -> Option<PathBuf> {
    let is_project = |folder: &&Path| folder.join(".git").symlink_metadata().is_ok();
    if is_project(&folder) {
        return None;
    }
    let above = folder.ancestors().skip(1).find(is_project)?;
    Some(above.to_owned())
}

/// `1,204`.
fn thousands(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
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
            ask: false,
            network: None,
            checks: Vec::new(),
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
        let wants_files = args.workspace.is_some() || args.ignored || !args.check.is_empty();
        if !works_on_files && wants_files {
            let agent = name.unwrap_or("chat").to_owned();
            return Err(CommandError::new(Kind::Usage, Problem::NoFiles(agent))
                .hint("one that does: treefort run --agent opencode \"…\""));
        }
        let asks = manifest.is_some_and(Manifest::asks);
        if args.ask && !asks {
            let agent = name.unwrap_or("chat").to_owned();
            return Err(CommandError::new(Kind::Usage, Problem::NeverAsks(agent))
                .hint("leave out --ask, or take one that can: treefort run --ask --agent opencode \"…\""));
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
            ask: args.ask,
            network: args.network.param(),
            checks: args.check.clone(),
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
        if self.ask {
            params.push(param(PERMISSIONS, ASK.to_owned()));
        }
        params.extend(self.network.clone());
        params.extend(self.checks.iter().map(|check| param(CHECK, check.clone())));
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
    pub(super) async fn what_next(
        &self,
        session: Option<PublicKey>,
        connection: &mut Connection,
    ) -> Result<(), CommandError> {
        let Some(folder) = &self.folder else {
            return Ok(());
        };
        let task = Task {
            which: match session {
                Some(session) => Which::Session(session),
                None => Which::Project(folder.to_string_lossy().into_owned()),
            },
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
            "\n{bold}{} in the agent's copy{bold:#}; your folder is as it was",
            match changed {
                1 => "1 file changed".to_owned(),
                n => format!("{n} files changed"),
            },
        ));
        let shown = &files[..files.len().min(NAMED)];
        for line in workspace::diff::stat(shown, changed) {
            output::progress(line);
        }
        workspace::diff::left_out(&left_out, left_out_in_all);
        let here = std::env::current_dir().and_then(|here| here.canonicalize());
        if here.is_ok_and(|here| here != *folder) {
            let folder = one_line(&folder.to_string_lossy());
            workspace::aside(&format!("in {folder}:"));
        }
        workspace::aside(
            "look: treefort diff · bring home: treefort apply · undo: treefort undo --last",
        );
        Ok(())
    }
}

/// A command that failed is a failure here too, and so is a result whose checks did not pass.
///
/// # Errors
/// When the result says that the command ended with another exit code than 0, or that a check did not pass.
pub(super) fn exit_of(result: &Event) -> Result<(), CommandError> {
    if let Some(code) = tag_value(result, "exit").filter(|code| *code != "0") {
        let problem = Problem::Exit(one_line(code));
        let error = CommandError::new(Kind::Failed, problem);
        return Err(error.word(Some("exit")).told());
    }
    let checks = Check::of(result);
    let failed: Vec<String> = checks
        .iter()
        .filter(|check| !check.passed())
        .map(|check| format!("`{}` {}", check.command, check.how()))
        .collect();
    let problem = match failed.as_slice() {
        [] => return Ok(()),
        [one] => Problem::CheckFailed(one.clone()),
        several => Problem::ChecksFailed {
            failed: several.len(),
            of: checks.len(),
            named: several.to_vec(),
        },
    };
    Err(CommandError::new(Kind::Failed, problem)
        .word(Some("check"))
        .told()
        .hint("its changes are in the copy all the same; to go on: treefort run --continue \"…\""))
}
