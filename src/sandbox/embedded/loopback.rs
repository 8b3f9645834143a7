//! The sandbox's own loopback, which a new network namespace has but does not switch on.

use std::io;

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, netlink, recv, sendto,
    socket_with,
};

/// `RTM_NEWLINK`, and `NLM_F_REQUEST | NLM_F_ACK` (netlink(7), rtnetlink(7)).
const NEW_LINK: u16 = 16;
const REQUEST_ACK: u16 = 0x1 | 0x4;
/// `NLMSG_ERROR`, which is also how success is told.
const ERROR: u16 = 2;
/// `IFF_UP`.
const UP: u32 = 1;
/// In a new network namespace the loopback is always the first.
const LOOPBACK: i32 = 1;

/// Switches it on.
///
/// # Errors
/// When the kernel refuses.
pub(super) fn up() -> io::Result<()> {
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        // `NETLINK_ROUTE` is the family's first.
        None,
    )?;
    let address = netlink::SocketAddrNetlink::new(0, 0);
    sendto(&socket, &request(), SendFlags::empty(), &address)?;
    let mut answer = [0; 64];
    let (len, _) = recv(&socket, &mut answer, RecvFlags::empty())?;
    outcome(&answer[..len])
}

/// `nlmsghdr` and `ifinfomsg`, in the machine's byte order.
fn request() -> Vec<u8> {
    let mut bytes = Vec::with_capacity(32);
    bytes.extend(32_u32.to_ne_bytes());
    bytes.extend(NEW_LINK.to_ne_bytes());
    bytes.extend(REQUEST_ACK.to_ne_bytes());
    // Sequence number and port.
    bytes.extend([0; 8]);
    // Family, padding and type.
    bytes.extend([0; 4]);
    bytes.extend(LOOPBACK.to_ne_bytes());
    // The flags, and which of them are meant.
    bytes.extend(UP.to_ne_bytes());
    bytes.extend(UP.to_ne_bytes());
    bytes
}

fn outcome(answer: &[u8]) -> io::Result<()> {
    let kind = answer.get(4..6).map(|bytes| [bytes[0], bytes[1]]);
    let code = answer
        .get(16..20)
        .map(|bytes| [bytes[0], bytes[1], bytes[2], bytes[3]]);
    match (kind.map(u16::from_ne_bytes), code.map(i32::from_ne_bytes)) {
        (Some(ERROR), Some(0)) => Ok(()),
        (Some(ERROR), Some(code)) => Err(io::Error::from_raw_os_error(code.wrapping_neg())),
        _ => Err(io::ErrorKind::InvalidData.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_header_and_an_interface() {
        let bytes = request();
        assert_eq!(bytes.len(), 32);
        assert_eq!(bytes[..4], 32_u32.to_ne_bytes());
    }

    #[test]
    fn the_kernels_answer_is_an_error_number() {
        let with = |code: i32| {
            let mut answer = vec![0; 36];
            answer[4..6].copy_from_slice(&ERROR.to_ne_bytes());
            answer[16..20].copy_from_slice(&code.to_ne_bytes());
            outcome(&answer)
        };
        assert!(with(0).is_ok());
        assert_eq!(with(-1).unwrap_err().raw_os_error(), Some(1));
        assert!(outcome(b"short").is_err());
    }
}
