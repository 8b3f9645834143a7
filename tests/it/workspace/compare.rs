//! The same job to several at once: watched, compared, one taken home.

use treefort::nips::nip90::Comparison;

use super::*;

/// Leaves in a file which agent did it.
const WHO: &str = "echo $0 > made.txt; says made it || true";

/// The lines of JSON that a command printed.
fn json_lines(said: &Said) -> Vec<Value> {
    let lines = said.out.lines();
    lines
        .map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {said:?}")))
        .collect()
}

/// The word after these words.
fn word_after<'a>(text: &'a str, words: &str) -> &'a str {
    let rest = text
        .split(words)
        .nth(1)
        .unwrap_or_else(|| panic!("no {words:?} in\n{text}"));
    rest.split_whitespace().next().unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn three_at_once_are_compared_and_one_is_taken_home() {
    let fort = Fort::embedded(AT_ONCE).await;
    let said = fort
        .say(&["run", "--agents", "scripted,shell,chat", WHO])
        .await
        .ok();
    // While they work, each line says whose it is.
    for part in ["[1 scripted", "[2 shell", "[3 chat", "] ✓ done", "made.txt"] {
        assert!(said.err.contains(part), "no {part} in\n{}", said.err);
    }
    assert!(!said.err.contains('\u{1b}'), "{}", said.err);
    // The table, then what each made of it.
    let table: Vec<&str> = said.out.lines().take(4).collect();
    assert!(
        table[0].contains("time") && table[0].contains("files"),
        "{}",
        said.out
    );
    for (line, name) in table[1..].iter().zip(["scripted", "shell", "chat"]) {
        assert!(
            line.contains(name) && line.contains("✓ done"),
            "{}",
            said.out
        );
    }
    assert!(
        table[1].contains("1 +1 −0") && table[2].contains("1 +1 −0"),
        "{}",
        said.out
    );
    assert!(!table[3].contains("+"), "{}", said.out);
    // The project is as it was until one is taken home.
    assert!(!fort.path("made.txt").exists());
    let first = word_after(
        &said.err,
        "to bring 1. home (scripted · scripted:1b): treefort apply",
    );
    // Nobody guesses which of them is meant, and the id of all of them is that of none.
    for (words, code) in [
        (&["diff"][..], 1),
        (&["apply", "--yes"], 1),
        (&["timeline"], 2),
    ] {
        let said = fort
            .say(words)
            .await
            .fails(code, "name the one that you mean");
        assert!(said.err.contains(first), "{said:?}");
    }
    let more = ["run", "--agent", "scripted", "--continue", "says more"];
    fort.say(&["run", "--continue", "says more"])
        .await
        .fails(1, "name the one that you mean");
    let all = word_after(&said.err, "to see it again: treefort compare");
    fort.say(&["open", all])
        .await
        .fails(2, "is a comparison: name one of those who were asked: 1. ");
    assert!(!fort.path("made.txt").exists());
    fort.say(&["apply", "--yes", first]).await.ok();
    assert_eq!(fort.read("made.txt"), "/agent.sh\n");
    // From here on that one is meant.
    fort.say(&["diff"]).await.ok();
    let went_on = fort.say(&more).await.ok();
    assert!(went_on.err.contains("going on with"), "{went_on:?}");
    let timeline = fort.say(&["timeline"]).await.ok();
    assert!(timeline.out.contains("says more"), "{timeline:?}");

    // It is found again.
    let list = fort.say(&["compare"]).await.ok();
    assert!(
        list.out.contains("3 of 3 done") && list.out.contains(WHO),
        "{list:?}"
    );
    let id = list.out.split_whitespace().next().unwrap();
    let again = fort.say(&["compare", id]).await.ok();
    assert!(
        again.out.contains(table[0]) && again.out.contains("✓ 2. shell"),
        "{again:?}"
    );
    let differences = fort.say(&["compare", id, "--diff"]).await.ok();
    assert_eq!(
        differences.out.matches("+++ b/made.txt").count(),
        2,
        "{differences:?}"
    );
    let between = fort.say(&["compare", id, "1", "2"]).await.ok();
    assert!(
        between.out.contains("-/agent.sh") && between.out.contains("+++ b/made.txt"),
        "{between:?}"
    );
    fort.say(&["compare", id, "1", "7"])
        .await
        .fails(2, "nobody has the number 7");
    fort.say(&["compare", "ffffffff"])
        .await
        .fails(1, "ffffffff");

    // So that any client shows it: a note that opens it, one as each begins, one with what came of it.
    let mut client = fort.client().await;
    let operator = fort.treefort.operator().public_key().to_hex();
    let notes = client
        .query(json!({"kinds": [1], "authors": [operator]}))
        .await;
    let root = notes.iter().find(|note| tag(note, "e").is_none()).unwrap();
    assert!(
        root.content.contains(WHO) && root.content.contains("2. shell"),
        "{}",
        root.content
    );
    assert!(root.id.to_hex().starts_with(id));
    let replies: Vec<&Event> = notes.iter().filter(|note| note.id != root.id).collect();
    assert_eq!(replies.len(), 4);
    let root_id = root.id.to_hex();
    assert!(
        replies
            .iter()
            .all(|reply| tag(reply, "e").as_ref() == Some(&root_id))
    );
    let closing = replies
        .iter()
        .find(|reply| reply.content.contains("3 of 3 done"));
    let closing = &closing.unwrap().content;
    assert!(
        closing.contains("✅ 1. scripted") && closing.contains("1 file changed (+1 −0)"),
        "{closing}"
    );
    let threads: Vec<String> = replies.iter().filter_map(|reply| tag(reply, "q")).collect();
    let threads = client.query(json!({"ids": threads})).await;
    assert_eq!(threads.len(), 3);
    assert!(
        threads
            .iter()
            .all(|note| note.pubkey == fort.treefort.coordinator())
    );

    // The jobs are found by what they quote, and so is what the sessions were handed.
    let jobs = client
        .query(json!({"kinds": [5050, 5870], "#q": [root_id]}))
        .await;
    let mut numbers: Vec<(bool, u16)> = jobs
        .iter()
        .map(|job| {
            let one = Comparison::of(job).unwrap();
            assert_eq!((one.id, one.of), (root.id, 3));
            (job.pubkey == fort.treefort.coordinator(), one.n)
        })
        .collect();
    numbers.sort_unstable();
    assert_eq!(
        numbers,
        [false, true]
            .map(|inner| [1, 2, 3].map(|n| (inner, n)))
            .concat()
    );

    // Who deletes one of them for good deletes what the notes repeat of it.
    fort.say(&["purge", "--yes", first]).await.ok();
    let notes = client
        .query(json!({"kinds": [1], "authors": [operator]}))
        .await;
    assert!(notes.is_empty(), "{notes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_that_fails_does_not_end_the_others() {
    let fort = Fort::embedded(AT_ONCE).await;
    let said = fort
        .say(&[
            "run",
            "--json",
            "--agents",
            "shell,scripted,chat=nowhere:1b",
            "says hello",
        ])
        .await
        .ok();
    let lines = json_lines(&said);
    assert_eq!(lines.len(), 4);
    let outcomes: Vec<&str> = lines[..3]
        .iter()
        .map(|line| line["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(outcomes, ["failed", "done", "failed"]);
    assert_eq!(lines[1]["answer"], "hello");
    assert_eq!(
        (&lines[1]["agent"], &lines[1]["n"], &lines[1]["files"]),
        (&json!("scripted"), &json!(2), &json!(0))
    );
    assert!(
        lines[2]["why"].as_str().unwrap().contains("nowhere"),
        "{}",
        lines[2]
    );
    let summary = &lines[3]["summary"];
    assert_eq!(
        (&summary["jobs"], &summary["done"], &summary["failed"]),
        (&json!(3), &json!(1), &json!(2))
    );
    // When nobody has an answer, the command has failed.
    let said = fort
        .say(&["run", "--agents", "chat=no:1,chat=no:2", "x"])
        .await;
    assert_eq!(said.code, 4, "{said:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn rehearsals_are_summed_up() {
    let fort = Fort::embedded(&format!("{AT_ONCE}[jobs]\nmax_running = 1\n")).await;
    let said = fort
        .say(&[
            "run",
            "--agent",
            "scripted",
            "--repeat",
            "3",
            "--json",
            "--check",
            "grep a a.txt",
            "--check",
            "test -f missing.txt",
            "echo a > a.txt; says ok",
        ])
        .await
        .fails(1, "3 of 3 are done, and none of these passed its checks");
    let lines = json_lines(&said);
    assert_eq!(lines.len(), 4);
    let group = &lines[3]["summary"]["groups"][0];
    assert_eq!(
        (&group["jobs"], &group["done"], &group["different_results"]),
        (&json!(3), &json!(3), &json!(1))
    );
    // What was run on each result stands beside it.
    let checks = json!([
        {"command": "grep a a.txt", "exit": 0, "passed": true},
        {"command": "test -f missing.txt", "exit": 1, "passed": false},
    ]);
    assert_eq!(lines[0]["checks"], checks);
    assert_eq!(
        (&group["checked"], &group["checks_passed"]),
        (&json!(3), &json!(0))
    );
    let ms = &group["ms"];
    assert!(
        ms["least"].as_u64() <= ms["median"].as_u64()
            && ms["median"].as_u64() <= ms["most"].as_u64()
    );
    let said = fort
        .say(&[
            "run",
            "--agent",
            "scripted",
            "--repeat",
            "2",
            "--check",
            "test -s a.txt",
            "cat /proc/sys/kernel/random/uuid > a.txt; says ok",
        ])
        .await
        .ok();
    let sum = said.out.lines().find(|line| line.starts_with('∑')).unwrap();
    assert!(
        sum.contains("2 of 2 done")
            && sum.contains("2 different results")
            && sum.contains("checks passed 2 of 2"),
        "{sum}"
    );
    for (arguments, sentence) in [
        (&["--repeat", "33"][..], "33"),
        (
            &["--agents", "scripted,shell", "--repeat", "17"],
            "34 sessions are too many",
        ),
        (
            &["--agents", "scripted,shell", "--continue"],
            "with one agent",
        ),
        (&["--agents", "scripted,nobody"], "no agent called nobody"),
    ] {
        let said = fort.say(&[&["run"], arguments, &["x"]].concat()).await;
        assert!(said.code != 0 && said.err.contains(sentence), "{said:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ctrl_c_ends_all_of_them() {
    let fort = Fort::embedded(AT_ONCE).await;
    ends_all(&fort, 3).await;
    // What was withdrawn is still one of several.
    let list = fort.say(&["compare", "--json"]).await.ok();
    assert_eq!(list.json()["cancelled"], 3);
    // Those that wait for their turn are told of too.
    let one = format!("{AT_ONCE}[jobs]\nmax_running = 1\n");
    ends_all(&Fort::embedded(&one).await, 1).await;
}

/// Asks three of whom so many work at the same time, and presses Ctrl-C.
async fn ends_all(fort: &Fort, at_once: usize) {
    let mut command = fort.command(
        fort.project.path(),
        &[
            "run",
            "--agents",
            "scripted,shell,scripted",
            "echo x > began.txt; sleep 100",
        ],
    );
    let child = command.spawn().unwrap();
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id().unwrap()).unwrap()).unwrap();
    let began = Instant::now();
    let copies = fort.treefort.home().join("workspaces");
    let at_work = || {
        let copies = std::fs::read_dir(&copies).into_iter().flatten().flatten();
        copies
            .filter(|copy| find(&copy.path(), "began.txt"))
            .count()
            == at_once
    };
    wait("all to be at work", at_work).await;
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let output = child.wait_with_output().await.unwrap();
    assert!(began.elapsed() < PATIENCE);
    let said = Said::of(&output);
    assert_eq!(said.code, 1, "{said:?}");
    assert!(said.err.contains("cancelling"), "{said:?}");
    assert_eq!(said.out.matches("× cancelled").count(), 3, "{said:?}");
}

fn find(folder: &Path, name: &str) -> bool {
    std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .flatten()
        .any(|entry| {
            let path = entry.path();
            entry.file_name() == name || (path.is_dir() && !path.is_symlink() && find(&path, name))
        })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_limit_is_each_ones_own() {
    let fort = Fort::embedded(AT_ONCE).await;
    let said = fort
        .say(&[
            "run",
            "--json",
            "--timeout",
            "15",
            "--agents",
            "shell,scripted",
            "test $0 = /agent.sh || sleep 100; says in time",
        ])
        .await
        .ok();
    let lines = json_lines(&said);
    assert_eq!(
        (&lines[0]["outcome"], &lines[1]["outcome"]),
        (&json!("cancelled"), &json!("done"))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn on_a_terminal_they_are_drawn_in_place_and_one_is_chosen() {
    let fort = Fort::embedded(AT_ONCE).await;
    let line = format!("run --agents scripted,shell 'sleep 2; {WHO}'");
    let mut script = fort.at_a_terminal(&line);
    let mut stdin = script.stdin.take().unwrap();
    let mut output = script.stdout.take().unwrap();
    let mut shown = String::new();
    let mut answers = [
        // What is typed while nothing is asked tears nothing apart.
        ("● shell", "torn apart\n"),
        ("Bring which one home?", "9\n"),
        ("Type one of these numbers: 1, 2", "d 2\n"),
        ("+++ b/made.txt", "1\n"),
        ("Apply this to", "y\n"),
    ]
    .into_iter()
    .peekable();
    loop {
        use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
        let mut piece = [0; 4096];
        let read = tokio::time::timeout(PATIENCE, output.read(&mut piece)).await;
        let read = read
            .unwrap_or_else(|_| panic!("the terminal stood still: {shown}"))
            .unwrap();
        if read == 0 {
            break;
        }
        shown.push_str(&String::from_utf8_lossy(&piece[..read]));
        if let Some((_, typed)) = answers.next_if(|(asked, _)| shown.contains(asked)) {
            stdin.write_all(typed.as_bytes()).await.unwrap();
        }
    }
    assert!(answers.peek().is_none(), "{shown}");
    assert!(!shown.contains("torn apart"), "{shown}");
    // Up, and erased to the end: the blocks replace themselves.
    assert!(
        shown.contains("A\u{1b}[J") && shown.contains("● shell"),
        "{shown}"
    );
    assert!(shown.contains("applied: 1 written"), "{shown}");
    assert_eq!(fort.read("made.txt"), "/agent.sh\n");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_asks_says_who_it_is() {
    let fort = Fort::embedded(AT_ONCE).await;
    let line = "run --agents scripted,scripted --ask 'asks edit a; says told $told'";
    let mut person = fort.at_a_terminal(line);
    let mut stdin = person.stdin.take().unwrap();
    fort.questions(2).await;
    // What is typed ahead is an answer to nothing, and the questions may not be on the screen yet.
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"yes\n")
        .await
        .unwrap();
    fort.questions(1).await;
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"no\n")
        .await
        .unwrap();
    let output = tokio::time::timeout(PATIENCE, person.wait_with_output()).await;
    let output = output.expect("nobody took the answers").unwrap();
    let shown = String::from_utf8_lossy(&output.stdout).into_owned();
    let shown = anstream::adapter::strip_str(&shown).to_string();
    assert!(output.status.success(), "{shown}");
    for part in [
        "1. scripted · scripted:1b asks: It wants to edit a.",
        "2. scripted · scripted:1b asks: It wants to edit a.",
        "told yes",
        "told no",
    ] {
        assert!(shown.contains(part), "no {part} in\n{shown}");
    }
}
