//! What a sandbox protects and what it does not, in words for the person whose machine it is:
//! [`protection`], from what the engine says about itself ([`Facts`]).

use super::Config;

/// What an engine says about how it isolates containers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Facts {
    /// The runtime that sandboxes get: `runc`, `runsc`, `kata-runtime`.
    pub runtime: String,
    /// Containers run in a virtual machine of the engine (Docker Desktop).
    pub in_vm: bool,
    /// The engine itself does not run as root.
    pub rootless: bool,
    /// Users inside are other users outside (`userns-remap`).
    pub userns: bool,
    /// System calls are filtered.
    pub seccomp: bool,
    /// The rules of AppArmor or SELinux hold for containers.
    pub lsm: bool,
    /// Memory is limited.
    pub memory: bool,
    /// Swap is limited.
    pub swap: bool,
    /// Processors are limited.
    pub cpus: bool,
    /// The number of processes is limited.
    pub pids: bool,
    /// Treefort runs as root, so that agents get a user of their own.
    pub as_root: bool,
}

/// Plain sentences, each for itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Protection {
    /// One line for the start of a session.
    pub short: String,
    /// What an agent cannot do.
    pub protects: Vec<String>,
    /// What it can, or what is left to the person; what matters most comes first.
    pub exposes: Vec<String>,
}

impl Facts {
    /// Whether agents run on a kernel that is not the host's.
    pub(super) fn own_kernel(&self) -> bool {
        self.in_vm || self.is_gvisor() || self.runtime.contains("kata")
    }

    fn is_gvisor(&self) -> bool {
        self.runtime.contains("runsc") || self.runtime.contains("gvisor")
    }

    /// What is not limited, as one would say it.
    fn unlimited(&self) -> Vec<&'static str> {
        let limits = [
            (self.memory, "memory"),
            (self.cpus, "processor time"),
            (self.pids, "the number of programs"),
        ];
        let missing = limits.into_iter().filter(|(limited, _)| !limited);
        missing.map(|(_, what)| what).collect()
    }
}

impl Protection {
    /// [`Self::short`], for an agent that was given a network.
    #[must_use]
    pub fn short_with_network(&self) -> String {
        let given = "The agent works on a copy, without passwords or your other files. What it may reach, it may also \
                     send that copy to.";
        self.short.replace(ALONE, given)
    }
}

/// What the sandboxes of this engine protect, and what they do not.
#[must_use]
pub fn protection(facts: &Facts, config: &Config) -> Protection {
    let unlimited = facts.unlimited();
    let mut protection = common(facts.own_kernel(), &unlimited, config);
    protection.exposes.extend(exposes(facts, &unlimited));
    protection
}

/// What holds for every kind of sandbox. `own_kernel`: agents run on a kernel that is not the host's;
/// `unlimited`: what nothing limits.
pub(super) fn common(own_kernel: bool, unlimited: &[&str], config: &Config) -> Protection {
    let mut protects = vec![
        "Your files: an agent sees the copy of your project that it works on and nothing else of \
         this computer. Your own project changes only when you run `treefort apply`."
            .to_owned(),
        "Your network: an agent has none, unless you give its job one. It reaches neither the internet, nor \
         your home network, nor other programs on this computer, only its model, and that through treefort."
            .to_owned(),
        "Your passwords: those of your accounts and of cloud models stay outside. The exception is \
         one that lies in a file of your project: that is in the copy too."
            .to_owned(),
        "Your system: an agent cannot become administrator (root) or install anything on this \
         computer, and all that it started ends with it."
            .to_owned(),
    ];
    if unlimited.is_empty() {
        protects.push(
            "Your computer's speed: an agent gets a fixed share of memory, processor time and \
             programs, and is stopped when it wants more."
                .to_owned(),
        );
    }
    Protection {
        short: short(own_kernel),
        protects,
        exposes: vec![
            "What an agent made is as good or bad as a download: once you open it in an editor, build \
             it or run it yourself, it can do what you can. Look at `treefort diff` first; `treefort \
             apply` names files that would run by themselves."
                .to_owned(),
            "A network that you give a job (`treefort run --network`) is a way out for what it works on: what an \
             agent may reach, it may also send your files to. Your home network and this computer stay out of \
             its reach all the same."
                .to_owned(),
            "The model reads what the agent sends it. A local model keeps that on this computer; a \
             cloud model, if you choose one, does not."
                .to_owned(),
            format!(
                "Disk space is watched, not limited: an agent whose copy grows over {} MiB or {} files \
                 is paused within seconds, and you are told. Until then it can write more.",
                config.disk_mb, config.files,
            ),
        ],
    }
}

/// What holds of every agent without a network.
const ALONE: &str = "The agent works on a copy, without network, passwords or your other files.";

fn short(own_kernel: bool) -> String {
    let rest = if own_kernel {
        "Look at what it made before you run it."
    } else {
        "It shares this computer's kernel. Look at what it made before you run it."
    };
    format!("{ALONE} {rest}")
}

fn exposes(facts: &Facts, unlimited: &[&str]) -> Vec<String> {
    let mut exposes = vec![kernel(facts)];
    if !facts.seccomp {
        exposes.push(
            "This Docker does not filter what programs ask of the kernel (no seccomp). That makes \
             a way out much likelier; turn it on, or use another Docker."
                .to_owned(),
        );
    }
    if !unlimited.is_empty() {
        exposes.push(format!(
            "This Docker cannot limit {}: a wild agent can slow this computer down or fill it up \
             until you stop it.",
            join(unlimited),
        ));
    } else if !facts.swap {
        exposes.push(
            "This Docker cannot limit swap: an agent that wants too much memory makes the computer \
             slow before it is stopped."
                .to_owned(),
        );
    }
    if let Some(text) = identity(facts) {
        exposes.push(text);
    }
    if !facts.lsm && !facts.own_kernel() {
        exposes.push(
            "One of several walls is missing: this Docker uses neither AppArmor nor SELinux. The \
             others stand."
                .to_owned(),
        );
    }
    exposes
}

fn kernel(facts: &Facts) -> String {
    if facts.in_vm {
        return "Containers run in Docker Desktop's virtual machine. To leave that, an agent would \
                need a flaw in it as well; keep Docker Desktop up to date."
            .to_owned();
    }
    if facts.own_kernel() {
        let what = if facts.is_gvisor() {
            "a kernel in between"
        } else {
            "a small virtual machine"
        };
        return format!(
            "Agents run under {} ({what}), which is stronger than a plain container. It is software \
             too; keep it up to date.",
            facts.runtime,
        );
    }
    "A container is not a second computer: the agent shares this computer's kernel (the core of \
     the system). A flaw there, or in Docker, could let it out. Keep both up to date; gVisor (see \
     `runtime` in treefort.toml) is a stronger wall."
        .to_owned()
}

/// Who an agent would be outside.
fn identity(facts: &Facts) -> Option<String> {
    if facts.in_vm {
        return None;
    }
    if facts.rootless || facts.userns {
        let how = if facts.rootless {
            "Docker runs without root (rootless)"
        } else {
            "users in containers are nobody outside (userns-remap)"
        };
        return Some(format!(
            "{how}, which is good: an agent that got out would still not be root.",
        ));
    }
    let who = if facts.as_root {
        "an ordinary user (number 1000), not root"
    } else {
        "you, not root"
    };
    Some(format!(
        "If it got out, an agent would be {who}. It also shares counters of that user, such as the \
         number of watched files: a wild agent can make your editor complain until it is stopped. \
         Rootless Docker ends both.",
    ))
}

fn join(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: fn() -> Facts = || Facts {
        runtime: "runc".to_owned(),
        in_vm: false,
        rootless: false,
        userns: false,
        seccomp: true,
        lsm: true,
        memory: true,
        swap: true,
        cpus: true,
        pids: true,
        as_root: false,
    };

    fn exposed(facts: &Facts) -> String {
        protection(facts, &Config::default()).exposes.join("\n")
    }

    #[test]
    fn a_plain_container_says_that_the_kernel_is_shared_and_who_would_be_outside() {
        let text = exposed(&PLAIN());
        assert!(text.contains("shares this computer's kernel"), "{text}");
        assert!(text.contains("would be you, not root"), "{text}");
        assert!(text.contains("4096 MiB or 200000 files"), "{text}");
        assert!(!text.contains("seccomp") && !text.contains("AppArmor"));
        let root = exposed(&Facts {
            as_root: true,
            ..PLAIN()
        });
        assert!(root.contains("number 1000"), "{root}");
    }

    #[test]
    fn what_an_engine_lacks_is_said_and_not_promised() {
        let facts = Facts {
            seccomp: false,
            lsm: false,
            memory: false,
            pids: false,
            ..PLAIN()
        };
        let said = protection(&facts, &Config::default());
        let text = said.exposes.join("\n");
        assert!(text.contains("no seccomp") && text.contains("AppArmor"));
        assert!(text.contains("cannot limit memory and the number of programs"));
        assert!(!said.protects.join("\n").contains("fixed share"));
        let kept = protection(&PLAIN(), &Config::default());
        assert!(kept.protects.join("\n").contains("fixed share"));
    }

    #[test]
    fn a_kernel_of_its_own_is_not_called_shared() {
        for runtime in ["runsc", "kata-runtime"] {
            let facts = Facts {
                runtime: runtime.to_owned(),
                ..PLAIN()
            };
            let said = protection(&facts, &Config::default());
            let text = said.exposes.join("\n");
            assert!(text.contains(runtime) && !text.contains("shares this computer's kernel"));
            assert!(!said.short.contains("kernel"));
        }
        let desktop = exposed(&Facts {
            in_vm: true,
            ..PLAIN()
        });
        assert!(desktop.contains("Docker Desktop"), "{desktop}");
        assert!(!desktop.contains("would be you"), "{desktop}");
    }

    #[test]
    fn an_engine_without_root_is_praised() {
        let text = exposed(&Facts {
            rootless: true,
            ..PLAIN()
        });
        assert!(text.contains("rootless") && !text.contains("would be you"));
    }
}
