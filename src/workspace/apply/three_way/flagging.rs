//! What to know about a change before it is there.

use std::collections::BTreeMap;

use super::{Action, Change, Error, Planner, is_link, links, names};
use crate::workspace::{
    apply::project::fold,
    flags::{self, Flag},
};

impl Planner<'_> {
    pub(super) fn flags(&mut self, change: &Change, action: &Action) -> Result<Vec<Flag>, Error> {
        let mut flags = flags::of(self.store, change)?;
        if change.new.is_none() {
            return Ok(flags);
        }
        if self.makes_a_repository(&change.path)? {
            flags.push(Flag::GitConfig);
        }
        for part in names::parents(&change.path).chain([&change.path[..]]) {
            flags.extend(self.pointed.get(part).into_iter().flatten().cloned());
        }
        if let Some((_, id)) = change.new.filter(|(mode, _)| is_link(*mode)) {
            let target = self.store.blob(&id)?;
            if *action != Action::Mode && links::leads_out(&change.path, &target) {
                flags.push(Flag::LinkOutside(target));
            }
        }
        flags.sort();
        flags.dedup();
        Ok(flags)
    }

    /// Whether a path makes a folder what git takes for a repository, or tells git what to do in one: git obeys the
    /// configuration of such a folder when it is started anywhere in it.
    ///
    /// git asks for `HEAD` and either `objects` and `refs`, or a `commondir` that says where these are.
    fn makes_a_repository(&mut self, path: &[u8]) -> Result<bool, Error> {
        let (folder, name) = split(path);
        match fold(name).as_str() {
            "commondir" | "gitdir" | "config.worktree" => return Ok(true),
            "config" => return self.all_in(folder, &["objects", "refs"]),
            "head" => {
                return Ok(self.all_in(folder, &["objects", "refs"])?
                    || self.all_in(folder, &["commondir"])?);
            }
            _ => {}
        }
        for part in names::parents(path).chain([path]) {
            let (folder, name) = split(part);
            let makes = match fold(name).as_str() {
                "hooks" => self.all_in(folder, &["objects", "refs"])?,
                // What is in a repository is of no interest, that it becomes one is.
                name @ ("objects" | "refs") => {
                    let there = self.there(folder);
                    there.contains_key("head")
                        && !there.contains_key(name)
                        && self.all_in(folder, &["objects", "refs"])?
                }
                _ => false,
            };
            if makes {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a folder has all of these names afterwards, whatever their case.
    fn all_in(&mut self, folder: &[u8], names: &[&str]) -> Result<bool, Error> {
        for name in names {
            if !self.there(folder).contains_key(*name) && !self.trees.has_folded(folder, name)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The names that a folder of the project has now, by how they read without case.
    fn there(&mut self, folder: &[u8]) -> &BTreeMap<String, Vec<u8>> {
        let project = &self.project;
        let folder = folder.strip_suffix(b"/").unwrap_or(folder);
        self.present
            .entry(folder.to_vec())
            .or_insert_with(|| project.folded(folder))
    }

    /// Names that differ from a part of a new path by case only.
    pub(super) fn collisions(&mut self, path: &[u8], action: &Action) -> Vec<Vec<u8>> {
        if !matches!(action, Action::Create | Action::Link | Action::Folder) {
            return Vec::new();
        }
        let mut found = Vec::new();
        let mut start = 0;
        for end in names::parents(path).map(<[u8]>::len).chain([path.len()]) {
            let parent = &path[..start.max(1) - 1];
            let name = &path[start..end];
            let project = &self.project;
            let names = self
                .folded
                .entry(parent.to_vec())
                .or_insert_with(|| project.folded(parent));
            let known = names.entry(fold(name)).or_insert_with(|| name.to_vec());
            if known != name {
                let other = match parent {
                    b"" => known.clone(),
                    parent => [parent, b"/", known].concat(),
                };
                if !self.gone.contains(&other) {
                    found.push(other);
                }
            }
            start = end + 1;
        }
        found
    }
}

/// The folder of a path, with its slash, and the name in it.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|byte| *byte == b'/');
    path.split_at(slash.map_or(0, |slash| slash + 1))
}
