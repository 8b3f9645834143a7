//! What a job asks of its model, and what it gets.

use super::{context::Context, executor::Order};
use crate::{
    job::Failure,
    model::{
        Budget, ModelError, ModelName, ModelOptions,
        local::{self, ModelInfo},
        provider::{OLLAMA, Target},
    },
    nips::nip90::JobRequest,
};

/// Ollama's word for a model that takes pictures.
const VISION: &str = "vision";
/// A small model that does.
const SEEING: &str = "gemma3:4b";
/// Models that are looked at to find one, and that are named.
const LOOKED_AT: usize = 30;
const NAMED: usize = 5;

/// The model: what the owner's job names, and must be there; else the default. A stranger gets the default
/// if that is local.
///
/// # Errors
/// When it is not there, and nothing may be asked in its place.
pub(super) async fn model(context: &Context, order: &Order) -> Result<ModelInfo, Failure> {
    let agent = context.agents.get(&order.agent);
    // A command works also where there is no model.
    if agent.is_some_and(|agent| !agent.manifest.needs_a_model()) {
        return Ok(ModelInfo::none());
    }
    let providers = context.gateway.providers();
    let default = providers.resolve(&context.default_model);
    let target = match named(order) {
        Some(name) => providers.resolve(name),
        None if order.stranger && !default.is_local() => providers.resolve(""),
        None => default,
    };
    let provider = &target.provider;
    if provider.name() != OLLAMA {
        if target.model.is_empty() {
            let sentence = format!("`{0}:` names no model; write {0}:name", provider.name());
            return Err(Failure::new("no-model", sentence));
        }
        // Without its key it fails, and the next of the chain is asked: that is on the record then.
        if provider.is_ready() || !chain(context, order, true).await.is_empty() {
            return Ok(ModelInfo::named(&target));
        }
        let error = ModelError::NoKey {
            provider: provider.name().to_owned(),
            env: provider.key_env().to_owned(),
        };
        return Err(Failure::new(
            "no-model",
            format!("{error}. {}", error.fix().unwrap_or_default()),
        ));
    }
    let found = context.local.list().await;
    let chosen = found.and_then(|models| choose_for(order.stranger, models, &target.model));
    let error = match chosen {
        Ok(model) => return Ok(model),
        Err(error) => error,
    };
    let mut chain = chain(context, order, true).await;
    if chain.is_empty() || named(order).is_some() {
        let sentence = format!("{error}. {}", error.fix());
        return Err(Failure::new("no-model", sentence));
    }
    tracing::warn!(%error, "the default model cannot be used");
    if target.model.is_empty() {
        return Ok(ModelInfo::named(&chain.remove(0)));
    }
    Ok(ModelInfo::named(&target))
}

/// The models that are asked when the session's own fails: those of the configuration. Who asked for a local
/// model by its name is never answered from the cloud, and neither is a stranger.
pub(super) async fn fallback(
    context: &Context,
    order: &Order,
    model: &ModelInfo,
) -> Vec<ModelName> {
    let chain = chain(context, order, model.local).await.into_iter();
    let names = chain.map(|target| target.name());
    names.filter(|name| *name != model.name).collect()
}

async fn chain(context: &Context, order: &Order, local: bool) -> Vec<Target> {
    let providers = context.gateway.providers();
    let only_local = only_local(order, local);
    let names = context.gateway.fallback().iter();
    let mut chain: Vec<Target> = names
        .map(|name| providers.resolve(name))
        .filter(|target| target.is_local() || !only_local)
        .collect();
    let of_ollama = |target: &Target| target.provider.name() == OLLAMA;
    if only_local && chain.iter().any(of_ollama) {
        // A model of Ollama's cloud may have any name.
        let listed = context.local.list().await.unwrap_or_default();
        let near = |target: &Target| {
            local::choose(listed.clone(), &target.model).is_ok_and(|model| model.local)
        };
        chain.retain(|target| !of_ollama(target) || near(target));
    }
    chain
}

fn only_local(order: &Order, local: bool) -> bool {
    order.stranger || (local && named(order).is_some())
}

/// The model of the server: the one that is meant, for a stranger one that is local.
fn choose_for(
    stranger: bool,
    models: Vec<ModelInfo>,
    name: &str,
) -> Result<ModelInfo, local::Error> {
    let near = || models.iter().filter(|model| model.local).cloned().collect();
    if !stranger {
        return local::choose(models, name);
    }
    match local::choose(models.clone(), name) {
        Ok(model) if !model.local => local::choose(near(), ""),
        chosen => chosen,
    }
}

/// The model that an owner's job names.
fn named(order: &Order) -> Option<&str> {
    if order.stranger {
        return None;
    }
    let name = order.request.param("model")?;
    Some(name.trim()).filter(|name| !name.is_empty())
}

/// Whether a model takes pictures: of Ollama's models those that it says so of. The large providers' do, and other
/// servers say themselves when theirs does not.
pub(super) async fn sees(context: &Context, model: &ModelInfo) -> bool {
    if model.provider != OLLAMA {
        return true;
    }
    let shown = context.local.show(&model.name).await;
    shown.is_ok_and(|details| details.capabilities.iter().any(|can| can == VISION))
}

/// Of the server's models, those that say that they take no pictures.
pub(super) async fn blind(context: &Context, models: &[ModelInfo]) -> Vec<String> {
    let looks = models.iter().filter(|model| !model.cloud).take(LOOKED_AT);
    let looks = looks.map(async |model| {
        let details = context.local.details(model).await?;
        let can = details.capabilities;
        // One that says nothing may take them all the same.
        (!can.is_empty() && can.iter().all(|can| can != VISION)).then(|| model.name.to_string())
    });
    let found = futures_util::future::join_all(looks).await;
    found.into_iter().flatten().collect()
}

/// Which models take pictures, in words for who has a picture.
pub(super) async fn what_sees(context: &Context) -> String {
    let models = context.local.list().await.unwrap_or_default();
    let looked_at = models
        .into_iter()
        .filter(|model| !model.cloud)
        .take(LOOKED_AT);
    let looks = looked_at.map(async |model| sees(context, &model).await.then_some(model.name));
    let seeing: Vec<String> = futures_util::future::join_all(looks)
        .await
        .into_iter()
        .flatten()
        .take(NAMED)
        .map(|name| name.to_string())
        .collect();
    if seeing.is_empty() {
        format!("no model here does; `treefort models pull {SEEING}` gets one")
    } else {
        format!("choose one that does: {}", seeing.join(", "))
    }
}

/// How the model answers: what the customer asked for, within a stranger's quota.
pub(super) async fn options(context: &Context, order: &Order, model: &ModelInfo) -> ModelOptions {
    let request: &JobRequest = &order.request;
    let asked: Option<i64> = request
        .number("max_tokens")
        .filter(|tokens: &i64| *tokens > 0);
    let limit = order
        .stranger
        .then_some(i64::from(context.jobs.strangers.tokens));
    let agent = context.agents.get(&order.agent);
    let wanted = agent.map_or(context.num_ctx, |agent| {
        agent.manifest.context(context.num_ctx)
    });
    ModelOptions {
        temperature: within(request.number("temperature"), 0.0, 2.0),
        top_k: request.number("top_k").map(|k: u32| k.max(1)),
        top_p: within(request.number("top_p"), 0.0, 1.0),
        frequency_penalty: within(request.number("frequency_penalty"), -2.0, 2.0),
        num_predict: match (asked, limit) {
            (Some(asked), Some(limit)) => Some(asked.min(limit)),
            (asked, limit) => asked.or(limit),
        },
        // More than the model was made for makes it slow and wrong.
        num_ctx: context
            .local
            .context_length(model)
            .await
            .and_then(|length| u32::try_from(length).ok())
            .map_or(Some(wanted), |length| Some(length.min(wanted))),
        seed: request.number("seed"),
    }
}

/// What the job may use.
pub(super) fn budget(context: &Context, order: &Order) -> Budget {
    let stranger = order.stranger.then_some(&context.jobs.strangers);
    Budget {
        // A stranger's job gets one prompt as long as the model can read, and its tokens.
        tokens: match stranger {
            Some(quota) => Some(u64::from(quota.tokens) + u64::from(context.num_ctx)),
            None => order.request.number("budget_tokens"),
        },
        seconds: match stranger {
            Some(quota) => Some(quota.seconds),
            None => order.request.number("budget_s"),
        },
        microusd: if order.stranger {
            None
        } else {
            order.request.number("budget_microusd")
        },
    }
}

/// A number in its range (`nips/90.md`); what is no number counts as absent.
fn within(number: Option<f64>, least: f64, most: f64) -> Option<f64> {
    number
        .filter(|number| !number.is_nan())
        .map(|number| number.clamp(least, most))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stranger_is_never_answered_from_ollamas_cloud() {
        let model = |name: &str, cloud: bool| ModelInfo {
            name: name.into(),
            local: !cloud,
            cloud,
            ..ModelInfo::none()
        };
        let all = || vec![model("a:1", true), model("b:1", false)];
        let chosen = |stranger, models, name| choose_for(stranger, models, name).map(|m| m.name.0);
        assert_eq!(chosen(false, all(), "a:1").unwrap(), "a:1");
        assert_eq!(chosen(true, all(), "a:1").unwrap(), "b:1");
        assert_eq!(chosen(true, all(), "b:1").unwrap(), "b:1");
        assert!(chosen(true, vec![model("a:1", true)], "a:1").is_err());
        assert!(chosen(true, all(), "c:1").is_err());
    }
}
