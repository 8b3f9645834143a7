//! What an event on the log means for the coordinator: a job, a cancellation, a changed list, or nothing.

use nostr::{Event, EventId, PublicKey, Timestamp};

use super::{checks, config::JobsConfig, context::Context, reach};
use crate::{
    job::Failure,
    keys::Admit,
    nips::{
        kind, nip89,
        nip90::{
            Input, JobRequest,
            request::{ALLOW, ASK, PERMISSIONS},
        },
        reference::{named_keys, tag_value},
    },
    store::state::StateError,
};

/// What an event asks of the coordinator.
#[derive(Debug)]
pub(super) enum Intake {
    /// Nothing.
    Ignore,
    /// The author takes these jobs back.
    Cancel(Vec<EventId>),
    /// The operator changed who is admitted.
    Allowed(Vec<PublicKey>),
    /// The operator writes something that may be for an agent at work.
    Note,
    /// A job to be done.
    Accept(Box<Accepted>),
    /// A job that will not be done, and why.
    Refuse(Failure),
}

/// A job that may run.
#[derive(Debug)]
pub(super) struct Accepted {
    /// The request, decrypted.
    pub(super) request: JobRequest,
    /// Which agent does it.
    pub(super) agent: String,
    /// Whether quotas bind it.
    pub(super) stranger: bool,
}

/// Reads one event. Pure but for the state lookups that `known` does.
///
/// # Errors
/// What `known` says.
pub(super) fn read(
    event: &Event,
    context: &Context,
    now: u64,
    known: impl Fn(&EventId) -> Result<bool, StateError>,
) -> Result<Intake, StateError> {
    Ok(match event.kind.as_u16() {
        kind::DELETION => Intake::Cancel(
            event
                .tags
                .iter()
                .map(nostr::Tag::as_slice)
                .filter(|tag| tag[0] == "e")
                .filter_map(|tag| EventId::from_hex(tag.get(1)?).ok())
                .collect(),
        ),
        kind::FOLLOW_SET
            if event.pubkey == context.admission.operator()
                && tag_value(event, "d") == Some(nip89::ALLOWED) =>
        {
            Intake::Allowed(named_keys(event))
        }
        kind::NOTE if event.pubkey == context.admission.operator() => Intake::Note,
        _ if kind::is_job_request(event.kind) => read_job(event, context, now, known(&event.id)?),
        _ => Intake::Ignore,
    })
}

/// Whether a deletion request takes the operator's list of admitted keys back.
pub(super) fn takes_allowed_back(event: &Event, context: &Context) -> bool {
    let address = format!(
        "{}:{}:{}",
        kind::FOLLOW_SET,
        event.pubkey.to_hex(),
        nip89::ALLOWED
    );
    event.pubkey == context.admission.operator() && tag_value(event, "a") == Some(address.as_str())
}

fn read_job(event: &Event, context: &Context, now: u64, known: bool) -> Intake {
    let config: &JobsConfig = &context.jobs;
    let coordinator = context.keyring.coordinator();
    let asked = named_keys(event);
    let for_us = asked.contains(&coordinator.public_key());
    if context.is_ours(&event.pubkey)
        || (!asked.is_empty() && !for_us)
        || known
        || event.is_expired_at(&Timestamp::from(now))
        || event.created_at.as_secs() + config.max_age_s < now
    {
        return Intake::Ignore;
    }
    if event.kind.as_u16() == kind::WORKSPACE_TASK {
        return read_workspace_task(event, context, for_us);
    }
    let Some(agent) = config.agent_for(event.kind.as_u16()) else {
        // A job for anyone, of a kind that is not ours, is somebody else's to take.
        return if for_us {
            Intake::Refuse(Failure::new(
                "unsupported",
                format!("jobs of kind {} are not done here", event.kind.as_u16()),
            ))
        } else {
            Intake::Ignore
        };
    };
    let stranger = !context.admission.is_admitted(&event.pubkey);
    if stranger {
        if context.admission.mode() == Admit::Owner {
            return Intake::Refuse(Failure::new(
                "not-admitted",
                "this treefort does jobs for its owner only; the owner can let you in with `treefort allow`",
            ));
        }
        if event.kind.as_u16() != kind::TEXT_GENERATION {
            return Intake::Refuse(Failure::new(
                "not-admitted",
                "guests may send text generation jobs (kind 5050) only",
            ));
        }
    }
    let request = match JobRequest::parse(event, coordinator) {
        Ok(request) => request,
        Err(error) => return Intake::Refuse(Failure::new("input", error.to_string())),
    };
    match request.param(PERMISSIONS) {
        None | Some(ALLOW) => {}
        // Whoever asks for more care than it gets must not have less without knowing.
        Some(ASK) if event.pubkey != context.admission.operator() => {
            return Intake::Refuse(Failure::new(
                "not-admitted",
                "only the owner of this machine is asked for permissions",
            ));
        }
        Some(ASK) => {}
        Some(other) => {
            let other: String = other.chars().take(32).collect();
            return Intake::Refuse(Failure::new(
                "input",
                format!("unknown permissions `{other}`: use ask or allow"),
            ));
        }
    }
    if let Err(failure) = reach::check(context, &request) {
        return Intake::Refuse(failure);
    }
    let operator = event.pubkey == context.admission.operator();
    if let Some(failure) = checks::refused(&request, operator) {
        return Intake::Refuse(failure);
    }
    let agent = match request.param("agent") {
        Some(named) if !stranger => named,
        _ => agent,
    };
    match context.agents.get(agent) {
        Some(known) if request.checks().next().is_some() && !checks::can(&known.manifest) => {
            Intake::Refuse(Failure::new(
                "unsupported",
                format!("the agent {agent} leaves no files behind that could be checked"),
            ))
        }
        Some(known) if request.param(PERMISSIONS) == Some(ASK) && !known.manifest.asks() => {
            Intake::Refuse(Failure::new(
                "unsupported",
                format!(
                    "the agent {agent} cannot ask before it acts: let it act without, or choose another agent"
                ),
            ))
        }
        Some(known) if known.manifest.kinds.contains(&event.kind.as_u16()) => {
            let agent = agent.to_owned();
            Intake::Accept(Box::new(Accepted {
                request,
                agent,
                stranger,
            }))
        }
        Some(_) => Intake::Refuse(Failure::new(
            "unsupported",
            format!(
                "the agent {agent} does no jobs of kind {}",
                event.kind.as_u16()
            ),
        )),
        None => Intake::Refuse(Failure::new(
            "unsupported",
            format!("there is no agent called {agent}"),
        )),
    }
}

/// What an owner does with a copy: nobody else's to ask, and done by no agent.
fn read_workspace_task(event: &Event, context: &Context, for_us: bool) -> Intake {
    if event.pubkey != context.admission.operator() {
        if !for_us {
            return Intake::Ignore;
        }
        return Intake::Refuse(Failure::new(
            "not-admitted",
            "only the owner of this machine may do this",
        ));
    }
    match JobRequest::parse(event, context.keyring.coordinator()) {
        Ok(request) => Intake::Accept(Box::new(Accepted {
            request,
            agent: String::new(),
            stranger: false,
        })),
        Err(error) => Intake::Refuse(Failure::new("input", error.to_string())),
    }
}

/// The first job whose output this one needs.
pub(super) fn job_inputs(request: &JobRequest) -> impl Iterator<Item = EventId> {
    request.inputs.iter().filter_map(|input| match input {
        Input::Job(id) => Some(*id),
        Input::Text(_) | Input::Event(_) | Input::Blob { .. } => None,
    })
}
