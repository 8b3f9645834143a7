//! The life of one container: create, attach, start, carry, stop, inspect, remove.
//!
//! [`supervise`] is the one owner of a container. It removes it on every path, also when whoever
//! asked for it has gone in the middle of the start.

use std::future::Future;
use std::io;
use std::time::{Duration, Instant};

use bollard::Docker;
use bollard::container::{AttachContainerResults, LogOutput};
use bollard::models::ContainerCreateBody;
use bollard::query_parameters::{
    AttachContainerOptions, CreateContainerOptions, InspectContainerOptions, KillContainerOptions,
    StartContainerOptions, WaitContainerOptions,
};
use bytes::Bytes;
use futures_util::StreamExt;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::oneshot;
use tokio_util::io::StreamReader;
use tokio_util::sync::CancellationToken;
use tracing::Instrument;

use super::docker::{engine, remove, status};
use super::docker_pause::Container;
use super::error::clip;
use super::holds::Holds;
use super::mux::{Driver, End, Streams};
use super::{Commands, Error, Exit, Parts, Tail, start};

/// How long a container may take to end after its streams did, or after it was killed.
const END_TIMEOUT: Duration = Duration::from_secs(10);

/// What to launch.
pub(super) struct Launch {
    pub(super) docker: Docker,
    pub(super) name: String,
    pub(super) image: String,
    pub(super) runtime: Option<String>,
    pub(super) body: ContainerCreateBody,
}

/// Runs one sandbox until it ends or is told to, and removes its container.
pub(super) async fn supervise(
    launch: Launch,
    commands: Commands,
    ready: oneshot::Sender<Result<Parts, Error>>,
) {
    let span = tracing::info_span!("sandbox", name = %launch.name);
    async move {
        let docker = launch.docker.clone();
        let created = match create(&launch).await {
            Ok(id) => id,
            Err(error) => {
                // Whoever asked may have gone; the answer then interests nobody.
                let _ = ready.send(Err(error));
                return;
            }
        };
        run(&docker, &created, commands, ready).await;
    }
    .instrument(span)
    .await;
}

async fn create(launch: &Launch) -> Result<String, Error> {
    let began = Instant::now();
    let options = CreateContainerOptions {
        name: Some(launch.name.clone()),
        ..CreateContainerOptions::default()
    };
    let created = launch
        .docker
        .create_container(Some(options), launch.body.clone())
        .await
        .map_err(|error| match status(&error) {
            Some(404) => Error::ImageMissing {
                image: launch.image.clone(),
            },
            Some(_) => {
                let message = clip(&error.to_string());
                match &launch.runtime {
                    // The engine tells this from other bad requests in its words only.
                    Some(runtime) if message.to_lowercase().contains("unknown runtime") => {
                        Error::NoRuntime {
                            runtime: runtime.clone(),
                        }
                    }
                    _ => Error::Start { message },
                }
            }
            None => engine("create a container")(error),
        })?;
    tracing::debug!(elapsed_ms = ms(began), "created");
    Ok(created.id)
}

async fn run(
    docker: &Docker,
    id: &str,
    commands: Commands,
    ready: oneshot::Sender<Result<Parts, Error>>,
) {
    let Commands {
        stop,
        requests,
        cancelled,
        exit,
    } = commands;
    let stderr = Tail::default();
    let mut holds = Holds::new(Container { docker, id }, requests, stderr.clone());
    let closing = CancellationToken::new();

    let (driver, streams) = tokio::select! {
        biased;
        () = cancelled.cancelled() => return clean_up(docker, id).await,
        launched = launch(docker, id, stderr.clone()) => match launched {
            Ok(launched) => launched,
            Err(error) => {
                clean_up(docker, id).await;
                let _ = ready.send(Err(error));
                return;
            }
        }
    };
    let Streams {
        mut agent,
        http,
        net,
        inward,
    } = streams;
    let mut driver = Box::pin(driver.run(closing.clone()));
    let began = Instant::now();

    let (opened, ended) = start::opened(&mut agent, &mut driver, &cancelled).await;
    let agent = match opened {
        Ok(agent) => agent,
        Err(reason) => {
            // The engine ends no container whose output it cannot hand on, and nobody reads it here.
            drop(driver);
            if ended.is_none() {
                kill(docker, id).await;
            }
            let exit = inspect_end(docker, id).await;
            clean_up(docker, id).await;
            let error = match ended {
                Some(End::Violation(violation)) => Error::Protocol(violation),
                _ => start::failed(reason, &exit, &stderr.text()),
            };
            // Nobody waits when it was given up.
            let _ = ready.send(Err(error));
            return;
        }
    };
    tracing::debug!(elapsed_ms = ms(began), "streams open");
    let parts = Parts {
        id: id.to_owned(),
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
                end = stop_gently(docker, id, grace, &mut driver) => end,
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
    if end != Some(End::Closed) {
        let killed = async {
            kill(docker, id).await;
            // Engines wake what they kill; one that does not would leave it frozen for ever.
            holds.wake().await;
            closing.cancel();
        };
        // What it still says is read meanwhile: the engine waits for that before it ends it.
        let drained = async {
            if end.is_none() {
                driver.await;
            }
        };
        tokio::join!(killed, drained);
    }
    // Whoever would pause it now hears that it has ended.
    drop(holds);
    let mut seen = inspect_end(docker, id).await;
    seen.violation = violation;
    exit.send_replace(Some(seen));
    clean_up(docker, id).await;
    // `exit` is dropped here: whoever stops the sandbox waits for that.
}

type Attached = Driver<tokio::io::Join<BoxedReader, BoxedWriter>>;
type BoxedReader = std::pin::Pin<Box<dyn AsyncRead + Send>>;
type BoxedWriter = std::pin::Pin<Box<dyn AsyncWrite + Send>>;

/// Attaches, then starts: so no byte is lost.
async fn launch(docker: &Docker, id: &str, stderr: Tail) -> Result<(Attached, Streams), Error> {
    let began = Instant::now();
    let options = AttachContainerOptions {
        stream: true,
        stdin: true,
        stdout: true,
        stderr: true,
        ..AttachContainerOptions::default()
    };
    let attached = docker
        .attach_container(id, Some(options))
        .await
        .map_err(engine("attach to a container"))?;
    let AttachContainerResults { output, input } = attached;
    let own_stderr = stderr.clone();
    let bytes = output.filter_map(move |item| {
        let piece: Option<io::Result<Bytes>> = match item {
            Ok(LogOutput::StdOut { message }) => Some(Ok(message)),
            // Of PID 1 itself, or of the engine when it could not start it.
            Ok(LogOutput::StdErr { message } | LogOutput::Console { message }) => {
                own_stderr.push(&message);
                None
            }
            Ok(LogOutput::StdIn { .. }) => None,
            Err(error) => Some(Err(io::Error::other(error))),
        };
        std::future::ready(piece)
    });
    let reader: BoxedReader = Box::pin(StreamReader::new(bytes));
    let (driver, streams) = Driver::new(tokio::io::join(reader, input), stderr);
    tracing::debug!(elapsed_ms = ms(began), "attached");

    let began = Instant::now();
    docker
        .start_container(id, None::<StartContainerOptions>)
        .await
        .map_err(|error| match status(&error) {
            Some(_) => Error::Start {
                message: clip(&error.to_string()),
            },
            None => engine("start a container")(error),
        })?;
    tracing::debug!(elapsed_ms = ms(began), "started");
    Ok((driver, streams))
}

/// SIGTERM, and as long as `grace` for the streams to end; `None` when they did not.
async fn stop_gently(
    docker: &Docker,
    id: &str,
    grace: Duration,
    driver: &mut (impl Future<Output = End> + Unpin),
) -> Option<End> {
    if grace.is_zero() {
        return None;
    }
    let began = Instant::now();
    let options = KillContainerOptions {
        signal: "SIGTERM".to_owned(),
    };
    tokio::select! {
        biased;
        end = &mut *driver => return Some(end),
        sent = docker.kill_container(id, Some(options)) => {
            if let Err(error) = sent {
                tracing::debug!(%error, "could not ask the sandbox to end");
            }
        }
    }
    let left = grace.saturating_sub(began.elapsed());
    tokio::time::timeout(left, driver).await.ok()
}

async fn kill(docker: &Docker, id: &str) {
    let options = KillContainerOptions {
        signal: "SIGKILL".to_owned(),
    };
    let killed = docker.kill_container(id, Some(options));
    match tokio::time::timeout(END_TIMEOUT, killed).await {
        Ok(Ok(())) => {}
        // It may have ended by itself: 409.
        Ok(Err(error)) => tracing::debug!(%error, "could not kill the container"),
        Err(_) => tracing::warn!("the engine is slow to kill the container"),
    }
}

/// Waits until the container is not running, killing it when it takes too long, and reads how it
/// ended.
async fn inspect_end(docker: &Docker, id: &str) -> Exit {
    let ended = async {
        let options = WaitContainerOptions {
            condition: "not-running".to_owned(),
        };
        // The code is read below; a non-zero one is an error to bollard.
        let _ = docker.wait_container(id, Some(options)).next().await;
    };
    if tokio::time::timeout(END_TIMEOUT, ended).await.is_err() {
        kill(docker, id).await;
    }
    let inspected = docker
        .inspect_container(id, None::<InspectContainerOptions>)
        .await;
    match inspected {
        Ok(container) => {
            let state = container.state.unwrap_or_default();
            Exit {
                code: state.exit_code,
                oom: state.oom_killed.unwrap_or(false),
                violation: None,
            }
        }
        Err(error) => {
            tracing::warn!(%error, "cannot see how the container ended");
            Exit::default()
        }
    }
}

async fn clean_up(docker: &Docker, id: &str) {
    if let Err(error) = remove(docker, id).await {
        // The next start of this home sweeps it.
        tracing::warn!(%error, "container is left behind");
    }
}

fn ms(began: Instant) -> u64 {
    u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX)
}
