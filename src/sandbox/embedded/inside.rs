//! PID 1 of an embedded sandbox until it becomes `sandbox-init`: builds the root, gives up every right, and
//! starts over as the same program that PID 1 of a container is.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use rustix::fs::Mode;
use rustix::thread::UnshareFlags;

use super::plan::{Plan, STARTED};
use super::step::{Failure, Step, at};
use super::{confine, loopback, mounts};
use crate::sandbox::{AGENT_HOME, PROGRAM, WORKSPACE, init};

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "sandbox-root";

/// Builds the sandbox and becomes its init; returns only when that failed.
#[must_use]
pub fn run() -> ExitCode {
    match build() {
        Ok(never) => match never {},
        Err(failure) => failure.report(),
    }
}

fn build() -> Result<Infallible, Failure> {
    if !rustix::process::getpid().is_init() {
        // Elsewhere it would turn the computer's own root over: who calls it by hand is refused.
        return Err(Failure::new(Step::Start, io::ErrorKind::PermissionDenied));
    }
    at(Step::Start, super::enter::alone())?;
    at(Step::Start, io::stdout().write_all(&[STARTED]))?;
    at(Step::Start, io::stdout().flush())?;
    let stdin = at(Step::Plan, io::stdin().as_fd().try_clone_to_owned())?;
    let plan = at(Step::Plan, Plan::read(&mut File::from(stdin)))?;
    // By now it is in its control group, which is all that it sees of them.
    at(
        Step::Namespaces,
        super::enter::leave(UnshareFlags::NEWCGROUP),
    )?;
    // treefort's own is stricter, and the agent's user has to see what is made here.
    rustix::process::umask(Mode::from_raw_mode(0o022));
    mounts::build(&plan)?;
    at(Step::Network, rustix::system::sethostname(b"treefort"))?;
    at(Step::Network, loopback::up())?;
    confine::for_good(&plan)?;
    let folder = if plan.workspace.is_some() {
        WORKSPACE
    } else {
        AGENT_HOME
    };
    let mut program = Command::new(PROGRAM);
    program
        .args([init::SUBCOMMAND, "--"])
        .args(&plan.argv)
        .env_clear()
        .envs(plan.env.iter().map(|(name, value)| (name, value)))
        .current_dir(folder);
    Err(Failure::new(Step::Start, program.exec()))
}
