//! What the embedded backend says about itself: to `status`, to `doctor`, and at the start of a session.

use super::cgroup::Holds;
use crate::sandbox::{Config, Probe, Protection, protection};

/// What sandboxes of this kind protect on this machine.
pub(super) fn probe(holds: Holds, config: &Config) -> Probe {
    let release = rustix::system::uname();
    let release = release.release().to_string_lossy().into_owned();
    let unlimited = unlimited(holds);
    let limits = if unlimited.is_empty() {
        "control groups".to_owned()
    } else {
        format!(
            "limits of each program; not limited: {}",
            unlimited.join(", ")
        )
    };
    Probe {
        detail: format!("Linux {release}: namespaces, Landlock, seccomp, {limits}"),
        shares: vec!["kernel"],
        unlimited: [
            (false, "disk"),
            (holds.memory, "memory"),
            (holds.swap, "swap"),
            (holds.cpus, "processors"),
        ]
        .into_iter()
        .filter(|(limited, _)| !limited)
        .map(|(_, what)| what)
        .collect(),
        protection: words(holds, &unlimited, config),
    }
}

/// What no control group limits here, as one would say it.
fn unlimited(holds: Holds) -> Vec<&'static str> {
    [
        (holds.memory, "memory in all"),
        (holds.cpus, "processor time"),
    ]
    .into_iter()
    .filter(|(held, _)| !held)
    .map(|(_, what)| what)
    .collect()
}

fn words(holds: Holds, unlimited: &[&str], config: &Config) -> Protection {
    let mut protection = protection::common(false, unlimited, config);
    protection.exposes.push(
        "An agent runs on this computer's own kernel, with the programs that are installed here, which it \
         can read and not change. A flaw in the kernel could let it out; keep it up to date."
            .to_owned(),
    );
    protection.exposes.push(
        "Some of what the kernel counts for each user (what epoll and inotify watch, memory of pipes, files sent \
         through sockets) agents share with the user that they are outside: a wild one can use it up until it \
         ends."
            .to_owned(),
    );
    protection.exposes.push(
        "An agent of your own also reads what `reads` in its agent.toml names; `treefort agent check` lists it."
            .to_owned(),
    );
    if !unlimited.is_empty() {
        let what = unlimited.join(" and ");
        protection
            .short
            .push_str(&format!(" Nothing here limits its {what}."));
        protection.exposes.push(format!(
            "Nothing here limits an agent's {what}: a wild one can slow this computer down, or fill its memory, \
             until you stop it (Ctrl-C). What each of its programs allocates is limited, and their number; what they \
             share is not. Out of memory, the computer ends the agent's programs before yours. A desktop session \
             with systemd (in any other: systemd-run --user --scope treefort up), root, or Docker brings limits \
             for all of them together.",
        ));
    }
    if holds.memory && !holds.swap {
        protection.exposes.push(
            "Nothing here limits swap: an agent that wants too much memory makes the computer slow before it is \
             stopped."
                .to_owned(),
        );
    }
    protection
        .exposes
        .push(if rustix::process::geteuid().is_root() {
            "An agent that got out would be an ordinary user (number 1000), not root.".to_owned()
        } else {
            "An agent that got out would be you, not root. In the system's folders it can read, and not change, \
             what you and your groups can."
                .to_owned()
        });
    protection
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_nothing_limits_is_said_in_every_place() {
        let none = probe(Holds::default(), &Config::default());
        let all = Holds {
            memory: true,
            swap: true,
            pids: true,
            cpus: true,
            freezer: true,
        };
        let all = probe(all, &Config::default());
        for what in ["memory in all", "processor time"] {
            assert!(none.detail.contains(what), "{none:?}");
            assert!(none.protection.short.contains(what), "{none:?}");
            let exposes = none.protection.exposes.join(" ");
            assert!(exposes.contains(what), "{exposes}");
            assert!(!all.detail.contains(what) && !all.protection.short.contains(what));
        }
        assert_eq!(all.env(), ["shares=kernel", "unlimited=disk"]);
        let unlimited = "unlimited=disk,memory,swap,processors";
        assert_eq!(none.env(), ["shares=kernel", unlimited]);
    }
}
