//! `treefort demo --page`: the demo in the browser.
//!
//! The same throw-away home with the same scripted model, and a few jobs in it to look at: an answer, something
//! that was built, and a change to it that can be undone. The page itself starts it too, with `--json`: then a
//! line on stdin is answered by a fresh link, and the end of stdin ends it.

use std::time::Duration;

use nostr::{Event, Timestamp};
use serde_json::json;
use tokio::io::{AsyncBufReadExt as _, BufReader};

use super::{Demo, QUESTION};
use crate::{
    cli::{
        client::Update,
        error::CommandError,
        gather,
        launch::{self, Connection},
        output, page, view,
    },
    nips::{Draft, kind, nip90::Status},
    server::PageLink,
};

/// What is built, and what is changed then: commands for the shell.
const BUILD: &str = include_str!("build.sh");
const CHANGE: &str = include_str!("change.sh");
/// How long a job of the demo may take.
const JOB: Duration = Duration::from_secs(120);

/// Runs the demo until Ctrl-C, or until stdin ends.
///
/// # Errors
/// When there is nothing to run an agent in.
pub(super) async fn run(demo: Demo, json: bool) -> Result<(), CommandError> {
    let own = demo.start().await?;
    let link = own.page();
    launch::with_own(&demo.home, own, async |connection| {
        super::ready(connection).await?;
        show(&demo, &link, json).await?;
        // One for both: a second one would leave the first one's reading of stdin behind, which takes a line with it.
        let mut serving = std::pin::pin!(serve(&link, json));
        tokio::select! {
            () = work(connection) => {}
            over = &mut serving => return over,
        }
        serving.await
    })
    .await
}

/// Leads a person, or the page, to it.
async fn show(demo: &Demo, link: &PageLink, json: bool) -> Result<(), CommandError> {
    let link = link.fresh()?;
    if json {
        return Ok(output::json(&json!({ "url": link }))?);
    }
    // Whether it really opens nobody can tell: some browsers may not read the file that leads them here.
    if page::open(demo.home.dir(), &link).await? {
        output::progress(
            "The demo opens in your browser. Ctrl-C ends it and throws it away. If it does not open, open this:",
        );
    } else {
        output::progress("Open this in a browser; Ctrl-C ends the demo and throws it away:");
    }
    Ok(output::line(link)?)
}

/// Waits for its end.
async fn serve(link: &PageLink, json: bool) -> Result<(), CommandError> {
    if !json {
        tokio::signal::ctrl_c().await?;
        return Ok(());
    }
    let mut lines = BufReader::new(tokio::io::stdin()).lines();
    while let Some(_asked) = lines.next_line().await? {
        output::json(&json!({ "url": link.fresh()? }))?;
    }
    Ok(())
}

/// Has the jobs done, one after the other; that one fails is there to be seen on the page.
async fn work(connection: &mut Connection) {
    let done = async {
        let question = Draft::new(kind::TEXT_GENERATION).tag(["i", QUESTION, "text"]);
        ask(connection, question).await?;
        let shell = |command: &str| {
            Draft::new(kind::AGENT_TASK)
                .tag(["i", command.trim_end(), "text"])
                .tag(["param", "agent", "shell"])
        };
        let built = ask(connection, shell(BUILD)).await?;
        let change = shell(CHANGE).tag(["e", &built.id.to_hex()]);
        ask(connection, change).await?;
        Ok::<_, CommandError>(())
    };
    if let Err(error) = done.await {
        tracing::warn!(%error, "the demo has fewer jobs");
    }
}

/// Asks as the owner, and waits for the end.
async fn ask(connection: &mut Connection, draft: Draft) -> Result<Event, CommandError> {
    let coordinator = connection.coordinator();
    let job = draft
        .tag(["p", &coordinator.to_hex()])
        .sign(connection.keyring.operator(), Timestamp::now().as_secs())
        .map_err(crate::cli::client::Error::from)?;
    let client = &mut connection.client;
    let feedback = view::of_kind(kind::JOB_FEEDBACK)
        .author(coordinator)
        .custom_tag(gather::PARENT, job.id.to_hex());
    client.subscribe(vec![feedback]).await?;
    client.publish(&job).await?;
    let ended = async {
        loop {
            let (_, Update::Event(event)) = client.next().await? else {
                continue;
            };
            let over = view::Feedback::of(&event)
                .is_some_and(|said| matches!(said.status, Status::Success | Status::Error));
            if over && view::ids(&event, "e").next() == Some(job.id) {
                return Ok::<_, CommandError>(());
            }
        }
    };
    // What takes longer than this goes on without being waited for.
    if let Ok(ended) = tokio::time::timeout(JOB, ended).await {
        ended?;
    }
    Ok(job)
}
