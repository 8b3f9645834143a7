//! An agent that takes too much of the disk stands still until there is room.

use super::*;

const SMALL: &str = "[sessions]\nidle_s = 0\nwarm = 0\n[sandbox]\ndisk_mb = 20\n";
/// Writes a MiB every tenth of a second, for ever.
const WRITES: &str =
    "(i=0; while :; do i=$((i + 1)); head -c 1000000 /dev/urandom > big$i; sleep 0.1; done) & ";

fn size(copy: &Path) -> usize {
    std::fs::read_dir(copy).unwrap().count()
}

/// Waits until the copy does not grow any more.
async fn wait_until_it_stands_still(fort: &Fort) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let mut client = fort.client().await;
        let errors = client.query(json!({"kinds": [4784]})).await;
        if errors
            .iter()
            .any(|error| tag(error, "code").as_deref() == Some("disk"))
        {
            return;
        }
        assert!(Instant::now() < deadline, "it was never stopped");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_paused_its_owner_is_told_and_an_undo_makes_room() {
    let fort = Fort::start_with(SMALL).await;
    let script = format!("case $n in 1) {WRITES} lingers; kill $!;; *) says went on;; esac");
    let working = fort.begin(&["run", "--agent", "scripted", &script]);
    let copy = fort.wait_for_copy("big1").await;
    wait_until_it_stands_still(&fort).await;
    let then = size(&copy);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(size(&copy), then, "it still writes");
    let mut client = fort.client().await;
    let notices = client.query(json!({"kinds": [7000]})).await;
    let told = notices
        .iter()
        .any(|notice| notice.content.contains("The agent stands still"));
    assert!(told, "{notices:?}");

    fort.say(&["undo", "1"]).await.ok();
    let said = working.await.unwrap().ok();
    assert_eq!(said.out.trim(), "went on");
    let records = fort.session().await;
    let errors = of_kind(&records, 4784);
    let codes: Vec<String> = errors
        .iter()
        .filter_map(|error| tag(error, "code"))
        .collect();
    assert_eq!(codes, ["disk"]);
    assert_eq!(tag(records.last().unwrap(), "l").unwrap(), "success");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_stands_still_can_be_looked_at_and_stopped() {
    let fort = Fort::start_with(SMALL).await;
    let script = format!("{WRITES} lingers; kill $!");
    let working = fort.begin(&["run", "--agent", "scripted", "--timeout", "25", &script]);
    let copy = fort.wait_for_copy("big1").await;
    wait_until_it_stands_still(&fort).await;
    let then = size(&copy);
    // A look does not wake it.
    fort.say(&["diff", "--stat"]).await.ok();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(size(&copy), then, "looking at it woke it");
    let said = working.await.unwrap();
    assert_eq!(said.code, 1, "{said:?}");
    fort.treefort.wait_for_no_containers().await;
    let records = fort.session().await;
    assert_eq!(tag(records.last().unwrap(), "ending").unwrap(), "cancelled");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_agent_left_running_is_stopped_when_it_fills_the_disk_after_the_job() {
    let config = "[sessions]\nidle_s = 300\nwarm = 0\n[sandbox]\ndisk_mb = 20\n";
    let fort = Fort::start_with(config).await;
    fort.run(&format!("{WRITES} says bye")).await.ok();
    let copy = fort.wait_for_copy("big1").await;
    wait_until_it_stands_still(&fort).await;
    fort.treefort.wait_for_no_containers().await;
    let then = size(&copy);
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(size(&copy), then, "it still writes");
    let records = fort.session().await;
    let end = records.last().unwrap();
    assert_eq!(tag(end, "ending").unwrap(), "disk");
    let errors = of_kind(&records, 4784);
    assert!(errors[0].content.contains("although it had nothing to do"));
}

#[tokio::test(flavor = "multi_thread")]
async fn one_whose_checkpoints_take_too_much_stands_still_until_an_undo() {
    let config = "[sessions]\nidle_s = 0\nwarm = 0\n[sandbox]\nstore_mb = 8\n";
    let fort = Fort::start_with(config).await;
    let ticks = "(while :; do echo x >> ticks; sleep 0.1; done) & ";
    let writes = "for i in 1 2; do head -c 5000000 /dev/urandom > big; asks edit big; done";
    let script =
        format!("case $n in 1) {ticks} {writes}; lingers; kill $!;; *) says went on;; esac");
    let working = fort.begin(&["run", "--agent", "scripted", &script]);
    let copy = fort.wait_for_copy("big").await;
    let deadline = Instant::now() + PATIENCE;
    let errors = loop {
        let mut client = fort.client().await;
        let errors = client.query(json!({"kinds": [4784]})).await;
        if !errors.is_empty() {
            break errors;
        }
        assert!(Instant::now() < deadline, "it was never stopped");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(tag(&errors[0], "code").unwrap(), "store");
    assert!(errors[0].content.contains("store_mb"), "{errors:?}");
    let ticked = || std::fs::metadata(copy.join("ticks")).unwrap().len();
    let then = ticked();
    tokio::time::sleep(Duration::from_millis(700)).await;
    assert_eq!(ticked(), then, "it goes on");
    fort.say(&["undo", "1"]).await.ok();
    assert!(!copy.join("big").exists());
    let said = working.await.unwrap().ok();
    assert_eq!(said.out.trim(), "went on");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_command_that_fills_the_disk_between_two_looks_is_told_of() {
    let fort = Fort::start_with(SMALL).await;
    let command = "head -c 15000000 /dev/zero > a; head -c 15000000 /dev/zero > b; \
        head -c 30000000 /dev/zero > c; wc -c < c";
    let said = fort.say(&["run", "--agent", "shell", command]).await;
    let records = fort.session().await;
    let errors = of_kind(&records, 4784);
    assert!(
        errors
            .iter()
            .any(|error| error.content.contains("more than its 20 MiB")),
        "{errors:?} {said:?}"
    );
    // One file alone is never that large.
    let left = said.out.lines().find_map(|line| line.parse::<u64>().ok());
    assert!(left.is_some_and(|bytes| bytes <= 20 << 20), "{said:?}");
}
