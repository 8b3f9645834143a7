//! Images: built once, from what is on this machine, around a static program.

use bollard::query_parameters::RemoveImageOptions;
use treefort::sandbox::{Content, DockerRuntime, Error, Image, ImageId, Runtime};

use super::{Home, docker, unique};

#[test]
fn the_program_is_static() {
    let program = std::fs::read(env!("CARGO_BIN_EXE_treefort")).unwrap();
    let interpreter = b"ld-linux";
    let dynamic = program
        .windows(interpreter.len())
        .take(64 * 1024)
        .any(|window| window == interpreter);
    assert!(!dynamic);
}

#[tokio::test]
async fn an_image_that_was_removed_is_named_as_missing() {
    let home = Home::new().await;
    let mut spec = home.spec("true");
    spec.image = ImageId::from("treefort/none:000000000000".to_owned());
    let refused = home.runtime.start(spec).await;
    assert!(
        matches!(refused, Err(Error::ImageMissing { .. })),
        "{refused:?}"
    );
    home.end().await;
}

#[tokio::test]
async fn an_image_is_built_once_and_replaces_its_older_version() {
    let agent = "test-replace";
    let runtime = DockerRuntime::new(unique("test-images"));
    let build = async |text: &str| {
        let mut image = Image::new(agent, "FROM scratch\nCOPY file /file\n");
        let content = Content::Bytes(text.as_bytes().to_vec());
        image.files.push(("file".to_owned(), content));
        runtime.prepare(&image, None).await.unwrap()
    };
    let text = unique("one");
    let first = build(&text).await;
    assert_eq!(build(&text).await, first);
    let second = build(&unique("two")).await;
    assert_ne!(first, second);
    let docker = docker().await;
    assert!(docker.inspect_image(&first.to_string()).await.is_err());
    let found = docker.inspect_image(&second.to_string()).await.unwrap();
    let labels = found.config.unwrap().labels.unwrap();
    assert_eq!(labels["treefort.agent"], agent);
    docker
        .remove_image(&second.to_string(), None::<RemoveImageOptions>, None)
        .await
        .unwrap();
}

#[tokio::test]
async fn a_build_fetches_nothing_and_says_what_is_missing() {
    let runtime = DockerRuntime::new(unique("test-images"));
    let image = Image::new("test-base", "FROM no.such.registry.invalid/base:1\n");
    let refused = runtime.prepare(&image, None).await;
    assert!(
        matches!(refused, Err(Error::BaseImage { .. })),
        "{refused:?}"
    );
    let broken = Image::new("test-base", "FROM scratch\nCOPY nothing /nothing\n");
    let refused = runtime.prepare(&broken, None).await;
    assert!(
        matches!(refused, Err(Error::ImageBuild { .. })),
        "{refused:?}"
    );
}
