//! A conversation with an agent: the prompt, and everything that comes back until its turn ends or must end.
//!
//! What its owner does meanwhile may break the turn off (a state was brought back under it, it is steered): then the
//! agent is asked to stop, and what it is to know is its next prompt, in the same conversation and for the same job.

use std::time::Duration;

use tokio::time::Instant;

use super::{
    asking,
    attached::Prompt,
    attend::{self, Attended, Stand},
    claimed, clock,
    context::now,
    facts::{self, Around},
    growing::Growing,
    opening::excerpt,
    process::Talk,
    publisher::PublishError,
    reach,
    saying::{record_said, record_tool, report, take_call},
    serving,
    session::{Lines, Session, Turn},
    turn::Ended,
    usage::Usage,
    watch::{let_go, watch_disk},
};
use crate::{
    agent::{
        acp,
        claims::{Claim, Tool},
    },
    job::Report,
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

/// What an agent is told when it has stopped.
struct Next {
    say: String,
    /// What it did until then was undone, and does not count any more.
    undone: bool,
    /// When it has to have stopped; it has not been asked to before this is set.
    stop: Option<Stop>,
}

/// It was asked to stop.
struct Stop {
    /// When it has to have done so; a steered agent has as long as its job.
    by: Option<Instant>,
}

type Prompting = std::pin::Pin<Box<dyn Future<Output = Result<acp::Turn, acp::Error>> + Send>>;

/// Sends the prompt and takes in what the agent says until its turn ends or must end.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn listen(
    session: &mut Session,
    turn: &Turn,
    prompt: &Prompt,
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
    session.stand = Stand::new(session.seconds(order), order.asks_its_owner());
    let (Talk::Acp { peer, .. }, Some(acp)) = (&session.process.talk, session.acp.clone()) else {
        return Ok(Ended::Turn(Err(acp::Error::Closed(acp::Closed::Ended))));
    };
    let peer = peer.clone();
    let say = |text: String, pictures: &[serde_json::Value]| -> Prompting {
        let mut blocks = vec![serde_json::json!({"type": "text", "text": text})];
        blocks.extend_from_slice(pictures);
        let (peer, acp) = (peer.clone(), acp.clone());
        Box::pin(async move { peer.prompt(&acp, blocks).await })
    };
    // It is asked to stop, and its turn is waited for all the same.
    let stop = |prompting: Prompting| -> Prompting {
        let (peer, acp) = (peer.clone(), acp.clone());
        Box::pin(async move {
            let _asked = peer.cancel(&acp).await;
            prompting.await
        })
    };
    let introduction = session.introduction.take().unwrap_or_default();
    let first = format!("{introduction}{}", prompt.text);
    let mut prompting = say(first, &prompt.pictures);
    // What it is to do, with everything that its owner said since.
    let mut task = prompt.text.clone();
    let mut next: Option<Next> = None;
    let mut ticks = tokio::time::interval(DELTA_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ended = loop {
        // One that stands still hears nothing: it is asked to stop when it goes on.
        if let Some(Next {
            undone,
            stop: asked @ None,
            ..
        }) = &mut next
            && !session.stand.paused
        {
            let by = undone.then(|| Instant::now() + STOP_FOR_UNDO);
            *asked = Some(Stop { by });
            asking::close_all(session).await?;
            session.stand.stopping = true;
            prompting = stop(prompting);
        }
        let stubborn = next
            .as_ref()
            .and_then(|next| next.stop.as_ref())
            .and_then(|stop| stop.by);
        tokio::select! {
            biased;
            () = turn.cancel.cancelled() => break Ended::Cancelled,
            () = lines.shutdown.cancelled() => break Ended::Shutdown,
            () = clock::at(session.stand.clock.due()) => break Ended::TimedOut,
            () = clock::at(stubborn) => break Ended::Stubborn,
            done = &mut prompting => match next.take() {
                None => break Ended::Turn(done),
                Some(next) => {
                    asking::close_all(session).await?;
                    if next.undone {
                        // Its answer came after all that it said until then.
                        session.forget_claims();
                    } else {
                        take_rest(session, growing).await?;
                        record_said(session, growing).await?;
                        facts::checkpoint(session, "before it was told to do something else").await?;
                    }
                    growing.ends_message();
                    session.stand.stopping = false;
                    prompting = say(next.say, &[]);
                }
            },
            // The gateway waits when nobody takes its calls in.
            Some(call) = session.calls.recv() => {
                take_call(session, usage, call)?;
                if let Some(failure) = usage.exhausted.take() {
                    break Ended::Budget(failure);
                }
            }
            () = clock::at(session.stand.questions.due()) => asking::too_late(session).await?,
            Some(word) = session.words.recv() => {
                if let Attended::Steered(text) = attend::hear(session, order, lines, word).await? {
                    task = format!("{task}\n\n{text}");
                    match &mut next {
                        Some(next) => next.say = format!("{}\n\n{text}", next.say),
                        None => next = Some(Next { say: text, undone: false, stop: None }),
                    }
                }
            }
            contact = reach::next(&mut session.process.reach) => {
                reach::take(session, order, lines, contact).await?;
            }
            Some(claim) = next_claim(&mut session.process.talk) => {
                // What it says until it stops belongs to what is undone.
                if next.as_ref().is_some_and(|next| next.undone) {
                    continue;
                }
                take(session, turn, lines, growing, claim).await?;
                if growing.text.len() > MAX_TEXT {
                    break Ended::TooLong;
                }
            }
            around = facts::around(&mut session.bench) => match around {
                Around::Look => watch_disk(session, order, lines).await?,
                Around::Ports => serving::record(session).await?,
                Around::Told(told) => {
                    let sentence = session.hear(*told).await?;
                    session.introduction = None;
                    let_go(session, order, lines).await?;
                    // What it is about to do rests on files that are gone: it stops, and goes on from here.
                    let asked = next.take().and_then(|next| next.stop);
                    next = Some(Next {
                        say: format!("{sentence}\n\nGo on from there with the task:\n{task}"),
                        undone: true,
                        stop: asked.map(|_| Stop { by: Some(Instant::now() + STOP_FOR_UNDO) }),
                    });
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
        // Everything that the agent said before its answer is in the channel.
        take_rest(session, growing).await?;
    }
    asking::close_all(session).await?;
    if matches!(ended, Ended::Turn(_)) {
        if !attend::goes_on(session, order, lines).await? {
            return Ok(Ended::Stiff);
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

/// How much the channel of claims holds: one that goes on talking is not heard for ever.
fn room(session: &Session) -> usize {
    match &session.process.talk {
        Talk::Acp { claims, .. } => claims.max_capacity(),
        Talk::Exec { .. } => 0,
    }
}

/// What an agent said before its turn ended. Nobody is asked for a permission that it does not wait for any more.
async fn take_rest(session: &mut Session, growing: &mut Growing) -> Result<(), PublishError> {
    let mut did = Vec::new();
    for _ in 0..room(session) {
        let Talk::Acp { claims, .. } = &mut session.process.talk else {
            break;
        };
        match claims.try_recv() {
            Ok(Claim::Permission(permission)) if session.stand.asks => permission.answer.cancel(),
            Ok(Claim::Permission(permission)) => drop(permission.answer.give()),
            Ok(claim) => did.extend(take_one(session, growing, claim).await?),
            Err(_) => break,
        }
    }
    after(session, &did).await
}

/// Takes in what the agent said. Where that needs a checkpoint, everything that it said meanwhile comes first:
/// its tools run side by side, and what one did is not to be held against another.
async fn take(
    session: &mut Session,
    turn: &Turn,
    lines: &Lines,
    growing: &mut Growing,
    first: Claim,
) -> Result<(), PublishError> {
    let (mut did, mut asked) = (Vec::new(), Vec::new());
    if matches!(first, Claim::ToolCall(_) | Claim::Permission(_)) {
        // What it said before it does something is shown before that.
        growing.ends_message();
        let customer = &turn.order.request.customer;
        growing.show(session, customer, false).await;
    }
    let mut next = Some(first);
    let mut room = room(session);
    while let Some(claim) = next {
        match claim {
            Claim::Permission(permission) => {
                growing.ends_message();
                asked.push(permission);
            }
            claim => did.extend(take_one(session, growing, claim).await?),
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
    after(session, &did).await?;
    for permission in asked {
        if session.stand.asks && session.stand.stopping {
            permission.answer.cancel();
            continue;
        }
        if session.stand.asks {
            let calls = &mut growing.calls;
            asking::ask(session, &turn.order, lines, calls, permission).await?;
            continue;
        }
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

/// The checkpoint after tools that may have changed files.
async fn after(session: &mut Session, did: &[String]) -> Result<(), PublishError> {
    if did.is_empty() {
        return Ok(());
    }
    let why = if session.private {
        "after a tool".to_owned()
    } else {
        format!(
            "after it {}",
            excerpt(&session.context.redactor, &did.join(", "))
        )
    };
    facts::checkpoint(session, &why).await
}

/// Takes in one thing that the agent said; gives what a tool did that ended and may have changed files.
async fn take_one(
    session: &mut Session,
    growing: &mut Growing,
    claim: Claim,
) -> Result<Option<String>, PublishError> {
    match claim {
        Claim::Text(text) => growing.say(&text),
        Claim::ToolCall(tool) => {
            growing.ends_message();
            return take_tool(session, growing, tool).await;
        }
        Claim::ToolUpdate(tool) => return take_tool(session, growing, tool).await,
        Claim::NotJson(line) => tracing::debug!(
            bytes = line.len(),
            "the agent wrote a line that is no message"
        ),
        // Kept in the journal; nothing of them belongs into the record.
        _ => {}
    }
    Ok(None)
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
