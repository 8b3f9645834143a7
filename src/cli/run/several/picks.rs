//! Who is asked: out of `--agents`, `--model` and `--repeat`.

use std::path::Path;

use crate::{
    agent::{
        manifest::{Driver, Manifest},
        registry::Registry,
    },
    cli::{
        error::{CommandError, Kind},
        run::{Args, Starting, attach, network::Network, work},
        text::one_line,
    },
    nips::nip90::MAX_COMPARED,
};

/// Why nobody can be asked like that.
#[derive(Debug, thiserror::Error)]
enum Wrong {
    #[error("{0} sessions are too many at once: {MAX_COMPARED} are the most")]
    TooMany(usize),
    #[error("an agent's name is missing in --agents")]
    NoName,
    #[error("a model's name is missing after `{0}=`")]
    NoModel(String),
    #[error("a conversation goes on with one agent, not with several")]
    GoesOn,
    #[error("none of these agents leaves files behind that could be checked")]
    NothingToCheck,
    #[error("{0} never asks for a permission")]
    NeverAsks(String),
}

/// One who is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::cli::run) struct Pick {
    /// The usual one when none is named.
    pub(in crate::cli::run) agent: Option<String>,
    /// The agent's usual one when none is named.
    pub(in crate::cli::run) model: Option<String>,
    /// Which repetition it is, from 1; none when there is one only.
    pub(in crate::cli::run) round: Option<u16>,
}

impl Pick {
    /// What people read: agent, model, and which time.
    pub(in crate::cli::run) fn name(&self) -> String {
        let mut words: Vec<String> = [&self.agent, &self.model]
            .into_iter()
            .flatten()
            .map(|word| one_line(word))
            .collect();
        if words.is_empty() {
            words.push("the agent".to_owned());
        }
        let name = words.join(" · ");
        match self.round {
            Some(round) => format!("{name} #{round}"),
            None => name,
        }
    }

    /// What it is told: what all are told, as far as it concerns this one.
    ///
    /// # Errors
    /// When what was asked for cannot be had of this agent.
    pub(super) fn args(&self, all: &Args, agents: &Registry) -> Result<Args, CommandError> {
        let mut args = all.clone();
        args.agent.clone_from(&self.agent);
        args.agents.clear();
        args.model = self.model.iter().cloned().collect();
        args.repeat = None;
        let name = self.agent.as_deref().unwrap_or("chat");
        let manifest = agents.get(name).map(|agent| &agent.manifest);
        if manifest.is_some_and(|manifest| !manifest.workspace) {
            // What is about files concerns those who work on some; no permission is needed for words.
            args.workspace = None;
            args.ignored = false;
            args.check.clear();
            args.ask = false;
            args.network = Network::default();
            return Ok(args);
        }
        if manifest.is_some_and(|manifest| !is_checkable(manifest)) {
            // A command's own exit code counts.
            args.check.clear();
        }
        if all.ask && manifest.is_some_and(|manifest| !manifest.asks()) {
            let wrong = Wrong::NeverAsks(one_line(name));
            return Err(
                CommandError::new(Kind::Usage, wrong).hint("leave out --ask, or this agent")
            );
        }
        Ok(args)
    }
}

/// Whether a check can run on what an agent leaves behind.
fn is_checkable(manifest: &Manifest) -> bool {
    manifest.workspace && manifest.driver != Driver::Exec
}

/// What was looked at before anything starts.
pub(in crate::cli::run) enum Ready {
    /// One is asked, like this.
    One(Box<Args>, Starting),
    Several(Starting),
}

/// Looks at what each is to do: what is certain to be refused is refused here.
///
/// # Errors
/// As [`work::look`], and when a file that is attached cannot be had.
pub(in crate::cli::run) fn ready(
    args: &Args,
    picks: &[Pick],
    agents: &Registry,
    home: &Path,
) -> Result<Ready, CommandError> {
    let mut starting = Starting::default();
    let mut looked: Vec<&Option<String>> = Vec::new();
    for pick in picks {
        if looked.contains(&&pick.agent) {
            continue;
        }
        looked.push(&pick.agent);
        let found = match picks {
            [one] => {
                let mut args = args.clone();
                args.agent.clone_from(&one.agent);
                args.model = one.model.iter().cloned().collect();
                let mut starting = work::look(&args, agents, home)?;
                starting.files = attach::keep(&args.attach, home)?;
                return Ok(Ready::One(Box::new(args), starting));
            }
            _ => work::look(&pick.args(args, agents)?, agents, home)?,
        };
        starting.note = starting.note.take().or(found.note);
    }
    starting.files = attach::keep(&args.attach, home)?;
    Ok(Ready::Several(starting))
}

/// Everybody who is asked, in order; one only when nothing says several.
///
/// # Errors
/// When the command line says nothing that can be done.
pub(in crate::cli::run) fn picks(
    args: &Args,
    agents: &Registry,
) -> Result<Vec<Pick>, CommandError> {
    let usage = |wrong: Wrong| CommandError::new(Kind::Usage, wrong);
    let mut named: Vec<(Option<String>, Option<String>)> = Vec::new();
    for word in &args.agents {
        let (name, model) = match word.split_once('=') {
            Some((name, model)) => (name.trim(), Some(model.trim())),
            None => (word.trim(), None),
        };
        if name.is_empty() {
            return Err(usage(Wrong::NoName));
        }
        if model == Some("") {
            return Err(usage(Wrong::NoModel(one_line(name))));
        }
        named.push((Some(name.to_owned()), model.map(str::to_owned)));
    }
    if named.is_empty() {
        named.push((args.agent.clone(), None));
    }
    let mut once: Vec<(Option<String>, Option<String>)> = Vec::new();
    for (agent, model) in named {
        let command = agent.as_deref().and_then(|name| agents.get(name));
        let command = command.is_some_and(|agent| agent.manifest.driver == Driver::Exec);
        if model.is_some() || args.model.is_empty() || (command && args.agents.len() > 1) {
            once.push((agent, model));
        } else {
            once.extend(
                args.model
                    .iter()
                    .map(|model| (agent.clone(), Some(model.clone()))),
            );
        }
    }
    let times = args.repeat.unwrap_or(1);
    let in_all = once.len().saturating_mul(usize::from(times));
    if in_all > usize::from(MAX_COMPARED) {
        return Err(
            usage(Wrong::TooMany(in_all)).hint("name fewer agents or models, or repeat less often")
        );
    }
    if in_all > 1 && args.go_on.is_some() {
        return Err(usage(Wrong::GoesOn).hint("leave out --continue, or name one agent"));
    }
    // Of one alone, its job says so itself.
    let checkable = |(agent, _): &(Option<String>, Option<String>)| {
        let agent = agent.as_deref().unwrap_or("chat");
        agents
            .get(agent)
            .is_none_or(|agent| is_checkable(&agent.manifest))
    };
    if in_all > 1 && !args.check.is_empty() && !once.iter().any(checkable) {
        return Err(usage(Wrong::NothingToCheck)
            .hint("one that does: treefort run --agents opencode --check \"npm test\" \"…\""));
    }
    let rounds = 1..=times;
    Ok(rounds
        .flat_map(|round| {
            once.iter().map(move |(agent, model)| Pick {
                agent: agent.clone(),
                model: model.clone(),
                round: (times > 1).then_some(round),
            })
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(agents: &[&str], models: &[&str], repeat: Option<u16>) -> Result<Vec<String>, String> {
        let mut args = Args::question("x");
        args.agents = agents.iter().map(ToString::to_string).collect();
        args.model = models.iter().map(ToString::to_string).collect();
        args.repeat = repeat;
        let registry = Registry::load(None).0;
        match picks(&args, &registry) {
            Ok(picks) => Ok(picks.iter().map(Pick::name).collect()),
            Err(error) => Err(error.message()),
        }
    }

    #[test]
    fn agents_and_models_are_crossed_and_pairs_are_not() {
        assert_eq!(read(&[], &[], None).unwrap(), ["the agent"]);
        assert_eq!(read(&[], &["a", "b"], None).unwrap(), ["a", "b"]);
        assert_eq!(
            read(&["opencode", " chat "], &[], None).unwrap(),
            ["opencode", "chat"]
        );
        assert_eq!(
            read(&["opencode", "chat=c:1"], &["a", "b"], None).unwrap(),
            ["opencode · a", "opencode · b", "chat · c:1"]
        );
        // A command is run once, whatever models the others ask.
        assert_eq!(
            read(&["shell", "chat"], &["a", "b"], None).unwrap(),
            ["shell", "chat · a", "chat · b"]
        );
        assert_eq!(
            read(&["chat"], &[], Some(2)).unwrap(),
            ["chat #1", "chat #2"]
        );
    }

    #[test]
    fn what_cannot_be_is_said() {
        let wrong = |agents: &[&str], repeat| read(agents, &[], repeat).unwrap_err();
        assert_eq!(
            wrong(&["chat", "opencode"], Some(17)),
            "34 sessions are too many at once: 32 are the most"
        );
        assert_eq!(
            wrong(&["chat", ""], None),
            "an agent's name is missing in --agents"
        );
        assert_eq!(
            wrong(&["chat="], None),
            "a model's name is missing after `chat=`"
        );
        let mut args = Args::question("x");
        args.check = vec!["true".into()];
        args.agents = vec!["chat".into(), "shell".into()];
        let error = picks(&args, &Registry::load(None).0).unwrap_err();
        assert!(error.message().contains("could be checked"));
    }

    #[test]
    fn what_is_about_files_is_not_said_to_who_has_none() {
        let registry = Registry::load(None).0;
        let mut all = Args::question("x");
        all.workspace = Some("/tmp".into());
        all.check = vec!["true".into()];
        all.ask = true;
        let of = |all: &Args, agent: &str| {
            let pick = Pick {
                agent: Some(agent.into()),
                model: None,
                round: None,
            };
            pick.args(all, &registry)
        };
        let chat = of(&all, "chat").unwrap();
        assert!(chat.workspace.is_none() && chat.check.is_empty() && !chat.ask);
        let opencode = of(&all, "opencode").unwrap();
        assert!(opencode.workspace.is_some() && opencode.check.len() == 1 && opencode.ask);
        all.ask = false;
        let shell = of(&all, "shell").unwrap();
        assert!(shell.workspace.is_some() && shell.check.is_empty());
        all.ask = true;
        assert!(
            of(&all, "shell")
                .unwrap_err()
                .message()
                .contains("never asks")
        );
    }
}
