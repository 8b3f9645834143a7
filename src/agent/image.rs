//! What an agent's image is built from: its Dockerfile, its folder, and this program.
//!
//! An agent that asks for it builds on treefort's own base (`agents/base`), which an owner can put on
//! another image of theirs.

use std::io;
use std::path::{Path, PathBuf};

use super::registry::Agent;
use crate::sandbox::{self, Content, Image};

/// The name of the base's image.
pub const BASE: &str = "base";
/// The environment variable that comes before the configuration's `[sandbox] base`.
pub const BASE_VARIABLE: &str = "TREEFORT_BASE";

const BASE_DOCKERFILE: &str = include_str!("../../agents/base/Dockerfile");
#[cfg(any(not(target_os = "linux"), test))]
const PROGRAM_STAGE: &str = include_str!("../../agents/base/program.Dockerfile");
/// The line of every Dockerfile that puts the program into the image.
#[cfg(any(not(target_os = "linux"), test))]
const COPY_PROGRAM: &str = "COPY treefort /treefort";
/// Files that an agent's folder may hold.
const MAX_FILES: usize = 1000;

/// Why an image cannot be described.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file or folder cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// The folder holds more than an agent needs.
    #[error("{} holds more than {MAX_FILES} files", path.display())]
    TooMany {
        /// The folder.
        path: PathBuf,
    },
    /// The program itself.
    #[error(transparent)]
    Program(#[from] sandbox::Error),
}

/// Who wants the image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// A job: an agent of the home whose build uses the network has to be there already.
    ByJob,
    /// The owner, who named it.
    ByName,
}

/// The image of an agent. `base` is the image that treefort's own base starts from; empty for the usual
/// one.
///
/// # Errors
///
/// When its folder or the program cannot be read.
pub fn of(agent: &Agent, base: &str, asked: Asked) -> Result<Image, Error> {
    let manifest = &agent.manifest;
    let mut image = Image::new(&manifest.name, &agent.dockerfile);
    image.network = manifest.image.network;
    image.prebuilt = image.network && agent.folder.is_some() && asked == Asked::ByJob;
    image.host.clone_from(&manifest.embedded);
    image.args = vec![("VERSION".to_owned(), manifest.version.clone())];
    if manifest.image.base {
        image.base = Some(Box::new(base_image(base)));
    }
    for (name, text) in agent.files {
        let content = Content::Bytes(text.as_bytes().to_vec());
        image.files.push(((*name).to_owned(), content));
    }
    if let Some(folder) = &agent.folder {
        add(&mut image, folder, folder, "")?;
    }
    program(image)
}

/// The image that coding agents build on. `base` as for [`of`]; [`BASE_VARIABLE`] comes first.
fn base_image(base: &str) -> Image {
    let mut image = Image::new(BASE, BASE_DOCKERFILE);
    image.network = true;
    let variable = std::env::var(BASE_VARIABLE).unwrap_or_default();
    let chosen = [variable.as_str(), base]
        .into_iter()
        .map(str::trim)
        .find(|name| !name.is_empty());
    if let Some(chosen) = chosen {
        image.args = vec![("BASE".to_owned(), chosen.to_owned())];
    }
    image
}

/// On Linux the program that runs is the one that goes into the image.
#[cfg(target_os = "linux")]
fn program(image: Image) -> Result<Image, Error> {
    Ok(image.with_program()?)
}

/// Elsewhere the image's first stage builds it from the sources that this program was built from.
#[cfg(not(target_os = "linux"))]
fn program(mut image: Image) -> Result<Image, Error> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    for part in ["src", "agents", "relay-config", "benches", ".cargo"] {
        add(&mut image, root, &root.join(part), "treefort-source/")?;
    }
    for file in ["Cargo.toml", "Cargo.lock"] {
        let content = Content::File(root.join(file));
        image
            .files
            .push((format!("treefort-source/{file}"), content));
    }
    image.dockerfile = from_source(&image.dockerfile);
    image.network = true;
    Ok(image)
}

/// The Dockerfile with a stage in front that builds the program. `ARG`s before the first `FROM` stay
/// before it, since only there they hold for every `FROM`.
#[cfg(any(not(target_os = "linux"), test))]
fn from_source(dockerfile: &str) -> String {
    let is_from = |line: &&str| line.to_ascii_uppercase().starts_with("FROM ");
    let lines: Vec<&str> = dockerfile.lines().collect();
    let first = lines.iter().position(is_from).unwrap_or(0);
    let copy = COPY_PROGRAM.replace("COPY ", "COPY --from=treefort-program /");
    let (arguments, rest) = lines.split_at(first);
    let rest: Vec<&str> = rest
        .iter()
        .map(|line| {
            if line.trim() == COPY_PROGRAM {
                &copy
            } else {
                *line
            }
        })
        .collect();
    let parts = [&arguments.join("\n"), PROGRAM_STAGE, &rest.join("\n")];
    parts.join("\n") + "\n"
}

/// Adds a folder's regular files by their path below `root`; links are not followed.
fn add(image: &mut Image, root: &Path, folder: &Path, prefix: &str) -> Result<(), Error> {
    let fail = |path: &Path, source| Error::Read {
        path: path.to_owned(),
        source,
    };
    let read = std::fs::read_dir(folder).and_then(Iterator::collect::<io::Result<Vec<_>>>);
    let mut entries = read.map_err(|source| fail(folder, source))?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        let kind = entry.file_type().map_err(|source| fail(&path, source))?;
        if kind.is_dir() {
            add(image, root, &path, prefix)?;
        } else if kind.is_file() {
            let Some(name) = path.strip_prefix(root).ok().and_then(Path::to_str) else {
                continue;
            };
            // The Dockerfile goes beside the files, not among them.
            if prefix.is_empty() && name == "Dockerfile" {
                continue;
            }
            if image.files.len() >= MAX_FILES {
                let path = root.to_owned();
                return Err(Error::TooMany { path });
            }
            let name = format!("{prefix}{name}");
            image.files.push((name, Content::File(path)));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::agent::registry::Registry;

    fn built_in(name: &str) -> Agent {
        let (agents, problems) = Registry::load(None);
        assert!(problems.is_empty(), "{problems:?}");
        agents.get(name).unwrap().clone()
    }

    #[test]
    fn the_chat_agent_is_this_program_and_nothing_else() {
        let image = of(&built_in("chat"), "", Asked::ByJob).unwrap();
        assert!(image.dockerfile.contains("FROM scratch"));
        assert_eq!(image.files.len(), 1);
        assert!(image.base.is_none() && !image.network);
    }

    #[test]
    fn opencode_builds_on_the_base_at_its_pinned_version() {
        let agent = built_in("opencode");
        let image = of(&agent, "mine:1", Asked::ByJob).unwrap();
        assert_eq!(image.args, [("VERSION".into(), agent.manifest.version)]);
        assert!(image.network && !image.prebuilt);
        let base = image.base.unwrap();
        assert!(base.files.is_empty() && base.network);
        if std::env::var_os(BASE_VARIABLE).is_none() {
            assert_eq!(base.args, [("BASE".into(), "mine:1".into())]);
        }
        // A new treefort must not fetch OpenCode anew: its own program is the last thing to go in.
        let last = image.dockerfile.lines().last();
        assert_eq!(last, Some(COPY_PROGRAM));
    }

    #[test]
    fn a_foreign_build_with_a_network_needs_its_owner() {
        let mut agent = built_in("opencode");
        let folder = tempfile::tempdir().unwrap();
        agent.folder = Some(folder.path().to_owned());
        assert!(of(&agent, "", Asked::ByJob).unwrap().prebuilt);
        assert!(!of(&agent, "", Asked::ByName).unwrap().prebuilt);
        agent.manifest.image.network = false;
        let image = of(&agent, "", Asked::ByJob).unwrap();
        assert!(!image.prebuilt && !image.network);
    }

    #[test]
    fn a_stage_builds_the_program_where_this_one_would_not_run() {
        for name in ["chat", "opencode", "shell"] {
            let text = from_source(&built_in(name).dockerfile);
            assert!(text.contains("COPY --from=treefort-program /treefort /treefort"));
            assert!(!text.lines().any(|line| line == COPY_PROGRAM), "{text}");
            let stage = text.find("AS treefort-program").unwrap();
            assert!(text.find("ARG BASE").is_none_or(|at| at < stage), "{text}");
            let froms = text
                .lines()
                .filter(|line| line.starts_with("FROM "))
                .count();
            assert_eq!(froms, 2, "{text}");
        }
    }
}
