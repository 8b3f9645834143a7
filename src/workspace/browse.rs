//! The files of a state, read out of the store: nothing of the tree on the disk is touched, and no link is
//! followed, because one in a state is only a name with a text.

use super::{
    Error, ObjectId,
    objects::{Store, TreeEntry},
};

/// How deep a path may lead.
const MAX_DEPTH: usize = 1_000;

/// What is at a path of a state.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// A folder.
    Folder(ObjectId),
    /// A file, and whether it is a link: then its bytes are where it leads.
    File {
        /// Its bytes.
        id: ObjectId,
        /// Whether it is a link.
        link: bool,
    },
    /// Nothing; or the way there leads through a file or a link.
    Nothing,
    /// Several names that look the same as text.
    Several,
}

/// What is at a path below the folder `tree`: its parts with `/` between them. The empty path is the folder itself.
///
/// A path is text, and names are bytes: a part means the entry of that name, else the only one that reads so.
///
/// # Errors
/// When the store fails.
pub fn find(store: &Store, tree: &ObjectId, path: &str) -> Result<Found, Error> {
    let mut here = Found::Folder(*tree);
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    for (depth, part) in parts.enumerate() {
        let Found::Folder(folder) = here else {
            return Ok(Found::Nothing);
        };
        if depth >= MAX_DEPTH {
            return Ok(Found::Nothing);
        }
        here = match pick(&store.tree(&folder)?, part) {
            Ok(Some(entry)) if entry.is_dir() => Found::Folder(entry.id),
            Ok(Some(entry)) => Found::File {
                id: entry.id,
                link: entry.is_link(),
            },
            Ok(None) => return Ok(Found::Nothing),
            Err(Ambiguous) => return Ok(Found::Several),
        };
    }
    Ok(here)
}

struct Ambiguous;

fn pick<'e>(entries: &'e [TreeEntry], part: &str) -> Result<Option<&'e TreeEntry>, Ambiguous> {
    let exact = entries.iter().find(|entry| entry.name == part.as_bytes());
    if exact.is_some() {
        return Ok(exact);
    }
    let mut reads_so = entries
        .iter()
        .filter(|entry| String::from_utf8_lossy(&entry.name) == part);
    match (reads_so.next(), reads_so.next()) {
        (Some(_), Some(_)) => Err(Ambiguous),
        (found, _) => Ok(found),
    }
}

/// The entries of a folder in the order of their names, folders among files.
///
/// # Errors
/// When the store fails.
pub fn entries(store: &Store, folder: &ObjectId) -> Result<Vec<TreeEntry>, Error> {
    let mut entries = store.tree(folder)?;
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::testing::{self, file, link, things, tree};

    #[test]
    fn a_path_leads_through_folders_and_never_through_a_link() {
        let (_dir, store) = testing::store();
        let tree = tree(
            &store,
            &things([
                ("src/deep/a.rs", file("a")),
                ("out", link("/etc")),
                ("here", link("src")),
            ]),
        );
        let at = |path: &str| find(&store, &tree, path).unwrap();
        assert_eq!(at(""), Found::Folder(tree));
        assert_eq!(at("./"), Found::Folder(tree));
        assert!(matches!(at("src/deep"), Found::Folder(_)));
        let Found::File { id, link: false } = at("/src//deep/a.rs") else {
            panic!()
        };
        assert_eq!(store.blob(&id).unwrap(), b"a");
        let Found::File { id, link: true } = at("out") else {
            panic!()
        };
        assert_eq!(store.blob(&id).unwrap(), b"/etc");
        for nowhere in [
            "out/passwd",
            "here/deep",
            "src/deep/a.rs/x",
            "..",
            "src/../src",
            "src/deeper",
            "\0",
        ] {
            assert_eq!(at(nowhere), Found::Nothing, "{nowhere}");
        }
        assert_eq!(at(&"src/".repeat(100_000)), Found::Nothing);
    }

    #[test]
    fn a_name_that_is_no_text_is_meant_by_what_it_reads_as_when_it_is_the_only_one() {
        let (_dir, store) = testing::store();
        let mut batch = store.batch();
        let blob = batch.blob(b"x").unwrap();
        let entry = |name: &[u8]| TreeEntry {
            mode: 0o100_644,
            name: name.to_vec(),
            id: blob,
        };
        let one = batch.tree(vec![entry(b"a\xff"), entry(b"b")]).unwrap();
        let two = batch.tree(vec![entry(b"a\xff"), entry(b"a\xfe")]).unwrap();
        batch.finish().unwrap();
        let read = "a\u{fffd}";
        let file = Found::File {
            id: blob,
            link: false,
        };
        assert_eq!(find(&store, &one, read).unwrap(), file);
        assert_eq!(find(&store, &two, read).unwrap(), Found::Several);
    }
}
