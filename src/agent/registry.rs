//! The agents that this treefort knows: the built-in ones and those in `<home>/agents/<name>/`.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use super::manifest::{self, Manifest};

/// An agent that is part of the program.
struct BuiltIn {
    name: &'static str,
    manifest: &'static str,
    dockerfile: &'static str,
    /// Further files of its image's build, by name.
    files: &'static [(&'static str, &'static str)],
}

const BUILT_IN: &[BuiltIn] = &[
    BuiltIn {
        name: "chat",
        manifest: include_str!("../../agents/chat/agent.toml"),
        dockerfile: include_str!("../../agents/chat/Dockerfile"),
        files: &[],
    },
    BuiltIn {
        name: "claude-code",
        manifest: include_str!("../../agents/claude-code/agent.toml"),
        dockerfile: include_str!("../../agents/claude-code/Dockerfile"),
        files: &[
            (
                "managed-settings.json",
                include_str!("../../agents/claude-code/managed-settings.json"),
            ),
            (
                "package.json",
                include_str!("../../agents/claude-code/package.json"),
            ),
            (
                "package-lock.json",
                include_str!("../../agents/claude-code/package-lock.json"),
            ),
        ],
    },
    BuiltIn {
        name: "codex",
        manifest: include_str!("../../agents/codex/agent.toml"),
        dockerfile: include_str!("../../agents/codex/Dockerfile"),
        files: &[
            (
                "models.json",
                include_str!("../../agents/codex/models.json"),
            ),
            (
                "package.json",
                include_str!("../../agents/codex/package.json"),
            ),
            (
                "package-lock.json",
                include_str!("../../agents/codex/package-lock.json"),
            ),
        ],
    },
    BuiltIn {
        name: "gemini",
        manifest: include_str!("../../agents/gemini/agent.toml"),
        dockerfile: include_str!("../../agents/gemini/Dockerfile"),
        files: &[
            (
                "settings.json",
                include_str!("../../agents/gemini/settings.json"),
            ),
            ("system.md", include_str!("../../agents/gemini/system.md")),
            (
                "package.json",
                include_str!("../../agents/gemini/package.json"),
            ),
            (
                "package-lock.json",
                include_str!("../../agents/gemini/package-lock.json"),
            ),
        ],
    },
    BuiltIn {
        name: "goose",
        manifest: include_str!("../../agents/goose/agent.toml"),
        dockerfile: include_str!("../../agents/goose/Dockerfile"),
        files: &[
            (
                "package.json",
                include_str!("../../agents/goose/package.json"),
            ),
            (
                "package-lock.json",
                include_str!("../../agents/goose/package-lock.json"),
            ),
        ],
    },
    BuiltIn {
        name: "opencode",
        manifest: include_str!("../../agents/opencode/agent.toml"),
        dockerfile: include_str!("../../agents/opencode/Dockerfile"),
        files: &[
            (
                "models.json",
                include_str!("../../agents/opencode/models.json"),
            ),
            ("tools.js", include_str!("../../agents/opencode/tools.js")),
        ],
    },
    BuiltIn {
        name: "shell",
        manifest: include_str!("../../agents/shell/agent.toml"),
        dockerfile: include_str!("../../agents/shell/Dockerfile"),
        files: &[],
    },
];

/// The largest `agent.toml` or Dockerfile that is read.
const MAX_FILE: u64 = 1024 * 1024;

/// One agent that can be run.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// What is known about it.
    pub manifest: Manifest,
    /// Its Dockerfile's text.
    pub dockerfile: String,
    /// Its folder, the build's context; `None` for a built-in.
    pub folder: Option<PathBuf>,
    /// A built-in's files for the build, by name, beside the program itself.
    pub files: &'static [(&'static str, &'static str)],
}

/// All agents by name.
#[derive(Debug, Clone, Default)]
pub struct Registry {
    agents: BTreeMap<String, Agent>,
    base: String,
}

/// An agent that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// A file or the folder cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The path.
        path: PathBuf,
        /// The reason.
        #[source]
        source: io::Error,
    },
    /// The manifest.
    #[error("{}: {source}", path.display())]
    Manifest {
        /// The manifest's path.
        path: PathBuf,
        /// The reason.
        #[source]
        source: manifest::Error,
    },
    /// The manifest's name is not the folder's.
    #[error("{}: the manifest's name is {name:?}", path.display())]
    Name {
        /// The folder.
        path: PathBuf,
        /// The manifest's name.
        name: String,
    },
    /// A built-in has this name.
    #[error("{}: there is a built-in agent of this name", path.display())]
    BuiltIn {
        /// The folder.
        path: PathBuf,
    },
}

impl Registry {
    /// The built-in agents and those of `home`. One that cannot be used does not hide the others: it
    /// comes back as a problem.
    #[must_use]
    pub fn load(home: Option<&Path>) -> (Self, Vec<Problem>) {
        let mut registry = Self::default();
        let mut problems = Vec::new();
        for built_in in BUILT_IN {
            match Manifest::parse(built_in.manifest) {
                Ok(manifest) => {
                    let dockerfile = built_in.dockerfile.to_owned();
                    let agent = Agent {
                        manifest,
                        dockerfile,
                        folder: None,
                        files: built_in.files,
                    };
                    registry.agents.insert(built_in.name.to_owned(), agent);
                }
                Err(source) => {
                    let path = PathBuf::from(built_in.name);
                    problems.push(Problem::Manifest { path, source });
                }
            }
        }
        if let Some(home) = home {
            for folder in folders(&home.join("agents"), &mut problems) {
                match read(&folder) {
                    Ok(agent) if registry.agents.contains_key(&agent.manifest.name) => {
                        problems.push(Problem::BuiltIn { path: folder });
                    }
                    Ok(agent) => {
                        registry.agents.insert(agent.manifest.name.clone(), agent);
                    }
                    Err(problem) => problems.push(problem),
                }
            }
        }
        (registry, problems)
    }

    /// The same agents on another image, which treefort's own base then starts from; empty for the usual
    /// one.
    #[must_use]
    pub fn with_base(mut self, base: impl Into<String>) -> Self {
        self.base = base.into();
        self
    }

    /// The image that treefort's own base starts from; empty for the usual one.
    #[must_use]
    pub fn base(&self) -> &str {
        &self.base
    }

    /// The agent of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Agent> {
        self.agents.get(name)
    }

    /// All agents, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Agent> {
        self.agents.values()
    }
}

/// Whether a name is that of a built-in agent.
#[must_use]
pub fn is_built_in(name: &str) -> bool {
    BUILT_IN.iter().any(|built_in| built_in.name == name)
}

fn folders(dir: &Path, problems: &mut Vec<Problem>) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut note = |source| {
        problems.push(Problem::Read {
            path: dir.to_owned(),
            source,
        })
    };
    match std::fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) if entry.path().join("agent.toml").exists() => {
                        folders.push(entry.path())
                    }
                    Ok(_) => {}
                    Err(error) => note(error),
                }
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => note(error),
    }
    folders.sort();
    folders
}

/// Reads the agent in a folder: its manifest and its Dockerfile.
///
/// # Errors
///
/// [`Problem`].
pub fn read(folder: &Path) -> Result<Agent, Problem> {
    let path = folder.join("agent.toml");
    let manifest =
        Manifest::parse(&text(&path)?).map_err(|source| Problem::Manifest { path, source })?;
    if folder
        .file_name()
        .is_none_or(|name| name != manifest.name.as_str())
    {
        return Err(Problem::Name {
            path: folder.to_owned(),
            name: manifest.name,
        });
    }
    let dockerfile = text(&folder.join(&manifest.image.dockerfile))?;
    Ok(Agent {
        manifest,
        dockerfile,
        folder: Some(folder.to_owned()),
        files: &[],
    })
}

fn text(path: &Path) -> Result<String, Problem> {
    let read = || {
        if std::fs::metadata(path)?.len() > MAX_FILE {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        std::fs::read_to_string(path)
    };
    read().map_err(|source| Problem::Read {
        path: path.to_owned(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_built_in_agents_are_valid() {
        let (registry, problems) = Registry::load(None);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(registry.iter().count(), BUILT_IN.len());
        for built_in in BUILT_IN {
            let agent = registry.get(built_in.name).unwrap();
            assert_eq!(agent.manifest.name, built_in.name);
            assert_eq!(agent.manifest.image.dockerfile, "Dockerfile");
            assert!(is_built_in(built_in.name));
        }
        // These are part of the program, so they have its version; the others are pinned.
        for name in ["chat", "shell"] {
            let version = &registry.get(name).unwrap().manifest.version;
            assert_eq!(version, env!("CARGO_PKG_VERSION"));
        }
    }

    #[test]
    fn reads_agents_of_the_home_and_reports_the_broken_ones() {
        let home = tempfile::tempdir().unwrap();
        let toml = include_str!("../../agents/chat/agent.toml");
        let put = |folder: &str, text: &str| {
            let dir = home.path().join("agents").join(folder);
            std::fs::create_dir_all(&dir).unwrap();
            std::fs::write(dir.join("agent.toml"), text).unwrap();
            std::fs::write(dir.join("Dockerfile"), "FROM scratch").unwrap();
        };
        put("mine", &toml.replace("name = \"chat\"", "name = \"mine\""));
        put("chat", toml);
        put("misnamed", toml);
        put("broken", "name = 1");
        let (registry, problems) = Registry::load(Some(home.path()));
        assert_eq!(registry.get("mine").unwrap().dockerfile, "FROM scratch");
        assert!(registry.get("chat").unwrap().folder.is_none());
        assert_eq!(problems.len(), 3, "{problems:?}");
    }

    #[test]
    fn what_npm_pins_is_the_version_that_is_said() {
        for (name, package) in [
            ("claude-code", "@agentclientprotocol/claude-agent-acp"),
            ("codex", "@agentclientprotocol/codex-acp"),
            ("gemini", "@google/gemini-cli"),
            ("goose", "@aaif/goose-binary-linux-x64"),
        ] {
            let (registry, problems) = Registry::load(None);
            assert!(problems.is_empty(), "{problems:?}");
            let agent = registry.get(name).unwrap();
            let lock = agent
                .files
                .iter()
                .find(|(file, _)| *file == "package-lock.json");
            let lock: serde_json::Value = serde_json::from_str(lock.unwrap().1).unwrap();
            let packages = lock["packages"].as_object().unwrap();
            let pinned = &packages[&format!("node_modules/{package}")]["version"];
            assert_eq!(*pinned, *agent.manifest.version, "{name}");
            // Every package by its hash, and none from an address of the machine that wrote this.
            let foreign = packages.iter().filter(|(path, package)| {
                !path.is_empty()
                    && (!package["integrity"].is_string() || package.get("resolved").is_some())
            });
            assert_eq!(foreign.count(), 0, "{name}");
        }
    }
}
