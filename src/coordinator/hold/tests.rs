//! Sessions, tasks and deletions that want one copy in the same moment.

use nostr::{Keys, PublicKey};

use super::*;
use crate::{
    coordinator::{operation, workspaces::Workspaces},
    workspace::{About, about},
};

/// A home with a copy that nobody uses.
async fn home() -> (tempfile::TempDir, Arc<Workspaces>, PublicKey) {
    let dir = tempfile::tempdir().unwrap();
    let workspaces = Arc::new(Workspaces::new(dir.path().to_owned()));
    let id = Keys::generate().public_key();
    begin(&workspaces, id).await;
    (dir, workspaces, id)
}

async fn begin(workspaces: &Arc<Workspaces>, id: PublicKey) -> SessionHold {
    let about = About {
        v: about::VERSION,
        id,
        project: None,
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
    };
    workspaces.reserve(id).await.unwrap();
    workspaces.begin(about).await.unwrap()
}

/// What so many tasks that begin at once come to.
async fn at_once<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    all: impl IntoIterator<Item = F>,
) -> Vec<T> {
    let all: Vec<F> = all.into_iter().collect();
    let start = Arc::new(tokio::sync::Barrier::new(all.len()));
    let tasks = all.into_iter().map(|task| {
        let start = start.clone();
        tokio::spawn(async move {
            start.wait().await;
            task.await
        })
    });
    let done = futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
    done.into_iter().map(|done| done.unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn whoever_opens_a_copy_at_once_gets_the_same_one() {
    let (_dir, workspaces, id) = home().await;
    for _ in 0..20 {
        let open = |_| {
            let workspaces = workspaces.clone();
            async move { workspaces.open(id).await.unwrap() }
        };
        let opened = at_once((0..8).map(open)).await;
        assert!(opened.iter().all(|one| Arc::ptr_eq(one, &opened[0])));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_sessions_that_begin_at_once_one_gets_the_copy() {
    let (_dir, workspaces, id) = home().await;
    let take = |_| {
        let workspaces = workspaces.clone();
        async move { SessionHold::take(workspaces.open(id).await?).await }
    };
    let (held, refused): (Vec<_>, Vec<_>) = at_once((0..8).map(take))
        .await
        .into_iter()
        .partition(Result::is_ok);
    assert_eq!(held.len(), 1);
    for refused in refused {
        assert_eq!(refused.unwrap_err().sentence, TWO);
    }
    // It is free when that one goes.
    drop(held);
    take(0).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_copy_is_either_deleted_or_worked_on() {
    let (_dir, workspaces, _) = home().await;
    let (mut worked, mut deleted) = (0, 0);
    for round in 0..60 {
        let id = Keys::generate().public_key();
        drop(begin(&workspaces, id).await);
        let one = workspaces.clone();
        let shared = workspaces.open(id).await.unwrap();
        // Both come first now and then.
        let wait = |first: bool| {
            let wait = if first { 0 } else { round / 2 % 6 };
            tokio::time::sleep(Duration::from_millis(wait))
        };
        let (early, late) = (wait(round % 2 == 0), wait(round % 2 == 1));
        let session = tokio::spawn(async move {
            early.await;
            let hold = SessionHold::take(one.open(id).await?).await?;
            Ok::<_, Failure>(hold)
        });
        let discard = tokio::spawn(async move {
            late.await;
            operation::discard(&shared).await
        });
        let (session, discard) = (session.await.unwrap(), discard.await.unwrap());
        let there = workspaces.root().join(id.to_hex()).exists();
        match (session, discard) {
            (Ok(_held), Err(refused)) => {
                assert_eq!(refused.sentence, AT_WORK);
                assert!(there);
                worked += 1;
            }
            (Err(refused), Ok(_)) => {
                assert!(refused.sentence.contains("gone"), "{}", refused.sentence);
                assert!(!there);
                deleted += 1;
            }
            other => panic!("{other:?}"),
        }
    }
    assert!(worked > 0 && deleted > 0, "{worked} {deleted}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_the_owner_does_waits_for_a_session_that_begins_and_is_one_thing_at_a_time() {
    let (_dir, workspaces, id) = home().await;
    let shared = workspaces.open(id).await.unwrap();
    let held = SessionHold::take(shared.clone()).await.unwrap();
    let waits = OperationHold::take(&shared);
    let soon = Duration::from_millis(50);
    assert!(tokio::time::timeout(soon, waits).await.is_err());
    drop(held);
    let one = OperationHold::take(&shared).await.unwrap();
    assert!(
        tokio::time::timeout(soon, OperationHold::take(&shared))
            .await
            .is_err()
    );
    assert!(
        tokio::time::timeout(soon, SessionHold::take(shared.clone()))
            .await
            .is_err()
    );
    drop(one);
    // A session that is wanted elsewhere hears of it, and its container is waited for.
    let mut held = SessionHold::take(shared.clone()).await.unwrap();
    let (exit, container) = watch::channel(None);
    held.keep_for(container);
    held.ends(std::future::pending()).await;
    assert!(
        tokio::time::timeout(soon, shared.holders.wanted())
            .await
            .is_err()
    );
    let next = tokio::spawn(SessionHold::take(shared.clone()));
    shared.holders.wanted().await;
    drop(held);
    tokio::time::sleep(soon).await;
    assert!(!next.is_finished(), "its container is there");
    drop(exit);
    next.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn who_deletes_or_goes_on_waits_for_a_session_that_is_over_and_for_no_other() {
    let (_dir, workspaces, id) = home().await;
    let shared = workspaces.open(id).await.unwrap();
    let held = SessionHold::take(shared.clone()).await.unwrap();
    let refused = OperationHold::to_discard(&shared).await.unwrap_err();
    assert!(
        refused.sentence.contains("an agent still works"),
        "{refused:?}"
    );
    held.leaves();
    let next = tokio::spawn(SessionHold::take(shared.clone()));
    let discard = async || OperationHold::to_discard(&shared).await;
    // Longer than one that may be long is waited for.
    let soon = A_MOMENT + Duration::from_millis(500);
    assert!(tokio::time::timeout(soon, discard()).await.is_err());
    assert!(!next.is_finished(), "the one before is not gone");
    drop(held);
    let next = next.await.unwrap().unwrap();
    assert!(discard().await.is_err(), "the next one has only begun");
    drop(next);
    discard().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_agent_stands_still_from_when_its_files_are_free_until_the_work_is_done() {
    use crate::sandbox::{Control, Request};
    let (_dir, workspaces, id) = home().await;
    let shared = workspaces.open(id).await.unwrap();
    let held = SessionHold::take(shared.clone()).await.unwrap();
    let (control, mut commands) = Control::new(&tokio_util::sync::CancellationToken::new());
    let (told, _hears) = tokio::sync::mpsc::channel(1);
    held.works(Live {
        pause: control.handle(),
        told,
        inward: crate::sandbox::Inward::gone_already(),
        ports: watch::channel(std::collections::BTreeSet::new()).1,
    });
    assert!(shared.holders.is_at_work());
    held.rests(true);
    assert!(shared.holders.is_busy() && !shared.holders.is_at_work());
    held.rests(false);
    assert!(shared.holders.is_at_work());
    // Somebody else is at the files for a while.
    let (done, busy) = std::sync::mpsc::channel::<()>();
    let other = shared.clone();
    let other = tokio::spawn(async move { other.with(move |_| Ok(busy.recv().is_err())).await });
    tokio::time::sleep(Duration::from_millis(50)).await;
    let (finish, work) = std::sync::mpsc::channel::<()>();
    let stands = shared.clone();
    let stands =
        tokio::spawn(async move { stands.still(true, move |_| Ok(work.recv().is_err())).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(
        commands.requests.try_recv().is_err(),
        "it need not stand yet"
    );
    drop(done);
    other.await.unwrap().unwrap();
    let Some(Request::Pause { lease, done, .. }) = commands.requests.recv().await else {
        panic!("no pause")
    };
    done.send(Ok(())).unwrap();
    let over = lease.unwrap().over();
    tokio::pin!(over);
    tokio::time::sleep(Duration::from_millis(50)).await;
    // Nobody waits for the work any more; it goes on, and the agent stands as long.
    stands.abort();
    let soon = Duration::from_millis(100);
    assert!(tokio::time::timeout(soon, &mut over).await.is_err());
    drop(finish);
    tokio::time::timeout(soon * 20, over).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn files_that_are_touched_are_in_use_whoever_has_stopped_waiting() {
    let (_dir, workspaces, id) = home().await;
    let shared = workspaces.open(id).await.unwrap();
    let (finish, work) = std::sync::mpsc::channel::<()>();
    let (begins, begun) = tokio::sync::oneshot::channel();
    let task = tokio::spawn(async move {
        let work = move |_: &mut crate::workspace::Workspace| {
            begins.send(()).unwrap();
            Ok(work.recv().is_err())
        };
        shared.with(work).await
    });
    begun.await.unwrap();
    task.abort();
    assert!(task.await.unwrap_err().is_cancelled());
    // Nobody holds it in the hand, and yet whoever opens it now waits for that work.
    let again = workspaces.open(id).await.unwrap();
    let soon = Duration::from_millis(100);
    let alone = tokio::time::timeout(soon, again.with(|_| Ok(()))).await;
    assert!(alone.is_err());
    drop(finish);
    again.with(|_| Ok(())).await.unwrap();
}
