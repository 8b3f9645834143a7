//! Where the model server is: every form of `OLLAMA_HOST` that Ollama itself accepts.

use std::net::IpAddr;

use reqwest::Url;

const DEFAULT_PORT: u16 = 11434;

/// Why the model server's address cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// Another scheme.
    #[error("the model server's address {0:?} is neither http://, https:// nor a host")]
    Scheme(String),
    /// The port.
    #[error("the model server's address {0:?} has no valid port")]
    Port(String),
    /// The rest.
    #[error("the model server's address {0:?} is not a host, a port or a URL")]
    Address(String),
    /// The HTTP client.
    #[error("the client for the model server cannot start")]
    Client(#[source] reqwest::Error),
    /// A provider.
    #[error("the provider {name:?} of treefort.toml cannot be used: {why}")]
    Provider {
        /// Its name.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// The proxy.
    #[error("the proxy under [model] of treefort.toml is not a proxy's URL")]
    Proxy(#[source] reqwest::Error),
}

/// The model server's base URL; its path ends in `/`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

impl Endpoint {
    /// Reads an address as Ollama's client does: `host`, `host:port`, `:port`, `http://host[:port]`
    /// (port 80 when missing), `https://` (443), IPv6 with or without brackets, a path behind it. Empty is
    /// `localhost:11434`; an address that servers use for "all interfaces" is loopback.
    ///
    /// # Errors
    ///
    /// [`ConfigError`].
    pub fn parse(address: &str) -> Result<Self, ConfigError> {
        let text = address.trim().trim_matches(['"', '\'']).trim();
        let (scheme, rest, default_port) = match text.split_once("://") {
            None => ("http", text, DEFAULT_PORT),
            Some(("http", rest)) => ("http", rest, 80),
            Some(("https", rest)) => ("https", rest, 443),
            Some(_) => return Err(ConfigError::Scheme(text.to_owned())),
        };
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (host, port) = split(authority).ok_or_else(|| ConfigError::Port(text.to_owned()))?;
        let host = match host.parse::<IpAddr>() {
            Ok(ip) if ip.is_unspecified() && ip.is_ipv4() => "127.0.0.1".to_owned(),
            Ok(ip) if ip.is_unspecified() => "[::1]".to_owned(),
            Ok(IpAddr::V6(ip)) => format!("[{ip}]"),
            Ok(IpAddr::V4(ip)) => ip.to_string(),
            Err(_) if host.is_empty() => "localhost".to_owned(),
            Err(_) => host.to_owned(),
        };
        let good = |byte: char| byte.is_alphanumeric() || "-._:[]".contains(byte);
        if !host.chars().all(good) || path.contains(['?', '#']) {
            return Err(ConfigError::Address(text.to_owned()));
        }
        let path = path.trim_matches('/');
        let slash = if path.is_empty() { "" } else { "/" };
        let port = port.unwrap_or(default_port);
        Url::parse(&format!("{scheme}://{host}:{port}/{path}{slash}"))
            .map(Self)
            .map_err(|_| ConfigError::Address(text.to_owned()))
    }

    /// The URL of one of the API's paths (`api/chat`).
    #[must_use]
    pub fn at(&self, path: &str) -> String {
        format!("{}{path}", self.0)
    }

    /// Whether it is this machine or one in its network, as far as the address says: addresses that only networks
    /// of their own have, and names that are not the internet's.
    #[must_use]
    pub fn is_private(&self) -> bool {
        let host = self.0.host_str().unwrap_or_default();
        match host.trim_matches(['[', ']']).parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
            Ok(IpAddr::V6(ip)) => {
                ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local()
            }
            Err(_) => {
                let ends = [".localhost", ".local", ".lan", ".internal", ".home.arpa"];
                !host.contains('.') || ends.iter().any(|end| host.ends_with(end))
            }
        }
    }

    /// The base URL.
    #[must_use]
    pub fn url(&self) -> &Url {
        &self.0
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// Host and port; `None` for a port that is none. A bare IPv6 address has colons but no port.
fn split(authority: &str) -> Option<(&str, Option<u16>)> {
    let bare = authority.trim_start_matches('[').trim_end_matches(']');
    if bare.parse::<IpAddr>().is_ok() {
        return Some((bare, None));
    }
    let Some((host, port)) = authority.rsplit_once(':') else {
        return Some((authority, None));
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if port.is_empty() {
        return Some((host, None));
    }
    port.parse().ok().map(|port| (host, Some(port)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form_that_ollama_accepts() {
        for (address, url) in [
            ("", "http://localhost:11434"),
            ("  ", "http://localhost:11434"),
            ("box", "http://box:11434"),
            ("box:1234", "http://box:1234"),
            ("box:", "http://box:11434"),
            (":1234", "http://localhost:1234"),
            ("1.2.3.4", "http://1.2.3.4:11434"),
            ("1.2.3.4:0", "http://1.2.3.4:0"),
            ("0.0.0.0", "http://127.0.0.1:11434"),
            ("0.0.0.0:1234", "http://127.0.0.1:1234"),
            ("http://0.0.0.0:1234", "http://127.0.0.1:1234"),
            ("::", "http://[::1]:11434"),
            ("[::]:1234", "http://[::1]:1234"),
            ("[::1]", "http://[::1]:11434"),
            ("::1", "http://[::1]:11434"),
            ("[fe80::1]:1", "http://[fe80::1]:1"),
            ("http://box", "http://box"),
            ("https://box", "https://box"),
            ("https://box:11434/o", "https://box:11434/o"),
            ("http://box/", "http://box"),
            ("http://box:1234", "http://box:1234"),
            ("http://box:1234/ollama/", "http://box:1234/ollama"),
            ("box/ollama", "http://box:11434/ollama"),
            (" \"box:1234\" ", "http://box:1234"),
            ("'http://box:1234'", "http://box:1234"),
            ("my-box.local:80", "http://my-box.local"),
        ] {
            let endpoint = Endpoint::parse(address).unwrap();
            assert_eq!(endpoint.to_string(), url, "{address:?}");
            assert_eq!(endpoint.at("api/tags"), format!("{url}/api/tags"));
        }
    }

    #[test]
    fn tells_what_is_near_from_what_is_not() {
        for (address, near) in [
            ("", true),
            ("0.0.0.0", true),
            ("192.168.1.5", true),
            ("http://[fe80::1]:1", true),
            ("box", true),
            ("my-box.local", true),
            ("host.docker.internal", true),
            ("https://ollama.com", false),
            ("8.8.8.8", false),
            ("[2001:db8::1]:1", false),
            ("local.example.com", false),
        ] {
            assert_eq!(
                Endpoint::parse(address).unwrap().is_private(),
                near,
                "{address}"
            );
        }
    }

    #[test]
    fn refuses_what_it_cannot_speak_to() {
        let error = |address| Endpoint::parse(address).unwrap_err();
        assert!(matches!(
            error("unix:///run/o.sock"),
            ConfigError::Scheme(_)
        ));
        assert!(matches!(error("box:99999"), ConfigError::Port(_)));
        assert!(matches!(error("box:port"), ConfigError::Port(_)));
        assert!(matches!(error("user@box"), ConfigError::Address(_)));
        assert!(matches!(error("a b"), ConfigError::Address(_)));
        assert!(matches!(error("box/a?b"), ConfigError::Address(_)));
    }
}
