//! `treefort store`: the record as a whole, while treefort does not run.

use std::{
    fs,
    io::{self, BufRead, BufReader, BufWriter},
    path::{Path, PathBuf},
};

use serde_json::json;

use super::{
    Context,
    error::{CommandError, Kind, Problem},
    home::Home,
    launch, output,
    render::entries,
    text::size,
};
use crate::{
    config::Config,
    server::{self, Imported, Offline},
};

/// How many faults of a kind are named.
const NAMED: usize = 5;

/// Checks the whole record, makes it smaller, writes it out, or takes one in. treefort has to be stopped.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Looks whether every entry is there, is what was signed, and is found by all that leads to it.
    Check {
        /// One JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Gives back the disk space of what was removed.
    Compact,
    /// Writes every entry as one line of JSON, in the order in which they came. Secrets were cut out before they were
    /// signed, but what is private stays so only as long as the file does.
    Export {
        /// The file, for your eyes only; - is stdout.
        file: PathBuf,
    },
    /// Takes in entries, one a line of JSON. Each is verified; what is there already, was deleted or has expired is
    /// passed over. It can be stopped and done again at any time.
    Import {
        /// The file; - is stdin.
        file: PathBuf,
    },
}

/// Runs the command.
///
/// # Errors
/// When treefort runs, the record cannot be opened, or something in it is not right.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let config = Config::load(context.home.dir())?;
    let fills = matches!(args.command, Command::Import { .. });
    let dir = context.home.dir().to_owned();
    let opened = tokio::task::spawn_blocking(move || Offline::open(&dir, fills)).await;
    let store = opened
        .map_err(|error| CommandError::new(Kind::Failed, error))?
        .map_err(|error| not_opened(context, error))?;
    match args.command {
        Command::Import { file } => import(context, store, config, &file).await,
        command => {
            let home = context.home.clone();
            let work = tokio::task::spawn_blocking(move || blocking(command, store, &home));
            work.await
                .map_err(|error| CommandError::new(Kind::Failed, error))?
        }
    }
}

fn blocking(command: Command, store: Offline, home: &Home) -> Result<(), CommandError> {
    match command {
        Command::Check { json } => check(&store, home, json),
        Command::Compact => compact(store, home),
        Command::Export { file } => export(&store, &file),
        Command::Import { .. } => Ok(()),
    }
}

fn not_opened(context: &Context, error: server::Error) -> CommandError {
    match error {
        server::Error::Running { .. } => CommandError::from(error)
            .instead("stop it (Ctrl-C where `treefort up` runs), then try again"),
        error => launch::not_started(&context.home, error),
    }
}

fn check(store: &Offline, home: &Home, as_json: bool) -> Result<(), CommandError> {
    let mut passing = output::Passing::default();
    passing.show("looking at every entry");
    let found = store.check();
    passing.clear();
    let found = found.map_err(|error| launch::not_started(home, error))?;
    let faults = [
        (
            "damaged",
            &found.damaged,
            "cannot be read, or is not what was signed",
        ),
        (
            "unindexed",
            &found.unindexed,
            "is not found by all that should lead to it",
        ),
        ("dangling", &found.dangling, "leads to nothing"),
    ];
    if as_json {
        let mut all =
            json!({"entries": found.events, "ways": found.entries, "sound": found.is_sound()});
        for (name, faults, _) in faults {
            all[name] = json!({"total": faults.total, "first": faults.first});
        }
        output::json(&all)?;
    } else {
        output::line(format!(
            "{}, found by {} index rows",
            entries(found.events),
            found.entries
        ))?;
        for (_, faults, what) in faults {
            if faults.total > 0 {
                output::line(format!("{what}: {}", faults.total))?;
                for one in faults.first.iter().take(NAMED) {
                    output::line(format!("  {}", super::text::one_line(one)))?;
                }
            }
        }
    }
    if found.is_sound() {
        if !as_json {
            output::line("The record is whole.")?;
        }
        return Ok(());
    }
    let events = home.dir().join("events");
    let events = events.display();
    Err(CommandError::new(
        Kind::Failed,
        Problem::NotWhole {
            unreadable: found.damaged.total,
            unfound: found.unindexed.total,
            loose: found.dangling.total,
        },
    )
    .hint(format!(
        "save what can be read and begin anew with it: treefort store export saved.jsonl; mv '{events}' \
         '{events}.damaged'; treefort store import saved.jsonl"
    )))
}

fn compact(store: Offline, home: &Home) -> Result<(), CommandError> {
    let mut passing = output::Passing::default();
    passing.show("making the record smaller");
    let sizes = store.compact();
    passing.clear();
    let (before, now) = sizes.map_err(|error| launch::not_started(home, error))?;
    let back = before.saturating_sub(now);
    output::line(format!(
        "The record takes {} now; {} were given back.",
        size(now),
        size(back)
    ))?;
    Ok(())
}

fn export(store: &Offline, file: &Path) -> Result<(), CommandError> {
    let failed = |source| unusable(file, source);
    let mut passing = output::Passing::default();
    let heard = |written| passing.show(&format!("{} written", entries(written)));
    let told = if is_stream(file) {
        let mut out = BufWriter::new(io::stdout().lock());
        // What is read from a pipe needs no counting beside it.
        store.export(&mut out, |_| {})?
    } else {
        let unfinished = unfinished(file);
        let written = (|| {
            let mut options = fs::OpenOptions::new();
            options.write(true).create(true).truncate(true);
            #[cfg(unix)]
            std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
            let mut out = BufWriter::new(options.open(&unfinished)?);
            let told = store.export(&mut out, heard)?;
            out.into_inner()?.sync_all()?;
            fs::rename(&unfinished, file)?;
            Ok(told)
        })();
        passing.clear();
        written.map_err(|error| {
            // Half a copy would pass for a whole one.
            let _ = fs::remove_file(&unfinished);
            failed(error)
        })?
    };
    output::progress(format!("{} written", entries(told.written)));
    if told.unreadable > 0 {
        return Err(
            CommandError::new(Kind::Failed, Problem::LeftOut(told.unreadable))
                .hint("`treefort store check` says which; all others are written"),
        );
    }
    Ok(())
}

async fn import(
    context: &Context,
    store: Offline,
    config: Config,
    file: &Path,
) -> Result<(), CommandError> {
    let from: Box<dyn BufRead + Send> = if is_stream(file) {
        Box::new(BufReader::new(io::stdin()))
    } else {
        let opened = fs::File::open(file).map_err(|source| unusable(file, source))?;
        Box::new(BufReader::with_capacity(1 << 20, opened))
    };
    let mut passing = output::Passing::default();
    let heard = |told: &Imported| {
        if output::is_terminal_for_progress() {
            passing.show(&format!("{} lines read, {} new", told.lines, told.new));
        }
    };
    let told = Box::pin(store.import(config, from, heard)).await;
    passing.clear();
    let told = told.map_err(|error| not_taken(context, file, error))?;
    output::line(format!("{} taken in", entries(told.new)))?;
    if told.there > 0 {
        output::line(format!("{} not taken: there already", entries(told.there)))?;
    }
    for (why, count) in told.passed.iter().chain(&told.wrong) {
        output::line(format!("{} not taken: {why}", entries(*count)))?;
    }
    match told.first_wrong {
        None => Ok(()),
        Some(line) => Err(CommandError::new(
            Kind::Failed,
            Problem::WrongLines {
                count: told.wrong.values().sum(),
                line,
            },
        )
        .hint("the others are taken in; those lines were changed, cut off, or never signed")),
    }
}

fn not_taken(context: &Context, file: &Path, error: server::Error) -> CommandError {
    match error {
        server::Error::JobsWait => CommandError::new(Kind::Failed, Problem::JobsWait).hint(
            "start treefort (`treefort up`), wait until its jobs are done, stop it, then try again",
        ),
        server::Error::Lines(source) => unusable(file, source),
        server::Error::Broken => CommandError::from(error)
            .instead("look whether the disk is full, then do it again: what was taken in stays"),
        error => launch::not_started(&context.home, error),
    }
}

fn is_stream(file: &Path) -> bool {
    file.as_os_str() == "-"
}

/// Where a file is written until it is whole.
fn unfinished(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".unfinished");
    name.into()
}

fn unusable(file: &Path, source: io::Error) -> CommandError {
    if source.kind() == io::ErrorKind::BrokenPipe {
        return source.into();
    }
    let path = file.display().to_string();
    CommandError::new(Kind::Failed, Problem::File { path, source })
}
