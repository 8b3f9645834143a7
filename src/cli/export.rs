//! `treefort export`: everything that belongs to a session or job, as it was signed; or a session as a file to hand on.

use std::path::{Path, PathBuf};

use nostr::{Event, PublicKey};

use super::{
    Context,
    error::{CommandError, Kind, Problem},
    gather::{self, Target},
    import,
    launch::{self, Connection},
    output,
};
use crate::{
    nips::{kind, nip90::Scheme},
    recorder::Redactor,
    web::share::{Bundle, ShareError},
};

/// Writes all that belongs to a session or job, as it was signed: one entry a line, oldest first. Or writes one session into
/// a file to show to others: `--html` as a page that needs nothing but a browser and checks the signatures itself,
/// `--bundle` as lines of JSON. `treefort verify` checks both.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treefort export --html session.html
  treefort export --all treefort-backup.tar")]
pub struct Args {
    /// A session or job; the last session when nothing is named.
    target: Option<String>,
    /// Writes the session as one HTML file. Opening it asks nothing of any network.
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Writes the session as JSON Lines: its records, the jobs that it did, their answers.
    #[arg(long, value_name = "FILE")]
    bundle: Option<PathBuf>,
    /// In the file of a private session: also what was asked and answered. Whoever gets the file reads it.
    #[arg(long)]
    words: bool,
    /// Writes the whole home into one file, to move it to another machine or to keep it: the record, files, copies with their
    /// checkpoints, settings, agents, and the keys, encrypted with a password. - is stdout. `treefort import` reads it.
    /// treefort has to be stopped, and its jobs done.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["target", "html", "bundle", "words"])]
    all: Option<PathBuf>,
    /// With --all: takes the password from the first line of this file instead of asking.
    #[arg(long, value_name = "FILE", requires = "all")]
    password_file: Option<PathBuf>,
}

impl Args {
    /// Whether a whole home is to be written, which has to be there.
    pub(super) fn is_of_a_home(&self) -> bool {
        self.all.is_some()
    }
}

/// Runs the command.
///
/// # Errors
/// When nothing is called so, or treefort cannot be reached.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    if let Some(file) = &args.all {
        return import::export(context, file, args.password_file.as_deref()).await;
    }
    launch::with(context, async |connection| {
        let coordinator = connection.coordinator();
        let client = &mut connection.client;
        let target = gather::resolve(client, coordinator, args.target.as_deref()).await?;
        let events = gather::story(client, coordinator, target).await?;
        if args.html.is_none() && args.bundle.is_none() {
            for event in events {
                output::event(&event)?;
            }
            return Ok(());
        }
        let mut bundle = bundle(connection, target, events).await?;
        if args.words {
            bundle = with_words(bundle, connection);
        }
        for (path, text) in [
            (&args.html, Bundle::html as fn(&Bundle) -> String),
            (&args.bundle, Bundle::lines),
        ] {
            if let Some(path) = path {
                write(path, &text(&bundle))?;
                output::progress(format!("{}: {}", path.display(), holds(&bundle)));
            }
        }
        Ok(())
    })
    .await
}

async fn bundle(
    connection: &mut Connection,
    target: Target,
    mut events: Vec<Event>,
) -> Result<Bundle, CommandError> {
    let session = match target {
        Target::Session(key) => Some(key),
        // The newest of those that did it.
        Target::Job(_) => newest(&events),
    };
    let session = session.ok_or_else(|| failed(&ShareError::NoSession))?;
    let redactor = Redactor::of_host(&connection.keyring);
    events.extend(gather::profiles(&mut connection.client, &events).await?);
    Bundle::of(session, events, &redactor).map_err(|error| failed(&error))
}

/// The owner wants others to read what was private.
fn with_words(bundle: Bundle, connection: &Connection) -> Bundle {
    let (operator, coordinator) = (connection.keyring.operator(), connection.coordinator());
    let redactor = Redactor::of_host(&connection.keyring);
    bundle.with_words(&redactor, |event| {
        let scheme = Scheme::of(event);
        scheme.decrypt(operator, &coordinator, &event.content).ok()
    })
}

fn newest(events: &[Event]) -> Option<PublicKey> {
    let start = |event: &&Event| event.kind.as_u16() == kind::SESSION_START;
    events.iter().rfind(start).map(|event| event.pubkey)
}

fn failed(error: &ShareError) -> CommandError {
    CommandError::new(Kind::Failed, Problem::NotShared(error.to_string()))
        .hint("`treefort export` without a file prints everything, for yourself")
}

/// What is in a file, for its owner to know before it is sent to anybody.
fn holds(bundle: &Bundle) -> String {
    let entries = bundle.events.len() as u64;
    let mut said = match entries {
        1 => "1 signed entry".to_owned(),
        n => format!("{n} signed entries"),
    };
    if !bundle.words.is_empty() {
        said.push_str("; the job was private, and what was asked and answered can be read in it");
    } else if bundle.private {
        said.push_str(
            "; the job was private, so they say that something was said and done, and not what",
        );
    }
    if bundle.left_out > 0 {
        said.push_str(&format!(
            "; {} left out because of secrets in them",
            bundle.left_out
        ));
    }
    said
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    std::fs::write(path, text).map_err(|source| {
        CommandError::new(
            Kind::Failed,
            Problem::File {
                path: path.display().to_string(),
                source,
            },
        )
    })
}
