//! The files of a copy at any state of it, as its owner looks at them.

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_and_a_file_are_shown_at_every_state_and_no_link_is_followed() {
    let fort = Fort::embedded(AT_ONCE).await;
    let script = "echo new > a.txt; mkdir -p deep/er; head -c 8 /dev/zero > deep/er/bin; ln -s /etc/passwd deep/out; \
                  ln -s ../src deep/in; mkdir node_modules; echo d > node_modules/d; claims execute all; says done";
    fort.run(script).await.ok();
    let listed = |said: Said| -> Vec<String> {
        let json = said.ok().json();
        let entries = json["entries"].as_array().unwrap().clone();
        let line = |entry: &Value| {
            let text = |name: &str| entry[name].as_str().unwrap_or_default().to_owned();
            format!(
                "{} {} {} {}",
                text("kind"),
                text("path"),
                entry["size"],
                text("to")
            )
        };
        entries.iter().map(line).collect()
    };
    let now = fort.say(&["files", "--json"]).await;
    assert!(now.out.contains("node_modules (made again"), "{now:?}");
    assert_eq!(
        listed(now),
        ["file a.txt 4 ", "folder deep 0 ", "folder src 0 "]
    );
    assert_eq!(
        listed(fort.say(&["files", "/deep/", "--json"]).await),
        [
            "folder deep/er 0 ",
            "link deep/in 6 ../src",
            "link deep/out 11 /etc/passwd"
        ]
    );
    assert_eq!(
        listed(fort.say(&["files", "--at", "1", "--json"]).await),
        ["file a.txt 14 ", "folder src 0 "]
    );
    assert_eq!(fort.say(&["files", "a.txt"]).await.ok().out, "new\n");
    let before = fort.say(&["files", "a.txt", "--at", "1"]).await.ok();
    assert_eq!(before.out, "one\ntwo\nthree\n");
    // What a link names is its text; nothing is behind it.
    assert_eq!(
        fort.say(&["files", "deep/out"]).await.ok().out,
        "/etc/passwd"
    );
    for nowhere in ["deep/in/b.txt", "deep/out/x", "../..", "a.txt/x", "nothing"] {
        fort.say(&["files", nowhere])
            .await
            .fails(1, &format!("there is no {nowhere} in this state"));
    }
    fort.say(&["files", "--at", "99"])
        .await
        .fails(1, "there is no checkpoint 99");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_long_list_and_a_long_file_come_whole_byte_for_byte_and_without_secrets() {
    let fort = Fort::embedded(AT_ONCE).await;
    let text: String = (0..9000)
        .map(|n| format!("{n} \u{1}grün \"日本\"\n"))
        .collect();
    fort.write("long.txt", &text);
    let bytes: Vec<u8> = (0..200_000_u32)
        .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    std::fs::write(fort.path("long.bin"), &bytes).unwrap();
    let key = format!("sk-ant-api03-{}", "aB3xY9".repeat(16));
    fort.write("env", &format!("KEY={key}\n"));
    std::fs::write(fort.path("bin.env"), format!("\0KEY={key}\n")).unwrap();
    for n in 0..3000 {
        fort.write(&format!("many/a rather long name of a file {n:04}"), "x");
    }
    fort.run("says done").await.ok();

    let output = fort
        .command(fort.project.path(), &["files", "long.bin"])
        .output()
        .await
        .unwrap();
    assert!(output.status.success());
    assert_eq!(output.stdout, bytes);
    assert_eq!(fort.say(&["files", "long.txt"]).await.ok().out, text);
    let many = fort.say(&["files", "many", "--json"]).await.ok().json();
    let paths: std::collections::BTreeSet<&str> = many["entries"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["path"].as_str().unwrap())
        .collect();
    assert_eq!((paths.len(), many["total"].as_u64()), (3000, Some(3000)));
    assert!(many["next"].is_null());

    let shown = fort.say(&["files", "env"]).await.ok();
    assert_eq!(shown.out, "KEY=[redacted]\n");
    assert!(shown.err.contains("was left out"), "{shown:?}");
    fort.say(&["files", "bin.env"])
        .await
        .fails(1, "what looks like a password or key");
    // Every answer fits into what NIP-44 carries, and went out encrypted.
    let mut client = fort.client().await;
    for answer in client.query(json!({"kinds": [6871], "limit": 5000})).await {
        assert!(answer.content.len() <= 90_000 && tag(&answer, "encrypted").is_none());
        assert!(
            answer
                .tags
                .iter()
                .any(|tag| tag.as_slice() == ["encrypted"])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_files_under_an_agent_at_work_are_shown_and_it_goes_on() {
    let fort = Fort::embedded(AT_ONCE).await;
    let working = fort.begin(&[
        "run",
        "--agent",
        "scripted",
        "echo half > work; lingers; says went on",
    ]);
    fort.wait_for_copy("work").await;
    assert_eq!(fort.say(&["files", "work"]).await.ok().out, "half\n");
    let all = fort.say(&["checkpoints", "--json"]).await.ok().json();
    assert!(all["checkpoints"].as_array().unwrap().len() >= 2);
    working.abort();
}
