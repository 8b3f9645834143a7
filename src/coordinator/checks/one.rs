//! One check, from the copy that it runs on to its exit code.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use nostr::Keys;
use tokio::{io::AsyncReadExt as _, sync::mpsc, time::Instant};

use super::{Checked, SHELL, Step, Verdict, excerpt, image};
use crate::{
    agent::manifest::Driver,
    coordinator::{
        attend::{self, Stand},
        clock,
        desk::Word,
        facts::{self, Around},
        process::{Process, Start, Talk},
        publisher::PublishError,
        saying::report,
        serving,
        session::{Lines, Session, Turn},
        turn::Ended,
        watch::{Seen, Watch, watch_disk},
    },
    job::{Failure, Report},
    sandbox::AgentIo,
};

/// How much of a check's output is kept in its record: its end.
const TAIL: usize = 8 * 1024;
/// How much of it is looked at for secrets: one must not be kept in half.
const KEPT: usize = 64 * 1024;
/// How long a check that closed its output may take to end.
const LEAVE: Duration = Duration::from_secs(10);
/// How long a copy may take to be made.
const COPYING: Duration = Duration::from_secs(300);

/// What its owner hears who wants to steer it.
const NOT_STEERED: &str = "the agent has done its part and its result is being checked: stop it (Ctrl-C), or say it \
    in the next job";
/// What its owner hears before a check runs.
const NOT_YET: &str = "the result is about to be checked; try again in a moment";

/// The files that checks run on.
pub(super) enum Prepared {
    /// Where they are, or why there are none.
    Ready(Result<PathBuf, Failure>),
    Undone,
    Ended(Ended),
}

/// What happened around a check.
enum Aside {
    Nothing,
    Undone,
}

/// Takes in what happens around the agent's own copy.
async fn around(
    session: &mut Session,
    turn: &Turn,
    lines: &Lines,
    what: Around,
) -> Result<Aside, PublishError> {
    match what {
        Around::Told(told) => {
            session.hear(*told).await?;
            return Ok(Aside::Undone);
        }
        Around::Look => watch_disk(session, &turn.order, lines).await?,
        Around::Ports => serving::record(session).await?,
    }
    Ok(Aside::Nothing)
}

/// Makes the copy.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn prepare(
    session: &mut Session,
    turn: &Turn,
    lines: &Lines,
) -> Result<Prepared, PublishError> {
    let Some(shared) = session.bench.as_ref().map(|bench| bench.shared.clone()) else {
        let failure = Failure::new("workspace", "there are no files to check");
        return Ok(Prepared::Ready(Err(failure)));
    };
    let context = session.context.clone();
    let (quota, owner) = (context.sandbox.quota(), context.workspaces.owner());
    // It goes on when nobody waits for it any more, and what it made is thrown away after it.
    let mut copying = Box::pin(shared.duplicate(quota, owner));
    let give_up = Instant::now() + COPYING;
    loop {
        tokio::select! {
            biased;
            () = turn.cancel.cancelled() => return Ok(Prepared::Ended(Ended::Cancelled)),
            () = lines.shutdown.cancelled() => return Ok(Prepared::Ended(Ended::Shutdown)),
            () = tokio::time::sleep_until(give_up) => {
                let sentence = "the copy of the files for it took too long to make";
                return Ok(Prepared::Ready(Err(Failure::new("workspace", sentence))));
            }
            made = &mut copying => return Ok(Prepared::Ready(match made {
                Ok((tree, 0)) => Ok(tree),
                Ok((tree, left_out)) => {
                    tracing::warn!(left_out, "a check does not see all files");
                    Ok(tree)
                }
                Err(failure) => Err(failure),
            })),
            Some(word) = session.words.recv() => early(session, turn, lines, word).await?,
            what = facts::around(&mut session.bench) => {
                if let Aside::Undone = around(session, turn, lines, what).await? {
                    return Ok(Prepared::Undone);
                }
            }
        }
    }
}

/// What its owner says before there is a check that could stand still.
async fn early(
    session: &mut Session,
    turn: &Turn,
    lines: &Lines,
    word: Word,
) -> Result<(), PublishError> {
    match word {
        word @ (Word::Look(_) | Word::Leave) => {
            attend::hear(session, &turn.order, lines, word).await?;
        }
        word => word.refuse(NOT_YET),
    }
    Ok(())
}

/// Runs one command on the copy.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn check(
    session: &mut Session,
    turn: &Turn,
    lines: &Lines,
    command: &str,
    tree: &Path,
) -> Result<Step, PublishError> {
    session.stand = Stand::new(session.context.jobs.check_s, false);
    let said = excerpt(&session.context.redactor, command);
    let notice = Report::Notice(format!("checking: {said}"));
    report(session, &turn.order, lines, notice).await;
    let mut process = match start(session, turn, lines, command, tree).await? {
        Ok(process) => process,
        Err(step) => return Ok(step),
    };
    session.owners = process.pause();
    let step = listen(session, turn, lines, &mut process, tree).await;
    process.kill().await;
    step
}

/// Starts the sandbox of a check.
async fn start(
    session: &mut Session,
    turn: &Turn,
    lines: &Lines,
    command: &str,
    tree: &Path,
) -> Result<Result<Process, Step>, PublishError> {
    let context = session.context.clone();
    let cannot = |why: &str| Ok(Err(Step::Checked(Checked::error(why.to_owned()))));
    let Some(shell) = context.agents.get(SHELL) else {
        return cannot("there is no agent called shell, in whose sandbox checks run");
    };
    if shell.manifest.driver != Driver::Exec || !shell.manifest.workspace {
        return cannot("the agent called shell is none that runs commands on files");
    }
    let project = session
        .bench
        .as_ref()
        .and_then(|bench| bench.shared.about().project);
    let (progress, mut building) = mpsc::channel(64);
    // Nobody acts under these keys: they name the container.
    let starting = Start {
        network: None,
        agent: SHELL,
        keys: Keys::generate(),
        tree: Some(tree.to_owned()),
        state: None,
        project,
        command: Some(command),
        progress: Some(progress),
    };
    let mut starting = Box::pin(Process::start(&context, starting));
    let told = (&turn.order, SHELL);
    let mut telling = std::pin::pin!(image::tell(
        &mut building,
        &context.redactor,
        told,
        &lines.reports
    ));
    loop {
        tokio::select! {
            biased;
            () = turn.cancel.cancelled() => return Ok(Err(Step::Ended(Ended::Cancelled))),
            () = lines.shutdown.cancelled() => return Ok(Err(Step::Ended(Ended::Shutdown))),
            started = &mut starting => return match started {
                Ok(mut process) => {
                    process.without_model();
                    Ok(Ok(process))
                }
                Err(failure) => cannot(&failure.sentence),
            },
            () = &mut telling => {}
            Some(word) = session.words.recv() => early(session, turn, lines, word).await?,
            what = facts::around(&mut session.bench) => {
                if let Aside::Undone = around(session, turn, lines, what).await? {
                    return Ok(Err(Step::Undone));
                }
            }
        }
    }
}

/// Takes in what a check writes until it ends or must end.
async fn listen(
    session: &mut Session,
    turn: &Turn,
    lines: &Lines,
    process: &mut Process,
    tree: &Path,
) -> Result<Step, PublishError> {
    let began = Instant::now();
    let order = &turn.order;
    let Some(mut output) = output_of(process) else {
        return Ok(Step::Checked(Checked::error("it has no output".to_owned())));
    };
    let mut tail = Tail::default();
    let mut piece = vec![0; 16 * 1024];
    let mut watch = Watch::new(tree.to_owned(), session.context.sandbox.quota());
    let early = loop {
        let due = watch.due();
        tokio::select! {
            biased;
            () = turn.cancel.cancelled() => return Ok(Step::Ended(Ended::Cancelled)),
            () = lines.shutdown.cancelled() => return Ok(Step::Ended(Ended::Shutdown)),
            () = clock::at(session.stand.clock.due()) => break Some(Verdict::Timeout),
            Some(word) = session.words.recv() => match word {
                Word::Steer { .. } => word.refuse(NOT_STEERED),
                word => drop(attend::hear(session, order, lines, word).await?),
            },
            what = facts::around(&mut session.bench) => {
                if let Aside::Undone = around(session, turn, lines, what).await? {
                    // What stood still for its owner goes with it.
                    if !attend::goes_on(session, order, lines).await? {
                        tracing::warn!("a check that stood still could not be woken; it is ended");
                    }
                    return Ok(Step::Undone);
                }
            }
            () = tokio::time::sleep_until(due) => {
                if let Seen::Over(why) = watch.look().await {
                    break Some(Verdict::Error(format!("it was stopped: {why}")));
                }
            }
            read = output.read(&mut piece) => match read {
                Ok(0) | Err(_) => break None,
                Ok(n) => tail.push(&piece[..n]),
            },
        }
    };
    let verdict = match early {
        Some(verdict) => verdict,
        None => {
            let mut exit = process.exit();
            let left = tokio::time::timeout(LEAVE, exit.wait_for(Option::is_some)).await;
            let code = match left {
                Ok(Ok(exit)) => exit.as_ref().and_then(|exit| exit.code),
                _ => None,
            };
            match code {
                Some(code) => Verdict::Exit(code),
                None => Verdict::Error("how it ended is not known".to_owned()),
            }
        }
    };
    let ms = began.elapsed().as_millis();
    let mut tail = tail.text(&session.context.redactor);
    let oom = process
        .exit()
        .borrow()
        .as_ref()
        .is_some_and(|exit| exit.oom);
    if oom {
        let most = process.manifest.limits.memory_mb;
        tail.push_str(&format!(
            "\n[its memory ran out: it may use {most} MiB together, and the computer ended a program of it]\n"
        ));
    }
    Ok(Step::Checked(Checked { verdict, tail, ms }))
}

fn output_of(process: &mut Process) -> Option<AgentIo> {
    match &mut process.talk {
        Talk::Exec { output } => output
            .get_mut()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
            .take(),
        Talk::Acp { .. } => None,
    }
}

/// The end of what a check wrote, in whole lines where there are some.
#[derive(Debug, Default)]
struct Tail {
    bytes: Vec<u8>,
    all: u64,
}

impl Tail {
    fn push(&mut self, bytes: &[u8]) {
        self.all += bytes.len() as u64;
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > 2 * KEPT {
            self.bytes.drain(..self.bytes.len() - KEPT);
        }
    }

    fn text(&self, redactor: &crate::recorder::Redactor) -> String {
        let whole = String::from_utf8_lossy(&self.bytes);
        // Secrets first: what is cut may be the half of one.
        let text = redactor.redact(&whole);
        let cut = text.ceil_char_boundary(text.len().saturating_sub(TAIL));
        if cut == 0 && self.all == self.bytes.len() as u64 {
            return text.into_owned();
        }
        let end = &text[cut..];
        let end = end.split_once('\n').map_or(end, |(_, lines)| lines);
        format!("[the end of {} bytes]\n{end}", self.all)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_output_is_kept_in_whole_lines() {
        let redactor = crate::recorder::Redactor::new(Vec::new());
        let mut tail = Tail::default();
        tail.push(b"short\n");
        assert_eq!(tail.text(&redactor), "short\n");
        for line in 0..100_000 {
            tail.push(format!("line {line} of many ü\n").as_bytes());
        }
        let text = tail.text(&redactor);
        assert!(text.len() <= TAIL + 40 && text.ends_with("line 99999 of many ü\n"));
        let first = text.lines().nth(1).unwrap();
        assert!(first.starts_with("line ") && first.ends_with(" of many ü"));
        assert!(text.starts_with("[the end of "));
    }
}
