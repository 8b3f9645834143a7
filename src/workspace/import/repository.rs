//! What is read of a project's `.git`, as text and bounded: the branch, and where `info/exclude` lies.
//!
//! git is never started: a configuration in a repository can name programs that git then runs.

use std::path::{Path, PathBuf};

use super::beneath;

/// The most of `HEAD`, `.git` files and `commondir` that is read.
const MAX_POINTER: u64 = 4_096;

/// The folder at or above `path` that has a `.git`, if any.
pub(super) fn root_of(path: &Path) -> Option<&Path> {
    path.ancestors()
        .find(|folder| folder.join(".git").symlink_metadata().is_ok())
}

/// The git directory of the repository whose work tree is `root`: `.git`, or where a `.git` file points
/// (worktrees, submodules).
pub(super) fn git_dir(root: &Path) -> Option<PathBuf> {
    let at = beneath::open_root(root).ok()?;
    if beneath::open_dir(&at, b".git").is_ok() {
        return Some(root.join(".git"));
    }
    let pointer = line(beneath::read_small(&at, b".git", MAX_POINTER)?)?;
    let target = pointer.strip_prefix("gitdir:")?.trim();
    Some(root.join(target))
}

/// Where the rules of `info/exclude` lie: in the directory that all worktrees share.
pub(super) fn common_dir(git_dir: &Path) -> PathBuf {
    let shared = beneath::open_root(git_dir)
        .ok()
        .and_then(|at| beneath::read_small(&at, b"commondir", MAX_POINTER))
        .and_then(line);
    match shared {
        Some(shared) => git_dir.join(shared),
        None => git_dir.to_owned(),
    }
}

/// The branch that the project is on; `None` without a repository or with a detached `HEAD`.
pub(super) fn branch(project: &Path) -> Option<String> {
    let at = beneath::open_root(&git_dir(root_of(project)?)?).ok()?;
    let head = line(beneath::read_small(&at, b"HEAD", MAX_POINTER)?)?;
    let branch = head
        .strip_prefix("ref:")?
        .trim()
        .strip_prefix("refs/heads/")?;
    let sound = !branch.is_empty()
        && branch.len() <= 200
        && !branch.contains("..")
        && !branch.starts_with(['-', '/'])
        && !branch.ends_with(['/', '.'])
        && !branch.ends_with(".lock")
        && !branch
            .chars()
            .any(|c| c.is_control() || matches!(c, ' ' | '~' | '^' | ':' | '?' | '*' | '[' | '\\'));
    sound.then(|| branch.to_owned())
}

/// The first line of a small file.
fn line(text: Vec<u8>) -> Option<String> {
    let text = String::from_utf8(text).ok()?;
    Some(text.lines().next()?.trim().to_owned())
}
