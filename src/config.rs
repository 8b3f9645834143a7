//! The configuration: each module's own part, gathered from `treefort.toml` in the home.
//!
//! Every key has a working default, and unknown keys are refused. `relay-config/treefort.toml` shows all of
//! them; a test keeps it equal to the defaults.

use std::{io, net::SocketAddr, path::Path, path::PathBuf};

use serde::{Deserialize, Serialize};

use crate::{
    coordinator::{JobsConfig, SessionsConfig},
    egress, model, plain_toml, relay, sandbox, sync,
};

/// The name of the file in a home.
pub const FILE: &str = "treefort.toml";

/// What an owner can set.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `[server]`
    pub server: ServerConfig,
    /// `[relay]`
    pub relay: relay::Config,
    /// `[jobs]`
    pub jobs: JobsConfig,
    /// `[sessions]`
    pub sessions: SessionsConfig,
    /// `[model]`
    pub model: model::Config,
    /// `[sandbox]`
    pub sandbox: sandbox::Config,
    /// `[network]`
    pub network: egress::Config,
    /// What is shared with other relays: a file of its own, `sync.toml`.
    #[serde(skip)]
    pub sync: sync::Config,
}

/// `[server]`: where treefort is reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Address and port; port 0 takes a free one.
    pub listen: SocketAddr,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 4869)),
        }
    }
}

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{} cannot be read", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// What is shared with other relays.
    #[error("{source}")]
    Sync {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: sync::ConfigError,
    },
    /// The file says something that is not known, or in a way that cannot be read.
    #[error("{}: {said}", path.display())]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and what, in plain words.
        said: String,
    },
}

impl Config {
    /// Reads `treefort.toml` and `sync.toml` in a home; defaults where there is none.
    ///
    /// # Errors
    /// When a file cannot be read, or holds a key that is not known.
    pub fn load(home: &Path) -> Result<Self, ConfigError> {
        let path = home.join(FILE);
        let mut config: Self = match std::fs::read_to_string(&path) {
            Ok(text) => toml::from_str(&text).map_err(|source| ConfigError::Parse {
                path,
                said: plain_toml::mistake(&source),
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::default(),
            Err(source) => return Err(ConfigError::Read { path, source }),
        };
        config.sync = sync::Config::load(home).map_err(|source| ConfigError::Sync {
            path: home.join(sync::config::FILE),
            source,
        })?;
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_operators_file_shows_every_key_with_its_default() {
        let text = include_str!("../relay-config/treefort.toml");
        let shown: Config = toml::from_str(text).unwrap();
        assert_eq!(shown, Config::default());
        let all = toml::Value::try_from(Config::default()).unwrap();
        let file: toml::Value = toml::from_str(text).unwrap();
        assert_eq!(file, all, "a key is missing in relay-config/treefort.toml");
    }

    #[test]
    fn a_kind_that_is_no_job_is_refused() {
        let error = toml::from_str::<Config>("[jobs.agents]\n777 = \"chat\"\n").unwrap_err();
        assert!(
            error.to_string().contains("777 is no kind of job"),
            "{error}"
        );
    }

    #[test]
    fn an_unknown_key_is_refused_with_its_place() {
        let home = tempfile::tempdir().unwrap();
        std::fs::write(home.path().join(FILE), "[jobs]\nadmitt = \"anyone\"\n").unwrap();
        let error = Config::load(home.path()).unwrap_err().to_string();
        assert!(
            error.contains("admitt") && error.contains("line 2"),
            "{error}"
        );
    }
}
