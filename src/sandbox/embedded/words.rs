//! What the embedded backend says about itself: to `status`, to `doctor`, and at the start of a session.

use super::cgroup::Holds;
use crate::sandbox::{Config, Probe, Protection, protection};

/// What sandboxes of this kind protect on this machine.
pub(super) fn probe(holds: Holds, config: &Config) -> Probe {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let unlimited = unlimited(holds);
    let limits = if unlimited.is_empty() {
        "control groups"
    } else {
        "limits of each program"
    };
    Probe {
        detail: format!("Linux {release}: namespaces, Landlock, seccomp, {limits}"),
        unenforced: unlimited.iter().map(|what| (*what).to_owned()).collect(),
        protection: words(&unlimited, config),
    }
}

/// What no control group limits here, as one would say it.
fn unlimited(holds: Holds) -> Vec<&'static str> {
    [
        (holds.memory, "memory of all its programs together"),
        (holds.cpus, "processor time"),
    ]
    .into_iter()
    .filter(|(held, _)| !held)
    .map(|(_, what)| what)
    .collect()
}

fn words(unlimited: &[&str], config: &Config) -> Protection {
    let mut protection = protection::common(false, unlimited, config);
    protection.exposes.push(
        "An agent runs on this computer's own kernel, with the programs that are installed here, which it \
         can read and not change. A flaw in the kernel could let it out; keep it up to date."
            .to_owned(),
    );
    if !unlimited.is_empty() {
        protection.exposes.push(format!(
            "Nothing here limits {}: a wild agent can slow this computer down, or fill its memory, until you \
             stop it. What each of its programs allocates is limited, and their number; what they share is not. \
             Out of memory, the computer ends the agent's programs before yours. A login session with systemd, root, or Docker brings \
             limits for all of them together.",
            unlimited.join(" and "),
        ));
    }
    protection
        .exposes
        .push(if rustix::process::geteuid().is_root() {
            "An agent that got out would be an ordinary user (number 1000), not root.".to_owned()
        } else {
            "An agent that got out would be you, not root.".to_owned()
        });
    protection
}
