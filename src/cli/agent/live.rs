//! `treefort agent check NAME --live`: what an agent can do, tried in its sandbox.
//!
//! A treefort of this command's own serves a home that is thrown away, with the agent in it and a scripted model
//! behind the real gateway ([`script`]). Each trial is a job like any other; what came of it is read from the record
//! ([`trials`]).

mod script;
mod trials;

use std::{fs, path::Path};

use serde_json::json;

use self::{
    script::Watched,
    trials::{Tried, Verdict},
};
use super::{
    super::{
        Context,
        demo::Temporary,
        error::{CommandError, Kind},
        home::Home,
        launch::{self, Own},
        output,
        text::one_line,
    },
    build, folder_of, not_right, show,
};
use crate::{
    agent::{
        folder,
        registry::{self, Agent, Registry},
    },
    config::{self, Config},
    model::scripted,
    server::Role,
};

/// Bytes of one file of an agent's folder, and files and folders in it.
const FILE_BYTES: u64 = 256 << 20;
const MOST: usize = 10_000;

/// Runs the command.
///
/// # Errors
/// When something that was tried did not work, or it could not be tried.
pub(super) async fn run(context: &Context, what: &str, json: bool) -> Result<(), CommandError> {
    let temporary = Temporary::new()?;
    let home = Home::open(Some(&temporary.path))?;
    let settings = context.home.dir().join(config::FILE);
    if settings.is_file() {
        fs::copy(&settings, home.dir().join(config::FILE))?;
    }
    let name = if registry::is_built_in(what) && !Path::new(what).is_dir() {
        what.to_owned()
    } else {
        bring(context, what, &home, json)?
    };
    let own = Context {
        home,
        verbose: context.verbose,
    };
    if !json {
        output::progress(format!(
            "trying {name} in its sandbox, with a scripted model …"
        ));
    }
    // An image is made in front of the first trial, whose time it is not. One of a folder that may use the network is
    // made only when its owner says so by name, and not because it is tried.
    let (agents, _) = Registry::load(Some(own.home.dir()));
    let asks = |agent: &Agent| agent.folder.is_some() && agent.manifest.image.network;
    if !agents.get(&name).is_some_and(asks) {
        let made = build::made(&own, &name, json || !context.verbose).await?;
        tracing::debug!(made, "what it runs from");
    }
    let tried = try_all(&own, &name).await?;
    for one in &tried {
        write(one, json)?;
    }
    let failed = tried
        .iter()
        .filter(|one| one.verdict == Verdict::Failed)
        .count();
    match failed {
        0 => Ok(()),
        1 => Err(not_right("one thing did not work".to_owned())),
        n => Err(not_right(format!("{n} things did not work"))),
    }
}

/// Copies an agent of the person's into the home; returns its name.
fn bring(context: &Context, what: &str, home: &Home, json: bool) -> Result<String, CommandError> {
    let folder = folder_of(context, what)?;
    let findings = folder::check(&folder, context.home.dir());
    for finding in &findings {
        if json {
            let problem = &finding.problem;
            write(&Tried::wrong(problem.to_string(), &problem.fix), true)?;
        } else {
            show(finding)?;
        }
    }
    if !findings.is_empty() {
        let sentence = "it cannot be tried before that is put right".to_owned();
        return Err(not_right(sentence));
    }
    let folder = folder.canonicalize()?;
    let name = folder.file_name().and_then(|name| name.to_str());
    let name = name.unwrap_or_default().to_owned();
    let mut left = MOST;
    copy(&folder, &home.dir().join("agents").join(&name), &mut left)?;
    Ok(name)
}

/// Copies files and folders, and nothing else.
fn copy(from: &Path, to: &Path, left: &mut usize) -> Result<(), CommandError> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        *left = left
            .checked_sub(1)
            .ok_or_else(|| too_much(from, "has too many files"))?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            copy(&path, &to.join(entry.file_name()), left)?;
        } else if kind.is_file() {
            if entry.metadata()?.len() > FILE_BYTES {
                return Err(too_much(&path, "is too large"));
            }
            fs::copy(&path, to.join(entry.file_name()))?;
        }
    }
    Ok(())
}

fn too_much(path: &Path, why: &str) -> CommandError {
    let sentence = format!("{} {why} for an agent's folder", path.display());
    CommandError::new(Kind::Failed, std::io::Error::other(one_line(&sentence)))
}

async fn try_all(own: &Context, name: &str) -> Result<Vec<Tried>, CommandError> {
    let (agents, _) = Registry::load(Some(own.home.dir()));
    let Some(agent) = agents.get(name) else {
        return Err(super::unknown(own, name));
    };
    let watched = Watched::default();
    let (url, _serving) = scripted::Scripted::start(watched.script()).await?;
    let mut config = Config::load(own.home.dir())?;
    launch::fleeting(&mut config);
    config.model.ollama = url;
    scripted::MODEL.clone_into(&mut config.model.default);
    config.model.fallback.clear();
    let project = Temporary::new()?;
    fs::create_dir(&project.path)?;
    fs::write(
        project.path.join("readme.txt"),
        "A project to try things on.\n",
    )?;
    let server = Own::start(&own.home, config, Role::Working)
        .await
        .map_err(|error| launch::not_started(&own.home, error))?;
    let manifest = agent.manifest.clone();
    launch::with_own(&own.home, server, async |connection| {
        Box::pin(trials::all(connection, &manifest, &project.path, &watched)).await
    })
    .await
}

fn write(one: &Tried, json: bool) -> std::io::Result<()> {
    let (symbol, word) = match one.verdict {
        Verdict::Works => ("✓", "works"),
        Verdict::Failed => ("✗", "failed"),
        Verdict::Left => ("–", "left"),
    };
    if json {
        return output::json(&json!({
            "tried": one.what, "verdict": word, "detail": one.detail, "fix": one.fix,
        }));
    }
    output::row(
        &format!("{symbol} {:<22} ", one.what),
        &one_line(&one.detail),
    )?;
    if !one.fix.is_empty() {
        output::row(&format!("{:25}→ ", ""), &one_line(&one.fix))?;
    }
    Ok(())
}
