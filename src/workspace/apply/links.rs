//! Where a link leads.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::{Error, Store};
use crate::workspace::{
    ObjectId, beneath,
    diff::{is_folder, is_link},
    flags::{self, Flag},
};

/// The most links of a project that are looked at.
const MAX_LINKS: usize = 10_000;

/// How many links one after the other are followed.
const MAX_STEPS: usize = 10;

/// What the links of a tree lead to that act by themselves (`.envrc`, a hook): a change there acts as they do.
pub(super) fn acting(
    store: &Store,
    tree: &ObjectId,
) -> Result<HashMap<Vec<u8>, BTreeSet<Flag>>, Error> {
    let mut links = BTreeMap::new();
    collect(store, tree, &mut Vec::new(), 0, &mut links)?;
    let mut pointed = HashMap::<_, BTreeSet<Flag>>::new();
    for path in links.keys() {
        let acts = flags::of_path(path);
        if acts.is_empty() {
            continue;
        }
        let mut at = path.clone();
        for _ in 0..MAX_STEPS {
            let Some(target) = links.get(&at).and_then(|target| lands(&at, target)) else {
                break;
            };
            let known = pointed.entry(target.clone()).or_default();
            known.extend(acts.iter().cloned());
            at = target;
        }
    }
    Ok(pointed)
}

/// The links of a tree and their targets.
fn collect(
    store: &Store,
    tree: &ObjectId,
    path: &mut Vec<u8>,
    depth: usize,
    links: &mut BTreeMap<Vec<u8>, Vec<u8>>,
) -> Result<(), Error> {
    for entry in store.tree(tree)? {
        let length = path.len();
        if length > 0 {
            path.push(b'/');
        }
        path.extend_from_slice(&entry.name);
        if is_folder(entry.mode) && depth < beneath::MAX_DEPTH {
            collect(store, &entry.id, path, depth + 1, links)?;
        } else if is_link(entry.mode)
            && links.len() < MAX_LINKS
            && store.blob_size(&entry.id)? <= super::three_way::MAX_TARGET
        {
            links.insert(path.clone(), store.blob(&entry.id)?);
        }
        path.truncate(length);
    }
    Ok(())
}

/// The path in the project that a link's target names; none when it leads out, or to the project itself.
fn lands(path: &[u8], target: &[u8]) -> Option<Vec<u8>> {
    if target.starts_with(b"/") {
        return None;
    }
    let mut parts: Vec<&[u8]> = path.split(|byte| *byte == b'/').collect();
    parts.pop();
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    (!parts.is_empty()).then(|| parts.join(&b'/'))
}

/// Whether the target of a link at `path` leads out of the project, or into its `.git`.
///
/// It is decided by the text alone, since what is on the way may change. A `..` after a name counts as leading out:
/// the name may be a link itself, and then nobody can tell.
pub(super) fn leads_out(path: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = path.iter().filter(|byte| **byte == b'/').count();
    let mut named = false;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named || depth == 0 => return true,
            b".." => depth -= 1,
            name if beneath::is_git_name(name) => return true,
            _ => named = true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_where_links_lead() {
        for (path, target) in [
            ("a", "/etc/passwd"),
            ("a", ".."),
            ("a", "../other"),
            ("d/a", "../../x"),
            ("d/a", "b/../../../x"),
            ("d/a", "link/../x"),
            ("a", ".git/hooks"),
            ("d/a", "../.GIT"),
            ("a", "//x"),
        ] {
            assert!(
                leads_out(path.as_bytes(), target.as_bytes()),
                "{path} -> {target}"
            );
        }
        for (path, target) in [
            ("a", "b"),
            ("d/a", "../b"),
            ("d/e/a", "../../b/c"),
            ("a", "./b//c"),
            ("a", "..."),
        ] {
            assert!(
                !leads_out(path.as_bytes(), target.as_bytes()),
                "{path} -> {target}"
            );
        }
    }
}
