//! `treefort purge`: deletes sessions and single events for good.

use nostr::{EventId, PublicKey};

use super::{
    Context,
    error::{CommandError, Kind, Problem},
    gather::{self, Target},
    launch::{self, Connection},
    output,
    render::plural,
    text::one_line,
    view::short,
    workspace::{Said, aside, confirmed, not_confirmed, request},
};
use crate::nips::workspace::{Answer, Operation, Outcome, Purge, Task, Which};

/// Deletes sessions for good: what was asked, said and done, and the agent's copy. Your folder stays as it is.
///
/// Also the record goes, which nothing else can delete, and the bytes leave the disk. What you applied to your folder,
/// exported or shared is not called back (`treefort unpublish` first asks for what you shared), and backups of the disk keep
/// what they have. What the checkpoints of the copy
/// hold stays in treefort's store while there is another copy of the same folder.
///
/// A single event, such as one with a password in it, goes by its id (`treefort timeline --verbose` shows ids); the record of
/// its session says from then on that something is missing. The same words are often in more than one event.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  treefort purge 3f2a9c01
  treefort purge 3f2a9c01 --conversation
  treefort purge --event 5c83…")]
pub struct Args {
    /// The sessions or jobs.
    #[arg(required_unless_present = "event", value_name = "SESSION")]
    sessions: Vec<String>,
    /// A single event, by its whole id; may be given several times.
    #[arg(long, value_name = "ID")]
    event: Vec<String>,
    /// Also what these went on from, and what went on from them.
    #[arg(long)]
    conversation: bool,
    /// Does not ask.
    #[arg(long, short)]
    yes: bool,
    /// As JSON: what would go, or with --yes what went.
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
/// When there is no such thing, an agent is at work on it, or it is not confirmed.
pub async fn run(args: Args, context: &Context) -> Result<(), CommandError> {
    launch::with_jobs(context, async |connection| {
        let mut purge = Purge {
            targets: Vec::new(),
            events: Vec::new(),
            conversation: args.conversation,
            look: !args.yes,
        };
        for session in &args.sessions {
            purge.targets.push(target(connection, session).await?);
        }
        for id in &args.event {
            let id = EventId::parse(id)
                .map_err(|_| CommandError::new(Kind::Usage, Problem::NotAnId(id.clone())))?;
            purge.events.push(id);
        }
        let answer = ask(connection, &purge).await?;
        if args.json {
            return Ok(output::json(&serde_json::json!(answer))?);
        }
        let names: Vec<&str> = (args.sessions.iter().chain(&args.event))
            .map(String::as_str)
            .collect();
        if args.yes {
            return show(&answer, &names);
        }
        show(&answer, &names)?;
        let said = confirmed("Delete all of this for good? Nothing brings it back.")?;
        if said != Said::Yes {
            return not_confirmed(said, "the same command with --yes");
        }
        purge.look = false;
        show(&ask(connection, &purge).await?, &names)
    })
    .await
}

async fn target(connection: &mut Connection, name: &str) -> Result<EventId, CommandError> {
    let coordinator = connection.coordinator();
    Ok(
        match gather::resolve(&mut connection.client, coordinator, Some(name)).await? {
            Target::Session(key) => EventId::from_byte_array(key.to_bytes()),
            Target::Job(id) => id,
        },
    )
}

async fn ask(connection: &mut Connection, purge: &Purge) -> Result<Answer, CommandError> {
    let task = Task {
        which: Which::Newest,
        operation: Operation::Purge(purge.clone()),
    };
    request(connection, &task).await
}

/// Shows it; `names` is what was typed.
fn show(answer: &Answer, names: &[&str]) -> Result<(), CommandError> {
    for line in lines(&answer.outcome, names) {
        output::line(line)?;
    }
    if let Outcome::Purge {
        done: true, erased, ..
    } = answer.outcome
    {
        if !erased {
            output::progress(
                "its bytes are not all off the disk yet, because something was reading; the next start of treefort removes them",
            );
        }
        aside("what you exported or shared before, and backups of this disk, are not called back");
    }
    Ok(())
}

/// What goes, or went, and what stays.
fn lines(outcome: &Outcome, names: &[&str]) -> Vec<String> {
    let Outcome::Purge {
        done,
        sessions,
        sessions_in_all,
        jobs,
        events,
        blobs,
        copies,
        copies_kept,
        applied,
        linked,
        shared,
        relays,
        ..
    } = outcome
    else {
        return Vec::new();
    };
    let named = |keys: &[PublicKey]| {
        let keys: Vec<String> = keys.iter().map(|key| short(&key.to_hex())).collect();
        keys.join(", ")
    };
    let mut parts = Vec::new();
    for (count, what) in [
        (*sessions_in_all, "session"),
        (*jobs, "job"),
        (*events, "event"),
        (*blobs, "file or long text"),
        (*copies, "copy of a folder"),
    ] {
        if count > 0 {
            let many = plural(count as u64, what);
            let many = many.replace("copy of a folders", "copies of folders");
            parts.push(many.replace("file or long texts", "files and long texts"));
        }
    }
    let mut lines = vec![format!(
        "{}: {}",
        if *done {
            "deleted for good"
        } else {
            "would be deleted for good"
        },
        parts.join(", ")
    )];
    if !sessions.is_empty() {
        lines.push(format!("  sessions: {}", named(sessions)));
    }
    if *copies_kept > 0 {
        lines.push(format!(
            "  {} because another session works on it",
            if *copies_kept == 1 {
                "1 copy stays,".to_owned()
            } else {
                format!("{copies_kept} copies stay,")
            }
        ));
    }
    if !linked.is_empty() {
        lines.push(format!(
            "  of the same conversation, these stay: {} (`--conversation` takes them too)",
            named(linked)
        ));
    }
    if *shared > 0 {
        lines.push(with_others(*done, *shared, *relays, names));
    }
    if *applied > 0 {
        lines.push("  what you applied to your folder stays there".to_owned());
    }
    lines
}

/// What others have of it, and how to ask for that while it can still be named.
fn with_others(done: bool, shared: usize, relays: usize, names: &[&str]) -> String {
    let (events, relays) = (
        plural(shared as u64, "event"),
        plural(relays as u64, "relay"),
    );
    if done {
        return format!(
            "  {events} of it had been shared with {relays}, or were about to be; what is there can no longer be asked back"
        );
    }
    let name = match names {
        [name] => one_line(name),
        _ => "ID".to_owned(),
    };
    format!(
        "  {events} of it were shared with {relays}, or are about to be: `treefort unpublish {name}` first asks for them back; once this is deleted, nobody can"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_says_what_goes_and_what_stays() {
        let key = |byte: u8| PublicKey::from_byte_array([byte; 32]);
        let purge = |done| Outcome::Purge {
            done,
            sessions: vec![key(1)],
            sessions_in_all: 1,
            jobs: 2,
            events: 40,
            blobs: 1,
            copies: 1,
            copies_kept: 1,
            applied: 3,
            linked: vec![key(2), key(3)],
            shared: 9,
            relays: 1,
            erased: done,
        };
        let done = lines(&purge(true), &["3f2a9c01"]).swap_remove(4);
        let several = lines(&purge(false), &["a", "b"]).swap_remove(4);
        let mut lines = lines(&purge(false), &["3f2a9c01"]);
        lines.extend([done, several]);
        insta::assert_snapshot!(lines.join("\n"), @r"
        would be deleted for good: 1 session, 2 jobs, 40 events, 1 file or long text, 1 copy of a folder
          sessions: 01010101
          1 copy stays, because another session works on it
          of the same conversation, these stay: 02020202, 03030303 (`--conversation` takes them too)
          9 events of it were shared with 1 relay, or are about to be: `treefort unpublish 3f2a9c01` first asks for them back; once this is deleted, nobody can
          what you applied to your folder stays there
          9 events of it had been shared with 1 relay, or were about to be; what is there can no longer be asked back
          9 events of it were shared with 1 relay, or are about to be: `treefort unpublish ID` first asks for them back; once this is deleted, nobody can
        ");
    }
}
