//! What an agent keeps from one sandbox to the next: its places in the home, which is empty memory, lead to a folder
//! that is there again. The sandbox's first process makes them, as the agent's user.

use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Component, Path};

/// The variable that names the places: a JSON array of paths below the agent's home. The agent does not get it.
pub const VARIABLE: &str = "TREEFORT_STATE";

/// Makes the places that `described` names below `home` lead to folders below `kept`.
///
/// # Errors
/// When it is not what [`VARIABLE`] holds, or a place cannot be made.
pub(super) fn link(home: &Path, kept: &Path, described: &str) -> io::Result<()> {
    let places: Vec<String> = serde_json::from_str(described)?;
    for (n, place) in places.iter().enumerate() {
        let inside = |part| matches!(part, Component::Normal(_));
        if place.is_empty() || !Path::new(place).components().all(inside) {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let folder = kept.join(n.to_string());
        match fs::create_dir(&folder) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
            _ => {}
        }
        let place = home.join(place);
        if let Some(above) = place.parent() {
            fs::create_dir_all(above)?;
        }
        symlink(folder, place)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_lead_to_the_same_folders_in_the_next_home() {
        let folder = tempfile::tempdir().unwrap();
        let kept = folder.path().join("kept");
        fs::create_dir(&kept).unwrap();
        for home in ["one", "two"] {
            let home = folder.path().join(home);
            link(&home, &kept, r#"[".local/share/a",".b"]"#).unwrap();
            let file = home.join(".local/share/a/file");
            match home.ends_with("one") {
                true => fs::write(file, "text").unwrap(),
                false => assert_eq!(fs::read_to_string(file).unwrap(), "text"),
            }
            // The rest of the home is its own.
            assert!(!home.join(".local/share").is_symlink());
        }
        for place in ["../x", "/x", "", "a/../../x"] {
            let described = serde_json::json!([place]).to_string();
            let home = folder.path().join("three");
            assert!(link(&home, &kept, &described).is_err(), "{place}");
        }
    }
}
