//! What an agent's image is built from: its Dockerfile, its folder, and this program.

use std::{io, path::Path};

use crate::{
    agent::registry::Agent,
    job::Failure,
    sandbox::{Image, image::Content},
};

/// Files that an agent's folder may hold.
const MAX_FILES: usize = 1000;

/// The image of an agent.
///
/// # Errors
/// When its folder cannot be read.
pub(super) fn of(agent: &Agent) -> Result<Image, Failure> {
    let name = &agent.manifest.name;
    let failed = |error: &dyn std::fmt::Display| {
        Failure::new(
            "agent",
            format!("the image of {name} cannot be described: {error}"),
        )
    };
    let mut image = Image::new(name, &agent.dockerfile);
    if let Some(folder) = &agent.folder {
        add(&mut image, folder, folder).map_err(|error| failed(&error))?;
    }
    program(image).map_err(|error| failed(&error))
}

/// On Linux the program that runs is the one that goes into the image.
#[cfg(target_os = "linux")]
fn program(image: Image) -> Result<Image, crate::sandbox::Error> {
    image.with_program()
}

/// Elsewhere the image's first stage builds it from the sources that this program was built from.
#[cfg(not(target_os = "linux"))]
fn program(mut image: Image) -> io::Result<Image> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["src", "agents", "relay-config", "benches", ".cargo"] {
        add(&mut image, root, &root.join(part))?;
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        image
            .files
            .push((file.to_owned(), Content::File(root.join(file))));
    }
    if let Some(dockerfile) = crate::agent::registry::source_dockerfile(&image.agent) {
        image.dockerfile = dockerfile.to_owned();
    }
    image.network = true;
    Ok(image)
}

/// Adds a folder's regular files by their path below `root`; links are not followed.
fn add(image: &mut Image, root: &Path, folder: &Path) -> io::Result<()> {
    let mut entries: Vec<_> = std::fs::read_dir(folder)?.collect::<Result<_, _>>()?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let kind = entry.file_type()?;
        if kind.is_dir() {
            add(image, root, &entry.path())?;
        } else if kind.is_file() {
            let path = entry.path();
            let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
                continue;
            };
            // The Dockerfile goes beside the files, not among them.
            if name == "Dockerfile" {
                continue;
            }
            if image.files.len() >= MAX_FILES {
                return Err(io::Error::other(format!("more than {MAX_FILES} files")));
            }
            image
                .files
                .push((name.to_owned(), Content::File(path.clone())));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::registry::Registry;

    #[test]
    fn the_chat_agent_is_this_program_and_nothing_else() {
        let (agents, problems) = Registry::load(None);
        assert!(problems.is_empty());
        let image = of(agents.get("chat").unwrap()).unwrap();
        assert!(image.dockerfile.contains("FROM scratch"));
        assert_eq!(image.files.len(), 1);
        assert!(!image.network);
    }
}
