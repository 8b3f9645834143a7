//! What git ignores in a project, by the rules of [gitignore(5)](https://git-scm.com/docs/gitignore).
//!
//! The patterns are ripgrep's (`ignore`); the order is git's: the `.gitignore` of the folder, then of those above
//! it up to the repository's root, then `.git/info/exclude`; the first that says something wins. A repository
//! inside the project begins anew. The person's global excludes are left out: they are about their editor, and
//! the agent's copy should not depend on who copies. Rule files that are links are not read, as in git.
//! What the index tracks is not ignored,
//! whatever the rules say. A folder without any repository obeys its own `.gitignore` files too.

use std::{
    collections::HashMap,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use ignore::{
    Match,
    gitignore::{Gitignore, GitignoreBuilder},
};

use super::{beneath, index::Tracked, repository, walk::join};

/// The most of one file of rules that is read, bytes.
const MAX_RULES: u64 = 256 << 10;

/// The rules that hold in one folder; a list that leads upwards.
#[derive(Debug)]
pub(super) struct Rules {
    /// Of this folder's `.gitignore`.
    own: Option<Gitignore>,
    /// Of the repository's `info/exclude`, where this folder is its root.
    exclude: Option<Gitignore>,
    /// Whether this folder is the root of a repository, above which nothing counts.
    root: bool,
    /// What the repository tracks.
    tracked: Option<Arc<Tracked>>,
    /// Whether a rule names this folder, so that only what is tracked counts in it.
    inside: bool,
    above: Option<Arc<Rules>>,
}

impl Rules {
    /// The rules in the project's own folder, with those of the repository that it lies in.
    pub(super) fn of_project(project: &Path) -> Option<Arc<Self>> {
        let root = repository::root_of(project).unwrap_or(project);
        let mut folders: Vec<&Path> = project
            .ancestors()
            .take_while(|folder| folder.starts_with(root))
            .collect();
        folders.reverse();
        let mut rules = None;
        for folder in folders {
            let at = beneath::open_root(folder).ok()?;
            let mut entered = Self::entered(rules, folder, &at);
            // Whoever names a folder wants it, also one that git ignores.
            entered.inside = false;
            rules = Some(Arc::new(entered));
        }
        rules
    }

    /// The rules in a folder below.
    pub(super) fn enter(above: Option<Arc<Self>>, folder: &Path, at: &OwnedFd) -> Arc<Self> {
        Arc::new(Self::entered(above, folder, at))
    }

    fn entered(above: Option<Arc<Self>>, folder: &Path, at: &OwnedFd) -> Self {
        let root = matches!(beneath::stat(at, b".git"), Ok(Some(_)));
        let exclude = if root { exclude(folder) } else { None };
        let own = beneath::read_small(at, b".gitignore", MAX_RULES)
            .and_then(|text| matcher(folder, &text));
        let tracked = match &above {
            _ if root => Tracked::of(folder).map(Arc::new),
            Some(above) => above.tracked.clone(),
            None => None,
        };
        let inside = above
            .as_ref()
            .is_some_and(|above| !root && (above.inside || above.named(folder, true)));
        Self {
            own,
            exclude,
            root,
            tracked,
            inside,
            above,
        }
    }

    /// Whether git ignores an entry of the folder that these rules are of.
    pub(super) fn ignore(&self, path: &Path, is_dir: bool) -> bool {
        (self.inside || self.named(path, is_dir))
            && !self
                .tracked
                .as_ref()
                .is_some_and(|tracked| tracked.has(path, is_dir))
    }

    /// Whether a rule names an entry.
    fn named(&self, path: &Path, is_dir: bool) -> bool {
        let mut at = Some(self);
        while let Some(rules) = at {
            for matcher in [&rules.own, &rules.exclude].into_iter().flatten() {
                match matcher.matched(path, is_dir) {
                    Match::Ignore(_) => return true,
                    Match::Whitelist(_) => return false,
                    Match::None => {}
                }
            }
            if rules.root {
                return false;
            }
            at = rules.above.as_deref();
        }
        false
    }
}

/// What git ignores in a project, for many paths: the index and the rules of a folder are read once.
pub(crate) struct Ignored {
    project: PathBuf,
    /// Those of the project's own folder, once they were needed.
    rules: Option<Option<Arc<Rules>>>,
    /// Those of the folders below that were asked for last.
    below: HashMap<PathBuf, Arc<Rules>>,
}

/// Folders whose rules are kept.
const MAX_KEPT: usize = 1_000;

impl Ignored {
    pub(crate) fn of(project: &Path) -> Self {
        Self {
            project: project.to_owned(),
            rules: None,
            below: HashMap::new(),
        }
    }

    /// Whether git ignores a path of the project, or a folder that it lies in.
    pub(crate) fn has(&mut self, path: &[u8]) -> bool {
        let rules = self
            .rules
            .get_or_insert_with(|| Rules::of_project(&self.project));
        let (Some(mut rules), Ok(mut at)) = (rules.clone(), beneath::open_root(&self.project))
        else {
            return false;
        };
        let mut folder = self.project.clone();
        let mut rest = path;
        while let Some(slash) = rest.iter().position(|byte| *byte == b'/') {
            folder = join(&folder, &rest[..slash]);
            if rules.ignore(&folder, true) {
                return true;
            }
            let Ok(below) = beneath::open_dir(&at, &rest[..slash]) else {
                return false;
            };
            at = below;
            if self.below.len() > MAX_KEPT {
                self.below.clear();
            }
            let known = self.below.entry(folder.clone());
            rules = known
                .or_insert_with(|| Rules::enter(Some(rules), &folder, &at))
                .clone();
            rest = &rest[slash + 1..];
        }
        let is_dir = beneath::open_dir(&at, rest).is_ok();
        rules.ignore(&join(&folder, rest), is_dir)
    }
}

/// The rules of `info/exclude`.
fn exclude(root: &Path) -> Option<Gitignore> {
    let common = repository::common_dir(&repository::git_dir(root)?);
    let info = beneath::open_root(&common.join("info")).ok()?;
    matcher(root, &beneath::read_small(&info, b"exclude", MAX_RULES)?)
}

/// Rules out of their text; lines that are no patterns are passed over, as in git.
fn matcher(folder: &Path, text: &[u8]) -> Option<Gitignore> {
    let text = String::from_utf8_lossy(text);
    let mut builder = GitignoreBuilder::new(folder);
    for line in text.trim_start_matches('\u{feff}').lines() {
        // A line that is no pattern says nothing.
        drop(builder.add_line(None, line).err());
    }
    builder.build().ok().filter(|rules| !rules.is_empty())
}
