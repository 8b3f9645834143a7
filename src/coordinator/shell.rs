//! An agent that is a command: what it writes is the answer, and the exit code is what the host saw.

use std::sync::PoisonError;

use tokio::{io::AsyncReadExt as _, time::Instant};

use super::{
    asking,
    attend::{self, Stand},
    clock,
    context::now,
    desk::Word,
    executor::Order,
    facts::{self, Around},
    growing::Growing,
    process::Talk,
    publisher::PublishError,
    reach,
    saying::{answer, report, tag, take_call},
    serving,
    session::{After, Lines, Session, Turn},
    turn::Ended,
    usage::Usage,
    watch::watch_disk,
};
use crate::{
    agent::acp,
    job::Report,
    nips::{
        Reference,
        session::{ActionKind, Outcome},
    },
};

/// The most of a command's output that is kept; the rest is counted.
const MAX_OUTPUT: usize = 4 << 20;
/// Lines of a failed command's standard error that stand below its output.
const LAST_LINES: usize = 20;
/// What its owner hears who wants to steer it.
const NOT_STEERED: &str =
    "a command cannot be told anything: stop it (Ctrl-C), and run another one";
/// How long a command that closed its output may take to end.
const LEAVE: std::time::Duration = std::time::Duration::from_secs(10);

/// Takes in what a command writes until it ends or must end.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn listen(
    session: &mut Session,
    turn: &Turn,
    lines: &Lines,
    growing: &mut Growing,
    usage: &mut Usage,
) -> Result<Ended, PublishError> {
    let order = &turn.order;
    session.stand = Stand::new(session.seconds(order), false);
    let Talk::Exec { output } = &mut session.process.talk else {
        return Ok(Ended::Turn(Err(acp::Error::Closed(acp::Closed::Ended))));
    };
    let taken = output
        .get_mut()
        .unwrap_or_else(PoisonError::into_inner)
        .take();
    let Some(mut output) = taken else {
        return Ok(Ended::Turn(Err(acp::Error::Closed(acp::Closed::Ended))));
    };
    let mut text = Decoder::default();
    let mut piece = vec![0; 16 * 1024];
    let mut left_out = 0;
    let mut ticks = tokio::time::interval(std::time::Duration::from_millis(80));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            () = turn.cancel.cancelled() => return Ok(Ended::Cancelled),
            () = lines.shutdown.cancelled() => return Ok(Ended::Shutdown),
            () = clock::at(session.stand.clock.due()) => return Ok(Ended::TimedOut),
            // The gateway waits when nobody takes its calls in.
            Some(call) = session.calls.recv() => {
                take_call(session, usage, call)?;
                if let Some(failure) = usage.exhausted.take() {
                    return Ok(Ended::Budget(failure));
                }
            }
            Some(word) = session.words.recv() => match word {
                Word::Steer { .. } => word.refuse(NOT_STEERED),
                word => drop(attend::hear(session, order, lines, word).await?),
            },
            () = clock::at(session.stand.questions.due()) => asking::too_late(session).await?,
            contact = reach::next(&mut session.process.reach) => {
                reach::take(session, order, lines, contact).await?;
            }
            read = output.read(&mut piece) => match read {
                Ok(0) | Err(_) => break,
                Ok(n) if growing.text.len() < MAX_OUTPUT => growing.text.push_str(&text.push(&piece[..n])),
                Ok(n) => left_out += n,
            },
            around = facts::around(&mut session.bench) => match around {
                // A command cannot be told: its record says what its owner did under it.
                Around::Told(told) => drop(session.hear(*told).await?),
                Around::Look => watch_disk(session, order, lines).await?,
                Around::Ports => serving::record(session).await?,
            },
            _ = ticks.tick() => {
                session.emit(Vec::new()).await?;
                growing.show(session, &order.request.customer, false).await;
                if let Some(text) = growing.partial(&session.context.redactor) {
                    report(session, order, lines, Report::Partial(text)).await;
                }
            }
        }
    }
    asking::close_all(session).await?;
    growing.text.push_str(&text.end());
    if left_out > 0 {
        growing
            .text
            .push_str(&format!("\n[{left_out} more bytes were not kept]\n"));
    }
    let mut exit = session.process.exit();
    let left = tokio::time::timeout(LEAVE, exit.wait_for(Option::is_some));
    let code = match left.await {
        Ok(Ok(exit)) => exit.as_ref().and_then(|exit| exit.code),
        _ => None,
    };
    Ok(match code {
        Some(code) => Ended::Exited(code),
        None => Ended::Turn(Err(acp::Error::Closed(acp::Closed::Ended))),
    })
}

/// Records the command with its exit code, and answers with its output.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn answer_with(
    session: &mut Session,
    order: &Order,
    inner: &Reference,
    output: &str,
    code: i64,
    began: Instant,
    lines: &Lines,
) -> Result<After, PublishError> {
    let ms = began.elapsed().as_millis();
    let mut output = output.to_owned();
    if session
        .process
        .exit()
        .borrow()
        .as_ref()
        .is_some_and(|exit| exit.oom)
    {
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
        output.push_str(&format!(
            "[its memory ran out: it may use {} MiB together, and the computer ended a program of it]\n",
            session.process.manifest.limits.memory_mb
        ));
    }
    // Why it failed stands where errors stand.
    let words = match code {
        0 => Vec::new(),
        _ => session.process.last_words(LAST_LINES),
    };
    if !words.is_empty() {
        if !output.is_empty() && !output.ends_with('\n') {
            output.push('\n');
        }
        output.push_str(&format!(
            "It wrote to its standard error:\n{}\n",
            words.join("\n")
        ));
    }
    let text = session.context.redactor.redact(&output).into_owned();
    let command = session
        .process
        .command
        .as_deref()
        .map(|command| session.context.redactor.redact(command).into_owned())
        .unwrap_or_default();
    let mut detail = vec![tag("exit", [code.to_string()]), tag("ms", [ms.to_string()])];
    let (alt, content) = if session.private {
        detail.push(tag("withheld", [text.len().to_string()]));
        (format!("Ran a command (exit {code})"), String::new())
    } else {
        detail.insert(
            0,
            tag("cmd", ["sh".to_owned(), "-c".to_owned(), command.clone()]),
        );
        let line = super::opening::excerpt(&session.context.redactor, &command);
        let alt = format!("Ran `{line}` (exit {code}, {:.1} s)", ms as f64 / 1000.0);
        (alt, format!("$ {command}\n{text}"))
    };
    let entry = session
        .log
        .action(ActionKind::Command, detail, alt, &content, now())?;
    let record = session.keep_whole(entry).await;
    if let Some(bench) = &mut session.bench {
        bench.ran(&session.context.redactor, record.id, &command);
    }
    session.held.push(record);
    facts::end_turn(session).await?;
    let tags = vec![tag("exit", [code.to_string()])];
    let (answer, result) = answer(session, order, inner, text, tags).await?;
    session.emit(vec![result]).await?;
    report(session, order, lines, Report::Answered(answer)).await;
    Ok(match code {
        0 => After::Over(Outcome::Success, "completed"),
        _ => After::Over(Outcome::Failed, "exit"),
    })
}

/// Bytes that come in pieces, as text: a character may lie across two of them.
#[derive(Debug, Default)]
struct Decoder {
    rest: Vec<u8>,
}

impl Decoder {
    fn push(&mut self, bytes: &[u8]) -> String {
        self.rest.extend_from_slice(bytes);
        let mut text = String::new();
        loop {
            match std::str::from_utf8(&self.rest) {
                Ok(whole) => {
                    text.push_str(whole);
                    self.rest.clear();
                    return text;
                }
                Err(error) => {
                    let good = error.valid_up_to();
                    text.push_str(&String::from_utf8_lossy(&self.rest[..good]));
                    let Some(bad) = error.error_len() else {
                        self.rest.drain(..good);
                        return text;
                    };
                    text.push(char::REPLACEMENT_CHARACTER);
                    self.rest.drain(..good + bad);
                }
            }
        }
    }

    fn end(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.rest)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn characters_across_pieces_stay_whole_and_other_bytes_are_marked() {
        let text = "grün 日本 ok".as_bytes();
        for size in 1..text.len() {
            let mut decoder = Decoder::default();
            let mut out: String = text.chunks(size).map(|piece| decoder.push(piece)).collect();
            out.push_str(&decoder.end());
            assert_eq!(out, "grün 日本 ok", "{size}");
        }
        let mut decoder = Decoder::default();
        assert_eq!(decoder.push(b"a\xffb\xe2\x82"), "a\u{fffd}b");
        assert_eq!(decoder.end(), "\u{fffd}");
    }
}
