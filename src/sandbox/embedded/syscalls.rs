//! What the kernel may be asked for in an embedded sandbox. `sandbox-init` adds its own filter to it.

use std::io;

use seccompiler::{
    BackendError, BpfProgram, SeccompAction, SeccompCmpArgLen as Len, SeccompCmpOp as Op,
    SeccompCondition as Condition, SeccompFilter, SeccompRule,
};

use super::calls::{ALLOWED, ALLOWED_HERE, REFUSED, REFUSED_HERE};

/// `CLONE_NEW*` of clone(2): namespaces, in which a process would have capabilities again.
const NAMESPACES: u64 = 0x7E02_0080;
/// What personality(2) may be asked for: nothing, the emulation of old version numbers, and the question
/// what it is.
const PERSONALITIES: [u64; 4] = [0, 0x8, 0x2_0000, 0xFFFF_FFFF];
/// Families of socket(2) that the network namespace confines: Unix, IPv4, IPv6.
const FAMILIES: [u64; 3] = [1, 2, 10];
/// Another one, of which one protocol tells about the network; the others speak to further parts of the kernel.
const NETLINK: u64 = 16;
const NETLINK_ROUTE: u64 = 0;

/// Of fcntl(2); see `calls`.
const F_SETSIG: u64 = 10;

/// Allows the known calls from now on, in this process and its children.
///
/// # Errors
/// When the kernel takes no filter.
pub(super) fn allow_known() -> io::Result<()> {
    for program in programs().map_err(io::Error::other)? {
        seccompiler::apply_filter(&program).map_err(io::Error::other)?;
    }
    Ok(())
}

/// Two filters, since one has one answer to what it does not allow. The later one is the first to be asked
/// for its error: what is refused on purpose says so, and what is not known is not there.
fn programs() -> Result<[BpfProgram; 2], BackendError> {
    let architecture = std::env::consts::ARCH.try_into()?;
    let errno =
        |error: rustix::io::Errno| SeccompAction::Errno(error.raw_os_error().unsigned_abs());
    let mut known: Vec<(i64, Vec<SeccompRule>)> = ALLOWED
        .iter()
        .chain(ALLOWED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    let no_namespaces = Condition::new(0, Len::Qword, Op::MaskedEq(NAMESPACES), 0)?;
    known.push((
        libc::SYS_clone,
        vec![SeccompRule::new(vec![no_namespaces])?],
    ));
    known.push((libc::SYS_personality, one_of(0, &PERSONALITIES)?));
    let mut sockets = one_of(0, &FAMILIES)?;
    sockets.push(SeccompRule::new(vec![
        Condition::new(0, Len::Dword, Op::Eq, NETLINK)?,
        Condition::new(2, Len::Dword, Op::Eq, NETLINK_ROUTE)?,
    ])?);
    known.push((libc::SYS_socket, sockets));
    known.push((libc::SYS_socketpair, one_of(0, &FAMILIES)?));
    let allowed = SeccompFilter::new(
        known.into_iter().collect(),
        errno(rustix::io::Errno::NOSYS),
        SeccompAction::Allow,
        architecture,
    )?;

    let mut never: Vec<(i64, Vec<SeccompRule>)> = REFUSED
        .iter()
        .chain(REFUSED_HERE)
        .map(|call| (*call, Vec::new()))
        .collect();
    let [one, two, three] = FAMILIES;
    let other_netlink = SeccompRule::new(vec![
        Condition::new(0, Len::Dword, Op::Eq, NETLINK)?,
        Condition::new(2, Len::Dword, Op::Ne, NETLINK_ROUTE)?,
    ])?;
    let other_family = none_of(0, &[one, two, three, NETLINK])?;
    never.push((libc::SYS_socket, vec![other_family, other_netlink]));
    never.push((libc::SYS_socketpair, vec![none_of(0, &FAMILIES)?]));
    never.push((libc::SYS_personality, vec![none_of(0, &PERSONALITIES)?]));
    never.push((libc::SYS_fcntl, one_of(1, &[F_SETSIG])?));
    // Without the flags of clone(2) that are addresses: any namespace.
    for bit in (0..u64::BITS).map(|bit| 1 << bit) {
        if NAMESPACES & bit != 0 {
            let asked = Condition::new(0, Len::Qword, Op::MaskedEq(bit), bit)?;
            let rule = SeccompRule::new(vec![asked])?;
            match never.iter_mut().find(|(call, _)| *call == libc::SYS_clone) {
                Some((_, rules)) => rules.push(rule),
                None => never.push((libc::SYS_clone, vec![rule])),
            }
        }
    }
    let refused = SeccompFilter::new(
        never.into_iter().collect(),
        SeccompAction::Allow,
        errno(rustix::io::Errno::PERM),
        architecture,
    )?;
    Ok([allowed.try_into()?, refused.try_into()?])
}

/// Rules of which one holds when the argument is one of the values.
fn one_of(argument: u8, values: &[u64]) -> Result<Vec<SeccompRule>, BackendError> {
    values
        .iter()
        .map(|value| SeccompRule::new(vec![Condition::new(argument, Len::Dword, Op::Eq, *value)?]))
        .collect()
}

/// A rule that holds when the argument is none of the values.
fn none_of(argument: u8, values: &[u64]) -> Result<SeccompRule, BackendError> {
    let differs = values
        .iter()
        .map(|value| Condition::new(argument, Len::Dword, Op::Ne, *value))
        .collect::<Result<Vec<_>, _>>()?;
    SeccompRule::new(differs)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_call_is_allowed_and_refused() {
        let allowed: Vec<_> = ALLOWED.iter().chain(ALLOWED_HERE).collect();
        for call in REFUSED.iter().chain(REFUSED_HERE) {
            assert!(!allowed.contains(&call), "{call}");
        }
        for call in [
            libc::SYS_clone,
            libc::SYS_clone3,
            libc::SYS_socket,
            libc::SYS_socketpair,
            libc::SYS_timer_create,
            libc::SYS_personality,
        ] {
            assert!(!allowed.contains(&&call), "{call}");
        }
    }

    #[test]
    fn the_filters_compile() {
        assert!(
            programs()
                .unwrap()
                .iter()
                .all(|program| !program.is_empty())
        );
    }
}
