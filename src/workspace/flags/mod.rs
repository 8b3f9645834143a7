//! Which changed files would run something on the host later, without anybody asking them to.
//!
//! Undo cannot take back what a Makefile did. So whoever applies an agent's work sees, before it, which of the files
//! act by themselves: when a folder is entered, an editor opened, a project built, a commit pushed. The rules are a
//! table (`table::RULES`); a few files are looked into, so that a changed version number does not cry wolf.

mod table;

use serde::{Deserialize, Serialize};

use self::table::{At, RULES};
use super::{
    Error as StoreError, ObjectId,
    diff::{Change, ChangeKind, is_folder, is_link},
    objects::Store,
};

/// What a changed file would do on the host later.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Flag {
    /// git runs it: hooks and the folders that hook managers use.
    GitHook,
    /// A forge or build server runs it when it is pushed.
    Ci,
    /// The shell runs it when the folder is entered (direnv, mise).
    Envrc,
    /// An editor reads it when the folder is opened, and may run what it says.
    Editor,
    /// A build, install, test or package command runs it.
    PackageScript,
    /// It changes what git does here, or where it fetches from.
    GitConfig,
    /// It decides what a package manager downloads, and from where.
    Downloads,
    /// Programs that are started here get their settings from it.
    Environment,
    /// It builds or starts containers.
    Container,
    /// Instructions that later agents obey.
    AgentInstructions,
    /// It became executable.
    Executable,
    /// A link to this target, which leads out of the project or into its `.git`.
    LinkOutside(Vec<u8>),
}

impl Flag {
    /// In a few words, for a preview.
    #[must_use]
    pub const fn meaning(&self) -> &'static str {
        match self {
            Self::GitHook => "git runs it",
            Self::Ci => "runs when pushed",
            Self::Envrc => "runs when the folder is entered",
            Self::Editor => "an editor acts on it",
            Self::PackageScript => "runs when you build, install, test or check",
            Self::Downloads => "decides what is downloaded",
            Self::Environment => "sets what your programs run with",
            Self::GitConfig => "changes what git does",
            Self::Container => "runs when a container is built or started",
            Self::AgentInstructions => "later agents obey it",
            Self::Executable => "can be run",
            Self::LinkOutside(_) => "leads out of the project",
        }
    }
}

/// The largest file that is looked into, bytes; of a larger one the worst is assumed.
const MAX_LOOK: u64 = 4 << 20;

/// The flags of one change, without [`Flag::LinkOutside`], for which the planner looks at the target.
/// What is deleted runs nothing.
pub fn of(store: &Store, change: &Change) -> Result<Vec<Flag>, StoreError> {
    let Some((mode, id)) = change.new.filter(|(mode, _)| !is_folder(*mode)) else {
        return Ok(Vec::new());
    };
    let mut flags = of_path(&change.path);
    let path = String::from_utf8_lossy(&change.path).to_lowercase();
    let name = path.rsplit('/').next().unwrap_or_default();
    if name == "package.json"
        && change.kind == ChangeKind::Modified
        && !scripts_differ(store, change.old, id)?
    {
        flags.retain(|flag| *flag != Flag::PackageScript);
    }
    let executable = |mode: u32| !is_link(mode) && mode & 0o111 != 0;
    if executable(mode) && !change.old.is_some_and(|(old, _)| executable(old)) {
        flags.push(Flag::Executable);
    }
    flags.sort();
    Ok(flags)
}

/// What a path does by its name alone.
pub(super) fn of_path(path: &[u8]) -> Vec<Flag> {
    let path = String::from_utf8_lossy(path).to_lowercase();
    let name = path.rsplit('/').next().unwrap_or_default();
    let mut flags = Vec::new();
    for rule in RULES {
        let hit = match rule.at {
            At::Name(names) => names.split(' ').any(|wanted| name == wanted),
            At::Ending(endings) => endings
                .split(' ')
                .any(|ending| name.len() > ending.len() && name.ends_with(ending)),
            At::Beginning(beginnings) => beginnings.split(' ').any(|begin| name.starts_with(begin)),
            At::Folder(folders) => folders.split(' ').any(|wanted| lies_in(&path, wanted)),
            At::Path(paths) => paths.split(' ').any(|wanted| path == wanted),
        };
        if hit && !flags.contains(&rule.flag) {
            flags.push(rule.flag.clone());
        }
    }
    flags
}

/// Whether a path is, or lies in, a folder whose own path ends in `wanted`. (It is such a folder when it is a link to one.)
fn lies_in(path: &str, wanted: &str) -> bool {
    let (path, wanted) = (format!("/{path}/"), format!("/{wanted}/"));
    path.contains(&wanted)
}

/// The parts of a `package.json` that something runs, or that decide what is installed and run.
const SCRIPT_KEYS: &[&str] = &[
    "scripts",
    "bin",
    "main",
    "exports",
    "gypfile",
    "husky",
    "simple-git-hooks",
    "lint-staged",
    "pre-commit",
    "gitHooks",
    "workspaces",
    "packageManager",
    "dependencies",
    "devDependencies",
    "optionalDependencies",
    "peerDependencies",
    "overrides",
    "resolutions",
    "config",
    "volta",
    "pnpm",
];

/// Whether two `package.json` differ in what is run; so they do when one cannot be read.
fn scripts_differ(
    store: &Store,
    old: Option<(u32, ObjectId)>,
    new: ObjectId,
) -> Result<bool, StoreError> {
    let Some((_, old)) = old else {
        return Ok(true);
    };
    let mut read = [serde_json::Value::Null, serde_json::Value::Null];
    for (value, id) in read.iter_mut().zip([old, new]) {
        if store.blob_size(&id)? > MAX_LOOK {
            return Ok(true);
        }
        match serde_json::from_slice(&store.blob(&id)?) {
            Ok(parsed) => *value = parsed,
            Err(_) => return Ok(true),
        }
    }
    let [old, new] = &read;
    Ok(SCRIPT_KEYS.iter().any(|key| old.get(key) != new.get(key)))
}

#[cfg(test)]
mod tests;
