//! Files that an owner gives to an agent: they go to the top of the tree, under their own names, and never in the place
//! of anything that is there. Whoever works in the tree is paused by the caller, and can redirect nothing all the same:
//! every step is relative to the open tree and follows no link.

use std::{fs::File, io::Write as _};

use rustix::{
    fs::{Gid, Mode, OFlags, Uid, fchmod, fchown, openat},
    io::Errno,
};

use super::{Checkpoint, Error, Workspace, beneath, snapshot};

/// Bytes of a name.
const NAME_BYTES: usize = 200;
/// Names that are tried for a file whose own is taken.
const TRIES: u32 = 1_000;
/// What a file is called that has no name of its own.
const NAMELESS: &str = "file";

/// A file to be given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// What it should be called.
    pub name: String,
    /// What is in it.
    pub bytes: Vec<u8>,
}

impl Workspace {
    /// Puts files to the top of the tree, and keeps the state with them; gives the names that they got.
    ///
    /// # Errors
    /// When the disk or the store refuses, or no name is free.
    pub fn attach(
        &mut self,
        files: &[Given],
        reason: &str,
        at: u64,
    ) -> Result<(Vec<String>, Checkpoint), Error> {
        self.finish_interrupted()?;
        let mut names = Vec::new();
        for file in files {
            names.push(self.put(file)?);
        }
        snapshot::write_back(&self.root)
            .map_err(Error::errno("writing to the disk", &self.tree))?;
        let checkpoint = self.keep(reason, at)?;
        Ok((names, checkpoint))
    }

    fn put(&self, given: &Given) -> Result<String, Error> {
        let wanted = safe_name(&given.name);
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        for number in 1..=TRIES {
            let name = numbered(&wanted, number);
            let file = match openat(&self.root, name.as_str(), flags, Mode::RUSR | Mode::WUSR) {
                Ok(file) => file,
                Err(Errno::EXIST) => continue,
                Err(error) => return Err(Error::errno("making a file in", &self.tree)(error)),
            };
            // The process's mask would close it to the agent.
            fchmod(&file, Mode::from(0o644))
                .map_err(Error::errno("opening to its agent", &self.tree))?;
            if let Some((user, group)) = self.owner {
                fchown(&file, Some(Uid::from_raw(user)), Some(Gid::from_raw(group)))
                    .map_err(Error::errno("giving to its agent", &self.tree))?;
            }
            File::from(file)
                .write_all(&given.bytes)
                .map_err(Error::io("writing a file in", &self.tree))?;
            return Ok(name);
        }
        Err(Error::errno("finding a free name in", &self.tree)(
            Errno::EXIST,
        ))
    }
}

/// The last part of a name, if a file may be called so.
fn safe_name(name: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let clean: String = last.chars().filter(|c| !c.is_control()).collect();
    let clean = clean.trim();
    // Its end says what it is.
    let clean = &clean[clean.ceil_char_boundary(clean.len().saturating_sub(NAME_BYTES))..];
    if matches!(clean, "" | "." | "..") || beneath::is_git_name(clean.as_bytes()) {
        return NAMELESS.to_owned();
    }
    clean.to_owned()
}

/// `a.txt`, `a-2.txt`, …
fn numbered(name: &str, number: u32) -> String {
    if number == 1 {
        return name.to_owned();
    }
    match name.rsplit_once('.') {
        Some((stem, ending)) if !stem.is_empty() => format!("{stem}-{number}.{ending}"),
        _ => format!("{name}-{number}"),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink, sync::Arc};

    use super::*;
    use crate::workspace::{Rules, testing};

    fn given(name: &str, text: &str) -> Given {
        Given {
            name: name.to_owned(),
            bytes: text.into(),
        }
    }

    #[test]
    fn nothing_that_is_there_is_overwritten_and_no_link_is_followed() {
        let (dir, store) = testing::store();
        let at = dir.path().join("w");
        let mut workspace =
            Workspace::create(&at, Arc::new(store), Rules::default(), None).unwrap();
        let tree = workspace.tree_dir().to_owned();
        let outside = dir.path().join("outside");
        fs::write(tree.join("a.txt"), "mine").unwrap();
        symlink(&outside, tree.join("b.txt")).unwrap();
        fs::create_dir(tree.join("c")).unwrap();
        workspace.checkpoint("before", 1).unwrap();
        let files = [
            given("a.txt", "1"),
            given("../../a.txt", "2"),
            given("C:\\b.txt", "3"),
            given("c", "4"),
            given(".git", "5"),
            given("..", "6"),
            given("sub/\u{1b}new.txt", "7"),
        ];
        let (names, kept) = workspace.attach(&files, "given", 2).unwrap();
        let expected = [
            "a-2.txt", "a-3.txt", "b-2.txt", "c-2", "file", "file-2", "new.txt",
        ];
        assert_eq!(names, expected);
        for (name, file) in names.iter().zip(&files) {
            assert_eq!(fs::read(tree.join(name)).unwrap(), file.bytes, "{name}");
        }
        assert_eq!(fs::read(tree.join("a.txt")).unwrap(), b"mine");
        assert!(!outside.exists());
        assert_eq!((kept.number, kept.reason.as_str()), (2, "given"));
        assert_eq!(kept.files, 9);
    }

    #[test]
    fn a_name_is_cut_at_its_beginning() {
        let long = format!("{}ü.png", "x".repeat(500));
        let name = safe_name(&long);
        assert!(name.len() <= NAME_BYTES && name.ends_with("ü.png"));
        assert_eq!(safe_name(" \n "), NAMELESS);
        assert_eq!(numbered(".env", 2), ".env-2");
    }
}
