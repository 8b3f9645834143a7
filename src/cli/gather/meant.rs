//! What a person means who types the beginning of an id, or nothing.

use std::collections::BTreeMap;

use nostr::{Event, EventId, PublicKey};

use super::{QUOTE, Target, jobs, sessions};
use crate::{
    cli::{
        client::{Client, Error},
        error::{CommandError, Kind as Failure, Problem},
        text::one_line,
        view,
    },
    nips::{kind, nip90::Comparison},
};

/// How many candidates an ambiguous id lists.
const MAX_CANDIDATES: usize = 8;
/// Handed jobs among which the last session is looked for.
const HANDED: usize = 20;
/// The fewest characters of an id that name anything.
const MIN_PREFIX: usize = 4;

/// Resolves what the person typed; nothing means the session that was given a job last.
///
/// # Errors
/// When nothing or several things are called so, and when several sessions were given the last job.
pub async fn resolve(
    client: &mut Client,
    coordinator: PublicKey,
    needle: Option<&str>,
) -> Result<Target, CommandError> {
    let Some(needle) = needle else {
        return last(client, coordinator).await.map(Target::Session);
    };
    let target = named(client, coordinator, needle).await?;
    target.ok_or_else(|| {
        CommandError::new(Failure::Failed, Problem::Unknown(needle.to_owned()))
            .hint("`treefort jobs` lists what there is")
    })
}

/// The session or job whose id begins so, if there is one.
///
/// # Errors
/// When several are called so, or nothing could be.
pub async fn named(
    client: &mut Client,
    coordinator: PublicKey,
    needle: &str,
) -> Result<Option<Target>, CommandError> {
    if needle.starts_with("npub1") {
        let key = PublicKey::parse(needle)
            .map_err(|_| CommandError::new(Failure::Usage, Problem::NotAKey(needle.to_owned())))?;
        return Ok(Some(Target::Session(key)));
    }
    let prefix = needle.to_ascii_lowercase();
    if !may_name(needle) {
        return Err(CommandError::new(
            Failure::Usage,
            Problem::NotAnId(needle.to_owned()),
        ));
    }
    let mut found = BTreeMap::new();
    for session in sessions(client, coordinator).await? {
        found.insert(session.to_hex(), Target::Session(session));
    }
    let jobs = jobs(client, coordinator, None, true).await?;
    for job in &jobs {
        found.insert(job.id.to_hex(), Target::Job(job.id));
    }
    // A session of an owner's own, such as an undo's, was handed to nobody: its whole key names it.
    if !found.contains_key(&prefix)
        && let Ok(key) = PublicKey::from_hex(&prefix)
        && !client
            .newest(view::of_kind(kind::SESSION_START).author(key), 1)
            .await?
            .is_empty()
    {
        return Ok(Some(Target::Session(key)));
    }
    // The id of a comparison is that of several: it names none of them.
    let compared: Vec<(u16, EventId)> = jobs
        .iter()
        .filter_map(|job| Some((Comparison::of(job.event.as_ref()?)?, job.id)))
        .filter(|(one, _)| one.id.to_hex().starts_with(&prefix))
        .map(|(one, job)| (one.n, job))
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .collect();
    if !compared.is_empty() && !found.keys().any(|id| id.starts_with(&prefix)) {
        let named = compared
            .iter()
            .map(|(n, job)| format!("{n}. {}", view::short(&job.to_hex())));
        let problem = Problem::Compared {
            needle: needle.to_owned(),
            jobs: named.collect(),
        };
        return Err(CommandError::new(Failure::Usage, problem)
            .hint(format!("all of it: treefort compare {}", one_line(needle))));
    }
    pick(needle, &prefix, found)
}

/// The session that was given a job last.
async fn last(client: &mut Client, coordinator: PublicKey) -> Result<PublicKey, CommandError> {
    let handed = handed(client, coordinator).await?;
    let newest = handed
        .iter()
        .find_map(|job| Some((job, view::people(job).next()?)));
    let (job, session) = newest.ok_or_else(|| {
        CommandError::new(Failure::Failed, Problem::NoSession)
            .hint("start one: treefort run \"a question\"")
    })?;
    let Some(one) = Comparison::of(job) else {
        return Ok(session);
    };
    let quotes = view::of_kind(kind::AGENT_TASK).author(coordinator);
    let quotes = quotes.custom_tag(QUOTE, one.id.to_hex());
    let all = client.query(quotes).await?;
    let several: BTreeMap<u16, PublicKey> = all
        .iter()
        .filter_map(|job| Some((Comparison::of(job)?.n, view::people(job).next()?)))
        .collect();
    if several.len() < 2 {
        return Ok(session);
    }
    let named = several
        .iter()
        .map(|(n, session)| format!("{n}. {}", view::short(&session.to_hex())));
    let problem = Problem::SeveralAsked(named.collect());
    Err(CommandError::new(Failure::Usage, problem).hint(format!(
        "all of it: treefort compare {}",
        view::short(&one.id.to_hex())
    )))
}

/// The jobs that the coordinator handed to sessions last, the newest first.
async fn handed(client: &mut Client, coordinator: PublicKey) -> Result<Vec<Event>, Error> {
    let handed = view::of_kind(kind::AGENT_TASK).author(coordinator);
    client.newest(handed, HANDED).await
}

/// Whether this could be the name of a session or job at all.
#[must_use]
pub fn may_name(needle: &str) -> bool {
    let hex =
        (MIN_PREFIX..=64).contains(&needle.len()) && needle.chars().all(|c| c.is_ascii_hexdigit());
    hex || needle.starts_with("npub1")
}

fn pick(
    needle: &str,
    prefix: &str,
    found: BTreeMap<String, Target>,
) -> Result<Option<Target>, CommandError> {
    let matching: Vec<(String, Target)> = found
        .into_iter()
        .filter(|(id, _)| id.starts_with(prefix))
        .collect();
    match matching.as_slice() {
        [] => Ok(None),
        [(_, target)] => Ok(Some(*target)),
        several => Err(CommandError::new(
            Failure::Usage,
            Problem::Ambiguous {
                needle: needle.to_owned(),
                candidates: several
                    .iter()
                    .take(MAX_CANDIDATES)
                    .map(|(id, target)| match target {
                        Target::Session(_) => format!("session {}", &id[..16]),
                        Target::Job(_) => format!("job {}", &id[..16]),
                    })
                    .collect(),
            },
        )),
    }
}

/// The session that the coordinator gave a job last.
///
/// # Errors
/// When the relay cannot be asked.
pub async fn last_session(
    client: &mut Client,
    coordinator: PublicKey,
) -> Result<Option<PublicKey>, Error> {
    let handed = handed(client, coordinator).await?;
    Ok(handed.iter().find_map(|job| view::people(job).next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(ids: &[&str]) -> BTreeMap<String, Target> {
        ids.iter()
            .map(|id| {
                let id = format!("{id:0<64}");
                let target = Target::Job(EventId::from_hex(&id).unwrap());
                (id, target)
            })
            .collect()
    }

    #[test]
    fn an_ambiguous_prefix_lists_what_it_could_mean() {
        let error = pick("abcd", "abcd", found(&["abcd1", "abcd2", "ffff"])).unwrap_err();
        insta::assert_snapshot!(anstream::adapter::strip_str(&error.to_string()), @r"
        error: 'abcd' could be any of these: job abcd100000000000, job abcd200000000000
        ");
        let one = pick("ffff", "ffff", found(&["abcd1", "ffff"])).unwrap();
        assert!(matches!(one, Some(Target::Job(id)) if id.to_hex().starts_with("ffff")));
        assert_eq!(pick("1234", "1234", found(&["abcd1"])).unwrap(), None);
    }
}
