//! Services of the host, on every address that it has; each is shown to answer the host itself.

use std::{fs, net::IpAddr, process::Command};

use super::{Home, Host, attack, attempt, image};
use crate::sandbox::on_each;

on_each!(image;
    no_service_of_the_host_answers_on_any_of_its_addresses,
    names_are_not_resolved_and_abstract_sockets_of_the_host_are_not_seen,
);

/// Every address of this machine.
fn addresses() -> Vec<String> {
    let mut found = vec!["127.0.0.1".to_owned(), "127.0.0.53".to_owned()];
    let table = fs::read_to_string("/proc/net/fib_trie").unwrap();
    let mut last = "";
    for line in table.lines().map(str::trim) {
        if let Some(address) = line.strip_prefix("|-- ") {
            last = address;
        } else if line == "/32 host LOCAL" {
            found.push(last.to_owned());
        }
    }
    for line in fs::read_to_string("/proc/net/if_inet6")
        .unwrap_or_default()
        .lines()
    {
        let bits = u128::from_str_radix(&line[..32], 16).unwrap();
        let address = std::net::Ipv6Addr::from(bits);
        // A link-local one is not an address without its interface.
        if !address.is_unicast_link_local() {
            found.push(IpAddr::from(address).to_string());
        }
    }
    found.sort();
    found.dedup();
    found
}

async fn no_service_of_the_host_answers_on_any_of_its_addresses(home: Home) {
    let host = Host::new();
    let v4 = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = v4.local_addr().unwrap().port();
    let _v6 = std::net::TcpListener::bind(format!("[::1]:{port}"));
    let own = addresses();
    assert!(own.len() >= 2, "{own:?}");
    for address in &own {
        let reached = Command::new(attack())
            .args(["connect", address, &port.to_string()])
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&reached.stdout).into_owned();
        let may_fail = address.contains(':') && address != "::1";
        assert!(
            said.contains("got it") || may_fail,
            "the host itself: {address} {said}"
        );
    }
    let others = [
        "169.254.169.254",
        "fd00:ec2::254",
        "172.17.0.1",
        "192.168.65.2",
        "1.1.1.1",
        "10.0.2.2",
    ];
    let commands: Vec<String> = own
        .iter()
        .map(String::as_str)
        .chain(others)
        .flat_map(|address| [(address, port), (address, 80), (address, 53)])
        .map(|(address, port)| format!("/attack connect {address} {port}"))
        .collect();
    let commands: Vec<&str> = commands.iter().map(String::as_str).collect();
    for (command, (said, code)) in commands.iter().zip(attempt(&home, &host, &commands).await) {
        // Its own loopback is empty, and there is no way anywhere else.
        let nowhere = [
            "Network is unreachable",
            "Connection refused",
            "Cannot assign requested address",
        ];
        assert!(
            code == 1 && nowhere.iter().any(|end| said.contains(end)),
            "{command}: {said}"
        );
    }
    home.end().await;
}

async fn names_are_not_resolved_and_abstract_sockets_of_the_host_are_not_seen(home: Home) {
    use std::os::linux::net::SocketAddrExt as _;
    let host = Host::new();
    let name = crate::sandbox::unique("treefort-canary");
    let address = std::os::unix::net::SocketAddr::from_abstract_name(&name).unwrap();
    let _listener = std::os::unix::net::UnixListener::bind_addr(&address).unwrap();
    let reached = Command::new(attack())
        .args(["abstract", &name])
        .status()
        .unwrap();
    assert!(reached.success(), "the host itself reaches it");
    let knock = format!("/attack abstract {name}");
    let results = attempt(
        &home,
        &host,
        &[
            &knock,
            "/busybox timeout 5 /busybox nslookup example.com",
            "/busybox ip route",
            "/busybox ip link add x type dummy",
        ],
    )
    .await;
    assert!(
        results[0].1 == 1 && results[0].0.contains("Connection refused"),
        "{results:?}"
    );
    assert_ne!(results[1].1, 0, "{results:?}");
    assert_eq!(results[2].0.trim(), "", "{results:?}");
    assert!(
        results[3].1 != 0 && results[3].0.contains("not permitted"),
        "{results:?}"
    );
    home.end().await;
}
