//! Folders as git writes them: `mode SP name NUL id`, sorted as if a folder's name ended in a slash.

use std::cmp::Ordering;

use super::ObjectId;

/// One name in a folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeEntry {
    /// Type and permission bits. A folder is `0o040000`; when its permissions are not 0755 they are kept
    /// beside the type (`0o040700`), which git reads as a folder too: ask [`TreeEntry::is_dir`]. A file is
    /// `0o100644` with its exact permission bits, a link `0o120000`.
    pub mode: u32,
    /// The name: any bytes but `/` and NUL.
    pub name: Vec<u8>,
    /// The blob or the tree.
    pub id: ObjectId,
}

impl TreeEntry {
    /// Whether it is a folder.
    #[must_use]
    pub const fn is_dir(&self) -> bool {
        self.mode & 0o170_000 == 0o040_000
    }

    /// Whether it is a symbolic link.
    #[must_use]
    pub const fn is_link(&self) -> bool {
        self.mode & 0o170_000 == 0o120_000
    }

    /// A folder's permission bits: 0755 unless others are kept.
    pub(crate) const fn dir_permissions(mode: u32) -> u32 {
        match mode & 0o7777 {
            0 => 0o755,
            // All bits taken away is not the same as the default.
            NO_RIGHTS => 0,
            bits => bits,
        }
    }

    /// The mode of a folder with these permission bits.
    pub(crate) const fn dir_mode(permissions: u32) -> u32 {
        0o040_000
            | match permissions & 0o7777 {
                0o755 => 0,
                0 => NO_RIGHTS,
                bits => bits,
            }
    }
}

/// Stands for a folder with no permission at all, because 0 stands for 0755: only the bits "set group" and
/// "set user" without any right, which no program sets.
const NO_RIGHTS: u32 = 0o6000;

fn order(a: &TreeEntry, b: &TreeEntry) -> Ordering {
    let end = |entry: &TreeEntry| entry.is_dir().then_some(b'/');
    a.name
        .iter()
        .copied()
        .chain(end(a))
        .cmp(b.name.iter().copied().chain(end(b)))
}

/// A tree's bytes. Entries are put in git's order; of two with one name the first stays.
pub(crate) fn encode(mut entries: Vec<TreeEntry>) -> Vec<u8> {
    // The same name as a file and as a folder do not sort beside each other, so doubles go first.
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    entries.dedup_by(|next, first| next.name == first.name);
    entries.sort_by(order);
    let mut bytes = Vec::with_capacity(entries.iter().map(|entry| entry.name.len() + 28).sum());
    for entry in entries {
        bytes.extend_from_slice(format!("{:o} ", entry.mode).as_bytes());
        bytes.extend_from_slice(&entry.name);
        bytes.push(0);
        bytes.extend_from_slice(entry.id.as_bytes());
    }
    bytes
}

/// The entries of a tree's bytes; `None` when they are not a tree that could lie on a disk.
pub(super) fn parse(mut bytes: &[u8]) -> Option<Vec<TreeEntry>> {
    let mut entries = Vec::new();
    while !bytes.is_empty() {
        let space = bytes.iter().position(|byte| *byte == b' ')?;
        let digits = std::str::from_utf8(bytes.get(..space)?).ok()?;
        let mode = u32::from_str_radix(digits, 8).ok()?;
        bytes = bytes.get(space + 1..)?;
        let end = bytes.iter().position(|byte| *byte == 0)?;
        let name = bytes.get(..end)?.to_vec();
        if name.is_empty() || name.contains(&b'/') || name == b"." || name == b".." {
            return None;
        }
        let id = ObjectId::from_slice(bytes.get(end + 1..end + 21)?)?;
        bytes = bytes.get(end + 21..)?;
        entries.push(TreeEntry { mode, name, id });
    }
    Some(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_sort_as_if_they_ended_in_a_slash() {
        let entry = |name: &str, mode| TreeEntry {
            mode,
            name: name.into(),
            id: ObjectId::EMPTY_TREE,
        };
        let bytes = encode(vec![
            entry("a0", 0o100_644),
            entry("a", 0o040_000),
            entry("a.b", 0o100_600),
            entry("a", 0o100_644),
        ]);
        let names: Vec<_> = parse(&bytes)
            .unwrap()
            .into_iter()
            .map(|entry| (entry.name, entry.mode))
            .collect();
        assert_eq!(
            names,
            [
                (b"a.b".to_vec(), 0o100_600),
                (b"a".to_vec(), 0o040_000),
                (b"a0".to_vec(), 0o100_644)
            ]
        );
    }

    #[test]
    fn every_permission_of_a_folder_comes_back() {
        for bits in [0o755, 0, 0o700, 0o1777, 0o2755, 0o111] {
            assert_eq!(TreeEntry::dir_permissions(TreeEntry::dir_mode(bits)), bits);
        }
        assert_eq!(TreeEntry::dir_mode(0o755), 0o040_000);
    }

    #[test]
    fn refuses_a_tree_whose_names_would_leave_it() {
        for name in [&b".."[..], b".", b"", b"a/b"] {
            let mut bytes = b"100644 ".to_vec();
            bytes.extend_from_slice(name);
            bytes.extend_from_slice(&[0; 21]);
            assert_eq!(parse(&bytes), None);
        }
        assert_eq!(parse(b"100644 cut\0abc"), None);
        assert_eq!(parse(b"1006"), None);
    }
}
