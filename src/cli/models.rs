//! `treefort models`: which models there are, and getting one. Looks at the model server itself, as its owner.

use std::io::{IsTerminal as _, Write as _};

use futures_util::{StreamExt as _, stream};
use serde_json::json;

use super::{
    Context,
    error::{CommandError, Kind},
    output,
    text::{columns_of, one_line, size, truncate},
};
use crate::{
    config::Config,
    model::{
        gateway::Gateway,
        local::{self, Local, ModelDetails, ModelInfo},
        provider::Provider,
        pull::{Pulled, check_name},
    },
};

/// Questions to the model server at once.
const AT_ONCE: usize = 8;
/// On no terminal, one line for every so many percent.
const STEP: u64 = 10;

/// Lists the models, and gets new ones.
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct Args {
    /// One JSON object a line.
    #[arg(long)]
    json: bool,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Has Ollama fetch a model.
    Pull {
        /// Its name, such as qwen2.5-coder:7b.
        name: String,
    },
}

/// Runs the command.
///
/// # Errors
/// When there is no model server, or no model; when a model cannot be fetched.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let config = Config::load(context.home.dir())?.model;
    let unusable = |error| {
        CommandError::new(Kind::Usage, error)
            .hint("correct [model] in treefort.toml, or OLLAMA_HOST".to_owned())
    };
    let local = Local::new(&config).map_err(unusable)?;
    let default = config.default.clone();
    let gateway = Gateway::new(config).map_err(unusable)?;
    match args.command {
        Some(Command::Pull { name }) => {
            let name = check_name(&name, gateway.providers())
                .map_err(|error| CommandError::new(Kind::Usage, error))?;
            pull(&local, &name).await
        }
        None => list(&local, &gateway, &default, args.json).await,
    }
}

/// A model with what its server says about it.
struct Row {
    model: ModelInfo,
    details: Option<ModelDetails>,
}

impl Row {
    /// Whether it calls tools; `None` when the server does not say.
    fn tools(&self) -> Option<bool> {
        let can = &self.details.as_ref()?.capabilities;
        (!can.is_empty()).then(|| can.iter().any(|one| one == "tools"))
    }

    fn context(&self) -> Option<u64> {
        self.details.as_ref()?.context_length
    }
}

async fn list(
    local: &Local,
    gateway: &Gateway,
    default: &str,
    as_json: bool,
) -> Result<(), CommandError> {
    let listed = local.list().await;
    let installed = listed.as_ref().map(Vec::clone).unwrap_or_default();
    let chosen = local::default_of(gateway.providers(), default, installed.clone());
    let rows: Vec<Row> = stream::iter(installed)
        .map(async |model| Row {
            details: local.show(&model.name).await.ok(),
            model,
        })
        .buffered(AT_ONCE)
        .collect()
        .await;
    let default = chosen.as_ref().ok().map(|name| name.0.as_str());
    if as_json {
        if rows.is_empty() && default.is_none() {
            output::line("[]")?;
        } else {
            json_lines(&rows, default, gateway)?;
        }
    } else {
        table(&rows, default)?;
        providers(gateway, default)?;
    }
    match (listed, chosen) {
        // A model elsewhere is enough.
        (_, Ok(_)) => Ok(()),
        (Err(error), Err(_)) => Err(no_model(error)),
        (Ok(_), Err(error)) => Err(no_model(error)),
    }
}

fn no_model(error: local::Error) -> CommandError {
    let fix = error.fix();
    CommandError::new(Kind::NoModel, error).hint(fix)
}

fn json_lines(rows: &[Row], default: Option<&str>, gateway: &Gateway) -> Result<(), CommandError> {
    for row in rows {
        let name = &row.model.name.0;
        output::json(&json!({
            "name": name, "default": default == Some(name), "provider": row.model.provider,
            "local": row.model.local,
            "size": row.model.size, "context": row.context(), "tools": row.tools(),
        }))?;
    }
    for provider in gateway.providers().iter() {
        output::json(&json!({
            "provider": provider.name(), "url": provider.url(), "key_env": provider.key_env(),
            "key": !provider.key_env().is_empty() && provider.is_ready(), "default": is_of(provider, default),
        }))?;
    }
    Ok(())
}

fn is_of(provider: &Provider, model: Option<&str>) -> bool {
    let name = model.and_then(|model| model.split_once(':'));
    name.is_some_and(|(name, _)| name == provider.name())
}

fn table(rows: &[Row], default: Option<&str>) -> Result<(), CommandError> {
    if rows.is_empty() {
        return Ok(());
    }
    let names: Vec<String> = rows.iter().map(|row| one_line(&row.model.name.0)).collect();
    let width = names
        .iter()
        .map(|name| columns_of(name))
        .max()
        .unwrap_or(0)
        .max(5);
    let pad = |name: &str| " ".repeat(width.saturating_sub(columns_of(name)));
    let dim = anstyle::Style::new().dimmed();
    output::line(format!(
        "{dim}MODEL{}  {:>9}  {:>9}  TOOLS{dim:#}",
        pad("MODEL"),
        "SIZE",
        "CONTEXT"
    ))?;
    for (row, name) in rows.iter().zip(names) {
        let context = row
            .context()
            .map_or("?".to_owned(), |length| length.to_string());
        let tools = match row.tools() {
            Some(true) => "yes",
            Some(false) => "no",
            None => "?",
        };
        let note = note(&row.model, default == Some(&row.model.name.0));
        let gap = pad(&name);
        output::line(
            format!(
                "{name}{gap}  {:>9}  {context:>9}  {tools}{note}",
                size(row.model.size)
            )
            .trim_end(),
        )?;
    }
    Ok(())
}

/// What stands behind a model: whether its prompts leave this machine, and whether it is the default.
fn note(model: &ModelInfo, is_default: bool) -> &'static str {
    match (model.cloud, model.local, is_default) {
        (true, _, true) => "    (in Ollama's cloud; the default)",
        (true, _, false) => "    (in Ollama's cloud, only when you name it)",
        (false, false, true) => "    (outside of your network; the default)",
        (false, false, false) => "    (outside of your network)",
        (false, true, true) => "    (the default)",
        (false, true, false) => "",
    }
}

/// The providers beside Ollama: whether their keys are there, never the keys.
fn providers(gateway: &Gateway, default: Option<&str>) -> Result<(), CommandError> {
    let dim = anstyle::Style::new().dimmed();
    output::line(format!(
        "\n{dim}Elsewhere, only when you name it (for example --model openai:NAME){dim:#}"
    ))?;
    for provider in gateway.providers().iter() {
        let key = match (provider.key_env(), provider.is_ready()) {
            ("", _) => "ready".to_owned(),
            (env, true) => format!("ready, with {env}"),
            (env, false) => format!("not ready: set {env}"),
        };
        let note = match default.filter(|_| is_of(provider, default)) {
            Some(model) => format!("    ({} is used unless you name another)", one_line(model)),
            None => String::new(),
        };
        output::line(format!("{:<12} {}{note}", provider.name(), one_line(&key)))?;
    }
    Ok(())
}

async fn pull(local: &Local, name: &str) -> Result<(), CommandError> {
    let mut shown = Shown::new(std::io::stderr().is_terminal());
    let pulled = local.pull(name, |pulled| shown.hear(&pulled)).await;
    shown.clear();
    match pulled {
        Ok(()) => Ok(output::line(format!("{name} is there"))?),
        Err(error) => {
            let fix = error.fix();
            Err(CommandError::new(Kind::NoModel, error).hint(fix))
        }
    }
}

/// What a person sees of a pull: one line that changes, or a line for every step.
struct Shown {
    terminal: bool,
    last: String,
}

impl Shown {
    fn new(terminal: bool) -> Self {
        Self {
            terminal,
            last: String::new(),
        }
    }

    fn hear(&mut self, pulled: &Pulled) {
        let Some(line) = self.line(pulled) else {
            return;
        };
        if self.terminal {
            let line = truncate(&line, output::terminal_columns().saturating_sub(1));
            let mut err = anstream::stderr().lock();
            // Nobody may be reading.
            let _written = write!(err, "\r\u{1b}[2K{line}").and_then(|()| err.flush());
        } else {
            output::progress(&line);
        }
    }

    /// The line for a step, when it says anything new.
    fn line(&mut self, pulled: &Pulled) -> Option<String> {
        let status = one_line(&pulled.status);
        let line = match pulled.part {
            Some((all, come)) if all > 0 => {
                let percent = come.min(all).saturating_mul(100) / all;
                if self.terminal {
                    format!("{status}: {} of {} ({percent} %)", size(come), size(all))
                } else {
                    format!("{status}: {} % of {}", percent / STEP * STEP, size(all))
                }
            }
            _ => status,
        };
        if line == self.last {
            return None;
        }
        self.last.clone_from(&line);
        Some(line)
    }

    fn clear(&mut self) {
        if self.terminal && !self.last.is_empty() {
            let mut err = anstream::stderr().lock();
            let _written = write!(err, "\r\u{1b}[2K").and_then(|()| err.flush());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pull_without_a_terminal_is_a_few_plain_lines() {
        let mut shown = Shown::new(false);
        let mut lines = Vec::new();
        let mut hear = |status: &str, part| {
            let pulled = Pulled {
                status: status.to_owned(),
                part,
            };
            lines.extend(shown.line(&pulled));
        };
        hear("pulling\u{1b}[2J manifest", None);
        for come in 0..=1000 {
            hear("pulling ab", Some((1000, come)));
        }
        hear("success", None);
        assert_eq!(lines.len(), 13, "{lines:?}");
        assert_eq!(lines[1], "pulling ab: 0 % of 1.0 kB");
        assert_eq!(lines[11], "pulling ab: 100 % of 1.0 kB");
        assert!(lines.iter().all(|line| !line.contains('\u{1b}')));
    }
}
