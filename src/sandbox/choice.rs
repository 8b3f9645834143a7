//! Which backend runs a home's sandboxes: the one that its owner named, or else Docker when it answers and
//! the kernel's own parts when it does not. The choice is made at the first need and holds until treefort
//! stops, so that one conversation does not change its walls.

use std::sync::Arc;

use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use tokio::sync::OnceCell;

use super::config::Backend;
use super::{
    Config, DockerRuntime, Error, Found, Image, ImageId, Leftovers, Probe, Progress, Runtime,
    Sandbox, Spec,
};

/// See the module.
pub struct ChosenRuntime {
    backend: Backend,
    docker: Arc<DockerRuntime>,
    #[cfg(target_os = "linux")]
    embedded: Arc<super::embedded::EmbeddedRuntime>,
    chosen: OnceCell<Arc<dyn Runtime>>,
}

impl std::fmt::Debug for ChosenRuntime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChosenRuntime")
            .field("backend", &self.backend)
            .field("chosen", &self.kind())
            .finish_non_exhaustive()
    }
}

impl ChosenRuntime {
    /// A runtime for the home with this id in this folder, as its owner configured it.
    #[must_use]
    #[cfg_attr(not(target_os = "linux"), expect(unused_variables))]
    pub fn new(home_id: &str, home: &std::path::Path, config: &Config) -> Self {
        Self {
            backend: config.backend(),
            docker: Arc::new(DockerRuntime::new(home_id).with_config(config.clone())),
            #[cfg(target_os = "linux")]
            embedded: Arc::new(
                super::embedded::EmbeddedRuntime::new(home_id, config.clone()).with_home(home),
            ),
            chosen: OnceCell::new(),
        }
    }

    /// The backend, chosen now if it was not yet. An engine that could not be asked is asked again.
    async fn chosen(&self) -> Result<&dyn Runtime, Error> {
        let chosen = self.chosen.get_or_try_init(|| self.choose()).await?;
        Ok(&**chosen)
    }

    #[cfg(target_os = "linux")]
    async fn choose(&self) -> Result<Arc<dyn Runtime>, Error> {
        let embedded = || Arc::clone(&self.embedded) as Arc<dyn Runtime>;
        let docker = || Arc::clone(&self.docker) as Arc<dyn Runtime>;
        match self.backend {
            Backend::Docker => Ok(docker()),
            Backend::Embedded => Ok(embedded()),
            Backend::Auto => match self.docker.probe().await {
                Ok(_) => Ok(docker()),
                Err(engine) => match self.embedded.probe().await {
                    Ok(_) => {
                        tracing::info!(reason = %engine, "sandboxes of treefort's own, without Docker");
                        Ok(embedded())
                    }
                    // Both sentences are needed by whoever has to choose what to allow.
                    Err(kernel) => Err(Error::Neither {
                        engine: Box::new(engine),
                        kernel: Box::new(kernel),
                    }),
                },
            },
        }
    }

    #[cfg(not(target_os = "linux"))]
    async fn choose(&self) -> Result<Arc<dyn Runtime>, Error> {
        match self.backend {
            Backend::Embedded => Err(Error::Kernel {
                about: "that needs Linux",
                said: std::env::consts::OS.to_owned(),
                allow: "Install Docker Desktop.".to_owned(),
            }),
            Backend::Docker | Backend::Auto => Ok(Arc::clone(&self.docker) as Arc<dyn Runtime>),
        }
    }
}

impl Runtime for ChosenRuntime {
    fn kind(&self) -> &'static str {
        match (self.chosen.get(), self.backend) {
            (Some(chosen), _) => chosen.kind(),
            (None, Backend::Embedded) => "embedded",
            (None, Backend::Docker) => "docker",
            (None, Backend::Auto) => "auto",
        }
    }

    fn probe(&self) -> BoxFuture<'_, Result<Probe, Error>> {
        async { self.chosen().await?.probe().await }.boxed()
    }

    fn find<'a>(&'a self, image: &'a Image) -> BoxFuture<'a, Result<Found, Error>> {
        async move { self.chosen().await?.find(image).await }.boxed()
    }

    fn prepare<'a>(
        &'a self,
        image: &'a Image,
        progress: Option<Progress>,
    ) -> BoxFuture<'a, Result<ImageId, Error>> {
        async move { self.chosen().await?.prepare(image, progress).await }.boxed()
    }

    /// Without a backend everything is missing, which [`Self::probe`] says once.
    fn missing<'a>(&'a self, image: &'a Image) -> BoxFuture<'a, Option<Error>> {
        async { self.chosen().await.ok()?.missing(image).await }.boxed()
    }

    fn start(&self, spec: Spec) -> BoxFuture<'_, Result<Sandbox, Error>> {
        async { self.chosen().await?.start(spec).await }.boxed()
    }

    /// Of every backend: an earlier run may have had another one.
    fn sweep(&self) -> BoxFuture<'_, Result<usize, Error>> {
        async {
            #[cfg(target_os = "linux")]
            let own = self.embedded.sweep().await?;
            #[cfg(not(target_os = "linux"))]
            let own = 0;
            let engine = match self.backend {
                Backend::Embedded => Ok(0),
                Backend::Docker | Backend::Auto => self.docker.sweep().await,
            };
            match engine {
                Ok(swept) => Ok(own + swept),
                // Without an engine there is nothing of its to sweep.
                Err(error) if self.backend == Backend::Auto && error.is_unavailable() => Ok(own),
                Err(error) => Err(error),
            }
        }
        .boxed()
    }

    fn leftovers(&self) -> BoxFuture<'_, Result<Leftovers, Error>> {
        async { self.chosen().await?.leftovers().await }.boxed()
    }

    fn clean(&self, images: bool) -> BoxFuture<'_, Result<Leftovers, Error>> {
        async move { self.chosen().await?.clean(images).await }.boxed()
    }

    fn shutdown(&self) -> BoxFuture<'_, ()> {
        async {
            #[cfg(target_os = "linux")]
            self.embedded.shutdown().await;
            self.docker.shutdown().await;
        }
        .boxed()
    }
}
