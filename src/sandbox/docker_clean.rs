//! What a home left at Docker: its images, and containers that ended and were not removed.

use std::collections::HashMap;

use bollard::Docker;
use bollard::query_parameters::{ListContainersOptions, ListImagesOptions, RemoveImageOptions};

use super::docker::{engine, remove};
use super::{Error, LABEL_HOME};

/// What a home left at the backend.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leftovers {
    /// Its images.
    pub images: Vec<ImageUse>,
    /// Containers that ended and were not removed.
    pub containers: usize,
}

/// An image and what it takes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageUse {
    /// Its name and tag, or its id.
    pub name: String,
    /// Bytes, of which several images may share a part.
    pub bytes: u64,
}

fn label(home_id: &str) -> (String, Vec<String>) {
    ("label".to_owned(), vec![format!("{LABEL_HOME}={home_id}")])
}

async fn ended(docker: &Docker, home_id: &str) -> Result<Vec<String>, Error> {
    let status = ["exited", "dead"].map(str::to_owned).to_vec();
    let options = ListContainersOptions {
        all: true,
        filters: Some(HashMap::from([
            label(home_id),
            ("status".to_owned(), status),
        ])),
        ..ListContainersOptions::default()
    };
    let found = docker
        .list_containers(Some(options))
        .await
        .map_err(engine("list its containers"))?;
    Ok(found
        .into_iter()
        .filter_map(|container| container.id)
        .collect())
}

async fn images(docker: &Docker, home_id: &str) -> Result<Vec<ImageUse>, Error> {
    let options = ListImagesOptions {
        filters: Some(HashMap::from([label(home_id)])),
        ..ListImagesOptions::default()
    };
    let found = docker
        .list_images(Some(options))
        .await
        .map_err(engine("list its images"))?;
    Ok(found
        .into_iter()
        .map(|image| ImageUse {
            bytes: u64::try_from(image.size).unwrap_or(0),
            name: image
                .repo_tags
                .into_iter()
                .find(|tag| tag != "<none>:<none>")
                .unwrap_or(image.id),
        })
        .collect())
}

/// What there is.
pub(super) async fn leftovers(docker: &Docker, home_id: &str) -> Result<Leftovers, Error> {
    Ok(Leftovers {
        images: images(docker, home_id).await?,
        containers: ended(docker, home_id).await?.len(),
    })
}

/// Removes what there is; an image that something uses stays.
pub(super) async fn clean(
    docker: &Docker,
    home_id: &str,
    with_images: bool,
) -> Result<Leftovers, Error> {
    let mut gone = Leftovers::default();
    for id in ended(docker, home_id).await? {
        remove(docker, &id).await?;
        gone.containers += 1;
    }
    if !with_images {
        return Ok(gone);
    }
    // An agent's image is built on the base's, which can only go after it: two rounds.
    for _ in 0..2 {
        for image in images(docker, home_id).await? {
            match docker
                .remove_image(&image.name, None::<RemoveImageOptions>, None)
                .await
            {
                Ok(_) => gone.images.push(image),
                Err(error) => tracing::debug!(image = image.name, %error, "an image stays"),
            }
        }
    }
    Ok(gone)
}
