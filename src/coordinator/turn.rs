//! One job of a session: the prompt, what comes back, and the answer.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    claimed,
    context::now,
    facts::{self, Around},
    growing::Growing,
    opening::excerpt,
    process::Talk,
    publisher::PublishError,
    saying::{answer, message, record_error, record_tool, report, take_call},
    session::{After, Lines, Session, Turn},
    shell,
    usage::Usage,
    watch::{ended_too_large, let_go, watch_disk},
};
use crate::{
    agent::{
        acp::{self, StopReason},
        claims::{Claim, Tool},
    },
    job::{Failure, Report},
    nips::session::Outcome,
};

/// How often live text goes out.
const DELTA_EVERY: Duration = Duration::from_millis(80);
/// How long an agent may take to end a turn that was cancelled.
const CANCEL_GRACE: Duration = Duration::from_millis(800);
/// How long an agent may take to stop when the files under it were brought back.
const STOP_FOR_UNDO: Duration = Duration::from_secs(10);
/// What an agent says about its tools is recorded up to this often in a turn.
const MAX_TOOLS: usize = 1000;
const FIRST_TOO_MANY: usize = MAX_TOOLS + 1;
/// The most that an agent may say in one turn.
const MAX_TEXT: usize = 4 << 20;

/// What ended the wait for the agent.
pub(super) enum Ended {
    Turn(Result<acp::Turn, acp::Error>),
    Cancelled,
    TimedOut,
    Shutdown,
    TooLong,
    /// It did not stop although the files under it were brought back.
    Stubborn,
    /// A command ended, with the exit code that the host saw.
    Exited(i64),
    /// A budget is used up.
    Budget(Failure),
}

/// Has the agent do one job, and reports the answer.
pub(super) async fn run(session: &mut Session, turn: &Turn, prompt: &str, lines: &Lines) -> After {
    let order = &turn.order;
    match Box::pin(work(session, turn, prompt, lines)).await {
        Ok(after) => after,
        Err(error) => {
            // The relay or the disk refuses records: going on would leave a gap in the chain.
            tracing::error!(%error, "the session's record could not be written");
            let failure =
                Failure::new("agent", format!("the record could not be written: {error}"));
            report(session, order, lines, Report::Failed(failure)).await;
            After::Over(Outcome::Failed, "record")
        }
    }
}

async fn work(
    session: &mut Session,
    turn: &Turn,
    prompt: &str,
    lines: &Lines,
) -> Result<After, PublishError> {
    let order = &turn.order;
    // The session's first job was handed over before its start.
    let inner = match session.first_inner.take() {
        Some(inner) => inner,
        None => {
            // What a job may use is its own, not what the one before left of it.
            session.process.new_budget();
            let mut events = Vec::new();
            let inner = session.take_job(order, prompt, &mut events)?;
            session.emit(events).await?;
            inner
        }
    };
    report(session, order, lines, Report::Began).await;
    // A command runs already; the state before it is that of the start.
    if matches!(session.process.talk, Talk::Acp { .. }) {
        facts::begin_turn(session).await?;
    }
    let began = Instant::now();
    let mut growing = Growing::new(began);
    let mut usage = Usage::new(began);
    session.forget_claims();
    let ended = match session.process.talk {
        Talk::Acp { .. } => listen(session, turn, prompt, lines, &mut growing, &mut usage).await?,
        Talk::Exec { .. } => shell::listen(session, turn, lines, &mut growing, &mut usage).await?,
    };
    session.process.model_settled().await;
    while let Ok(call) = session.calls.try_recv() {
        take_call(session, &mut usage, call)?;
    }
    // The call that passed a budget may be heard of after the agent's last word.
    let ended = match (ended, usage.exhausted.take()) {
        (Ended::Turn(_) | Ended::Exited(_), Some(failure)) => Ended::Budget(failure),
        (ended, _) => ended,
    };
    // A command is recorded before what it changed.
    if !matches!(ended, Ended::Exited(_)) {
        facts::end_turn(session).await?;
    }
    session.log.spend(usage.prompt_tokens + usage.output_tokens);
    if usage.truncated {
        let sentence =
            "The prompt was longer than the model's context; the model did not read all of it.";
        let entry = session
            .log
            .error("truncated-prompt", true, sentence, now())?;
        session.publish(entry).await?;
    }

    for sentence in std::mem::take(&mut usage.fell_back) {
        // It holds what the model's provider said, which may repeat the prompt.
        let sentence = if session.private {
            "Another model answered than the one that was asked first.".to_owned()
        } else {
            session.context.redactor.redact(&sentence).into_owned()
        };
        let entry = session.log.error("fallback", true, &sentence, now())?;
        session.publish(entry).await?;
    }

    if !matches!(ended, Ended::Turn(Ok(_))) && !growing.text.trim().is_empty() {
        // What was shown is on the record, also when it did not become an answer.
        let text = session.context.redactor.redact(&growing.text).into_owned();
        let said = message(
            session,
            &text,
            &usage,
            began.elapsed(),
            "Said before it stopped",
        )?;
        session.publish(said).await?;
    }

    let failure = match ended {
        Ended::Turn(Ok(done)) if done.stop_reason == StopReason::Refusal => {
            Some(Failure::new("agent", "the agent refused the job"))
        }
        Ended::Turn(Ok(done)) if done.stop_reason == StopReason::Cancelled => {
            Some(Failure::new("interrupted", "the agent ended the job early"))
        }
        Ended::Exited(code) => {
            ended_too_large(session, order, lines).await?;
            return shell::answer_with(session, order, &inner, &growing.text, code, began, lines)
                .await;
        }
        Ended::Turn(Ok(_)) if growing.text.trim().is_empty() => {
            Some(Failure::new("model", "the model gave an empty answer"))
        }
        Ended::Turn(Ok(_)) => None,
        Ended::Turn(Err(error)) => Some(turn_failed(session, &error, usage.failed.take()).await),
        Ended::TooLong => Some(Failure::new(
            "agent",
            "the agent said more than an answer may hold",
        )),
        Ended::Stubborn => Some(Failure::new(
            "agent",
            "the agent went on although its files were brought back to an earlier state",
        )),
        Ended::TimedOut => {
            record_error(session, "timeout", "The job took longer than it may.").await?;
            let failure = Failure::new("timeout", "the job took longer than it may");
            report(session, order, lines, Report::Failed(failure)).await;
            return Ok(After::Over(Outcome::Failed, "timeout"));
        }
        Ended::Budget(failure) => {
            record_error(session, failure.code, &failure.sentence).await?;
            report(session, order, lines, Report::Failed(failure)).await;
            return Ok(After::Over(Outcome::Failed, "budget"));
        }
        Ended::Cancelled => return Ok(After::Over(Outcome::Interrupted, "cancelled")),
        Ended::Shutdown => return Ok(After::Over(Outcome::Interrupted, "stopped")),
    };
    if let Some(failure) = failure {
        let sentence = session
            .context
            .redactor
            .redact(&failure.sentence)
            .into_owned();
        record_error(session, failure.code, &sentence).await?;
        report(
            session,
            order,
            lines,
            Report::Failed(Failure {
                sentence,
                ..failure
            }),
        )
        .await;
        return Ok(After::Over(Outcome::Failed, "error"));
    }
    growing.flush(session, &order.request.customer).await;
    let text = session.context.redactor.redact(&growing.text).into_owned();
    let message = message(session, &text, &usage, began.elapsed(), "Answered")?;
    let message = session.keep_whole(message).await;
    let (answer, result) = answer(session, order, &inner, text, Vec::new()).await?;
    session.emit(vec![message, result]).await?;
    report(session, order, lines, Report::Answered(answer)).await;
    Ok(After::Open)
}

/// Sends the prompt and takes in what the agent says until its turn ends or must end.
async fn listen(
    session: &mut Session,
    turn: &Turn,
    prompt: &str,
    lines: &Lines,
    growing: &mut Growing,
    usage: &mut Usage,
) -> Result<Ended, PublishError> {
    if turn.cancel.is_cancelled() {
        return Ok(Ended::Cancelled);
    }
    if lines.shutdown.is_cancelled() {
        return Ok(Ended::Shutdown);
    }
    let order = &turn.order;
    let deadline = session.deadline(order);
    let (Talk::Acp { peer, .. }, Some(acp)) = (&session.process.talk, session.acp.clone()) else {
        return Ok(Ended::Turn(Err(acp::Error::Closed(acp::Closed::Ended))));
    };
    let peer = peer.clone();
    let say = |text: String| {
        let blocks = vec![serde_json::json!({"type": "text", "text": text})];
        let (peer, acp) = (peer.clone(), acp.clone());
        Box::pin(async move { peer.prompt(&acp, blocks).await })
    };
    let introduction = session.introduction.take().unwrap_or_default();
    let mut prompting = say(format!("{introduction}{prompt}"));
    let mut ticks = tokio::time::interval(DELTA_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ended = 'turn: loop {
        tokio::select! {
            biased;
            () = turn.cancel.cancelled() => break Ended::Cancelled,
            () = lines.shutdown.cancelled() => break Ended::Shutdown,
            () = tokio::time::sleep_until(deadline) => break Ended::TimedOut,
            done = &mut prompting => break Ended::Turn(done),
            // The gateway waits when nobody takes its calls in.
            Some(call) = session.calls.recv() => {
                take_call(session, usage, call)?;
                if let Some(failure) = usage.exhausted.take() {
                    break Ended::Budget(failure);
                }
            }
            Some(claim) = next_claim(&mut session.process.talk) => {
                take(session, growing, claim).await?;
                if growing.text.len() > MAX_TEXT {
                    break Ended::TooLong;
                }
            }
            around = facts::around(&mut session.bench) => match around {
                Around::Look => watch_disk(session, order, lines).await?,
                Around::Told(told) => {
                    let sentence = session.hear(*told).await?;
                    let_go(session, order, lines).await?;
                    // What it is about to do rests on files that are gone: it stops, and goes on from here.
                    let mut stopping = Box::pin(async {
                        let _asked = peer.cancel(&acp).await;
                        let _ended = (&mut prompting).await;
                    });
                    let patience = Instant::now() + STOP_FOR_UNDO;
                    loop {
                        tokio::select! {
                            biased;
                            () = turn.cancel.cancelled() => break 'turn Ended::Cancelled,
                            () = lines.shutdown.cancelled() => break 'turn Ended::Shutdown,
                            () = tokio::time::sleep_until(patience) => break 'turn Ended::Stubborn,
                            () = &mut stopping => break,
                            Some(call) = session.calls.recv() => take_call(session, usage, call)?,
                            // Its answer comes after all that it says until then, which belongs to what is undone.
                            Some(_) = next_claim(&mut session.process.talk) => {}
                        }
                    }
                    drop(stopping);
                    session.introduction = None;
                    session.forget_claims();
                    if !growing.text.is_empty() {
                        growing.text.push_str("\n\n");
                    }
                    prompting = say(format!("{sentence}\n\nGo on from there with the task:\n{prompt}"));
                }
            },
            _ = ticks.tick() => {
                facts::settle(session).await?;
                session.emit(Vec::new()).await?;
                growing.show(session, &order.request.customer, false).await;
                if let Some(text) = growing.partial(&session.context.redactor) {
                    report(session, order, lines, Report::Partial(text)).await;
                }
            }
        }
    };
    if matches!(ended, Ended::Turn(_)) {
        // Everything that the agent said before its answer is in the channel, and no more than it holds:
        // one that goes on talking is not heard for ever.
        let room = match &session.process.talk {
            Talk::Acp { claims, .. } => claims.max_capacity(),
            Talk::Exec { .. } => 0,
        };
        for _ in 0..room {
            let Talk::Acp { claims, .. } = &mut session.process.talk else {
                break;
            };
            match claims.try_recv() {
                Ok(claim) => take(session, growing, claim).await?,
                Err(_) => break,
            }
        }
    } else {
        let stopping = async {
            let _asked = peer.cancel(&acp).await;
            let _ended = prompting.await;
        };
        // The container goes next, whether it obeys or not.
        let _in_time = tokio::time::timeout(CANCEL_GRACE, stopping).await;
    }
    Ok(ended)
}

/// Takes in what the agent said. Where that needs a checkpoint, everything that it said meanwhile comes first:
/// its tools run side by side, and what one did is not to be held against another.
async fn take(
    session: &mut Session,
    growing: &mut Growing,
    first: Claim,
) -> Result<(), PublishError> {
    let (mut did, mut asked) = (Vec::new(), Vec::new());
    let mut next = Some(first);
    // No more than the channel holds: one that goes on talking is not heard for ever.
    let mut room = match &session.process.talk {
        Talk::Acp { claims, .. } => claims.max_capacity(),
        Talk::Exec { .. } => 0,
    };
    while let Some(claim) = next {
        match claim {
            Claim::Text(text) => growing.text.push_str(&text),
            Claim::ToolCall(tool) | Claim::ToolUpdate(tool) => {
                did.extend(take_tool(session, growing, tool).await?);
            }
            Claim::Permission(permission) => asked.push(permission),
            Claim::NotJson(line) => tracing::debug!(
                bytes = line.len(),
                "the agent wrote a line that is no message"
            ),
            // Kept in the journal; nothing of them belongs into the record.
            _ => {}
        }
        next = match &mut session.process.talk {
            Talk::Acp { claims, .. }
                if room > 0
                    && growing.text.len() <= MAX_TEXT
                    && !(did.is_empty() && asked.is_empty()) =>
            {
                claims.try_recv().ok()
            }
            _ => None,
        };
        room = room.saturating_sub(1);
    }
    if !did.is_empty() {
        let why = if session.private {
            "after a tool".to_owned()
        } else {
            format!(
                "after it {}",
                excerpt(&session.context.redactor, &did.join(", "))
            )
        };
        facts::checkpoint(session, &why).await?;
    }
    for permission in asked {
        let why = if session.private {
            "before a tool".to_owned()
        } else {
            format!(
                "before it {}",
                claimed::did(&session.context.redactor, &permission.tool)
            )
        };
        facts::checkpoint(session, &why).await?;
        let _told = permission.answer.give();
    }
    Ok(())
}

/// Takes in news of a tool; gives what it did when it ended and may have changed files.
async fn take_tool(
    session: &mut Session,
    growing: &mut Growing,
    tool: Tool,
) -> Result<Option<String>, PublishError> {
    let whole = growing.calls.whole(tool);
    if let Some(bench) = &mut session.bench {
        bench.hear(&whole);
    }
    if !matches!(whole.status.as_deref(), Some("completed" | "failed")) {
        return Ok(None);
    }
    growing.tools += 1;
    match growing.tools {
        ..=MAX_TOOLS => {
            let event = record_tool(session, &whole).await?;
            if let Some(bench) = &mut session.bench {
                bench.claim(&session.context.redactor, event, &whole);
            }
        }
        FIRST_TOO_MANY => {
            let sentence = "The agent said more about its tools than a record holds.";
            let entry = session
                .log
                .error("truncated-record", true, sentence, now())?;
            session.publish(entry).await?;
        }
        _ => {}
    }
    Ok(claimed::may_change(&whole).then(|| claimed::did(&session.context.redactor, &whole)))
}

/// What the agent says next.
async fn next_claim(talk: &mut Talk) -> Option<Claim> {
    match talk {
        Talk::Acp { claims, .. } => claims.recv().await,
        Talk::Exec { .. } => None,
    }
}

/// Why a turn failed: what the host saw of the model before what the agent says.
async fn turn_failed(session: &Session, error: &acp::Error, model: Option<Failure>) -> Failure {
    match (error, model) {
        (acp::Error::Rpc { .. }, Some(model)) => model,
        (acp::Error::Rpc { error, .. }, None) => Failure::new("agent", error.message.clone()),
        (error, _) => session.process.agent_failed(error).await,
    }
}
