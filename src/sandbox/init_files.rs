//! The files that an agent finds in its home: written by the sandbox's first process, because the home is
//! empty memory and the rest of the system cannot be written.

use std::fs;
use std::io;
use std::path::{Component, Path};

/// The variable that names the files: a JSON array of `[path, content]`, paths below the agent's home. The
/// agent does not get it.
pub const VARIABLE: &str = "TREEFORT_FILES";

/// Writes the files that `described` names below `home`.
///
/// # Errors
/// When it is not what [`VARIABLE`] holds, or a file cannot be written.
pub(super) fn write(home: &Path, described: &str) -> io::Result<()> {
    let files: Vec<(String, String)> = serde_json::from_str(described)?;
    for (path, content) in files {
        let inside = |part| matches!(part, Component::Normal(_));
        if path.is_empty() || !Path::new(&path).components().all(inside) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let path = home.join(path);
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(path, content)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_go_below_the_home_and_nowhere_else() {
        let home = tempfile::tempdir().unwrap();
        let inner = home.path().join("home");
        write(&inner, r#"[[".config/a/b.json","{}"],["c","text"]]"#).unwrap();
        assert_eq!(
            fs::read_to_string(inner.join(".config/a/b.json")).unwrap(),
            "{}"
        );
        assert_eq!(fs::read_to_string(inner.join("c")).unwrap(), "text");
        for path in ["../x", "/x", "", "a/../../x"] {
            let described = serde_json::json!([[path, ""]]).to_string();
            assert!(write(&inner, &described).is_err(), "{path}");
        }
        assert!(write(&inner, "no json").is_err());
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
