//! `treefort export --all` and `treefort import`: a whole home, out into one file and in again.

use std::{
    fs,
    io::{self, BufReader, Read},
    ops::ControlFlow,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{
    Context,
    error::{CommandError, Kind, Problem},
    interrupt, key, launch, output,
    render::entries,
    sharing,
    text::size,
};
use crate::{
    config::Config,
    keys::Admit,
    server::{
        self,
        moving::{self, Cleared, Heard, MoveError, Moved, UnfinishedFile},
    },
};

/// Makes this home out of a file that `treefort export --all` wrote, on this or another machine. The home has to be empty.
/// Everything is verified first: signatures, hashes, and that nothing was changed. What was done there is not done again.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treefort import treefort-backup.tar
  treefort import treefort-backup.tar --home ~/another-home")]
pub struct Args {
    /// The file; - is stdin.
    file: PathBuf,
    /// Takes the password from the first line of this file instead of asking.
    #[arg(long, value_name = "FILE")]
    password_file: Option<PathBuf>,
}

/// Runs the command.
///
/// # Errors
/// When the home is not empty, the file is not right, or the password does not open it.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    let home = context.home.dir().to_owned();
    let left = moving::clear_imports(&home).map_err(|error| failed(context, &args.file, error))?;
    for path in left {
        output::sentence(&format!(
            "removed {}: an import that was cut off had left it",
            path.display()
        ));
    }
    if fs::read_dir(&home).is_ok_and(|mut entries| entries.next().is_some()) {
        return Err(failed(context, &args.file, MoveError::NotEmpty));
    }
    let from: Box<dyn Read + Send> = match is_stream(&args.file) {
        true => Box::new(io::stdin()),
        false => {
            let opened = fs::File::open(&args.file).map_err(|error| {
                unusable(&args.file, error)
                    .hint("make sure that the file is there and that you may read it")
            })?;
            Box::new(BufReader::with_capacity(1 << 20, opened))
        }
    };
    let password = key::password(args.password_file.as_deref(), false)?;
    let moved = unless_stopped(move |heard| moving::import(&home, from, &password, heard)).await?;
    let moved = moved.map_err(|error| failed(context, &args.file, error))?;
    let said = format!(
        "This home has {} now, with {} keys and {} files ({}).",
        entries(moved.entries),
        moved.keys,
        moved.files,
        size(moved.bytes)
    );
    output::row("", &said)?;
    // A home that nothing can be read of says so when it is started.
    if let Ok(config) = Config::load(context.home.dir()) {
        for said in came_along(&config) {
            output::sentence(&said);
        }
    }
    output::sentence(
        "do not start the home that it came from again: two homes with the same keys answer everything twice",
    );
    Ok(())
}

/// What the settings that came with a home do to others, or let others do.
fn came_along(config: &Config) -> Vec<String> {
    let mut said = Vec::new();
    if let Some(sharing) = sharing::line(&config.sync) {
        said.push(format!(
            "sync.toml came with it: {sharing}; move the file away if that is not to be so here"
        ));
    }
    if config.jobs.admit == Admit::Anyone {
        said.push(
            "treefort.toml came with it: jobs from anyone run, within limits; take `admit` out of [jobs] if that is not to be so here"
                .to_owned(),
        );
    }
    let address = config.server.listen;
    if !address.ip().is_loopback() {
        said.push(format!(
            "treefort.toml came with it: other machines reach it at {address}; take `listen` out of [server] if that is not to be so here"
        ));
    }
    said
}

/// Writes the whole home into a file, or to stdout.
///
/// # Errors
/// When treefort runs, jobs are not done, or the file cannot be written.
pub(super) async fn export(
    context: &Context,
    file: &Path,
    password_file: Option<&Path>,
) -> Result<(), CommandError> {
    let says = |error| failed(context, file, error);
    // Before anybody thinks of a password.
    if !is_stream(file) {
        moving::is_free(file).map_err(says)?;
    }
    let (home, to) = (context.home.dir().to_owned(), file.to_owned());
    moving::may_export(&home).map_err(says)?;
    let password = key::password(password_file, true)?;
    let work = unless_stopped(move |heard| {
        if is_stream(&to) {
            return moving::export(&home, &password, io::stdout().lock(), heard);
        }
        let (mut out, cleared) = UnfinishedFile::begin(&to)?;
        match cleared {
            Some(Cleared::Removed(path)) => output::sentence(&format!(
                "removed {}: an export that was cut off had left it",
                path.display()
            )),
            Some(Cleared::Kept(path)) => output::sentence(&format!(
                "a whole backup was in the way; it is kept as {}",
                path.display()
            )),
            None => {}
        }
        let moved = moving::export(&home, &password, &mut out, heard)?;
        out.finish()?;
        Ok(moved)
    });
    let moved = work.await?.map_err(says)?;
    output::sentence(&format!(
        "{} written: {}, {} keys, {} files ({})",
        file.display(),
        entries(moved.entries),
        moved.keys,
        moved.files,
        size(moved.bytes)
    ));
    if moved.left > 0 {
        output::sentence(&format!("{} sockets and the like stayed", moved.left));
    }
    output::sentence(
        "the keys in it open with the password alone; everything else in it can be read, so keep it to yourself",
    );
    Ok(())
}

/// Does what takes long and says how far it is, until it is done or Ctrl-C asks it to clean up and end.
async fn unless_stopped<T: Send + 'static>(
    work: impl FnOnce(Heard<'_>) -> Result<T, MoveError> + Send + 'static,
) -> Result<Result<T, MoveError>, CommandError> {
    let stopped = interrupt::stopped()?;
    let stop = Arc::new(AtomicBool::new(false));
    let asked = stop.clone();
    let mut work = tokio::task::spawn_blocking(move || {
        let mut passing = output::Passing::default();
        let done = work(&mut |moved| {
            show(&mut passing, moved);
            match asked.load(Ordering::Relaxed) {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            }
        });
        passing.clear();
        done
    });
    let done = tokio::select! {
        done = &mut work => done,
        () = stopped => {
            stop.store(true, Ordering::Relaxed);
            work.await
        }
    };
    done.map_err(|error| CommandError::new(Kind::Failed, error))
}

/// How far it is; a line for each file would be for nobody.
fn show(passing: &mut output::Passing, moved: &Moved) {
    if output::is_terminal_for_progress() {
        passing.show(&format!("files: {}, {}", moved.files, size(moved.bytes)));
    }
}

fn is_stream(file: &Path) -> bool {
    file.as_os_str() == "-"
}

fn unusable(file: &Path, source: io::Error) -> CommandError {
    let path = file.display().to_string();
    CommandError::new(Kind::Failed, Problem::File { path, source })
}

fn failed(context: &Context, file: &Path, error: MoveError) -> CommandError {
    let hint = match &error {
        MoveError::Home(server::Error::Running { .. }) => {
            "stop it (Ctrl-C where `treefort up` runs), then try again"
        }
        MoveError::NotEmpty => {
            "`--home DIR` names another one, which it makes; or move this one away"
        }
        MoveError::Exists(_) => "give it another name, or move that one away",
        MoveError::Busy(_) => "wait until it is done, or give another name",
        MoveError::InTheWay(_) => "move it away, or give another name",
        MoveError::Stopped => "nothing was left behind; the same command begins anew",
        MoveError::JobsWait => {
            "start treefort (`treefort up`), wait until its jobs are done, stop it, then try again: else they could be \
             done in both homes"
        }
        MoveError::Password => "it is the one that was given when the file was written",
        MoveError::Version(_) => "a newer treefort may read it",
        MoveError::NotOne(_) if file.to_string_lossy().ends_with(moving::UNFINISHED) => {
            "an export that was cut off left this file, and the next one to the same name removes it; take another backup"
        }
        MoveError::NotOne(_) | MoveError::Changed(_) => {
            "nothing was changed here; copy the file again, or take another backup"
        }
        MoveError::Home(_) | MoveError::Keyring(_) => {
            "make sure that the home is there and that the disk has room"
        }
        MoveError::Archive(_) => "make sure that the file can be used and that the disk has room",
    };
    match error {
        MoveError::Archive(source) => unusable(file, source).hint(hint),
        MoveError::Home(error @ server::Error::NoRecord { .. }) => {
            launch::not_started(&context.home, error)
        }
        error => CommandError::new(Kind::Failed, error).hint(hint),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_that_open_a_home_to_others_are_named_and_no_others() {
        assert!(came_along(&Config::default()).is_empty());
        let mut config = Config::default();
        config.jobs.admit = Admit::Anyone;
        config.server.listen = "0.0.0.0:4869".parse().unwrap();
        let said = came_along(&config).join("\n");
        assert!(said.contains("jobs from anyone run"), "{said}");
        assert!(said.contains("reach it at 0.0.0.0:4869"), "{said}");
    }
}
