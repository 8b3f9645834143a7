//! How the coordinator makes itself known: profile, handler information, relay list, status.

use std::{sync::Arc, time::Duration};

use nostr::{Filter, Keys, Kind};
use tokio_util::sync::CancellationToken;

use super::{
    context::{Context, now},
    publisher::PublishError,
};
use crate::agent::manifest::Driver;
use crate::model::{
    ModelName, local,
    provider::{Provider, Providers},
};
use crate::nips::{
    Draft, kind,
    nip89::{self, AgentReport, ProviderReport, RuntimeReport, StatusReport},
    reference::tag_value,
};
use crate::sandbox::Found;

/// How often models and sandbox are looked at.
const EVERY: Duration = Duration::from_secs(15);
/// After the start, when nobody waits for it: what takes longer to look at.
const SOON: Duration = Duration::from_secs(1);

/// How much is looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// What is quick. Which agents are ready is what was said last: naming their images takes reading large programs.
    Quick,
    /// All of it.
    Whole,
}

/// Publishes profile, handler information and relay list, where they differ from what is there. Jobs can be
/// done without them, so none is worth failing for.
pub(super) async fn announce(context: &Context) {
    let keys = context.keyring.coordinator();
    let agents: Vec<String> = context
        .agents
        .iter()
        .map(|agent| agent.manifest.name.clone())
        .collect();
    let about = "Runs AI agents in sandboxes of their own, on its owner's machine.";
    for draft in [
        nip89::profile(
            "treefort",
            "treefort",
            about,
            Some(&context.admission.operator()),
        ),
        nip89::handler(&context.jobs.kinds(), &agents),
        nip89::relay_list(&context.relay_url),
    ] {
        let kind = draft.kind;
        if let Err(error) = say_if_new(context, draft, keys).await {
            tracing::warn!(kind, %error, "the coordinator is not announced");
        }
    }
}

/// Keeps the status true until the program stops. `said`: it was said already.
pub(super) async fn keep_status(context: Arc<Context>, said: bool, shutdown: CancellationToken) {
    let mut wait = if said { SOON } else { Duration::ZERO };
    loop {
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = tokio::time::sleep(wait) => {}
        }
        // The look may take seconds.
        tokio::select! {
            () = shutdown.cancelled() => return,
            () = say_status(&context, Look::Whole) => {}
        }
        wait = EVERY;
    }
}

/// Says how things are, where that is news.
pub(super) async fn say_status(context: &Context, look: Look) {
    match status(context, look).await.draft() {
        Ok(draft) => {
            if let Err(error) = say_if_new(context, draft, context.keyring.coordinator()).await {
                tracing::warn!(%error, "failed to publish the status");
            }
        }
        Err(error) => tracing::error!(%error, "the status does not serialise"),
    }
}

/// What the coordinator can do right now.
async fn status(context: &Context, look: Look) -> StatusReport {
    let runtime = match context.runtime.probe().await {
        Ok(probe) => {
            // Who set it first said the same.
            let _ = context.probe.set(probe.clone());
            RuntimeReport {
                kind: context.runtime.kind().to_owned(),
                ok: true,
                detail: probe.detail,
                fix: None,
                protects: probe.protection.protects,
                exposes: probe.protection.exposes,
            }
        }
        Err(error) => RuntimeReport {
            kind: context.runtime.kind().to_owned(),
            ok: false,
            detail: error.to_string(),
            fix: Some(error.hint().to_string()),
            ..RuntimeReport::default()
        },
    };
    let listed = context.local.list().await;
    let down = listed.as_ref().err();
    let down = down.map(|error| format!("{error}. {}", error.fix()));
    let installed = listed.unwrap_or_default();
    let mut models: Vec<String> = installed.iter().map(|m| m.name.to_string()).collect();
    let away = installed.iter().filter(|model| !model.local);
    let cloud = away.map(|model| model.name.to_string()).collect();
    let blind = super::choice::blind(context, &installed).await;
    let providers = context.gateway.providers();
    let (default_model, model_problem) =
        match local::default_of(providers, &context.default_model, installed) {
            Ok(ModelName(model)) => {
                if !models.contains(&model) {
                    models.push(model.clone());
                }
                (Some(model), None)
            }
            Err(error) => {
                let problem = down.unwrap_or_else(|| format!("{error}. {}", error.fix()));
                (None, Some(problem))
            }
        };
    StatusReport {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        runtime,
        models,
        default_model,
        agents: agents(context, look).await,
        cloud,
        blind,
        providers: reported(providers),
        model_problem,
        admit: match context.admission.mode() {
            crate::keys::Admit::Owner => "owner".to_owned(),
            crate::keys::Admit::Anyone => "anyone".to_owned(),
        },
    }
}

/// The agents, and what each of them lacks here.
async fn agents(context: &Context, look: Look) -> Vec<AgentReport> {
    let mut reports = Vec::new();
    let before = match look {
        Look::Quick => ready_before(context).await,
        Look::Whole => Vec::new(),
    };
    for agent in context.agents.iter() {
        let manifest = &agent.manifest;
        let image = super::image::of(agent, context.agents.base());
        let missing = match &image {
            Ok(image) => context.runtime.missing(image).await.map(|error| {
                let hint = error.hint();
                format!("{error}. {hint}").trim_end().to_owned()
            }),
            Err(failure) => Some(failure.sentence.clone()),
        };
        let ready = match (look, &image) {
            _ if missing.is_some() => false,
            (Look::Quick, _) => before.contains(&manifest.name),
            (Look::Whole, Ok(image)) => {
                let found = context.runtime.find(image).await;
                matches!(found, Ok(Found::Image { .. } | Found::Host { .. }))
            }
            (Look::Whole, Err(_)) => false,
        };
        let usual = |kind: &u16| context.jobs.agent_for(*kind) == Some(manifest.name.as_str());
        reports.push(AgentReport {
            name: manifest.name.clone(),
            description: manifest.description.clone(),
            kinds: context.jobs.kinds().into_iter().filter(usual).collect(),
            title: manifest.title.clone(),
            workspace: manifest.workspace,
            command: manifest.driver == Driver::Exec,
            asks: manifest.asks(),
            ready,
            missing,
        });
    }
    reports
}

/// The agents that were ready when the status was said last.
async fn ready_before(context: &Context) -> Vec<String> {
    let filter = Filter::new()
        .author(context.keyring.coordinator().public_key())
        .kind(Kind::from(kind::APP_DATA))
        .identifier(nip89::STATUS)
        .limit(1);
    let newest = context.relay.query(filter).await.unwrap_or_default();
    let said = newest
        .first()
        .and_then(|event| serde_json::from_str::<StatusReport>(&event.content).ok());
    let agents = said.map(|said| said.agents).unwrap_or_default();
    let ready = agents.into_iter().filter(|agent| agent.ready);
    ready.map(|agent| agent.name).collect()
}

fn reported(providers: &Providers) -> Vec<ProviderReport> {
    let report = |provider: &Provider| ProviderReport {
        name: provider.name().to_owned(),
        local: provider.is_local(),
        ready: provider.is_ready(),
        key_env: provider.key_env().to_owned(),
    };
    providers.iter().map(report).collect()
}

/// Publishes a replaceable or addressable event unless the newest one says the same.
async fn say_if_new(context: &Context, draft: Draft, keys: &Keys) -> Result<(), PublishError> {
    let mut filter = Filter::new()
        .author(keys.public_key())
        .kind(Kind::from(draft.kind))
        .limit(1);
    let identifier = draft
        .tags
        .iter()
        .find(|tag| tag[0] == "d")
        .and_then(|tag| tag.get(1));
    if let Some(identifier) = identifier {
        filter = filter.identifier(identifier);
    }
    let newest = context.relay.query(filter).await.unwrap_or_default();
    let same = newest.first().is_some_and(|event| {
        Draft::of(event) == draft && tag_value(event, "d") == identifier.map(String::as_str)
    });
    if same {
        return Ok(());
    }
    // Of two versions of one second the relay keeps the one with the lower id, which may be the older one:
    // a program that starts twice in a second has to say something newer.
    let after = newest
        .first()
        .map_or(0, |event| event.created_at.as_secs() + 1);
    let event = context.publisher.sign_at(draft, keys, now().max(after))?;
    context.publisher.publish(event).await
}
