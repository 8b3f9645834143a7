//! What nothing inside a sandbox may ask of the kernel, besides what the engine's own filter forbids.
//!
//! Engines before Docker 23 let containers open `AF_VSOCK` sockets, which no network namespace
//! confines: "no network" would not hold towards a hypervisor or a guest. Before Docker 25 they
//! also let them use io_uring, which many ways out of containers began with. PID 1 forbids both,
//! for itself and all that it starts, whatever the engine does.

use std::io;

/// Address families that the network namespace confines: Unix, IPv4, IPv6.
#[cfg(target_os = "linux")]
const FAMILIES: [u64; 3] = [1, 2, 10];
/// Another one, of which one protocol tells about the network; the others speak to further parts of the kernel.
#[cfg(target_os = "linux")]
const NETLINK: u64 = 16;
#[cfg(target_os = "linux")]
const NETLINK_ROUTE: u64 = 0;

/// Forbids them from now on, in this process and its children. What is forbidden fails with `EPERM`.
///
/// # Errors
/// When the kernel takes no filter; then nothing may be started.
#[cfg(target_os = "linux")]
pub(super) fn restrict() -> io::Result<()> {
    let program = program().map_err(io::Error::other)?;
    seccompiler::apply_filter(&program).map_err(io::Error::other)
}

#[cfg(not(target_os = "linux"))]
pub(super) fn restrict() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

#[cfg(target_os = "linux")]
fn program() -> Result<seccompiler::BpfProgram, seccompiler::BackendError> {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op, SeccompCondition as Condition,
        SeccompFilter, SeccompRule,
    };
    /// `io_uring_setup`, `_enter` and `_register`; the same numbers on every architecture.
    const IO_URING: [i64; 3] = [425, 426, 427];
    /// `socket` on x86-64 and on the architectures of the generic table.
    const SOCKET: i64 = if cfg!(target_arch = "x86_64") {
        41
    } else {
        198
    };
    /// `socketpair`, likewise.
    const SOCKETPAIR: i64 = if cfg!(target_arch = "x86_64") {
        53
    } else {
        199
    };
    let differs = |value| Condition::new(0, Len::Dword, Op::Ne, value);
    let none_of = |families: &mut dyn Iterator<Item = u64>| {
        SeccompRule::new(families.map(differs).collect::<Result<Vec<_>, _>>()?)
    };
    let other_netlink = SeccompRule::new(vec![
        Condition::new(0, Len::Dword, Op::Eq, NETLINK)?,
        Condition::new(2, Len::Dword, Op::Ne, NETLINK_ROUTE)?,
    ])?;
    let other_family = none_of(&mut FAMILIES.into_iter().chain([NETLINK]))?;
    let other_pair = none_of(&mut FAMILIES.into_iter())?;
    let rules = IO_URING
        .into_iter()
        .map(|call| (call, Vec::new()))
        .chain([
            (SOCKET, vec![other_family, other_netlink]),
            (SOCKETPAIR, vec![other_pair]),
        ])
        .collect();
    let eperm = rustix::io::Errno::PERM.raw_os_error().unsigned_abs();
    let filter = SeccompFilter::new(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(eperm),
        std::env::consts::ARCH.try_into()?,
    )?;
    filter.try_into()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_filter_compiles() {
        assert!(!program().unwrap().is_empty());
    }
}
