//! What a sandbox gives up for good before anything of an agent runs: its capabilities, its user, new
//! privileges, what it may use, where it may reach in the file system, and most ways to ask the kernel.

use std::io;

use landlock::{
    ABI, Access, AccessFs, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetStatus, Scope,
};
use rustix::process::{Gid, Resource, Rlimit, Signal, Uid, getrlimit, setrlimit};
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::plan::Plan;
use super::step::{Failure, Step, at};
use super::syscalls;
use crate::sandbox::{AGENT_HOME, AGENT_ID, STATE, WORKSPACE};

/// Open files of one process.
const NOFILE: u64 = 4096;
/// Signals that may wait, of all its processes together.
const PENDING: u64 = 4096;
/// The newest Landlock that is asked for; an older kernel gives what it has.
const LANDLOCK: ABI = ABI::V6;
/// Of a thousand. Landlock keeps the agent from taking it back.
const FIRST_TO_GO: &str = "500";
const MIB: u64 = 1024 * 1024;

/// In an order in which each step is still allowed.
///
/// # Errors
/// With the step at which the kernel refused.
pub(super) fn for_good(plan: &Plan) -> Result<(), Failure> {
    at(Step::Limits, limits(plan))?;
    at(Step::Identity, identity(plan))?;
    // A change of the user cleared it. Who kills the process outside ends everything inside.
    let death = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    at(Step::Identity, death)?;
    at(Step::Identity, rustix::thread::set_no_new_privs(true))?;
    at(Step::Landlock, landlock(plan))?;
    at(Step::Seccomp, syscalls::allow_known())
}

fn limits(plan: &Plan) -> io::Result<()> {
    let data = plan.process_mb.map(|mb| u64::from(mb) * MIB);
    let limits = [
        (Resource::Nofile, Some(NOFILE)),
        // The kernel starts the host's own helper for a core dump even at 0; at 1 it starts none.
        (Resource::Core, Some(1)),
        // The files are looked at every few seconds; in between, one file is no more than they may be together.
        (Resource::Fsize, Some(plan.file_bytes)),
        // Since Linux 5.14 the kernel counts these for each user namespace.
        (Resource::Nproc, Some(u64::from(plan.pids))),
        (Resource::Data, data),
        // No program gets in front of the host's own.
        (Resource::Rtprio, Some(0)),
        (Resource::Nice, Some(0)),
        // Locked memory, messages and signals that wait are the kernel's own memory.
        (Resource::Sigpending, Some(PENDING)),
        (Resource::Memlock, Some(MIB)),
        (Resource::Msgqueue, Some(MIB)),
    ];
    for (resource, wanted) in limits {
        let Some(wanted) = wanted else { continue };
        // A limit can be lowered only.
        let most = getrlimit(resource)
            .maximum
            .map_or(wanted, |has| has.min(wanted));
        let limit = Rlimit {
            current: Some(most),
            maximum: Some(most),
        };
        setrlimit(resource, limit)?;
    }
    // Out of memory, the kernel looks here first.
    std::fs::write("/proc/self/oom_score_adj", FIRST_TO_GO)
}

fn identity(plan: &Plan) -> io::Result<()> {
    let none = CapabilitySet::empty();
    for number in 0..u64::BITS {
        let one = CapabilitySet::from_bits_retain(1 << number);
        match rustix::thread::capability_is_in_bounding_set(one) {
            Ok(true) => rustix::thread::remove_capability_from_bounding_set(one)?,
            Ok(false) => {}
            // The last one that this kernel knows was the one before.
            Err(_) => break,
        }
    }
    rustix::thread::clear_ambient_capability_set()?;
    if plan.becomes {
        let (uid, gid) = (Uid::from_raw(AGENT_ID), Gid::from_raw(AGENT_ID));
        rustix::thread::set_thread_groups(&[])?;
        rustix::thread::set_thread_res_gid(gid, gid, gid)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    }
    let sets = CapabilitySets {
        effective: none,
        permitted: none,
        inheritable: none,
    };
    rustix::thread::set_capabilities(None, sets)?;
    Ok(())
}

/// A second wall behind the mounts: reading everywhere that is in sight, writing in the places that are for it,
/// and no signal or socket to anything outside.
fn landlock(plan: &Plan) -> io::Result<()> {
    let every = AccessFs::from_all(LANDLOCK);
    let read = AccessFs::from_read(LANDLOCK);
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(every)
        .and_then(|ruleset| ruleset.scope(Scope::from_all(LANDLOCK)))
        .and_then(Ruleset::create)
        .map_err(io::Error::other)?;
    let mut rules = vec![
        ("/", read),
        ("/tmp", every),
        ("/dev/shm", every),
        (AGENT_HOME, every),
        ("/dev", read | AccessFs::WriteFile | AccessFs::IoctlDev),
    ];
    if plan.workspace.is_some() {
        rules.push((WORKSPACE, every));
    }
    if plan.state.is_some() {
        rules.push((STATE, every));
    }
    let ruleset = rules.into_iter().try_fold(
        ruleset,
        |ruleset, (path, access): (_, BitFlags<AccessFs>)| {
            let opened = PathFd::new(path).map_err(io::Error::other)?;
            ruleset
                .add_rule(PathBeneath::new(opened, access))
                .map_err(io::Error::other)
        },
    )?;
    let status = ruleset.restrict_self().map_err(io::Error::other)?;
    if status.ruleset == RulesetStatus::NotEnforced {
        return Err(io::ErrorKind::Unsupported.into());
    }
    Ok(())
}
