//! What a container is made of: a pure function from a [`Spec`] to Docker's request.
//!
//! Every hardening rule of DESIGN.md §3 is in this one place and asserted by its tests.

use std::collections::HashMap;
use std::path::Path;

use bollard::models::{
    ContainerCreateBody, HostConfig, HostConfigCgroupnsModeEnum, HostConfigLogConfig, Mount,
    MountBindOptions, MountBindOptionsPropagationEnum, MountType, ResourcesUlimits, RestartPolicy,
    RestartPolicyNameEnum,
};

use super::{AGENT_HOME, Error, LABEL_HOME, PROGRAM, STATE, Spec, WORKSPACE, init};

/// The user and group inside when no workspace says otherwise, and always for a treefort that root runs.
pub const AGENT_ID: u32 = 1000;
/// Open files of one process.
const NOFILE: i64 = 4096;
/// Shared memory in bytes, within the memory limit.
const SHM_BYTES: i64 = 64 * 1024 * 1024;
const MIB: i64 = 1024 * 1024;

/// The user and group that run treefort.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct HostUser {
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl HostUser {
    pub(super) fn current() -> Self {
        Self {
            uid: rustix::process::getuid().as_raw(),
            gid: rustix::process::getgid().as_raw(),
        }
    }

    /// Who the agent is inside: the owner of the workspace's files, or a user of its own; never
    /// root.
    fn inside(self, has_workspace: bool) -> Self {
        let own = Self {
            uid: AGENT_ID,
            gid: AGENT_ID,
        };
        if !has_workspace || self.uid == 0 {
            return own;
        }
        Self {
            uid: self.uid,
            gid: if self.gid == 0 { AGENT_ID } else { self.gid },
        }
    }
}

/// The request that creates the container of `spec`, in which no file gets larger than `file_bytes`.
pub(super) fn create_body(
    spec: &Spec,
    home_id: &str,
    host: HostUser,
    file_bytes: u64,
) -> Result<ContainerCreateBody, Error> {
    check(spec)?;
    let user = host.inside(spec.workspace.is_some());
    let HostUser { uid, gid } = user;

    let mut env = vec![
        format!("HOME={AGENT_HOME}"),
        "TMPDIR=/tmp".to_owned(),
        "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
    ];
    env.extend(spec.env.iter().map(|(key, value)| format!("{key}={value}")));

    let mut labels: HashMap<String, String> = spec.labels.iter().cloned().collect();
    labels.insert(LABEL_HOME.to_owned(), home_id.to_owned());

    let mut cmd = vec![init::SUBCOMMAND.to_owned(), "--".to_owned()];
    cmd.extend(spec.argv.iter().cloned());

    let working_dir = match spec.workspace {
        Some(_) => WORKSPACE,
        None => AGENT_HOME,
    };
    Ok(ContainerCreateBody {
        image: Some(spec.image.to_string()),
        entrypoint: Some(vec![PROGRAM.to_owned()]),
        cmd: Some(cmd),
        env: Some(env),
        labels: Some(labels),
        user: Some(format!("{uid}:{gid}")),
        working_dir: Some(working_dir.to_owned()),
        hostname: Some("treefort".to_owned()),
        network_disabled: Some(true),
        tty: Some(false),
        attach_stdin: Some(true),
        attach_stdout: Some(true),
        attach_stderr: Some(true),
        open_stdin: Some(true),
        // When our stream ends, however it does, so does PID 1's standard input.
        stdin_once: Some(true),
        stop_signal: Some("SIGTERM".to_owned()),
        host_config: Some(host_config(spec, user, file_bytes)),
        ..ContainerCreateBody::default()
    })
}

fn host_config(spec: &Spec, user: HostUser, file_bytes: u64) -> HostConfig {
    let limits = &spec.limits;
    let memory = i64::from(limits.memory_mb) * MIB;
    let scratch = i64::from(limits.scratch_mb) * MIB;
    let tmpfs = |rest: String| format!("rw,nosuid,nodev,noexec,size={scratch},{rest}");
    HostConfig {
        network_mode: Some("none".to_owned()),
        ipc_mode: Some("private".to_owned()),
        cgroupns_mode: Some(HostConfigCgroupnsModeEnum::PRIVATE),
        cap_drop: Some(vec!["ALL".to_owned()]),
        // Saying nothing of seccomp keeps the engine's default profile.
        security_opt: Some(vec!["no-new-privileges".to_owned()]),
        privileged: Some(false),
        readonly_rootfs: Some(true),
        tmpfs: Some(HashMap::from([
            ("/tmp".to_owned(), tmpfs("mode=1777".to_owned())),
            (
                AGENT_HOME.to_owned(),
                tmpfs(format!("uid={},gid={},mode=0700", user.uid, user.gid)),
            ),
        ])),
        shm_size: Some(SHM_BYTES.min(memory)),
        memory: Some(memory),
        // Equal to the memory: no swap.
        memory_swap: Some(memory),
        nano_cpus: Some((limits.cpus * 1e9) as i64),
        pids_limit: Some(i64::from(limits.pids)),
        ulimits: Some(vec![
            ulimit("nofile", NOFILE),
            // The kernel starts the host's own helper for a core dump even at 0; at 1 it starts none.
            ulimit("core", 1),
            // The files are looked at every few seconds; in between, one is no more than they may be together.
            ulimit("fsize", i64::try_from(file_bytes).unwrap_or(i64::MAX)),
        ]),
        // What an agent says is private: nothing of it goes into the engine's logs.
        log_config: Some(HostConfigLogConfig {
            typ: Some("none".to_owned()),
            config: None,
        }),
        restart_policy: Some(RestartPolicy {
            name: Some(RestartPolicyNameEnum::NO),
            maximum_retry_count: None,
        }),
        // We remove it ourselves, after we have read how it ended.
        auto_remove: Some(false),
        // Our own PID 1 reaps.
        init: Some(false),
        runtime: spec.runtime.clone(),
        publish_all_ports: Some(false),
        mounts: mounts(spec),
        ..HostConfig::default()
    }
}

fn mounts(spec: &Spec) -> Option<Vec<Mount>> {
    let places = [(&spec.workspace, WORKSPACE), (&spec.state, STATE)];
    let bound = places.into_iter();
    let bound: Vec<Mount> = bound
        .filter_map(|(path, target)| Some(bind(path.as_deref()?, target)))
        .collect();
    (!bound.is_empty()).then_some(bound)
}

fn bind(path: &Path, target: &str) -> Mount {
    Mount {
        typ: Some(MountType::BIND),
        source: Some(path.to_string_lossy().into_owned()),
        target: Some(target.to_owned()),
        read_only: Some(false),
        bind_options: Some(MountBindOptions {
            propagation: Some(MountBindOptionsPropagationEnum::RPRIVATE),
            ..MountBindOptions::default()
        }),
        ..Mount::default()
    }
}

fn ulimit(name: &str, value: i64) -> ResourcesUlimits {
    ResourcesUlimits {
        name: Some(name.to_owned()),
        soft: Some(value),
        hard: Some(value),
    }
}

/// The rules that a sandbox of any backend keeps.
pub(super) fn check(spec: &Spec) -> Result<(), Error> {
    let refuse = |reason| Err(Error::Spec { reason });
    if spec.argv.is_empty() {
        return refuse("the agent has no command");
    }
    let limits = &spec.limits;
    // Zero means "no limit" to Docker, which is not what anyone here can mean.
    if limits.memory_mb < 16 || limits.pids < 4 || limits.scratch_mb == 0 {
        return refuse("its limits are too small to run anything");
    }
    if !(limits.cpus >= 0.01 && limits.cpus <= 1024.0) {
        return refuse("its share of processors is not between 0.01 and 1024");
    }
    if let Some((key, _)) = spec
        .env
        .iter()
        .find(|(key, value)| key.is_empty() || key.contains(['=', '\0']) || value.contains('\0'))
    {
        tracing::debug!(key, "environment refused");
        return refuse("a name or value of its environment is not valid");
    }
    if let Some(runtime) = &spec.runtime {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        if runtime.is_empty() || runtime.len() > 128 || !runtime.chars().all(plain) {
            return refuse("its runtime is not the name of one");
        }
    }
    for path in spec.workspace.iter().chain(&spec.state) {
        let plain = path
            .components()
            .all(|part| !matches!(part, std::path::Component::ParentDir));
        if !path.is_absolute() || !plain || path.parent().is_none() || path.to_str().is_none() {
            return refuse("its workspace or state is not an absolute path below the root");
        }
        if path.starts_with("/proc") || path.starts_with("/sys") || path.starts_with("/dev") {
            return refuse("its workspace or state is a part of the system");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{ImageId, Limits};
    use super::*;

    const ALICE: HostUser = HostUser {
        uid: 1234,
        gid: 5678,
    };

    fn spec() -> Spec {
        Spec {
            name: "treefort-x".to_owned(),
            image: ImageId::from("treefort/chat:0123456789ab".to_owned()),
            argv: vec!["/treefort".to_owned(), "agent-chat".to_owned()],
            env: vec![("TREEFORT_TOKEN".to_owned(), "t".to_owned())],
            limits: Limits::default(),
            labels: vec![("treefort.agent".to_owned(), "chat".to_owned())],
            workspace: None,
            state: None,
            private: Vec::new(),
            runtime: None,
        }
    }

    fn with_workspace(path: &str) -> Spec {
        Spec {
            workspace: Some(path.into()),
            ..spec()
        }
    }

    fn body(spec: &Spec) -> (ContainerCreateBody, HostConfig) {
        let mut body = create_body(spec, "home-1", ALICE, 4096).unwrap();
        let host = body.host_config.take().unwrap();
        (body, host)
    }

    #[test]
    fn has_no_network_and_no_ports() {
        let (body, host) = body(&spec());
        assert_eq!(host.network_mode.as_deref(), Some("none"));
        assert_eq!(body.network_disabled, Some(true));
        assert_eq!(host.port_bindings, None);
        assert_eq!(host.publish_all_ports, Some(false));
        assert_eq!(body.exposed_ports, None);
        assert_eq!((host.links, host.extra_hosts, host.dns), (None, None, None));
    }

    #[test]
    fn has_no_privileges_and_cannot_gain_any() {
        let (_, host) = body(&spec());
        assert_eq!(host.cap_drop, Some(vec!["ALL".to_owned()]));
        assert_eq!(host.cap_add, None);
        assert_eq!(host.privileged, Some(false));
        // Exactly this: no `seccomp=` and no `apparmor=` that would replace the defaults.
        assert_eq!(
            host.security_opt,
            Some(vec!["no-new-privileges".to_owned()])
        );
        assert_eq!((host.masked_paths, host.readonly_paths), (None, None));
        assert_eq!(host.sysctls, None);
    }

    #[test]
    fn shares_no_namespace_with_the_host() {
        let (_, host) = body(&spec());
        assert_eq!(host.ipc_mode.as_deref(), Some("private"));
        assert_eq!(
            host.cgroupns_mode,
            Some(HostConfigCgroupnsModeEnum::PRIVATE)
        );
        // Unset means private.
        assert_eq!(
            (host.pid_mode, host.uts_mode, host.userns_mode),
            (None, None, None)
        );
        assert_eq!(host.cgroup_parent, None);
        assert_eq!(host.group_add, None);
    }

    #[test]
    fn sees_no_devices_and_no_files_of_the_host() {
        let (body, host) = body(&spec());
        assert_eq!((host.devices, host.device_requests), (None, None));
        assert_eq!(host.device_cgroup_rules, None);
        assert_eq!((host.binds, host.mounts), (None, None));
        assert_eq!((host.volumes_from, body.volumes), (None, None));
    }

    #[test]
    fn writes_only_to_bounded_memory() {
        let (_, host) = body(&spec());
        assert_eq!(host.readonly_rootfs, Some(true));
        let tmpfs = host.tmpfs.unwrap();
        assert_eq!(tmpfs.len(), 2);
        for (path, options) in &tmpfs {
            for needed in ["rw", "nosuid", "nodev", "noexec", "size=268435456"] {
                assert!(options.split(',').any(|o| o == needed), "{path}: {needed}");
            }
        }
        assert!(tmpfs["/home/agent"].contains("uid=1000,gid=1000,mode=0700"));
        assert_eq!(host.shm_size, Some(64 * 1024 * 1024));
    }

    #[test]
    fn is_limited_in_memory_processors_processes_and_files() {
        let (_, host) = body(&spec());
        assert_eq!(host.memory, Some(1024 * 1024 * 1024));
        assert_eq!(host.memory_swap, host.memory);
        assert_eq!(host.nano_cpus, Some(1_500_000_000));
        assert_eq!(host.pids_limit, Some(256));
        assert_eq!(host.oom_kill_disable, None);
        let ulimits = host.ulimits.unwrap();
        assert_eq!(
            ulimits,
            [
                ulimit("nofile", 4096),
                ulimit("core", 1),
                ulimit("fsize", 4096)
            ]
        );
    }

    #[test]
    fn leaves_nothing_in_the_engine() {
        let (body, host) = body(&spec());
        assert_eq!(host.log_config.unwrap().typ.as_deref(), Some("none"));
        assert_eq!(
            host.restart_policy.unwrap().name,
            Some(RestartPolicyNameEnum::NO)
        );
        assert_eq!(host.auto_remove, Some(false));
        assert_eq!(body.labels.unwrap()["treefort.home"], "home-1");
    }

    #[test]
    fn labels_of_a_spec_cannot_claim_another_home() {
        let mut spec = spec();
        spec.labels
            .push((LABEL_HOME.to_owned(), "other".to_owned()));
        let (body, _) = body(&spec);
        assert_eq!(body.labels.unwrap()[LABEL_HOME], "home-1");
    }

    #[test]
    fn runs_our_init_with_the_agent_as_its_child() {
        let (body, host) = body(&spec());
        assert_eq!(body.entrypoint.unwrap(), ["/treefort"]);
        assert_eq!(
            body.cmd.unwrap(),
            ["sandbox-init", "--", "/treefort", "agent-chat"]
        );
        assert_eq!(host.init, Some(false));
        assert_eq!(body.tty, Some(false));
        assert_eq!((body.open_stdin, body.stdin_once), (Some(true), Some(true)));
    }

    #[test]
    fn user_is_the_owner_of_the_workspace_and_never_root() {
        let user = |spec: &Spec, uid, gid| {
            create_body(spec, "h", HostUser { uid, gid }, 4096)
                .unwrap()
                .user
                .unwrap()
        };
        let bound = with_workspace("/home/alice/project");
        assert_eq!(user(&spec(), 1234, 5678), "1000:1000");
        assert_eq!(user(&bound, 1234, 5678), "1234:5678");
        assert_eq!(user(&bound, 0, 0), "1000:1000");
        assert_eq!(user(&bound, 1234, 0), "1234:1000");
    }

    #[test]
    fn binds_the_workspace_and_nothing_else() {
        let (body, host) = body(&with_workspace("/home/alice/project"));
        assert_eq!(body.working_dir.as_deref(), Some("/workspace"));
        assert_eq!(host.binds, None);
        let [mount] = host.mounts.unwrap().try_into().unwrap();
        assert_eq!(mount.typ, Some(MountType::BIND));
        assert_eq!(mount.source.as_deref(), Some("/home/alice/project"));
        assert_eq!(mount.target.as_deref(), Some("/workspace"));
        assert_eq!(
            mount.bind_options.unwrap().propagation,
            Some(MountBindOptionsPropagationEnum::RPRIVATE)
        );
    }

    #[test]
    fn refuses_a_workspace_that_is_not_a_folder_of_its_own() {
        for path in [
            "/",
            "relative",
            "/home/../etc",
            "/proc/1",
            "/dev",
            "/sys/fs",
        ] {
            let refused = create_body(&with_workspace(path), "h", ALICE, 4096);
            assert!(matches!(refused, Err(Error::Spec { .. })), "{path}");
        }
    }

    #[test]
    fn refuses_what_docker_would_read_as_no_limit() {
        let break_it: [fn(&mut Limits); 5] = [
            |l| l.memory_mb = 0,
            |l| l.pids = 0,
            |l| l.scratch_mb = 0,
            |l| l.cpus = 0.0,
            |l| l.cpus = f64::NAN,
        ];
        for change in break_it {
            let mut spec = spec();
            change(&mut spec.limits);
            let refused = create_body(&spec, "h", ALICE, 4096);
            assert!(matches!(refused, Err(Error::Spec { .. })));
        }
    }

    #[test]
    fn runs_in_the_runtime_that_is_asked_for() {
        assert_eq!(body(&spec()).1.runtime, None);
        let with = |name: &str| Spec {
            runtime: Some(name.to_owned()),
            ..spec()
        };
        assert_eq!(body(&with("runsc")).1.runtime.as_deref(), Some("runsc"));
        for name in ["", "a b", "../runc", "runc\n"] {
            let refused = create_body(&with(name), "h", ALICE, 4096);
            assert!(matches!(refused, Err(Error::Spec { .. })), "{name}");
        }
    }

    #[test]
    fn refuses_an_empty_command_and_a_broken_environment() {
        let mut empty = spec();
        empty.argv.clear();
        assert!(create_body(&empty, "h", ALICE, 4096).is_err());
        for key in ["", "A=B", "A\0"] {
            let mut broken = spec();
            broken.env.push((key.to_owned(), String::new()));
            assert!(create_body(&broken, "h", ALICE, 4096).is_err());
        }
    }
}
