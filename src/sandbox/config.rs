//! What an owner can set about sandboxes: `[sandbox]` in `treefort.toml`.

use serde::{Deserialize, Serialize};

use super::disk::Quota;

/// The name that a configuration may give for "the engine's own choice".
const ENGINE: &str = "docker";

/// `[sandbox]`: what agents run in, and how much of the disk they may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The Docker Engine's runtime, like `runsc` (gVisor) or `kata-runtime`; empty is its default.
    pub runtime: String,
    /// The image that the images of coding agents start from; empty for the usual one.
    pub base: String,
    /// Disk in MiB that the files of one workspace may take before its agent is paused.
    pub disk_mb: u64,
    /// Disk in MiB that the checkpoints of one session may take before its agent is paused.
    pub store_mb: u64,
    /// Files and folders that one workspace may have before its agent is paused.
    pub files: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            runtime: String::new(),
            base: String::new(),
            disk_mb: 4096,
            store_mb: 8192,
            files: 200_000,
        }
    }
}

impl Config {
    /// The runtime to ask the engine for; `None` leaves it the choice.
    #[must_use]
    pub fn runtime(&self) -> Option<&str> {
        let name = self.runtime.trim();
        (!name.is_empty() && name != ENGINE).then_some(name)
    }

    /// Bytes that the checkpoints of one session may take.
    #[must_use]
    pub fn store(&self) -> u64 {
        self.store_mb.saturating_mul(1 << 20)
    }

    /// What one workspace may take.
    #[must_use]
    pub fn quota(&self) -> Quota {
        Quota {
            bytes: self.disk_mb.saturating_mul(1 << 20),
            files: self.files,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_runtime_leaves_the_choice_to_the_engine() {
        let with = |runtime: &str| Config {
            runtime: runtime.to_owned(),
            ..Config::default()
        };
        assert_eq!(with("").runtime(), None);
        assert_eq!(with("docker").runtime(), None);
        assert_eq!(with("runsc").runtime(), Some("runsc"));
    }

    #[test]
    fn the_quota_is_in_bytes_and_never_overflows() {
        assert_eq!(Config::default().quota().bytes, 4 << 30);
        let huge = Config {
            disk_mb: u64::MAX,
            ..Config::default()
        };
        assert_eq!(huge.quota().bytes, u64::MAX);
    }
}
