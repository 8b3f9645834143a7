//! `treefort preview`: what an agent built, in the browser.

use futures_util::FutureExt as _;

use crate::{
    cli::{
        Context,
        error::{CommandError, Kind},
        launch::{self, Connection},
        output, page,
        text::{one_line, sanitize},
    },
    nips::workspace::{Answer, Operation, Outcome, Show, Task},
};

/// Opens the web app that an agent started in its sandbox, or the files of its copy, in your browser.
///
/// Prints a link that works once, and stays until Ctrl-C, which ends the preview. An app is there as long as its
/// session is open: have the agent start it and leave it running, and look while it works or just after. While you
/// look, the session stays open: until ten minutes after you last did (an hour, while a page keeps a connection open),
/// and at most four hours after the agent's last answer. With --static the files themselves are shown, at any time.
///
/// The app runs in the agent's sandbox, without a network; its pages run in your browser, at an address of their own
/// from which they can reach nothing else. A page can still lead you elsewhere, and take along what it knows: look
/// where a link leads before you type anything there.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treefort preview --open            what the agent of this folder started
  treefort preview --port 5173       one of several programs
  treefort preview --static --open   the files, without any program of the agent's")]
pub struct Args {
    /// The session; the newest one of this folder when left out.
    session: Option<String>,
    /// Where the app listens in the sandbox; what treefort saw when left out.
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..), conflicts_with = "files")]
    port: Option<u16>,
    /// The files of the copy instead: nothing of the agent's runs but in your browser.
    #[arg(long = "static", id = "files")]
    files: bool,
    /// The checkpoint whose files are shown (`treefort checkpoints`); as they are now when left out.
    #[arg(long, value_name = "CHECKPOINT", requires = "files")]
    at: Option<String>,
    /// The folder of the copy that is shown; where a site is (dist, build, out, …) when left out.
    #[arg(long, value_name = "DIR", requires = "files")]
    folder: Option<String>,
    /// Opens the browser.
    #[arg(long)]
    open: bool,
    /// Returns at once. The preview ends with its session, with `treefort preview --end`, or with treefort.
    #[arg(long)]
    detach: bool,
    /// Ends the previews of this copy instead.
    #[arg(long, conflicts_with_all = ["open", "detach"])]
    end: bool,
    /// As JSON.
    #[arg(long)]
    json: bool,
}

/// Why a preview cannot be left alone.
#[derive(Debug, thiserror::Error)]
#[error("treefort runs for this command alone, and the preview would end with it")]
struct Alone;

/// Runs the command.
///
/// # Errors
/// When there is no copy, nothing listens, or no such file is there.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let at = super::diff::state(args.at.as_deref())?;
    let show = match args.files {
        true => Show::Files {
            at,
            path: args.folder.clone(),
        },
        false => Show::App { port: args.port },
    };
    launch::with_jobs(context, async |connection| {
        if args.detach && !connection.running {
            return Err(CommandError::new(Kind::Unreachable, Alone)
                .hint("start treefort in another terminal (treefort up), or leave --detach out"));
        }
        let which = super::which(connection, args.session.as_deref()).await?;
        let ask = |operation| Task {
            which: which.clone(),
            operation,
        };
        if args.end {
            let named = args.files || args.port.is_some();
            let only = named.then(|| show.clone());
            return end(connection, &ask(Operation::PreviewEnd { only }), args.json).await;
        }
        let answer = super::request(connection, &ask(Operation::Preview(show.clone()))).await?;
        if args.detach {
            return tell(&args, &answer, context).await;
        }
        // From here on there is something to end: looked at once, it is heard from then on.
        let mut interrupted = Box::pin(tokio::signal::ctrl_c());
        if (&mut interrupted).now_or_never().is_none() {
            tell(&args, &answer, context).await?;
            until(interrupted, connection).await?;
        }
        // Which port that is was said by treefort.
        let shown = match (&show, &answer.outcome) {
            (Show::App { .. }, Outcome::Preview { port, .. }) => Show::App { port: *port },
            _ => show,
        };
        let only = Some(shown);
        super::request(connection, &ask(Operation::PreviewEnd { only })).await?;
        output::progress("the preview has ended");
        Ok(())
    })
    .await
}

/// Prints where the preview is.
async fn tell(args: &Args, answer: &Answer, context: &Context) -> Result<(), CommandError> {
    let Outcome::Preview {
        url,
        by_address,
        port,
        folder,
        ..
    } = &answer.outcome
    else {
        return Ok(());
    };
    super::which_one(answer);
    match (port, folder) {
        (Some(port), _) => output::progress(format!("port {port} of its sandbox")),
        (None, Some(folder)) if !folder.is_empty() => {
            output::progress(format!("the files in {}", one_line(folder)));
        }
        _ => {}
    }
    if args.json {
        output::json(&serde_json::json!(answer))?;
    } else {
        output::line(sanitize(url))?;
    }
    if args.open && !(is_link(url) && page::open(context.home.dir(), url).await?) {
        output::progress("no program was found that opens a browser: open the link yourself");
    }
    if let Some(address) = by_address {
        super::aside(&format!(
            "a program that cannot find that name: {}",
            one_line(address)
        ));
    }
    let ends = match args.detach {
        true => "treefort preview --end ends it",
        false => "Ctrl-C ends it",
    };
    super::aside(&format!("The link works once, in a browser; {ends}."));
    Ok(())
}

/// Whether this is a link and says nothing else: it goes into a file that a browser reads.
fn is_link(url: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b":/.".contains(&byte);
    url.starts_with("http://") && url.bytes().all(plain)
}

async fn end(connection: &mut Connection, task: &Task, json: bool) -> Result<(), CommandError> {
    let answer = super::request(connection, task).await?;
    if json {
        return Ok(output::json(&serde_json::json!(answer))?);
    }
    if let Outcome::PreviewEnd { ended } = answer.outcome {
        output::progress(match ended {
            0 => "there was no preview".to_owned(),
            1 => "the preview has ended".to_owned(),
            ended => format!("{ended} previews have ended"),
        });
    }
    Ok(())
}

/// Returns when the person has seen enough.
///
/// # Errors
/// When treefort goes before.
async fn until(
    interrupted: impl Future<Output = std::io::Result<()>>,
    connection: &mut Connection,
) -> Result<(), CommandError> {
    tokio::pin!(interrupted);
    loop {
        tokio::select! {
            interrupted = &mut interrupted => return Ok(interrupted?),
            update = connection.client.next() => drop(update?),
        }
    }
}
