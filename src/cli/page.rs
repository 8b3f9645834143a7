//! `treefort page`: opens the page in the browser.

use std::{path::Path, process::Stdio, time::Duration};

use nostr::Timestamp;
use tokio::process::Command;

use super::{
    Context,
    client::Relay,
    error::{CommandError, Kind},
    launch, output,
};
use crate::{
    keys::{Keyring, keyring},
    nips::nip98,
};

/// How long the link may take.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long it may take to find out that no browser can be opened.
const OPENING: Duration = Duration::from_secs(5);
/// No answer is longer.
const MAX_ANSWER: usize = 16 << 10;
/// The file that leads the browser to the page.
const FILE: &str = "page.html";
#[cfg(target_os = "macos")]
const OPENERS: [&str; 1] = ["open"];
#[cfg(not(target_os = "macos"))]
const OPENERS: [&str; 2] = ["xdg-open", "wslview"];

/// Opens treefort's page in your browser.
///
/// The page needs a running treefort (`treefort up`). The link that opens it works once and for ten minutes: what
/// it opens can do what you can do.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Prints the link instead, for a browser of your choice.
    #[arg(long)]
    print: bool,
}

/// Why there is no link.
#[derive(Debug, thiserror::Error)]
enum Problem {
    #[error("treefort is not running, so there is no page")]
    NotRunning,
    #[error("treefort gave no link to its page")]
    NoLink(#[source] reqwest::Error),
    #[error("treefort gave no link to its page: {0}")]
    Refused(String),
    #[error("no program was found that opens a browser")]
    NoBrowser,
}

/// Runs the command.
///
/// # Errors
/// When treefort does not run, or no browser can be opened.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let relay = launch::running(&context.home).await?.ok_or_else(|| {
        CommandError::new(Kind::Unreachable, Problem::NotRunning)
            .hint("start it in another terminal: treefort up")
    })?;
    let keyring = Keyring::open(context.home.dir())?;
    let link = link(&relay, &keyring).await?;
    if args.print {
        return Ok(output::line(link)?);
    }
    if open(context.home.dir(), &link).await? {
        // Whether it really opens nobody can tell: some browsers may not read the file that leads them here.
        if !output::is_terminal() {
            output::progress(
                "the page opens in your browser; if it does not: treefort page --print",
            );
            return Ok(());
        }
        output::progress(
            "the page opens in your browser; if it does not, open this yourself, it works once:",
        );
        return Ok(output::line(link)?);
    }
    if !output::is_terminal() {
        return Err(CommandError::new(Kind::Failed, Problem::NoBrowser)
            .hint("`treefort page --print` prints the link for you to open yourself"));
    }
    // Over SSH, for example.
    output::progress("no browser can be opened here; open this yourself, it works once:");
    Ok(output::line(link)?)
}

/// Asks for a fresh link, signed by the owner.
async fn link(relay: &Relay, keyring: &Keyring) -> Result<String, CommandError> {
    let url = format!("{}/api/link", relay.web());
    // Two within a second are two.
    let mut nonce = [0u8; 16];
    getrandom::fill(&mut nonce).map_err(|error| CommandError::new(Kind::Failed, error))?;
    let event = nip98::draft(&url, "POST")
        .tag(["nonce", &hex::encode(nonce)])
        .sign(keyring.operator(), Timestamp::now().as_secs())
        .map_err(super::client::Error::from)?;
    let no_link = |error| CommandError::new(Kind::Unreachable, Problem::NoLink(error));
    let http = reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(PATIENCE)
        .build()
        .map_err(no_link)?;
    let mut response = http
        .post(&url)
        .header("authorization", nip98::header(&event))
        .send()
        .await
        .map_err(no_link)?;
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(no_link)? {
        if body.len() + chunk.len() > MAX_ANSWER {
            break;
        }
        body.extend_from_slice(&chunk);
    }
    let answer: serde_json::Value = serde_json::from_slice(&body).unwrap_or_default();
    let prefix = format!("{}/#t=", relay.web());
    match answer["url"].as_str() {
        Some(link) if is_link(link, &prefix) => Ok(link.to_owned()),
        _ => {
            let said = answer["error"]
                .as_str()
                .unwrap_or("it said nothing that makes sense");
            let refused = Problem::Refused(super::text::one_line(said));
            Err(CommandError::new(Kind::Failed, refused))
        }
    }
}

/// Whether this leads to our page and says nothing else: it goes into a file that a browser reads.
fn is_link(link: &str, prefix: &str) -> bool {
    link.strip_prefix(prefix).is_some_and(|code| {
        !code.is_empty() && code.bytes().all(|byte| byte.is_ascii_alphanumeric())
    })
}

/// Has the browser open a file that leads to the link. The link itself would stand in the list of processes, which
/// everybody on this machine can read. Says whether a browser was opened.
pub(super) async fn open(home: &Path, link: &str) -> Result<bool, CommandError> {
    let path = home.join(FILE);
    let text = format!(
        "<!doctype html>\n<meta charset=\"utf-8\">\n<meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta http-equiv=\"refresh\" content=\"0; url={link}\">\n<title>treefort</title>\n\
         <a href=\"{link}\">treefort</a>\n"
    );
    keyring::write_private(&path, &text)?;
    for opener in OPENERS {
        let opened = Command::new(opener)
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn();
        let mut opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!(opener, %error, "cannot be run");
                continue;
            }
        };
        match tokio::time::timeout(OPENING, opened.wait()).await {
            // Some are the browser themselves, and end with it.
            Err(_) => return Ok(true),
            Ok(Ok(status)) if status.success() => return Ok(true),
            Ok(status) => tracing::info!(opener, ?status, "a browser was not opened"),
        }
    }
    Ok(false)
}
