//! The life of one embedded sandbox on the host's side: start, carry, stop, and what is left when it ended.
//!
//! [`supervise`] owns its first process and its control group; both are gone when it returns.

use std::future::Future;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::cgroup::{Group, Places};
use super::pause::{First, Processes};
use super::plan::{MAPPED, Maps, Plan, STARTED, UNMAPPED};
use super::step::{Failure, Step, at};
use super::{enter, freeze, refused};
use crate::sandbox::error::clip;
use crate::sandbox::holds::Holds;
use crate::sandbox::mux::{Driver, End, Streams};
use crate::sandbox::start::{self, READY_TIMEOUT};
use crate::sandbox::{AGENT_ID, Commands, Error, Exit, Limits, Parts, Tail};

/// How long a sandbox may take to end after its streams did, or after it was told to.
const END_TIMEOUT: Duration = Duration::from_secs(5);
/// What is read of the first process's own standard error.
const WORDS: u64 = 16 * 1024;

/// What to launch.
pub(super) struct Launch {
    pub(super) name: String,
    pub(super) plan: Plan,
    /// What it begins as.
    pub(super) program: PathBuf,
    pub(super) maps: Maps,
    pub(super) limits: Limits,
    /// MiB that one process may reserve beside what it may use.
    pub(super) reserved_mb: u32,
    pub(super) places: Arc<Places>,
    /// In front of the names of this home's groups.
    pub(super) prefix: String,
}

/// A started sandbox's first process.
struct Running {
    child: Child,
    pid: u32,
    first: Option<First>,
    /// Who reads what the sandbox's own processes say.
    words: JoinHandle<()>,
    group: Option<Arc<Group>>,
}

/// Runs one sandbox until it ends or is told to.
pub(super) async fn supervise(
    launch: Launch,
    commands: Commands,
    ready: oneshot::Sender<Result<Parts, Error>>,
) {
    let span = tracing::info_span!("sandbox", name = %launch.name);
    run(launch, commands, ready).instrument(span).await;
}

async fn run(launch: Launch, commands: Commands, ready: oneshot::Sender<Result<Parts, Error>>) {
    let Commands {
        stop,
        requests,
        cancelled,
        exit,
    } = commands;
    let began = Instant::now();
    let name = launch.name.clone();
    let stderr = Tail::default();
    let closing = CancellationToken::new();
    let (mut running, first, stdin, stdout) = match self::launch(launch, stderr.clone()).await {
        Ok(started) => started,
        Err(error) => {
            // Whoever asked may have gone; the answer then interests nobody.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let (driver, streams) = Driver::new(tokio::io::join(stdout, stdin), stderr.clone());
    let how = Processes {
        group: running.group.clone(),
        first,
    };
    let mut holds = Holds::new(how, requests, stderr.clone());
    let Streams {
        mut agent,
        http,
        net,
        inward,
    } = streams;
    let mut driver = Box::pin(driver.run(closing.clone()));
    let (opened, ended) = start::opened(&mut agent, &mut driver, &cancelled).await;
    let agent = match opened {
        Ok(agent) => agent,
        Err(reason) => {
            drop(driver);
            let exit = running
                .end(ended == Some(End::Closed), Some(&mut holds))
                .await;
            let error = match ended {
                Some(End::Violation(violation)) => Error::Protocol(violation),
                _ => refused::words(reason, &exit, &stderr.text()),
            };
            // Nobody waits when it was given up.
            let _ = ready.send(Err(error));
            return;
        }
    };
    let elapsed_ms = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    tracing::debug!(elapsed_ms, "streams open");
    let parts = Parts {
        id: name,
        agent,
        stderr,
        http,
        net,
        inward,
    };
    // When nobody takes it, its control was dropped and `cancelled` says so below.
    let _ = ready.send(Ok(parts));

    let end = match ended {
        Some(end) => Some(end),
        None => tokio::select! {
            biased;
            end = &mut driver => Some(end),
            () = cancelled.cancelled() => None,
            grace = holds.serve(stop) => tokio::select! {
                end = running.stop_gently(grace, &mut driver) => end,
                () = cancelled.cancelled() => None,
            },
        },
    };
    let violation = match end {
        Some(End::Violation(violation)) => {
            tracing::warn!(%violation, "sandbox broke the multiplexer's rules");
            Some(violation)
        }
        _ => None,
    };
    closing.cancel();
    drop(driver);
    let mut seen = running
        .end(end == Some(End::Closed), Some(&mut holds))
        .await;
    // Whoever would pause it now hears that it has ended.
    drop(holds);
    seen.violation = violation;
    exit.send_replace(Some(seen));
    // `exit` is dropped here: whoever stops the sandbox waits for that.
}

async fn launch(
    launch: Launch,
    stderr: Tail,
) -> Result<(Running, First, ChildStdin, ChildStdout), Error> {
    let Launch {
        name,
        mut plan,
        program,
        maps,
        limits,
        reserved_mb,
        places,
        prefix,
    } = launch;
    let failed = |error: io::Error| Error::Start {
        message: clip(&error.to_string()),
    };
    let holds = places.holds();
    let group = group(places, format!("{prefix}{name}"), limits).await?;
    if !holds.memory {
        plan.process_mb = Some(limits.memory_mb.saturating_add(reserved_mb));
    }
    // Only the processes that build the sandbox write here: the agent has a stream of its own. The other way its
    // PID 1 is told to have the rest stand still.
    let line = UnixStream::pair().and_then(|(line, theirs)| {
        line.set_nonblocking(true)?;
        Ok((line.try_clone()?, line, theirs))
    });
    let (heard, line, theirs) = match line {
        Ok(both) => both,
        Err(error) => {
            if let Some(group) = group {
                remove(group).await;
            }
            return Err(failed(error));
        }
    };
    let spawned = Command::new(program)
        .arg(enter::SUBCOMMAND)
        .args(group.as_ref().and_then(|group| group.freezer()))
        .env_clear()
        .current_dir("/")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::from(OwnedFd::from(theirs)))
        .kill_on_drop(true)
        .spawn();
    let mut child = match spawned {
        Ok(child) => child,
        Err(error) => {
            if let Some(group) = group {
                remove(group).await;
            }
            return Err(failed(error));
        }
    };
    let missing = || failed(io::ErrorKind::BrokenPipe.into());
    let pid = child.id().ok_or_else(missing)?;
    let mut stdin = child.stdin.take().ok_or_else(missing)?;
    let mut stdout = child.stdout.take().ok_or_else(missing)?;
    let words = tokio::net::UnixStream::from_std(heard).map_err(failed)?;
    let own = stderr.clone();
    let words = tokio::spawn(async move {
        let mut bytes = Vec::new();
        // What was read until an error is all that there is.
        let _ = words.take(WORDS).read_to_end(&mut bytes).await;
        own.push(&bytes);
    });
    let mut running = Running {
        child,
        pid,
        first: None,
        words,
        group,
    };
    let prepared = async {
        at(Step::Start, stdin.write_all(&[maps.byte()]).await)?;
        if maps == Maps::Host {
            at(Step::Maps, expect(&mut stdout, UNMAPPED).await)?;
            at(Step::Maps, write_maps(pid).await)?;
            at(Step::Maps, stdin.write_all(&[MAPPED]).await)?;
        }
        at(Step::Start, expect(&mut stdout, STARTED).await)?;
        let first = at(Step::Start, running.take_first(Arc::new(line)).await)?;
        let plan = at(Step::Plan, plan.to_bytes())?;
        at(Step::Plan, stdin.write_all(&plan).await)?;
        at(Step::Plan, stdin.flush().await)?;
        Ok(first)
    };
    let outcome = tokio::time::timeout(READY_TIMEOUT, prepared).await;
    let late = |_| Err(Failure::new(Step::Start, io::ErrorKind::TimedOut));
    match outcome.unwrap_or_else(late) {
        Ok(first) => Ok((running, first, stdin, stdout)),
        Err(failure) => {
            drop((stdin, stdout));
            let exit = running.end(true, None).await;
            let (step, said) = failure.parts();
            // What the sandbox says of it is that treefort was gone.
            Err(if failure.is_the_end() {
                refused::words(&said, &exit, &stderr.text())
            } else {
                refused::at(step, &said)
            })
        }
    }
}

async fn expect(stdout: &mut ChildStdout, wanted: u8) -> io::Result<()> {
    let mut byte = [0];
    stdout.read_exact(&mut byte).await?;
    if byte[0] == wanted {
        Ok(())
    } else {
        Err(io::ErrorKind::InvalidData.into())
    }
}

/// Root inside is root outside until the sandbox is built, then the agent's user is in both.
async fn write_maps(pid: u32) -> io::Result<()> {
    let map = format!("0 0 1\n{AGENT_ID} {AGENT_ID} 1\n");
    tokio::fs::write(format!("/proc/{pid}/uid_map"), &map).await?;
    tokio::fs::write(format!("/proc/{pid}/gid_map"), &map).await
}

/// The sandbox's control group; none where there cannot be any. Where one can be it has to be: less than what
/// the session's start said never runs.
async fn group(
    places: Arc<Places>,
    name: String,
    limits: Limits,
) -> Result<Option<Arc<Group>>, Error> {
    if !places.holds().memory && !places.holds().pids {
        return Ok(None);
    }
    let made = tokio::task::spawn_blocking(move || places.make(&name, &limits));
    match made.await {
        Ok(Ok(group)) => Ok(Some(Arc::new(group))),
        Ok(Err(error)) => Err(Error::Start {
            message: clip(&format!("its control group could not be made: {error}")),
        }),
        Err(_) => Err(Error::ShuttingDown),
    }
}

async fn remove(group: Arc<Group>) -> bool {
    let done = tokio::task::spawn_blocking(move || {
        let oom = group.out_of_memory();
        group.remove();
        oom
    });
    done.await.unwrap_or(false)
}

impl Running {
    /// Finds PID 1, which has begun and waits for its plan, and takes it into the control group.
    async fn take_first(&mut self, line: Arc<UnixStream>) -> io::Result<First> {
        let (launcher, group) = (self.pid, self.group.clone());
        let taken = tokio::task::spawn_blocking(move || {
            let [first] = freeze::children(launcher)?[..] else {
                return Err(io::Error::from(io::ErrorKind::InvalidData));
            };
            let pid = i32::try_from(first).ok().and_then(Pid::from_raw);
            let pid = pid.ok_or(io::ErrorKind::InvalidData)?;
            let held = rustix::process::pidfd_open(pid, PidfdFlags::empty())?;
            if let Some(group) = group {
                group.take(first)?;
            }
            let held = Arc::new(held);
            let pid = first;
            Ok::<_, io::Error>(First { pid, held, line })
        });
        let first = taken.await??;
        self.first = Some(first.clone());
        Ok(first)
    }

    /// Ends everything in it, whatever its launcher does, and waits for that.
    async fn end_first(&mut self) {
        let Some(first) = self.first.take() else {
            return;
        };
        let ended = tokio::task::spawn_blocking(move || {
            // It may have ended long ago.
            let _ = first.signal(Signal::KILL);
            let patience = Timespec {
                tv_sec: END_TIMEOUT.as_secs().cast_signed(),
                tv_nsec: 0,
            };
            let mut events = [PollFd::new(&first.held, PollFlags::IN)];
            poll(&mut events, Some(&patience)).is_ok_and(|ready| ready > 0)
        });
        if !ended.await.unwrap_or(false) {
            tracing::warn!("what was in a sandbox does not end");
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        // Not yet waited for, so the number is still this process's.
        if let Some(pid) = pid.filter(|_| self.child.id().is_some()) {
            let _ = rustix::process::kill_process(pid, signal);
        }
    }

    /// SIGTERM, and as long as `grace` for the streams to end; `None` when they did not.
    async fn stop_gently(
        &self,
        grace: Duration,
        driver: &mut (impl Future<Output = End> + Unpin),
    ) -> Option<End> {
        if grace.is_zero() {
            return None;
        }
        self.signal(Signal::TERM);
        tokio::time::timeout(grace, driver).await.ok()
    }

    /// Waits until it has ended, ending it at once unless it is about to, and removes its group.
    async fn end(&mut self, by_itself: bool, holds: Option<&mut Holds<Processes>>) -> Exit {
        if by_itself {
            // It had said goodbye.
            let _ = tokio::time::timeout(END_TIMEOUT, self.child.wait()).await;
        }
        if let Some(group) = &self.group {
            group.ends();
        }
        // Everything inside ends with PID 1, and its end is waited for.
        self.signal(Signal::INT);
        if let Some(holds) = holds {
            holds.wake().await;
        }
        self.end_first().await;
        if tokio::time::timeout(END_TIMEOUT, self.child.wait())
            .await
            .is_err()
        {
            self.signal(Signal::KILL);
        }
        let status = self.child.wait().await;
        // All who could write have ended, so that this is heard out.
        let _ = tokio::time::timeout(END_TIMEOUT, &mut self.words).await;
        let code = status.ok().and_then(|status| {
            let signal = || status.signal().map(|signal| 128 + signal);
            status.code().or_else(signal).map(i64::from)
        });
        let Some(group) = self.group.take() else {
            return Exit {
                code,
                ..Exit::default()
            };
        };
        Exit {
            code,
            oom: remove(group).await,
            violation: None,
        }
    }
}
