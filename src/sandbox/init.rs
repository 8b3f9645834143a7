//! PID 1 of a sandbox: `/treefort sandbox-init -- <agent…>`.
//!
//! It starts the agent, carries its standard streams and every TCP connection to
//! `127.0.0.1:11434`, and to `127.0.0.1:3128` where the host said that there is a proxy, over its own standard input and output ([`super::mux`] is the other side), and connections
//! that the host opens to what listens here (`init_inward`). It
//! reaps whatever is left to it, and ends with the agent's exit code. When the host goes away, so
//! does everything in the sandbox. The only files that it touches are those that
//! it writes into the agent's home before the agent starts (`init_files`). The agent, which has the same user
//! id, cannot trace it or open its streams.

use std::ffi::OsString;
use std::future::{Future, poll_fn};
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::Duration;

use rustix::fs::FileType;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::net::{TcpListener, UnixStream};
use tokio::process::{ChildStderr, ChildStdin, ChildStdout};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::task::JoinSet;
use tokio_util::compat::{Compat, FuturesAsyncReadCompatExt, TokioAsyncReadCompatExt};
use tokio_util::sync::CancellationToken;

use super::duplex::Duplex;
use super::mux::{Tag, yamux_config};
use super::{
    AGENT_HOME, MODEL_PORT, NETWORK_VARIABLE, PROXY_PORT, STATE, init_files, init_inward,
    init_state,
};

/// The name of the hidden subcommand.
pub const SUBCOMMAND: &str = "sandbox-init";
/// What the host says to have everything else stand still, and go on.
pub(super) const STOP: u8 = b's';
pub(super) const GO_ON: u8 = b'g';
/// Connections at once; further ones wait in the listener's backlog. Fewer than the host allows,
/// since the host may notice later than we do that one is closed.
const MAX_CONNECTIONS: usize = 48;
/// The same of connections to the host's proxy.
const MAX_PROXIED: usize = 24;
/// Streams of the host that wait to be looked at.
const INWARD_WAITING: usize = 64;
/// How long output may still come after the agent has ended, from what it left running.
const DRAIN: Duration = Duration::from_secs(2);

/// The agent's command if the program's arguments are those of a sandbox's init. To be asked
/// before any other reading of the command line.
pub fn is_init_invocation(args: impl IntoIterator<Item = OsString>) -> Option<Vec<OsString>> {
    let mut args = args.into_iter().skip(1);
    if args.next()? != SUBCOMMAND {
        return None;
    }
    let mut argv: Vec<OsString> = args.collect();
    if argv.first().is_some_and(|first| first == "--") {
        argv.remove(0);
    }
    Some(argv)
}

/// Runs the agent and returns its exit code; 125 when the sandbox itself could not be set up, 126
/// when the agent could not be started, 127 when its program is not there.
pub fn run(argv: &[OsString]) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let code = match runtime {
        Ok(runtime) => runtime.block_on(supervise(argv)),
        Err(error) => Err(error),
    };
    match code {
        Ok(code) => ExitCode::from(code),
        Err(error) => {
            // The engine carries our own standard error to the host beside the multiplexer.
            let mut stderr = io::stderr();
            let _ =
                io::Write::write_all(&mut stderr, format!("sandbox-init: {error}\n").as_bytes());
            ExitCode::from(125)
        }
    }
}

async fn supervise(argv: &[OsString]) -> io::Result<u8> {
    hide_from_the_agent()?;
    super::syscalls::restrict()?;
    if let Ok(places) = std::env::var(init_state::VARIABLE) {
        let (home, kept) = (
            std::path::Path::new(AGENT_HOME),
            std::path::Path::new(STATE),
        );
        init_state::link(home, kept, &places)?;
    }
    if let Ok(files) = std::env::var(init_files::VARIABLE) {
        init_files::write(std::path::Path::new(AGENT_HOME), &files)?;
    }
    let mut child_signals = signal(SignalKind::child())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut line = line()?;

    let stdin = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
    let stdout = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
    let (opener, inward, driver) = connect(tokio::io::join(stdin, stdout));
    let closing = CancellationToken::new();
    let mut driver = std::pin::pin!(driver(closing.clone()));

    // Listening before the agent starts, so that its first connection succeeds.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, MODEL_PORT)).await?;

    let mut tasks = JoinSet::new();
    tasks.spawn(serve(listener, Tag::Http, MAX_CONNECTIONS, opener.clone()));
    if std::env::var_os(NETWORK_VARIABLE).is_some() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, PROXY_PORT)).await?;
        tasks.spawn(serve(listener, Tag::Net, MAX_PROXIED, opener.clone()));
    }
    tasks.spawn(init_inward::serve(inward));

    let mut output = JoinSet::new();
    let agent = match spawn(argv) {
        Ok(agent) => agent,
        Err(error) => {
            let code = if error.kind() == io::ErrorKind::NotFound {
                127
            } else {
                126
            };
            let message = format!("cannot start the agent: {error}\n");
            output.spawn(async move {
                if let Some(mut stream) = opener.open(Tag::Stderr).await {
                    let _ = stream.write_all(message.as_bytes()).await;
                    let _ = stream.shutdown().await;
                }
            });
            finish(&mut output, &closing, driver).await;
            return Ok(code);
        }
    };
    let pid = agent.pid;
    let ended = CancellationToken::new();
    output.spawn(carry_stdio(
        agent.stdin,
        agent.stdout,
        opener.clone(),
        ended.clone(),
    ));
    output.spawn(carry_stderr(agent.stderr, opener));

    let code = loop {
        tokio::select! {
            _ = child_signals.recv() => {
                if let Some(code) = reap(pid) {
                    break code;
                }
            }
            _ = terminate.recv() => signal_agent(pid, Signal::TERM),
            _ = interrupt.recv() => signal_agent(pid, Signal::INT),
            word = told(&mut line) => match word {
                STOP => signal_all_others(Signal::STOP),
                GO_ON => signal_all_others(Signal::CONT),
                _ => {}
            },
            () = &mut driver => {
                // The host is gone. Our own exit takes everything else in this PID namespace along.
                signal_agent(pid, Signal::KILL);
                return Ok(137);
            }
        }
    };
    ended.cancel();
    finish(&mut output, &closing, driver).await;
    drop(tasks);
    Ok(code)
}

/// Lets output that is under way reach the host, then says goodbye.
async fn finish(
    output: &mut JoinSet<()>,
    closing: &CancellationToken,
    mut driver: std::pin::Pin<&mut impl Future<Output = ()>>,
) {
    let drained = async { while output.join_next().await.is_some() {} };
    tokio::select! {
        () = drained => {}
        () = tokio::time::sleep(DRAIN) => {}
        () = &mut driver => return,
    }
    closing.cancel();
    // A host that does not read keeps us no longer than this.
    let _ = tokio::time::timeout(DRAIN, driver).await;
}

/// The agent runs under our user id. Not dumpable means that it may neither trace us nor open
/// `/proc/1/fd` or `/proc/1/environ`, so that it cannot write into the multiplexer behind our back.
#[cfg(target_os = "linux")]
fn hide_from_the_agent() -> io::Result<()> {
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    Ok(())
}

#[cfg(not(target_os = "linux"))]
fn hide_from_the_agent() -> io::Result<()> {
    Err(io::ErrorKind::Unsupported.into())
}

struct Agent {
    pid: Pid,
    stdin: ChildStdin,
    stdout: ChildStdout,
    stderr: ChildStderr,
}

/// Starts the agent in a process group of its own. It is waited for by [`reap`] and by nothing
/// else: one reaper cannot steal another's child.
fn spawn(argv: &[OsString]) -> io::Result<Agent> {
    let (program, args) = argv.split_first().ok_or(io::ErrorKind::NotFound)?;
    let mut child = Command::new(program)
        .args(args)
        .env_remove(init_files::VARIABLE)
        .env_remove(NETWORK_VARIABLE)
        .env_remove(init_state::VARIABLE)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()?;
    let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
    Ok(Agent {
        pid: i32::try_from(child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(missing)?,
        stdin: ChildStdin::from_std(child.stdin.take().ok_or_else(missing)?)?,
        stdout: ChildStdout::from_std(child.stdout.take().ok_or_else(missing)?)?,
        stderr: ChildStderr::from_std(child.stderr.take().ok_or_else(missing)?)?,
    })
}

fn signal_agent(pid: Pid, signal: Signal) {
    // The group may be gone already.
    let _ = rustix::process::kill_process_group(pid, signal);
}

/// Where the host says [`STOP`] and [`GO_ON`] when nothing else stops us all: our standard error, when that goes
/// both ways. The agent has another one.
fn line() -> io::Result<Option<UnixStream>> {
    let stderr = io::stderr().as_fd().try_clone_to_owned()?;
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&stderr)?.st_mode);
    // As any other process it would stop far more than a sandbox.
    if kind != FileType::Socket || !rustix::process::getpid().is_init() {
        return Ok(None);
    }
    let stream = std::os::unix::net::UnixStream::from(stderr);
    stream.set_nonblocking(true)?;
    Ok(Some(UnixStream::from_std(stream)?))
}

/// What the host says next; never, when there is no line.
async fn told(line: &mut Option<UnixStream>) -> u8 {
    if let Some(open) = line {
        match open.read_u8().await {
            Ok(word) => return word,
            Err(_) => *line = None,
        }
    }
    std::future::pending().await
}

/// Everything in this PID namespace but this process, in one call: no fork gets past it.
fn signal_all_others(signal: Signal) {
    // There may be nobody else. The "group" of PID 1 is what kill(2) calls -1.
    let _ = rustix::process::kill_process_group(Pid::INIT, signal);
}

/// Reaps everything that has ended: the agent, whose code is returned, and orphans.
fn reap(agent: Pid) -> Option<u8> {
    let mut code = None;
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == agent {
            code = Some(exit_code(status));
        }
    }
    code
}

fn exit_code(status: WaitStatus) -> u8 {
    let code = status
        .exit_status()
        .or_else(|| status.terminating_signal().map(|signal| 128 + signal));
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255)
}

async fn carry_stdio(
    mut stdin: ChildStdin,
    mut stdout: ChildStdout,
    opener: Opener,
    ended: CancellationToken,
) {
    let Some(stream) = opener.open(Tag::Stdio).await else {
        return;
    };
    let (mut from_host, mut to_host) = tokio::io::split(stream);
    // Owned by this task: it ends when the output does.
    let mut input = JoinSet::new();
    input.spawn(async move {
        let _ = tokio::io::copy(&mut from_host, &mut stdin).await;
        // Dropping it is the agent's end of file.
        drop(stdin);
    });
    let _ = tokio::io::copy(&mut stdout, &mut to_host).await;
    let _ = to_host.shutdown().await;
    // An agent may close its output and still read.
    tokio::select! {
        _ = input.join_next() => {}
        () = ended.cancelled() => {}
    }
}

async fn carry_stderr(mut stderr: ChildStderr, opener: Opener) {
    if let Some(mut stream) = opener.open(Tag::Stderr).await {
        let _ = tokio::io::copy(&mut stderr, &mut stream).await;
        let _ = stream.shutdown().await;
    }
}

/// Carries every connection to one of our ports to the host.
async fn serve(listener: TcpListener, tag: Tag, most: usize, opener: Opener) {
    let permits = Arc::new(Semaphore::new(most));
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok(permit) = Arc::clone(&permits).acquire_owned().await else {
            return;
        };
        let Ok((mut socket, _)) = listener.accept().await else {
            // Out of file descriptors, or the peer was quick to leave.
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        let opener = opener.clone();
        connections.spawn(async move {
            // A chat's first token should not wait for a full packet.
            let _ = socket.set_nodelay(true);
            if let Some(mut stream) = opener.open(tag).await {
                let _ = tokio::io::copy_bidirectional(&mut socket, &mut stream).await;
            }
            drop(permit);
        });
    }
}

type MuxStream = Duplex<Compat<yamux::Stream>>;

/// Opens streams to the host.
#[derive(Clone)]
struct Opener {
    requests: mpsc::Sender<oneshot::Sender<yamux::Stream>>,
}

impl Opener {
    /// A new stream with its tag sent; `None` when the host is gone.
    async fn open(&self, tag: Tag) -> Option<MuxStream> {
        let (reply, stream) = oneshot::channel();
        self.requests.send(reply).await.ok()?;
        let mut stream = Duplex::new(stream.await.ok()?.compat());
        stream.write_u8(tag as u8).await.ok()?;
        stream.flush().await.ok()?;
        Some(stream)
    }
}

/// The container's side of the multiplexer: what opens streams, those that the host opened, and what moves
/// their bytes until the host is gone or the token is cancelled.
fn connect<T>(
    io: T,
) -> (
    Opener,
    mpsc::Receiver<yamux::Stream>,
    impl FnOnce(CancellationToken) -> DriverFuture,
)
where
    T: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (inward_tx, inward) = mpsc::channel(INWARD_WAITING);
    let (requests_tx, mut requests) = mpsc::channel::<oneshot::Sender<yamux::Stream>>(8);
    let mut connection = yamux::Connection::new(io.compat(), yamux_config(), yamux::Mode::Client);
    let drive = move |closing: CancellationToken| -> DriverFuture {
        Box::pin(async move {
            loop {
                tokio::select! {
                    biased;
                    () = closing.cancelled() => {
                        let _ = poll_fn(|cx| connection.poll_close(cx)).await;
                        return;
                    }
                    Some(reply) = requests.recv() => {
                        match poll_fn(|cx| connection.poll_new_outbound(cx)).await {
                            // Whoever asked may have gone; the stream is dropped then.
                            Ok(stream) => drop(reply.send(stream)),
                            Err(_) => return,
                        }
                    }
                    inbound = poll_fn(|cx| connection.poll_next_inbound(cx)) => match inbound {
                        // One too many is dropped, which resets it.
                        Some(Ok(stream)) => drop(inward_tx.try_send(stream)),
                        Some(Err(_)) | None => return,
                    },
                }
            }
        })
    };
    let opener = Opener {
        requests: requests_tx,
    };
    (opener, inward, drive)
}

type DriverFuture = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

#[cfg(test)]
mod tests {
    use super::*;

    fn args(words: &[&str]) -> Option<Vec<OsString>> {
        is_init_invocation(words.iter().map(OsString::from))
    }

    #[test]
    fn init_is_recognised_by_its_first_argument_only() {
        assert_eq!(args(&["treefort"]), None);
        assert_eq!(args(&["treefort", "up", SUBCOMMAND]), None);
        let argv = args(&[
            "/treefort",
            SUBCOMMAND,
            "--",
            "/treefort",
            "agent-chat",
            "--",
        ]);
        assert_eq!(
            argv,
            Some(
                ["/treefort", "agent-chat", "--"]
                    .map(OsString::from)
                    .to_vec()
            )
        );
        assert_eq!(args(&["t", SUBCOMMAND]), Some(Vec::new()));
    }
}
