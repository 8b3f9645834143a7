//! The way to the Docker Engine of this machine: finding it, and saying what is wrong with it.

use std::env;
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use bollard::models::{SystemInfo, SystemInfoCgroupDriverEnum};
use bollard::{API_DEFAULT_VERSION, Docker};

use super::{BoxError, Config, Error, Facts, Probe, protection};

/// How long one question to the engine may take, when we only want to know whether it is there.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the engine may take to begin answering any other request, in seconds.
const REQUEST_TIMEOUT: u64 = 120;
const DEFAULT_SOCKET: &str = "/var/run/docker.sock";

/// Where an engine is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Address {
    Unix(PathBuf),
    /// `tcp://…` on loopback.
    Tcp(String),
}

impl Address {
    /// The engine that `DOCKER_HOST` or this system's custom names.
    pub(super) fn from_env() -> Result<Self, Error> {
        match env::var("DOCKER_HOST") {
            Ok(value) if !value.is_empty() => Self::parse(&value),
            _ => Ok(Self::Unix(default_socket())),
        }
    }

    fn parse(value: &str) -> Result<Self, Error> {
        if let Some(path) = value.strip_prefix("unix://") {
            return Ok(Self::Unix(path.into()));
        }
        let remote = || Error::Remote {
            address: value.to_owned(),
        };
        let rest = value
            .strip_prefix("tcp://")
            .or_else(|| value.strip_prefix("http://"))
            .ok_or_else(remote)?;
        let authority = rest.split('/').next().unwrap_or_default();
        let (host, _port) = authority.rsplit_once(':').unwrap_or((authority, ""));
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let local = bare == "localhost"
            || bare
                .parse::<IpAddr>()
                .is_ok_and(|address| address.is_loopback());
        if local {
            Ok(Self::Tcp(format!("tcp://{authority}")))
        } else {
            Err(remote())
        }
    }

    /// A client of it that speaks the engine's version.
    pub(super) async fn connect(&self) -> Result<Docker, Error> {
        let docker = match self {
            Self::Unix(path) => {
                self.knock(path).await?;
                Docker::connect_with_unix(
                    &path.to_string_lossy(),
                    REQUEST_TIMEOUT,
                    API_DEFAULT_VERSION,
                )
            }
            Self::Tcp(address) => {
                Docker::connect_with_http(address, REQUEST_TIMEOUT, API_DEFAULT_VERSION)
            }
        };
        let docker = docker.map_err(|error| self.unresponsive(Some(error.into())))?;
        self.within(docker.negotiate_version()).await
    }

    /// bollard's errors do not tell a missing socket from a closed one; the system's do.
    async fn knock(&self, path: &Path) -> Result<(), Error> {
        let connect = tokio::net::UnixStream::connect(path);
        match tokio::time::timeout(PATIENCE, connect).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(source)) => Err(match source.kind() {
                io::ErrorKind::NotFound => Error::NoEngine {
                    address: self.to_string(),
                    source,
                },
                io::ErrorKind::PermissionDenied => Error::Denied {
                    address: self.to_string(),
                    source,
                },
                _ => self.unresponsive(Some(source.into())),
            }),
            Err(_) => Err(self.unresponsive(None)),
        }
    }

    /// Bounds one question by [`PATIENCE`].
    async fn within<T>(
        &self,
        question: impl Future<Output = Result<T, bollard::errors::Error>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(PATIENCE, question).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(self.unresponsive(Some(error.into()))),
            Err(_) => Err(self.unresponsive(None)),
        }
    }

    fn unresponsive(&self, source: Option<BoxError>) -> Error {
        Error::Unresponsive {
            address: self.to_string(),
            source,
        }
    }

    /// Asks the engine what it is and what it can enforce.
    pub(super) async fn probe(&self, docker: &Docker, config: &Config) -> Result<Probe, Error> {
        let ask = async {
            docker.ping().await?;
            tokio::try_join!(docker.version(), docker.info())
        };
        let (version, info) = self.within(ask).await?;
        let os = info.os_type.clone().or(version.os).unwrap_or_default();
        if os != "linux" {
            return Err(Error::NotLinux { os });
        }
        let detail = format!(
            "Docker Engine {} (API {}), {os}/{}",
            version.version.as_deref().unwrap_or("?"),
            docker.client_version(),
            version.arch.as_deref().unwrap_or("?"),
        );
        let facts = facts(&info, config)?;
        let limits = [
            // Docker has no way to do this on common file systems.
            (false, "disk"),
            (facts.memory, "memory"),
            (facts.swap, "swap"),
            (facts.cpus, "processors"),
            (facts.pids, "processes"),
            (facts.seccomp, "syscalls"),
        ];
        let unlimited = limits.into_iter().filter(|(limited, _)| !limited);
        Ok(Probe {
            detail,
            shares: (!facts.own_kernel())
                .then_some("kernel")
                .into_iter()
                .collect(),
            unlimited: unlimited.map(|(_, what)| what).collect(),
            protection: protection(&facts, config),
        })
    }
}

/// What the engine says about isolation, in `docker info`'s terms.
fn facts(info: &SystemInfo, config: &Config) -> Result<Facts, Error> {
    let options = info.security_options.as_deref().unwrap_or_default();
    let has = |name: &str| {
        let name = format!("name={name}");
        let of = |option: &String| option.split(',').next() == Some(&*name);
        options
            .iter()
            .any(|option| of(option) && !option.contains("unconfined"))
    };
    let runtimes = info.runtimes.as_ref();
    let runtime = match config.runtime() {
        Some(asked) if runtimes.is_some_and(|known| !known.contains_key(asked)) => {
            return Err(Error::NoRuntime {
                runtime: asked.to_owned(),
            });
        }
        Some(asked) => asked,
        None => info.default_runtime.as_deref().unwrap_or("runc"),
    };
    // Rootless without systemd has no cgroups: it takes limits and enforces none.
    let cgroups = info.cgroup_driver != Some(SystemInfoCgroupDriverEnum::NONE);
    let limited = |enforced: Option<bool>| cgroups && enforced.unwrap_or(false);
    let system = info.operating_system.as_deref().unwrap_or_default();
    Ok(Facts {
        runtime: runtime.to_owned(),
        in_vm: system.contains("Docker Desktop"),
        rootless: has("rootless"),
        userns: has("userns"),
        seccomp: has("seccomp"),
        lsm: has("apparmor") || has("selinux"),
        memory: limited(info.memory_limit),
        swap: limited(info.swap_limit),
        cpus: limited(info.cpu_cfs_quota),
        pids: limited(info.pids_limit),
        as_root: rustix::process::getuid().is_root(),
    })
}

impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "{}", path.display()),
            Self::Tcp(address) => f.write_str(address),
        }
    }
}

/// The first socket that exists where engines put theirs: the system's, a rootless one, Docker
/// Desktop's.
fn default_socket() -> PathBuf {
    let rootless = env::var_os("XDG_RUNTIME_DIR").map(|dir| Path::new(&dir).join("docker.sock"));
    let desktop = env::var_os("HOME").map(|dir| Path::new(&dir).join(".docker/run/docker.sock"));
    [Some(PathBuf::from(DEFAULT_SOCKET)), rootless, desktop]
        .into_iter()
        .flatten()
        .find(|path| path.exists())
        .unwrap_or_else(|| DEFAULT_SOCKET.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_engines_on_this_machine_are_accepted() {
        for local in [
            "tcp://127.0.0.1:2375",
            "tcp://localhost:2375",
            "tcp://[::1]:2375",
            "http://127.1.2.3:1",
        ] {
            assert!(
                matches!(Address::parse(local), Ok(Address::Tcp(_))),
                "{local}"
            );
        }
        for remote in [
            "tcp://10.0.0.1:2375",
            "tcp://127.0.0.1.example.com:2375",
            "tcp://localhost@example.com:2375",
            "ssh://me@build",
            "https://127.0.0.1:2376",
            "npipe:////./pipe/docker_engine",
        ] {
            let parsed = Address::parse(remote);
            assert!(matches!(parsed, Err(Error::Remote { .. })), "{remote}");
        }
    }

    fn info(options: &[&str]) -> SystemInfo {
        SystemInfo {
            security_options: Some(options.iter().map(ToString::to_string).collect()),
            memory_limit: Some(true),
            default_runtime: Some("runc".to_owned()),
            runtimes: Some([("runc".to_owned(), Default::default())].into()),
            ..SystemInfo::default()
        }
    }

    #[test]
    fn what_the_engine_says_of_itself_is_read_by_name() {
        let config = Config::default();
        let plain = facts(
            &info(&["name=seccomp,profile=default", "name=cgroupns"]),
            &config,
        )
        .unwrap();
        assert!(plain.seccomp && plain.memory && !plain.swap);
        assert!(!plain.rootless && !plain.userns && !plain.lsm && !plain.in_vm);
        let rootless = SystemInfo {
            cgroup_driver: Some(SystemInfoCgroupDriverEnum::NONE),
            ..info(&[
                "name=seccomp,profile=unconfined",
                "name=rootless",
                "name=apparmor",
            ])
        };
        let rootless = facts(&rootless, &config).unwrap();
        assert!(rootless.rootless && rootless.lsm);
        assert!(!rootless.seccomp && !rootless.memory);
    }

    #[test]
    fn a_runtime_that_is_not_installed_is_an_error() {
        let config = Config {
            runtime: "runsc".to_owned(),
            ..Config::default()
        };
        let missing = facts(&info(&[]), &config);
        assert!(matches!(missing, Err(Error::NoRuntime { .. })));
    }

    async fn connect(path: &Path) -> Error {
        Address::Unix(path.into()).connect().await.unwrap_err()
    }

    #[tokio::test]
    async fn a_missing_socket_is_no_engine() {
        let dir = tempfile::tempdir().unwrap();
        let error = connect(&dir.path().join("docker.sock")).await;
        assert!(matches!(error, Error::NoEngine { .. }));
        assert!(error.hint().contains("Install Docker"));
        assert!(error.is_unavailable());
    }

    #[tokio::test]
    async fn a_socket_without_a_listener_is_an_engine_that_does_not_answer() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let error = connect(&path).await;
        assert!(matches!(
            error,
            Error::Unresponsive {
                source: Some(_),
                ..
            }
        ));
    }

    #[tokio::test]
    async fn a_silent_engine_is_given_up_within_seconds() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("docker.sock");
        let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let started = std::time::Instant::now();
        let error = connect(&path).await;
        assert!(matches!(error, Error::Unresponsive { source: None, .. }));
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[test]
    fn every_reason_for_no_sandbox_has_a_hint() {
        let io = || io::Error::from(io::ErrorKind::PermissionDenied);
        let address = String::from("x");
        for error in [
            Error::NoEngine {
                address: address.clone(),
                source: io(),
            },
            Error::Denied {
                address: address.clone(),
                source: io(),
            },
            Error::Unresponsive {
                address: address.clone(),
                source: None,
            },
            Error::NotLinux {
                os: address.clone(),
            },
            Error::Remote { address },
        ] {
            assert!(error.is_unavailable());
            assert!(error.hint().ends_with('.'), "{error}");
        }
    }
}
