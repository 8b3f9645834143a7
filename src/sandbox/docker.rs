//! The Docker backend: [`DockerRuntime`]. With `docker_*.rs` and [`super::image`] it is the only
//! user of bollard.
//!
//! Each sandbox has one supervisor task (`docker_run.rs`), which owns its container from creation
//! to removal; the runtime owns the supervisors. So a container is removed however its user goes
//! away, and [`Runtime::shutdown`] waits for all of them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptions, RemoveContainerOptions};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Mutex as AsyncMutex, oneshot};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::docker_client::Address;
use super::docker_run::{Launch, supervise};
use super::docker_spec::{HostUser, create_body};
use super::image::{self, Hashes};
use super::image_build;
use super::{
    Config, Control, Error, Found, Image, ImageId, LABEL_HOME, Leftovers, Probe, Progress, Runtime,
    Sandbox, Spec, docker_clean,
};

/// Sandboxes as containers of this machine's Docker Engine.
#[derive(Debug)]
pub struct DockerRuntime {
    home_id: String,
    config: Config,
    /// The last client that answered.
    client: Mutex<Option<Docker>>,
    hashes: AsyncMutex<Hashes>,
    /// One build at a time: two of the same image would do the work twice.
    building: AsyncMutex<()>,
    supervisors: TaskTracker,
    cancelled: CancellationToken,
}

impl DockerRuntime {
    /// A runtime for the home with this id, which its containers are labelled with. The engine is
    /// not asked before it is needed.
    pub fn new(home_id: impl Into<String>) -> Self {
        Self {
            home_id: home_id.into(),
            config: Config::default(),
            client: Mutex::new(None),
            hashes: AsyncMutex::default(),
            building: AsyncMutex::default(),
            supervisors: TaskTracker::new(),
            cancelled: CancellationToken::new(),
        }
    }

    /// The same, as its owner configured it.
    #[must_use]
    pub fn with_config(mut self, config: Config) -> Self {
        self.config = config;
        self
    }

    async fn client(&self) -> Result<Docker, Error> {
        let known = self
            .client
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(docker) = known {
            return Ok(docker);
        }
        let docker = Address::from_env()?.connect().await?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker.clone());
        Ok(docker)
    }

    async fn probe_inner(&self) -> Result<Probe, Error> {
        // Always anew: the answer is about now, and the engine may have been replaced.
        let address = Address::from_env()?;
        let docker = address.connect().await?;
        let probe = address.probe(&docker, &self.config).await?;
        *self.client.lock().unwrap_or_else(PoisonError::into_inner) = Some(docker);
        Ok(probe)
    }

    async fn prepare_inner(
        &self,
        image: &Image,
        progress: Option<Progress>,
    ) -> Result<ImageId, Error> {
        let docker = self.client().await?;
        let named = image::name(image, &mut *self.hashes.lock().await).await?;
        // What is there does not wait for another image's build.
        if let Some((digest, _)) = image::look(&docker, &named.tag).await? {
            return Ok(digest);
        }
        let _alone = self.building.lock().await;
        image_build::build(&docker, image, &named, &self.home_id, progress.as_ref()).await?;
        match image::look(&docker, &named.tag).await? {
            Some((digest, _)) => Ok(digest),
            None => Err(Error::ImageMissing { image: named.tag }),
        }
    }

    async fn find_inner(&self, image: &Image) -> Result<Found, Error> {
        let docker = self.client().await?;
        let named = image::name(image, &mut *self.hashes.lock().await).await?;
        let size = image::size(&docker, &named.tag).await?;
        Ok(size.map_or(Found::NotBuilt, |bytes| Found::Image {
            id: ImageId::from(named.tag),
            bytes,
        }))
    }

    async fn start_inner(&self, mut spec: Spec) -> Result<Sandbox, Error> {
        spec.runtime = spec
            .runtime
            .or_else(|| self.config.runtime().map(str::to_owned));
        let body = create_body(
            &spec,
            &self.home_id,
            HostUser::current(),
            self.config.quota().bytes,
        )?;
        let docker = self.client().await?;
        if self.cancelled.is_cancelled() {
            return Err(Error::ShuttingDown);
        }
        let (control, commands) = Control::new(&self.cancelled);
        let (ready, started) = oneshot::channel();
        let launch = Launch {
            docker,
            name: spec.name,
            image: spec.image.to_string(),
            runtime: spec.runtime,
            body,
        };
        self.supervisors.spawn(supervise(launch, commands, ready));
        let parts = started.await.map_err(|_| Error::ShuttingDown)??;
        Ok(Sandbox {
            id: parts.id,
            agent: parts.agent,
            stderr: parts.stderr,
            http: parts.http,
            net: parts.net,
            inward: parts.inward,
            exit: control.exit(),
            control,
        })
    }

    async fn sweep_inner(&self) -> Result<usize, Error> {
        let docker = self.client().await?;
        let label = format!("{LABEL_HOME}={}", self.home_id);
        let options = ListContainersOptions {
            all: true,
            filters: Some(HashMap::from([("label".to_owned(), vec![label])])),
            ..ListContainersOptions::default()
        };
        let found = docker
            .list_containers(Some(options))
            .await
            .map_err(engine("list its containers"))?;
        let mut removed = 0;
        for id in found.into_iter().filter_map(|container| container.id) {
            remove(&docker, &id).await?;
            removed += 1;
        }
        Ok(removed)
    }
}

impl Runtime for DockerRuntime {
    fn kind(&self) -> &'static str {
        "docker"
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, Error>> {
        self.probe_inner().boxed()
    }

    fn find<'a>(&'a self, image: &'a Image) -> BoxFuture<'a, Result<Found, Error>> {
        self.find_inner(image).boxed()
    }

    fn prepare<'a>(
        &'a self,
        image: &'a Image,
        progress: Option<Progress>,
    ) -> BoxFuture<'a, Result<ImageId, Error>> {
        self.prepare_inner(image, progress).boxed()
    }

    fn start(&self, spec: Spec) -> BoxFuture<'_, Result<Sandbox, Error>> {
        self.start_inner(spec).boxed()
    }

    fn sweep(&self) -> BoxFuture<'_, Result<usize, Error>> {
        self.sweep_inner().boxed()
    }

    fn leftovers(&self) -> BoxFuture<'_, Result<Leftovers, Error>> {
        async { docker_clean::leftovers(&self.client().await?, &self.home_id).await }.boxed()
    }

    fn clean(&self, images: bool) -> BoxFuture<'_, Result<Leftovers, Error>> {
        async move { docker_clean::clean(&self.client().await?, &self.home_id, images).await }
            .boxed()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async {
            self.cancelled.cancel();
            self.supervisors.close();
            self.supervisors.wait().await;
        }
        .boxed()
    }
}

/// Removes a container whatever it does. One that is gone, or that is being removed, is fine.
pub(super) async fn remove(docker: &Docker, id: &str) -> Result<(), Error> {
    let options = RemoveContainerOptions {
        force: true,
        v: true,
        link: false,
    };
    match docker.remove_container(id, Some(options)).await {
        Err(error) if !matches!(status(&error), Some(404 | 409)) => {
            Err(engine("remove a container")(error))
        }
        _ => Ok(()),
    }
}

/// The HTTP status of an engine's refusal.
pub(super) fn status(error: &bollard::errors::Error) -> Option<u16> {
    match error {
        bollard::errors::Error::DockerResponseServerError { status_code, .. } => Some(*status_code),
        _ => None,
    }
}

/// Names what an engine failed at.
pub(super) fn engine(action: &'static str) -> impl Fn(bollard::errors::Error) -> Error {
    move |error| Error::Engine {
        action,
        source: error.into(),
    }
}
