//! With `ask`, a host that no rule names waits for its owner's answer.

use super::*;

async fn every_other_host_is_asked_for(fort: Fort, registry: Registry) {
    let working = fort.begin(&[
        "run",
        "--agent",
        "shell",
        "--network",
        "ask",
        &[
            connect("one.example:443"),
            connect("two.example:443"),
            connect("two.example:443"),
            connect("1.1.1.1:443"),
        ]
        .concat(),
    ]);
    let question = fort.questions(1).await.remove(0);
    let text = question["text"].as_str().unwrap();
    assert!(
        text.contains("It wants to reach one.example on the network.")
            && text.contains("send your files to"),
        "{text}"
    );
    let shown = fort.say(&["answer"]).await.ok();
    assert!(
        shown.out.contains("[y] Once  [a] For this session  [n] No"),
        "{shown:?}"
    );
    fort.say(&["answer", "n"]).await.ok();
    let next = fort.questions(1).await.remove(0);
    assert!(next["text"].as_str().unwrap().contains("two.example"));
    fort.say(&["answer", "n"]).await.ok();
    let said = working.await.unwrap().ok();
    assert!(
        said.out
            .contains("403 treefort: this job may not reach one.example:443: its owner said no"),
        "{said:?}"
    );
    // Who said no is not asked again, and nobody is asked about a number.
    assert_eq!(
        said.out
            .matches(
                "HTTP/1.1 403 treefort: this job may not reach two.example:443: its owner said no"
            )
            .count(),
        2,
        "{said:?}"
    );
    assert!(
        said.out
            .contains("may not reach 1.1.1.1:443: its network is ask"),
        "{said:?}"
    );
    assert!(registry.asked().is_empty());
    let records = fort.session().await;
    let asked: Vec<_> = records
        .iter()
        .filter(|record| sort(record) == "question")
        .collect();
    assert_eq!(asked.len(), 2);
    assert_eq!(all(asked[0], "host"), ["one.example", "443"]);
    let answers: Vec<_> = records
        .iter()
        .filter(|record| sort(record) == "answer")
        .collect();
    assert_eq!(all(answers[0], "option"), ["3", "reject_once", "No"]);
    assert_eq!(all(answers[0], "by"), ["owner"]);
    let network = of_network(&records);
    assert_eq!(all(network[0], "verdict"), ["refused", "no"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn with_ask_its_owner_says_no_to_a_host_once() {
    let registry = Registry::start().await;
    every_other_host_is_asked_for(Fort::embedded(AT_ONCE).await, registry).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn and_in_a_container() {
    let registry = Registry::start().await;
    every_other_host_is_asked_for(Fort::start().await, registry).await;
}

/// A name that leads to this computer, in the system's own table.
fn name_of_this_computer() -> Option<String> {
    let table = std::fs::read_to_string("/etc/hosts").ok()?;
    let lines = table.lines().filter(|line| line.starts_with("127."));
    let mut names = lines.flat_map(|line| line.split_whitespace().skip(1));
    names.find(|name| *name == "localhost").map(str::to_owned)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_lets_a_host_through_and_a_name_of_this_computer_stays_refused() {
    let name = name_of_this_computer().expect("this computer has a name for itself");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let open = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream
            .write_all(b"from the owner's own server")
            .await
            .unwrap();
    });
    let settings = format!("{AT_ONCE}[network]\nprivate = [\"{name}:{port}\"]\n");
    let fort = Fort::embedded(&settings).await;
    let other = port.wrapping_add(1).max(1024);
    let command = [
        connect(&format!("{name}:{port}")),
        connect(&format!("{name}:{other}")),
    ]
    .concat();
    let working = fort.begin(&["run", "--agent", "shell", "--network", "ask", &command]);
    for _ in 0..2 {
        let question = fort.questions(1).await.remove(0);
        assert!(
            question["text"].as_str().unwrap().contains(&name),
            "{question}"
        );
        fort.say(&["answer", "y"]).await.ok();
    }
    let said = working.await.unwrap().ok();
    assert!(said.out.contains("from the owner's own server"), "{said:?}");
    let refused = format!(
        "may not reach {name}:{other}: it leads to this computer or into a private network"
    );
    assert!(said.out.contains(&refused), "{said:?}");
    open.await.unwrap();
    let records = fort.session().await;
    let network = of_network(&records);
    assert_eq!(all(network[0], "verdict"), ["allowed", "ask"]);
    assert_eq!(all(network[1], "verdict"), ["refused", "private-address"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_question_that_nobody_answers_is_a_no() {
    let fort = Fort::embedded(&format!("[jobs]\nask_s = 1\n{AT_ONCE}")).await;
    let said = run(&fort, "ask", &connect("one.example:443")).await.ok();
    assert!(
        said.out.contains("its owner was asked and did not answer"),
        "{said:?}"
    );
    let records = fort.session().await;
    let answer = records
        .iter()
        .find(|record| sort(record) == "answer")
        .unwrap();
    assert_eq!(tag(answer, "by").unwrap(), "time");
    assert_eq!(
        all(of_network(&records)[0], "verdict"),
        ["refused", "unanswered"]
    );
}
