//! The first process of an embedded sandbox: it makes the namespaces, starts their PID 1 and waits for it.
//!
//! It runs before any thread is started, since the kernel gives a new user namespace to a process of one
//! thread only. It stays outside of the PID namespace and of the control group, so that the host has a process
//! to signal and wait for that never stands still: SIGTERM is handed on, SIGINT ends everything, and so does
//! the end of treefort. What was frozen then is woken to end, through the file that its argument names.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, ExitCode, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal};
use rustix::thread::{CapabilitySet, CapabilitySets, UnshareFlags};
use tokio::signal::unix::{SignalKind, signal};

use super::plan::{MAPPED, Maps, UNMAPPED};
use super::step::{Failure, Step, at};
use crate::sandbox::AGENT_ID;

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "sandbox-enter";
/// What wakes a frozen group; each version refuses the other's word.
const THAW: [&[u8]; 2] = [b"THAWED", b"0"];
/// How often it looks whether treefort is still there.
const LOOK: Duration = Duration::from_millis(500);

/// Runs a sandbox from the plan on standard input, and returns the exit code of its PID 1; 125 when it could
/// not be set up.
#[must_use]
pub fn run() -> ExitCode {
    match enter() {
        Ok(status) => ExitCode::from(code(status)),
        Err(failure) => failure.report(),
    }
}

fn code(status: ExitStatus) -> u8 {
    let code = status
        .code()
        .or_else(|| status.signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

fn enter() -> Result<ExitStatus, Failure> {
    let parent = rustix::process::getppid();
    at(Step::Start, alone())?;
    let freezer = std::env::args_os().nth(2);
    let freezer = freezer.map(|path| OpenOptions::new().write(true).open(path));
    let freezer = at(Step::Start, freezer.transpose())?;
    let mut stdin = File::from(at(Step::Plan, io::stdin().as_fd().try_clone_to_owned())?);
    let mut byte = [0];
    at(Step::Plan, stdin.read_exact(&mut byte))?;
    let maps = Maps::from_byte(byte[0])
        .ok_or_else(|| Failure::new(Step::Plan, io::ErrorKind::InvalidData))?;

    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    at(Step::Namespaces, unshare())?;
    match maps {
        Maps::Own => {
            // Without this an ordinary user may not map a group. It keeps the user's other groups in the sandbox
            // for good, as in bubblewrap; only a program that makes root (newgidmap) could end that. They have no
            // name inside and give what can be read in the folders that are shown, as the user's own number does:
            // `sandbox::embedded::groups_reach_no_further_than_what_is_shown`.
            at(Step::Maps, fs::write("/proc/self/setgroups", "deny"))?;
            let map = |own: u32| format!("{AGENT_ID} {own} 1\n");
            at(
                Step::Maps,
                fs::write("/proc/self/uid_map", map(uid.as_raw())),
            )?;
            at(
                Step::Maps,
                fs::write("/proc/self/gid_map", map(gid.as_raw())),
            )?;
        }
        Maps::Host => {
            let mut stdout = File::from(at(Step::Maps, io::stdout().as_fd().try_clone_to_owned())?);
            at(Step::Maps, stdout.write_all(&[UNMAPPED]))?;
            at(Step::Maps, stdin.read_exact(&mut byte))?;
            if byte[0] != MAPPED {
                return Err(Failure::new(Step::Maps, io::ErrorKind::InvalidData));
            }
        }
    }
    at(Step::Capabilities, keep_capabilities())?;
    let nothing = at(
        Step::Start,
        OpenOptions::new().read(true).write(true).open("/dev/null"),
    )?;
    let child = Command::new("/proc/self/exe")
        .arg(super::inside::SUBCOMMAND)
        .env_clear()
        .current_dir("/")
        .spawn();
    let child = at(Step::Start, child)?;
    // Closed here, so that PID 1 alone holds the host's streams.
    drop(stdin);
    at(Step::Start, rustix::stdio::dup2_stdin(&nothing))?;
    at(Step::Start, rustix::stdio::dup2_stdout(&nothing))?;
    at(Step::Start, wait(child, parent, freezer))
}

/// Without the terminal of whoever started treefort, whose Ctrl-C is treefort's to handle, and without the
/// open files that treefort was started with.
pub(super) fn alone() -> io::Result<()> {
    rustix::process::setsid()?;
    close_fds::set_fds_cloexec(3, &[]);
    Ok(())
}

/// Everything of its own but the table of open files, and the view of control groups: PID 1 is in none yet.
fn unshare() -> io::Result<()> {
    let flags = UnshareFlags::NEWUSER
        | UnshareFlags::NEWNS
        | UnshareFlags::NEWPID
        | UnshareFlags::NEWNET
        | UnshareFlags::NEWIPC
        | UnshareFlags::NEWUTS;
    leave(flags)
}

pub(super) fn leave(flags: UnshareFlags) -> io::Result<()> {
    #[expect(
        deprecated,
        reason = "its successor is unsafe for the sake of FILES, which is not asked for"
    )]
    rustix::thread::unshare(flags)?;
    Ok(())
}

/// Over the next `exec`, also for a user that is not root inside. They hold within the new namespaces only.
fn keep_capabilities() -> io::Result<()> {
    let mut sets: CapabilitySets = rustix::thread::capabilities(None)?;
    sets.inheritable = sets.permitted;
    rustix::thread::set_capabilities(None, sets)?;
    let known = sets.permitted.bits();
    for number in (0..u64::BITS).filter(|number| known & (1 << number) != 0) {
        let one = CapabilitySet::from_bits_retain(1 << number);
        rustix::thread::configure_capability_in_ambient_set(one, true)?;
    }
    Ok(())
}

/// Waits for PID 1.
fn wait(
    mut child: std::process::Child,
    parent: Option<Pid>,
    mut freezer: Option<File>,
) -> io::Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut children = signal(SignalKind::child())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut look = tokio::time::interval(LOOK);
        loop {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            let send = |signal| {
                // It may have ended in this moment.
                let _ = rustix::process::kill_process(pid, signal);
            };
            tokio::select! {
                _ = children.recv() => {}
                _ = terminate.recv() => send(Signal::TERM),
                _ = interrupt.recv() => send(Signal::KILL),
                _ = look.tick() => if rustix::process::getppid() != parent {
                    send(Signal::KILL);
                    // What is frozen ends when it wakes; the group may be gone already.
                    for word in THAW {
                        let _ = freezer.as_mut().map(|file| file.write(word));
                    }
                },
            }
        }
    })
}
