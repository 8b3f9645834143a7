//! Which files git tracks, read from its index: a rule that names a tracked file says nothing about it.
//!
//! The [format](https://git-scm.com/docs/index-format) in versions 2 to 4, paths only. An index that cannot be read
//! (of a SHA-256 repository, say) tracks nothing as far as we are concerned; then the rules alone decide.

use std::{
    collections::HashSet,
    os::unix::ffi::OsStrExt,
    path::{Path, PathBuf},
};

use super::{beneath, repository};

/// The largest index that is read, bytes: about a million files.
const MAX_INDEX: u64 = 128 << 20;

/// The fixed part of an entry, up to its flags.
const FIXED: usize = 62;
/// The bit of the flags that says that two more bytes of flags follow.
const EXTENDED: u16 = 0x4000;

/// The tracked files of one repository.
#[derive(Debug)]
pub(super) struct Tracked {
    root: PathBuf,
    files: HashSet<Vec<u8>>,
    folders: HashSet<Vec<u8>>,
}

impl Tracked {
    /// Reads the index of the repository whose work tree is `root`.
    pub(super) fn of(root: &Path) -> Option<Self> {
        let git = beneath::open_root(&repository::git_dir(root)?).ok()?;
        let bytes = beneath::read_small(&git, b"index", MAX_INDEX)?;
        let files = parse(&bytes)?;
        let mut folders = HashSet::new();
        for path in &files {
            let mut end = path.len();
            while let Some(slash) = path[..end].iter().rposition(|byte| *byte == b'/') {
                if !folders.insert(path[..slash].to_vec()) {
                    break;
                }
                end = slash;
            }
        }
        Some(Self {
            root: root.to_owned(),
            files,
            folders,
        })
    }

    /// Whether a file is tracked, or a folder holds one that is.
    pub(super) fn has(&self, path: &Path, is_dir: bool) -> bool {
        let Ok(path) = path.strip_prefix(&self.root) else {
            return false;
        };
        let path = path.as_os_str().as_bytes();
        if is_dir {
            self.folders.contains(path)
        } else {
            self.files.contains(path)
        }
    }
}

/// The paths in an index; `None` when it is none.
fn parse(bytes: &[u8]) -> Option<HashSet<Vec<u8>>> {
    let number = |at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
    };
    let version = number(4)?;
    if !bytes.starts_with(b"DIRC") || !(2..=4).contains(&version) {
        return None;
    }
    let mut paths = HashSet::new();
    let mut last = Vec::new();
    let mut at = 12;
    for _ in 0..number(8)? {
        let start = at;
        let flags = u16::from_be_bytes(bytes.get(at + FIXED - 2..at + FIXED)?.try_into().ok()?);
        at += FIXED + if flags & EXTENDED == 0 { 0 } else { 2 };
        if version == 4 {
            let (dropped, length) = varint(bytes.get(at..)?)?;
            at += length;
            last.truncate(last.len().checked_sub(dropped)?);
        } else {
            last.clear();
        }
        let end = at + bytes.get(at..)?.iter().position(|byte| *byte == 0)?;
        last.extend_from_slice(&bytes[at..end]);
        paths.insert(last.clone());
        at = match version {
            4 => end + 1,
            // Padded with one to eight NULs to a multiple of eight.
            _ => start + (end - start) / 8 * 8 + 8,
        };
    }
    Some(paths)
}

/// Git's number of variable length (that of pack offsets), and how many bytes it took.
fn varint(bytes: &[u8]) -> Option<(usize, usize)> {
    let mut value = 0_usize;
    for (index, byte) in bytes.iter().take(5).enumerate() {
        value = value << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            return Some((value, index + 1));
        }
        value += 1;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn reads_what_git_writes_in_every_version() {
        let dir = tempfile::tempdir().unwrap();
        let git = |args: &[&str]| {
            let status = Command::new("git")
                .args(args)
                .current_dir(dir.path())
                .status();
            assert!(status.unwrap().success(), "{args:?}");
        };
        git(&["init", "-q"]);
        let mut names: Vec<_> = (0..40)
            .map(|n| format!("d{}/e/{}", n % 3, "x".repeat(n)))
            .collect();
        names.push("a".into());
        for name in &names {
            let path = dir.path().join(name).join("f");
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        git(&["add", "."]);
        std::fs::write(dir.path().join("later"), "x").unwrap();
        for version in ["2", "3", "4"] {
            if version == "3" {
                // Only an entry with extended flags makes it version 3.
                git(&["add", "-N", "later"]);
            }
            git(&["update-index", "--index-version", version]);
            let tracked = Tracked::of(dir.path()).unwrap();
            for name in &names {
                assert!(
                    tracked.has(&dir.path().join(name).join("f"), false),
                    "{version}: {name}"
                );
                assert!(
                    tracked.has(&dir.path().join(name), true),
                    "{version}: {name}"
                );
            }
            assert!(!tracked.has(&dir.path().join("none"), false));
            assert_eq!(
                tracked.has(&dir.path().join("later"), false),
                version != "2"
            );
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(
            version in 0..6_u8, bytes in prop::collection::vec(any::<u8>(), 0..300),
        ) {
            let head = [b"DIRC".as_slice(), &[0, 0, 0, version, 0, 0, 0, 9]].concat();
            parse(&[head, bytes].concat());
        }
    }
}
