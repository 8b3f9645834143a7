//! What is recorded of an agent's work: states that can be brought back, what really changed, and whether the
//! agent said so.

use super::*;

/// Records of files that changed.
fn changed(records: &[Event]) -> Vec<&Event> {
    of_kind(records, 4782)
        .into_iter()
        .filter(|record| sort(record) == "file")
        .collect()
}

fn position(records: &[Event], one: &Event) -> usize {
    records.iter().position(|other| other.id == one.id).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn claims_and_facts_stand_beside_each_other() {
    let fort = Fort::start().await;
    let before = tree(fort.project.path());
    let script = "echo four >> a.txt; claims edit a.txt; asks read x; echo new > n.txt; claims read a.txt; \
                  claims edit never.txt; asks read x; rm src/b.txt; claims delete src/b.txt; says I did it";
    let said = fort.run(script).await.ok();
    assert_eq!(said.out.trim(), "I did it");
    assert_eq!(
        tree(fort.project.path()),
        before,
        "the project is untouched"
    );

    let records = fort.session().await;
    let files = changed(&records);
    let of = |path: &str| -> Vec<&&Event> {
        let named = files.iter();
        named
            .filter(|file| tag(file, "path").as_deref() == Some(path))
            .collect()
    };
    // Said and done: the fact names the claim, which was there before it.
    let [edited] = of("a.txt")[..] else {
        panic!("{files:?}")
    };
    assert_eq!(tag(edited, "op").unwrap(), "modify");
    assert!(edited.content.contains("\n+four\n"), "{}", edited.content);
    let claim = tag(edited, "claimed").unwrap();
    let claim = records
        .iter()
        .find(|record| record.id.to_hex() == claim)
        .expect("the claim");
    assert_eq!(tag(claim, "claim").unwrap(), "completed");
    assert_eq!(tag(claim, "tool").unwrap(), "edit");
    assert!(position(&records, claim) < position(&records, edited));
    // Done and not said: flagged.
    let [new] = of("n.txt")[..] else {
        panic!("{files:?}")
    };
    let flagged = |file: &Event| {
        let mut tags = file.tags.iter();
        tags.any(|tag| tag.as_slice()[0] == "unclaimed")
    };
    assert!(flagged(new) && !flagged(edited), "{new:?}");
    assert_eq!(tag(new, "op").unwrap(), "create");
    assert_eq!(
        tag(of("src/b.txt").last().unwrap(), "op").unwrap(),
        "delete"
    );
    // Said and not done: an error that names what was said.
    let errors = of_kind(&records, 4784);
    let unkept = errors
        .iter()
        .find(|error| tag(error, "code").as_deref() == Some("claim"))
        .expect("an error of code claim");
    assert!(unkept.content.contains("never.txt"), "{}", unkept.content);
    assert_eq!(
        errors
            .iter()
            .filter(|error| tag(error, "code").as_deref() == Some("claim"))
            .count(),
        1
    );

    // A state that can be brought back comes before the first change.
    let first = of_kind(&records, 4783)[0];
    assert!(position(&records, first) < position(&records, claim));
    for name in ["r", "commit", "tree", "reason", "size"] {
        assert!(tag(first, name).is_some(), "{name}: {first:?}");
    }
    // Real git reads it.
    let stores = std::fs::read_dir(fort.treefort.home().join("projects")).unwrap();
    let store = stores.flatten().next().unwrap().path();
    let store = store.to_str().unwrap();
    let shown = fort.git(&[
        "--git-dir",
        store,
        "show",
        &format!("{}:a.txt", tag(first, "commit").unwrap()),
    ]);
    assert_eq!(shown, fort.read("a.txt"));
    fort.git(&["--git-dir", store, "fsck", "--strict"]);
    let session = records[0].pubkey.to_hex();
    fort.say(&["verify", &session]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_agent_that_is_further_than_what_it_says_is_no_liar() {
    let fort = Fort::start().await;
    // Both edits are done before the first is told of, as with tools that run side by side.
    let script =
        "echo 1 > one; echo 2 > two; claims edit one; asks read x; claims edit two; says done";
    fort.run(script).await.ok();
    let records = fort.session().await;
    assert_eq!(changed(&records).len(), 2);
    assert!(of_kind(&records, 4784).is_empty(), "{records:?}");
    assert!(
        changed(&records)
            .iter()
            .all(|file| claim_of(&records, file).is_some())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn who_looks_at_the_files_makes_no_liar_of_the_agent() {
    let fort = Fort::embedded(AT_ONCE).await;
    // Its owner's look keeps the state with the file, before the agent says that it wrote it.
    let script = "echo new > n.txt; while [ ! -e .git/go ]; do sleep 1; done; claims edit n.txt; asks read x; says done";
    let working = fort.begin(&["run", "--agent", "scripted", script]);
    let copy = fort.wait_for_copy("n.txt").await;
    wait("the look", || {
        std::fs::read_to_string(copy.join("n.txt")).unwrap() == "new\n"
    })
    .await;
    let shown = fort.say(&["diff"]).await.ok();
    assert!(shown.out.contains("n.txt"), "{shown:?}");
    std::fs::write(copy.join(".git/go"), "").unwrap();
    working.await.unwrap().ok();
    let records = fort.session().await;
    assert!(of_kind(&records, 4784).is_empty(), "{records:?}");
    let [new] = changed(&records)[..] else {
        panic!("{records:?}")
    };
    assert!(claim_of(&records, new).is_some(), "{new:?}");
    assert_eq!(new.content.matches("+new").count(), 1, "{}", new.content);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_says_before_and_after_a_step_is_apart() {
    let fort = Fort::embedded(AT_ONCE).await;
    let said = fort
        .run("says I will write it.; echo 1 > one; claims edit one; says Done.; claims edit one")
        .await
        .ok();
    assert_eq!(said.out, "I will write it.\n\nDone.\n");
    let records = fort.session().await;
    let message = records.iter().find(|record| sort(record) == "message");
    assert_eq!(message.unwrap().content, "I will write it.\n\nDone.");
    // An undo of what nobody changed since shows no state a second time.
    fort.say(&["undo", "1"]).await.ok();
    let all: Vec<Event> = fort.sessions().await.into_values().flatten().collect();
    let mut numbers: Vec<String> = of_kind(&all, 4783)
        .iter()
        .map(|at| tag(at, "r").unwrap())
        .collect();
    let count = numbers.len();
    numbers.sort();
    numbers.dedup();
    assert!(numbers.len() == count && count >= 3, "{numbers:?}");
}

/// The claim of a fact, which stands before it.
fn claim_of<'a>(records: &'a [Event], fact: &Event) -> Option<&'a Event> {
    let claim = tag(fact, "claimed")?;
    let claim = records.iter().find(|record| record.id.to_hex() == claim)?;
    assert!(position(records, claim) < position(records, fact));
    Some(claim)
}

#[tokio::test(flavor = "multi_thread")]
async fn of_tools_that_run_side_by_side_each_gets_what_it_did() {
    let fort = Fort::start().await;
    // The edit ends first; what the command and the other edit did by then is theirs, however late they end.
    let script = "begins c execute make; begins e edit one; begins f edit three; echo 1 > one; echo 2 > two; echo 3 > three; \
                  ends e; asks read x; sleep 2; ends f; ends c; asks read x; echo 4 > four; claims edit five; sleep 2; says done";
    fort.run(script).await.ok();
    let records = fort.session().await;
    let files = changed(&records);
    assert_eq!(files.len(), 4, "{files:?}");
    for (path, call) in [
        ("one", Some("edited one")),
        ("two", Some("ran `execute make`")),
        ("three", Some("edited three")),
        ("four", None),
    ] {
        let fact = files
            .iter()
            .find(|file| tag(file, "path").as_deref() == Some(path))
            .unwrap();
        let claim = claim_of(&records, fact).map(|claim| tag(claim, "alt").unwrap());
        let claim = claim
            .as_deref()
            .and_then(|alt| alt.strip_prefix("Says it "));
        assert_eq!(claim, call, "{path}: {fact:?}");
    }
    let session = records[0].pubkey.to_hex();
    fort.say(&["verify", &session]).await.ok();
}

#[tokio::test(flavor = "multi_thread")]
async fn many_changed_files_are_one_record_of_the_turn() {
    let fort = Fort::start().await;
    let script = "mkdir m; for i in $(seq 1 60); do echo $i > m/$i; done; claims execute make; \
                  echo x > last; claims edit last; says done";
    fort.run(script).await.ok();
    let records = fort.session().await;
    let files = changed(&records);
    let many: Vec<_> = files
        .iter()
        .filter(|file| tag(file, "op").as_deref() == Some("many"))
        .collect();
    assert_eq!(many.len(), 1, "{files:?}");
    let count: usize = tag(many[0], "files").unwrap().parse().unwrap();
    assert_eq!(count + files.len() - 1, 61, "{files:?}");
    assert!(
        many[0].content.contains("create m/17"),
        "{}",
        many[0].content
    );
    // Few are each their own.
    let few = Fort::start().await;
    few.run("for i in $(seq 1 12); do echo $i > f$i; done; claims execute make; says done")
        .await
        .ok();
    let records = few.session().await;
    assert_eq!(changed(&records).len(), 12);
    assert!(
        changed(&records)
            .iter()
            .all(|file| tag(file, "claimed").is_some())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_permission_is_answered_after_its_checkpoint() {
    let fort = Fort::start().await;
    // The agent changes something unseen, then asks: what was there when it asked can be brought back.
    fort.run(
        "echo early > e.txt; asks edit a.txt; echo late > e.txt; claims edit e.txt; says done",
    )
    .await
    .ok();
    let records = fort.session().await;
    let states = of_kind(&records, 4783);
    let reasons: Vec<String> = states
        .iter()
        .map(|state| tag(state, "reason").unwrap())
        .collect();
    let at = reasons
        .iter()
        .position(|reason| reason.starts_with("before it edited a.txt"))
        .unwrap_or_else(|| panic!("{reasons:?}"));
    let number = tag(states[at], "r").unwrap();
    let number = number.rsplit('/').next().unwrap();
    let copy = fort.copy().await;
    assert_eq!(
        std::fs::read_to_string(copy.join("e.txt")).unwrap(),
        "late\n"
    );
    fort.say(&["undo", number]).await.ok();
    assert_eq!(
        std::fs::read_to_string(copy.join("e.txt")).unwrap(),
        "early\n"
    );
    assert!(fort.journals().contains("\"optionId\":\"yes\""));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_it_left_running_writes_nothing_after_the_last_checkpoint() {
    let fort = Fort::start().await;
    let script = "touch x; (trap true TERM HUP; while :; do date +%N >> x; done) & claims execute x; says done";
    fort.run(script).await.ok();
    fort.treefort.wait_for_no_containers().await;
    let copy = fort.copy().await;
    let left = std::fs::read(copy.join("x")).unwrap();
    let records = fort.session().await;
    let last = tag(of_kind(&records, 4783).last().unwrap(), "tree").unwrap();
    // To look takes a checkpoint if anything is there that none holds.
    fort.say(&["diff"]).await.ok();
    let listed = fort.say(&["checkpoints", "--json"]).await.ok().json();
    assert!(listed.to_string().contains(&last));
    let newest = listed["checkpoints"].as_array().unwrap().last().unwrap();
    assert_eq!(
        newest["tree"].as_str().unwrap(),
        last,
        "{} bytes",
        left.len()
    );
}
