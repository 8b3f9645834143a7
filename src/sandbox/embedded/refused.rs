//! Why this kernel does not let a sandbox be built, and what its owner can do about it.

use std::fs;

use super::step::{Step, reported};
use crate::sandbox::error::clip;
use crate::sandbox::{Error, Exit, start};

/// What a sandbox that did not start said, as an error.
pub(super) fn words(reason: &str, exit: &Exit, stderr: &str) -> Error {
    let Some((step, said)) = reported(stderr) else {
        return start::failed(reason, exit, stderr);
    };
    let about = match step {
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
        said: clip(said),
        allow: allow(step, &|path| fs::read_to_string(path).ok()),
    }
}

/// What to change so that it is allowed.
fn allow(step: Step, read: &dyn Fn(&str) -> Option<String>) -> String {
    let is = |path: &str, value: &str| read(path).is_some_and(|text| text.trim() == value);
    let in_container = read("/run/.containerenv").is_some() || read("/.dockerenv").is_some();
    let docker = "or install Docker (Debian, Ubuntu: sudo apt install docker.io)";
    match step {
        Step::Landlock => format!(
            "Start Linux with `landlock` in its `lsm=` parameter (Linux 5.13 or later), {docker}."
        ),
        _ if in_container => "This is a container whose own rules forbid it. Start it with \
             `--security-opt seccomp=unconfined --security-opt systempaths=unconfined`, or give it a Docker \
             Engine."
            .to_owned(),
        _ if is("/proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1") => format!(
            "Allow them: sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0, {docker}."
        ),
        _ if is("/proc/sys/kernel/unprivileged_userns_clone", "0") => {
            format!("Allow them: sudo sysctl -w kernel.unprivileged_userns_clone=1, {docker}.")
        }
        _ if is("/proc/sys/user/max_user_namespaces", "0") => {
            format!("Allow them: sudo sysctl -w user.max_user_namespaces=15000, {docker}.")
        }
        _ => format!("Ask who manages this computer to allow it, {docker}."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_names_the_setting_that_forbids_it() {
        let with = |path: &'static str, value: &'static str| {
            move |asked: &str| (asked == path).then(|| value.to_owned())
        };
        let userns = "/proc/sys/user/max_user_namespaces";
        let said = allow(Step::Namespaces, &with(userns, "0\n"));
        assert!(said.contains("user.max_user_namespaces=15000"), "{said}");
        let apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns";
        let said = allow(Step::Root, &with(apparmor, "1\n"));
        assert!(said.contains("apparmor_restrict_unprivileged_userns=0"));
        let said = allow(Step::Process, &with("/.dockerenv", ""));
        assert!(said.contains("systempaths=unconfined"), "{said}");
        assert!(allow(Step::Landlock, &|_| None).contains("lsm="));
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
