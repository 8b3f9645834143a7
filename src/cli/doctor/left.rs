//! What `import` and `export --all` leave when they are killed: half of a home, or of a backup.

use std::path::{Path, PathBuf};

use super::{Check, Found};
use crate::{
    cli::{error::Kind, text::name},
    server::moving,
};

/// Half homes beside a home, which hold keys.
#[derive(Debug, Default)]
pub(super) struct Imports {
    left: Vec<PathBuf>,
    /// Whether the home itself is empty still: the import can be made again.
    awaited: bool,
}

impl Imports {
    /// Looks for them, before anything is written into the home.
    pub(super) fn of(home: &Path) -> Self {
        let left = moving::left_imports(home).unwrap_or_else(|error| {
            tracing::debug!(%error, "it cannot be looked for imports that were cut off");
            Vec::new()
        });
        let is_empty = std::fs::read_dir(home).is_ok_and(|mut entries| entries.next().is_none());
        Self {
            awaited: is_empty && !left.is_empty(),
            left,
        }
    }

    /// Whether the home has to stay empty, for the import that is made again.
    pub(super) fn is_awaited(&self) -> bool {
        self.awaited
    }

    pub(super) fn checks(&self) -> Vec<Check> {
        let check = |path: &PathBuf| {
            let shown = name(&path.to_string_lossy());
            let problem = format!("an import was cut off and left {shown}, which may hold keys");
            // Folders of an agent's copy may be closed.
            let delete = deleting(path, |path| {
                format!("chmod -R u+rwX '{path}' && rm -r '{path}'")
            });
            let found = match self.awaited {
                true => {
                    let fix = format!("treefort import FILE (the same again), or {delete}");
                    Found::Wrong(Kind::Failed, problem, fix)
                }
                false => Found::Note(format!("{problem}; {delete}")),
            };
            Check {
                what: "import",
                found,
            }
        };
        self.left.iter().map(check).collect()
    }
}

/// Half backups where the person is, and beside the home; nobody knows where others are.
pub(super) fn exports(home: &Path) -> Vec<Check> {
    let mut folders = Vec::from_iter(std::env::current_dir().ok());
    if let Some(parent) = home.parent()
        && !folders.iter().any(|folder| folder == parent)
    {
        folders.push(parent.to_owned());
    }
    let left = folders.iter().filter_map(|folder| {
        let left = moving::left_exports(folder);
        left.inspect_err(|error| tracing::debug!(%error, "it cannot be looked for half backups"))
            .ok()
    });
    let check = |path: PathBuf| {
        let shown = name(&path.to_string_lossy());
        let delete = deleting(&path, |path| format!("rm '{path}'"));
        Check {
            what: "export",
            found: Found::Note(format!(
                "a backup was cut off and left {shown}, which is none; {delete}"
            )),
        }
    };
    left.flatten().map(check).collect()
}

/// How to delete something; a name that a shell could take for more than a name is in no command that is copied.
fn deleting(path: &Path, command: impl Fn(&str) -> String) -> String {
    match path.to_str() {
        Some(plain) if !plain.contains('\'') && name(plain) == plain => {
            format!("to delete it: {}", command(plain))
        }
        _ => "its name is strange, so look at it before you delete it".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_becomes_a_command() {
        let of = |path: &str| deleting(Path::new(path), |path| format!("rm '{path}'"));
        assert_eq!(
            of("/a b/c.unfinished"),
            "to delete it: rm '/a b/c.unfinished'"
        );
        for strange in ["/a'; sh b; '.unfinished", "/a\n", "/a\u{202e}b"] {
            assert!(!of(strange).contains("rm"), "{strange}");
        }
    }
}
