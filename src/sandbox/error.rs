//! What can go wrong with a sandbox, and what a person can do about it.

use std::io;
use std::path::PathBuf;

use super::frame_guard::Violation;

/// The error of a backend's client library, which no other module needs to know.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What can go wrong with a sandbox.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// There is no engine on this machine.
    #[error("no Docker Engine at {address}")]
    NoEngine {
        /// Where it was looked for.
        address: String,
        /// Why it is not there.
        #[source]
        source: io::Error,
    },
    /// The engine is there but its socket is closed to this user.
    #[error("this user may not use Docker's socket {address}")]
    Denied {
        /// The socket.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The engine is there but does not answer in time or in kind.
    #[error("the Docker Engine at {address} does not answer")]
    Unresponsive {
        /// Where it is.
        address: String,
        /// What went wrong, unless it was silent.
        #[source]
        source: Option<BoxError>,
    },
    /// The engine runs containers of another system.
    #[error("the Docker Engine runs {os} containers, not Linux ones")]
    NotLinux {
        /// The system that it reports.
        os: String,
    },
    /// `DOCKER_HOST` names an engine that is not on this machine.
    #[error("DOCKER_HOST is {address}, which is not an engine on this machine")]
    Remote {
        /// The value.
        address: String,
    },
    /// The description of a sandbox or an image is not one that we run.
    #[error("cannot run this sandbox: {reason}")]
    Spec {
        /// Which rule it breaks.
        reason: &'static str,
    },
    /// A file of an image's build context cannot be read.
    #[error("cannot read {} for the image", path.display())]
    ImageFile {
        /// The file.
        path: PathBuf,
        /// Why not.
        #[source]
        source: io::Error,
    },
    /// The Dockerfile builds on an image that is not on this machine, and may not fetch it.
    #[error("the image {image} builds on {base}, which is not on this machine")]
    BaseImage {
        /// The image to build.
        image: String,
        /// What it builds on.
        base: String,
    },
    /// The engine could not build an image.
    #[error("cannot build the image {image}: {message}")]
    ImageBuild {
        /// The image.
        image: String,
        /// The engine's words, cut to a bound.
        message: String,
        /// The last lines of the build, for whoever wants to repair it.
        last: Vec<String>,
    },
    /// The image may use the network while it is built, and is not treefort's own.
    #[error("the image of the agent {agent} is not built yet")]
    NotBuilt {
        /// The agent.
        agent: String,
    },
    /// The image was removed since it was prepared; prepare it again.
    #[error("the image {image} is not there any more")]
    ImageMissing {
        /// The image.
        image: String,
    },
    /// The container did not start, or its agent's streams did not open.
    #[error("the sandbox did not start: {message}")]
    Start {
        /// The engine's words or the end of what it wrote, cut to a bound.
        message: String,
    },
    /// The sandbox broke the rules of the multiplexer and was ended.
    #[error("the sandbox was ended: {0}")]
    Protocol(#[source] Violation),
    /// The engine failed at something that should work.
    #[error("the Docker Engine could not {action}")]
    Engine {
        /// What it was to do.
        action: &'static str,
        /// What it said.
        #[source]
        source: BoxError,
    },
    /// This machine's kernel failed at something that should work.
    #[error("this computer could not {action}")]
    System {
        /// What it was to do.
        action: &'static str,
        /// What it said.
        #[source]
        source: BoxError,
    },
    /// The engine could not say how the sandbox ended.
    #[error("the sandbox is gone and nothing says how it ended")]
    Lost,
    /// The sandbox has ended, so it cannot be paused or resumed.
    #[error("the sandbox has ended")]
    Ended,
    /// The engine has no runtime of this name.
    #[error("the Docker Engine has no runtime called {runtime}")]
    NoRuntime {
        /// The name that was asked for.
        runtime: String,
    },
    /// This machine's kernel does not allow what a sandbox is made of.
    #[error("this computer cannot run a sandbox of treefort's own: {about} ({said})")]
    Kernel {
        /// What is missing.
        about: &'static str,
        /// What the kernel said.
        said: String,
        /// What to change.
        allow: String,
    },
    /// Neither an engine nor this machine's kernel can run a sandbox.
    #[error("{engine}; {kernel}")]
    Neither {
        /// Why not Docker.
        engine: Box<Error>,
        /// Why not the kernel's own parts.
        kernel: Box<Error>,
    },
    /// The agent runs from an image only.
    #[error("the agent {agent} runs in Docker only")]
    NeedsEngine {
        /// The agent.
        agent: String,
    },
    /// The agent's program is not on this machine.
    #[error(
        "{program} is not installed on this computer, so the agent {agent} cannot run in treefort's own sandbox"
    )]
    NoProgram {
        /// The agent.
        agent: String,
        /// The program that was looked for.
        program: String,
        /// How to install it.
        install: String,
    },
    /// The agent asks to be shown what no agent is shown, or where something else is.
    #[error("the agent {agent} cannot run here: [embedded] {} {:?} {}", refused.table, refused.name, refused.why)]
    Shows {
        /// The agent.
        agent: String,
        /// The line.
        refused: super::Refused,
    },
    /// The runtime is shutting down and starts nothing any more.
    #[error("the sandbox runtime is shutting down")]
    ShuttingDown,
}

impl Error {
    /// One sentence that says what a person can do; empty when there is nothing.
    pub fn hint(&self) -> String {
        let hint = match self {
            Self::Kernel { allow, .. } => return allow.clone(),
            Self::Neither { kernel, .. } => return kernel.hint(),
            Self::NoProgram { install, .. } if !install.is_empty() => {
                return format!("Install it (`{install}`), or use Docker.");
            }
            Self::NoProgram { .. } => "Install it, or use Docker.",
            Self::NeedsEngine { .. } => {
                "Install Docker, or say under [embedded] in its agent.toml what it needs of this computer."
            }
            Self::Shows { .. } => {
                "Change or remove that line in its agent.toml; treefort agent check NAME names every one."
            }
            Self::NoEngine { .. } => {
                "Install Docker and start it (Debian, Ubuntu: sudo apt install docker.io), or set DOCKER_HOST to its socket."
            }
            Self::Denied { .. } => {
                "Add yourself to the docker group (sudo usermod -aG docker $USER) and log in again."
            }
            Self::Unresponsive { .. } => {
                "Start or restart Docker (sudo systemctl restart docker, or Docker Desktop) and try again."
            }
            Self::NotLinux { .. } => "Switch Docker Desktop to Linux containers.",
            Self::Remote { .. } => {
                "Unset DOCKER_HOST or point it to an engine on this machine: a unix:// socket, or tcp:// on 127.0.0.1."
            }
            Self::BaseImage { .. } => {
                "Pull the base image with docker pull, or let this image's build use the network."
            }
            Self::NotBuilt { .. } => {
                "Its build uses the network, so it waits for you: treefort agent build NAME"
            }
            Self::ImageBuild { .. } => {
                "To see the whole build: treefort agent build NAME. One that fetches something needs the network."
            }
            Self::ImageMissing { .. } => "Try again: the image is built anew.",
            Self::ImageFile { .. } => "Check that the file exists and can be read.",
            Self::NoRuntime { .. } => {
                "Install it into Docker (docker info lists those it has), or set `runtime = \"\"` under [sandbox] in treefort.toml."
            }
            Self::Spec { .. }
            | Self::Start { .. }
            | Self::Protocol(_)
            | Self::Engine { .. }
            | Self::System { .. }
            | Self::Lost
            | Self::Ended
            | Self::ShuttingDown => "",
        };
        hint.to_owned()
    }

    /// Whether no sandbox can run on this machine as it is (exit code 3, `no-sandbox`).
    pub fn is_unavailable(&self) -> bool {
        matches!(
            self,
            Self::NoEngine { .. }
                | Self::Denied { .. }
                | Self::Unresponsive { .. }
                | Self::NotLinux { .. }
                | Self::Remote { .. }
                | Self::NoRuntime { .. }
                | Self::Kernel { .. }
                | Self::Neither { .. }
        )
    }
}

/// The beginning of a foreign text, cut between words: half a secret looks like none, and nobody would cut it out.
/// Scripts without spaces are cut between characters.
#[must_use]
pub fn beginning(text: &str, chars: usize) -> &str {
    match text.char_indices().nth(chars) {
        None => text,
        Some((end, next)) if next.is_ascii_graphic() => {
            text[..end].trim_end_matches(|c: char| c.is_ascii_graphic())
        }
        Some((end, _)) => &text[..end],
    }
}

/// Cuts an engine's words to one bounded piece without control characters.
pub(super) fn clip(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .take(601)
        .collect();
    beginning(&clean, 600).trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_cut_between_words() {
        for (text, chars, cut) in [
            ("ab cd", 5, "ab cd"),
            ("ab cd", 4, "ab "),
            ("ab cd", 2, "ab"),
            ("abcd", 2, ""),
            ("日本語", 2, "日本"),
            ("日本key", 4, "日本"),
        ] {
            assert_eq!(beginning(text, chars), cut, "{text} {chars}");
        }
        let words = format!("{} AKIAIOSFODNN7EXAMPLE", "x".repeat(590));
        assert_eq!(clip(&words), "x".repeat(590));
    }
}
