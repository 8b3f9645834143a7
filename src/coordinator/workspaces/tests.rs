use super::*;

fn about(id: PublicKey, project: &Path) -> About {
    About {
        v: workspace::about::VERSION,
        id,
        project: Some(project.to_owned()),
        branch: None,
        title: String::new(),
        private: false,
        agent: "test".into(),
        created_at: 1,
        created_ns: 0,
        base: None,
        applied: Vec::new(),
        memory: None,
        comparison: None,
        gone_on: None,
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_store_of_a_copy_that_begins_stays() {
    let dir = tempfile::tempdir().unwrap();
    let workspaces = Arc::new(Workspaces::new(dir.path().join("home")));
    // Warm, for a session that may begin later.
    let warm = nostr::Keys::generate().public_key();
    workspaces.reserve(warm).await.unwrap();
    for round in 0..60 {
        let project = dir.path().join(round.to_string());
        let id = nostr::Keys::generate().public_key();
        workspaces.reserve(id).await.unwrap();
        let this = workspaces.clone();
        let dropping = blocking(move || {
            for _ in 0..4 {
                this.drop_unused_stores()?;
            }
            Ok(())
        });
        let (begun, dropped) = tokio::join!(workspaces.begin(about(id, &project)), dropping);
        dropped.unwrap();
        drop(begun.unwrap());
        assert!(workspaces.store_dir(Some(&project)).join("HEAD").exists());
        workspaces.forget(id).await;
    }
    blocking(move || workspaces.drop_unused_stores())
        .await
        .unwrap();
    assert!(
        entries(&dir.path().join("home/projects"))
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn a_copy_that_cannot_be_read_is_listed_and_can_go() {
    let dir = tempfile::tempdir().unwrap();
    let workspaces = Arc::new(Workspaces::new(dir.path().to_owned()));
    let (warm, torn) = (nostr::Keys::generate(), nostr::Keys::generate());
    let (warm, torn) = (warm.public_key(), torn.public_key());
    for id in [warm, torn] {
        workspaces.reserve(id).await.unwrap();
    }
    std::fs::write(workspaces.dir(&torn).join("about.json"), "{").unwrap();
    let listed: Vec<PublicKey> = workspaces
        .unreadable()
        .await
        .unwrap()
        .into_iter()
        .map(|(id, _)| id)
        .collect();
    assert_eq!(listed, [torn]);
    workspaces.remove_unreadable(warm).await.unwrap_err();
    workspaces.remove_unreadable(torn).await.unwrap();
    assert!(!workspaces.dir(&torn).exists() && workspaces.dir(&warm).exists());
}
