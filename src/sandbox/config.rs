//! What an owner can set about sandboxes: `[sandbox]` in `treefort.toml`.

use serde::{Deserialize, Serialize};

use super::disk::Quota;

/// What a configuration may say beside the name of an engine's runtime.
const AUTO: &str = "auto";
const ENGINE: &str = "docker";
const EMBEDDED: &str = "embedded";

/// Which backend runs sandboxes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backend {
    /// Docker when it answers, else the embedded one.
    Auto,
    /// The Docker Engine.
    Docker,
    /// The kernel's own parts.
    Embedded,
}

/// `[sandbox]`: what agents run in, and how much of the disk they may take.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `auto` (also empty): Docker when it answers, else the kernel's own parts; `docker`; `embedded`; or the name
    /// of a runtime of the Docker Engine, like `runsc` (gVisor) or `kata-runtime`.
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
            runtime: AUTO.to_owned(),
            base: String::new(),
            disk_mb: 4096,
            store_mb: 8192,
            files: 200_000,
        }
    }
}

impl Config {
    /// Which backend is to run sandboxes.
    #[must_use]
    pub fn backend(&self) -> Backend {
        match self.runtime.trim() {
            "" | AUTO => Backend::Auto,
            EMBEDDED => Backend::Embedded,
            _ => Backend::Docker,
        }
    }

    /// The runtime to ask the engine for; `None` leaves it the choice.
    #[must_use]
    pub fn runtime(&self) -> Option<&str> {
        let name = self.runtime.trim();
        let plain = ["", AUTO, ENGINE, EMBEDDED].contains(&name);
        (!plain).then_some(name)
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
        for (word, backend) in [
            ("", Backend::Auto),
            ("auto", Backend::Auto),
            ("docker", Backend::Docker),
            (" embedded ", Backend::Embedded),
        ] {
            assert_eq!(
                (with(word).runtime(), with(word).backend()),
                (None, backend)
            );
        }
        assert_eq!(with("runsc").runtime(), Some("runsc"));
        assert_eq!(with("runsc").backend(), Backend::Docker);
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
