//! Why this kernel does not let a sandbox be built, and what its owner can do about it.

use std::fs;

use super::step::{Step, reported};
use crate::sandbox::error::clip;
use crate::sandbox::{Error, Exit, start};

/// What root has to be allowed to give an agent a user of its own (user_namespaces(7)): name, and number.
const NEEDED: [(&str, u32); 3] = [("SETGID", 6), ("SETUID", 7), ("SETFCAP", 31)];
/// What else there is.
const DOCKER: &str = "or install Docker (Debian, Ubuntu: sudo apt install docker.io)";

/// What a sandbox that did not start said, as an error.
pub(super) fn words(reason: &str, exit: &Exit, stderr: &str) -> Error {
    match reported(stderr) {
        Some((step, said)) => at(step, said),
        None => start::failed(reason, exit, stderr),
    }
}

/// A step that was refused, as an error.
pub(super) fn at(step: Step, said: &str) -> Error {
    refusal(step, said, &|path| fs::read_to_string(path).ok())
}

fn refusal(step: Step, said: &str, read: Read<'_>) -> Error {
    let lacks = lacks(read);
    let mut said = said.to_owned();
    let about = match step {
        Step::Maps if !lacks.is_empty() => {
            said = format!("it lacks CAP_{}: {said}", lacks.join(", CAP_"));
            "root here may not give an agent a user of its own"
        }
        Step::Namespaces | Step::Maps => "it allows no user namespaces",
        Step::Process => "it allows no view of a sandbox's own processes (/proc)",
        Step::Root => "it allows no file system for a sandbox",
        Step::Landlock => "it has no Landlock",
        Step::Seccomp => "it filters no system calls (seccomp)",
        Step::Network => "it allows no network namespace",
        Step::Plan
        | Step::Capabilities
        | Step::Start
        | Step::Shown
        | Step::Workspace
        | Step::Identity
        | Step::Limits => {
            return Error::Start {
                message: clip(&format!(
                    "the sandbox could not be set up ({}): {said}",
                    step.word()
                )),
            };
        }
    };
    Error::Kernel {
        about,
        said: clip(&said),
        allow: allow(step, read),
    }
}

/// Reads a file of this computer, if it is there.
type Read<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What to change so that it is allowed.
fn allow(step: Step, read: Read<'_>) -> String {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    let in_container = read("/run/.containerenv").is_some() || read("/.dockerenv").is_some();
    let forbids = forbids(read);
    let lacks = lacks(read);
    match step {
        Step::Landlock => format!(
            "Start Linux with `landlock` in its `lsm=` parameter (Linux 5.13 or later), {DOCKER}."
        ),
        _ if in_container && !(forbids.is_empty() && lacks.is_empty()) => {
            let mut with: Vec<String> = forbids
                .iter()
                .map(|rule| format!("--security-opt {rule}"))
                .collect();
            let mut rest = String::new();
            if !lacks.is_empty() {
                with.push("--user 1000".to_owned());
                rest = " (as root it would need its capabilities, so no `--cap-drop`)".to_owned();
            }
            let with = with.join(" ");
            format!(
                "This is a container whose own rules forbid it. Start it with `{with}`{rest}, or give it a \
                 Docker Engine."
            )
        }
        Step::Maps if !lacks.is_empty() => format!(
            "Run treefort as an ordinary user, or as a root that has its capabilities, {DOCKER}."
        ),
        _ if is(
            "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
            "1",
        ) =>
        {
            format!(
                "Allow them: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, {DOCKER}."
            )
        }
        _ if is("/proc/sys/kernel/unprivileged_userns_clone", "0") => {
            format!("Allow them: sudo sysctl -w kernel.unprivileged_userns_clone=1, {DOCKER}.")
        }
        _ if is("/proc/sys/user/max_user_namespaces", "0") => {
            format!("Allow them: sudo sysctl -w user.max_user_namespaces=15000, {DOCKER}.")
        }
        _ => format!("Ask who manages this computer to allow it, {DOCKER}."),
    }
}

/// The rules of a container that are in the way, as `docker run` is told to leave them out.
fn forbids(read: Read<'_>) -> Vec<&'static str> {
    let status = read("/proc/self/status").unwrap_or_default();
    let filtered = status.lines().any(|line| {
        line.strip_prefix("Seccomp:")
            .is_some_and(|mode| mode.trim() != "0")
    });
    // What is hidden of `/proc` here would be seen in a new one, so the kernel gives none.
    let mounts = read("/proc/self/mountinfo").unwrap_or_default();
    let hidden = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(4))
        .any(|point| point.starts_with("/proc/"));
    let label = read("/proc/self/attr/current").unwrap_or_default();
    [
        (filtered, "seccomp=unconfined"),
        (hidden, "systempaths=unconfined"),
        (label.contains("(enforce)"), "apparmor=unconfined"),
        (label.contains(":container_t:"), "label=disable"),
    ]
    .into_iter()
    .filter(|(holds, _)| *holds)
    .map(|(_, rule)| rule)
    .collect()
}

/// The capabilities that this process lacks though it is root.
fn lacks(read: Read<'_>) -> Vec<&'static str> {
    let status = read("/proc/self/status").unwrap_or_default();
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.map(str::trim)
    };
    let root = field("Uid:").and_then(|ids| ids.split_whitespace().nth(1)) == Some("0");
    let has = field("CapEff:").and_then(|bits| u64::from_str_radix(bits, 16).ok());
    let Some(has) = has.filter(|_| root) else {
        return Vec::new();
    };
    let missing = NEEDED.into_iter().filter(|(_, bit)| has & (1 << bit) == 0);
    missing.map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with<'a>(files: &'a [(&str, &str)]) -> impl Fn(&str) -> Option<String> + 'a {
        move |asked| {
            let found = files.iter().find(|(path, _)| *path == asked);
            found.map(|(_, text)| (*text).to_owned())
        }
    }

    #[test]
    fn each_refusal_names_the_setting_that_forbids_it() {
        let userns = "/proc/sys/user/max_user_namespaces";
        let said = allow(Step::Namespaces, &with(&[(userns, "0\n")]));
        assert!(said.contains("user.max_user_namespaces=15000"), "{said}");
        let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        let said = allow(Step::Root, &with(&[(apparmor, "1\n")]));
        assert!(said.contains("apparmor_restrict_unprivileged_userns=0"));
        assert!(allow(Step::Landlock, &|_| None).contains("lsm="));
    }

    const ROOT: &str = "Uid:\t0\t0\t0\t0\nCapEff:\t00000000a80425fb\nSeccomp:\t2\n";
    const NOTHING: &str = "Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\nSeccomp:\t0\n";
    const USER: &str = "Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\nSeccomp:\t0\n";

    #[test]
    fn a_container_is_told_each_of_its_rules_that_is_in_the_way_and_no_other() {
        let hidden = "30 25 0:26 /irq /proc/irq ro - proc proc rw\n";
        let shown = "30 25 0:26 / /proc rw - proc proc rw\n";
        for (status, mounts, label, expected) in [
            (
                ROOT,
                hidden,
                "docker-default (enforce)\n",
                &["seccomp=unconfined", "systempaths", "apparmor="][..],
            ),
            (ROOT, shown, "unconfined\n", &["seccomp=unconfined"]),
            (USER, hidden, "", &["systempaths=unconfined"]),
            (
                USER,
                shown,
                "system_u:system_r:container_t:s0:c1,c2",
                &["label=disable"],
            ),
            (NOTHING, shown, "", &["--user 1000", "--cap-drop"]),
        ] {
            let files = [
                ("/.dockerenv", ""),
                ("/proc/self/status", status),
                ("/proc/self/mountinfo", mounts),
                ("/proc/self/attr/current", label),
            ];
            let said = allow(Step::Namespaces, &with(&files));
            assert!(said.contains("This is a container"), "{said}");
            for each in [
                "seccomp=unconfined",
                "systempaths=unconfined",
                "apparmor=unconfined",
                "label=disable",
                "--user 1000",
                "--cap-drop",
            ] {
                let named = expected.iter().any(|word| each.starts_with(word));
                assert_eq!(said.contains(each), named, "{each}: {said}");
            }
        }
        // Where none of them is in the way it is the computer's own rule.
        let userns = "/proc/sys/user/max_user_namespaces";
        let files = [
            ("/.dockerenv", ""),
            ("/proc/self/status", USER),
            (userns, "0"),
        ];
        assert!(allow(Step::Namespaces, &with(&files)).contains("sysctl"));
    }

    #[test]
    fn a_root_without_capabilities_is_told_which() {
        let files = [("/proc/self/status", NOTHING)];
        let error = refusal(Step::Maps, "Operation not permitted", &with(&files));
        let said = error.to_string();
        assert!(said.contains("root here may not give"), "{said}");
        assert!(
            said.contains("CAP_SETGID, CAP_SETUID, CAP_SETFCAP: Operation"),
            "{said}"
        );
        assert!(
            error.hint().contains("as an ordinary user"),
            "{}",
            error.hint()
        );
        for status in [ROOT, USER] {
            let files = [("/proc/self/status", status)];
            let said = refusal(Step::Maps, "no", &with(&files)).to_string();
            assert!(said.contains("it allows no user namespaces (no)"), "{said}");
        }
    }

    #[test]
    fn what_no_step_says_is_told_as_it_was() {
        let exit = Exit {
            code: Some(1),
            ..Exit::default()
        };
        let Error::Start { message } = words("it ended at once", &exit, "odd words") else {
            panic!("not the right error");
        };
        assert_eq!(message, "it ended at once (exit code 1) odd words");
    }
}
