//! Comparisons off the record, and what became of their jobs.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use nostr::{Event, EventId, Filter, Keys, PublicKey, Timestamp};

use super::contest::{Changed, Check, Contest, Entry};
use crate::{
    cli::{
        error::{CommandError, Kind, Problem},
        gather,
        launch::Connection,
        text::{one_line, sanitize},
        view::{self, JobState},
        workspace,
    },
    nips::{
        kind,
        nip90::{Comparison, Scheme},
        reference::tag_value,
        session::Record,
        workspace::{Operation, Outcome, State, Task, Which},
    },
};

/// How many ids one filter carries.
const IDS: usize = 100;

/// The comparison that these jobs are, also of those among them that were withdrawn before anybody began.
///
/// # Errors
/// When treefort cannot be asked.
pub(in crate::cli) async fn of_jobs(
    connection: &mut Connection,
    note: EventId,
    jobs: &[Event],
) -> Result<Option<Contest>, CommandError> {
    Ok(found(connection, Some(note), jobs).await?.pop())
}

/// The comparisons of the owner, the newest first.
///
/// # Errors
/// When treefort cannot be asked.
pub(in crate::cli) async fn list(
    connection: &mut Connection,
) -> Result<Vec<Contest>, CommandError> {
    found(connection, None, &[]).await
}

/// All of them, or the one of this id; `known` are jobs that need not be asked for.
async fn found(
    connection: &mut Connection,
    only: Option<EventId>,
    known: &[Event],
) -> Result<Vec<Contest>, CommandError> {
    let coordinator = connection.coordinator();
    let keys = connection.keyring.operator().clone();
    let of = |kinds: &[u16], author| {
        let kinds = kinds.iter().copied().map(nostr::Kind::from);
        let filter = Filter::new().kinds(kinds).author(author);
        match only {
            Some(id) => filter.custom_tag(gather::QUOTE, id.to_hex()),
            None => filter,
        }
    };
    let asked = of(
        &[kind::TEXT_GENERATION, kind::AGENT_TASK],
        keys.public_key(),
    );
    let mut asked = connection.client.query(asked).await?;
    asked.extend_from_slice(known);
    let handed = of(&[kind::AGENT_TASK], coordinator);
    let handed = connection.client.query(handed).await?;
    Ok(grouped(&asked, &handed, &keys, &coordinator))
}

/// Requests, and what sessions were handed, as the comparisons that they are.
fn grouped(
    asked: &[Event],
    handed: &[Event],
    keys: &Keys,
    coordinator: &PublicKey,
) -> Vec<Contest> {
    let mut contests: BTreeMap<EventId, (Contest, BTreeMap<u16, Entry>)> = BTreeMap::new();
    let mut add = |one: Comparison, at: Timestamp, prompt: &dyn Fn() -> String, entry: Entry| {
        let (contest, entries) = contests.entry(one.id).or_insert_with(|| {
            let contest = Contest {
                id: one.id,
                at,
                prompt: prompt(),
                entries: Vec::new(),
            };
            (contest, BTreeMap::new())
        });
        contest.at = contest.at.min(at);
        // The request itself says more than what was made of it.
        entries.entry(one.n).or_insert(entry);
    };
    for request in asked {
        let tags = tags_of(request, keys, coordinator);
        let Some(one) = Comparison::find(tags.iter().map(Vec::as_slice)) else {
            continue;
        };
        let param = |name: &str| {
            let mut params = tags.iter().filter(|tag| tag[0] == "param");
            let tag = params.find(|tag| tag.get(1).is_some_and(|n| n == name))?;
            tag.get(2).cloned()
        };
        let entry = Entry {
            request: Some(request.clone()),
            ..Entry::new(one.n, request.id, param("agent"), param("model"))
        };
        let prompt = || {
            let input = tags.iter().find(|tag| tag[0] == "i");
            sanitize(input.and_then(|tag| tag.get(1)).map_or("", String::as_str))
        };
        add(one, request.created_at, &prompt, entry);
    }
    for task in handed {
        let (Some(one), Some(job)) = (Comparison::of(task), view::ids(task, "E").next()) else {
            continue;
        };
        // Whose comparison it is, the coordinator says where it quotes the note.
        let owner = keys.public_key().to_hex();
        let quotes =
            |tag: &[String]| tag.get(1) == Some(&one.id.to_hex()) && tag.get(3) == Some(&owner);
        if !view::tags(task, "q").any(quotes) {
            continue;
        }
        let entry = Entry::new(one.n, job, None, None);
        add(one, task.created_at, &|| view::prompt(task), entry);
    }
    let mut contests: Vec<Contest> = contests
        .into_values()
        .map(|(mut contest, entries)| {
            contest.entries = entries.into_values().collect();
            contest
        })
        .collect();
    contests.sort_by(|a, b| b.at.cmp(&a.at).then(a.id.cmp(&b.id)));
    contests
}

/// The tags of a request, also those that are hidden.
pub(in crate::cli) fn tags_of(
    request: &Event,
    keys: &Keys,
    coordinator: &PublicKey,
) -> Vec<Vec<String>> {
    let open = request.tags.iter().map(|tag| tag.as_slice().to_vec());
    let mut tags: Vec<Vec<String>> = open.collect();
    let scheme = Scheme::of(request);
    if scheme.is_private()
        && let Ok(text) = scheme.decrypt(keys, coordinator, &request.content)
        && let Ok(hidden) = serde_json::from_str::<Vec<Vec<String>>>(&text)
    {
        tags.extend(hidden);
    }
    tags.retain(|tag| !tag.is_empty());
    tags
}

/// Reads what became of the jobs of some comparisons.
///
/// # Errors
/// When treefort cannot be asked.
pub(in crate::cli) async fn outcomes(
    connection: &mut Connection,
    contests: &mut [Contest],
) -> Result<(), CommandError> {
    let coordinator = connection.coordinator();
    let keys = connection.keyring.operator().clone();
    let jobs: Vec<EventId> = contests
        .iter()
        .flat_map(|contest| contest.entries.iter().map(|entry| entry.job))
        .collect();
    let kinds = |kinds: &[u16]| Filter::new().kinds(kinds.iter().copied().map(nostr::Kind::from));
    let text = kind::result_of(nostr::Kind::from(kind::TEXT_GENERATION)).as_u16();
    let mut answers: HashMap<EventId, Vec<Event>> = HashMap::new();
    let mut handed: HashMap<EventId, (PublicKey, Timestamp)> = HashMap::new();
    for chunk in jobs.chunks(IDS) {
        let about = kinds(&[kind::JOB_FEEDBACK, text, kind::AGENT_TASK_RESULT])
            .author(coordinator)
            .events(chunk.to_vec());
        let taken_back = kinds(&[kind::DELETION])
            .author(keys.public_key())
            .events(chunk.to_vec());
        for filter in [about, taken_back] {
            for answer in connection.client.query(filter).await? {
                let job = view::ids(&answer, "e").next();
                if let Some(job) = job {
                    answers.entry(job).or_default().push(answer);
                }
            }
        }
        let inner = kinds(&[kind::AGENT_TASK]).author(coordinator);
        let inner = inner.custom_tags(gather::ROOT, chunk.iter().map(EventId::to_hex));
        for task in connection.client.query(inner).await? {
            let job = view::ids(&task, "E").next();
            let session = view::people(&task).next();
            if let (Some(job), Some(session)) = (job, session) {
                handed.insert(job, (session, task.created_at));
            }
        }
    }
    for entry in contests.iter_mut().flat_map(|contest| &mut contest.entries) {
        let mut said = answers.remove(&entry.job).unwrap_or_default();
        said.sort_by_key(|event| event.created_at);
        entry.state = match (&entry.request, handed.get(&entry.job)) {
            // What was not handed on was withdrawn before anybody began.
            (None, _) => JobState::Cancelled,
            (request, _) => JobState::of(request.as_ref(), &said, &keys),
        };
        if let Some((session, at)) = handed.remove(&entry.job) {
            (entry.session, entry.handed) = (Some(session), Some(at));
        }
        let over = !matches!(entry.state, JobState::Waiting | JobState::Working);
        entry.ended = said.last().map(|last| last.created_at).filter(|_| over);
        let result = said.iter().find(|event| kind::is_job_result(event.kind));
        if let Some(result) = result {
            entry.checks = Check::of(result);
            let scheme = Scheme::of(result);
            entry.answer = match scheme.is_private() {
                true => scheme.decrypt(&keys, &coordinator, &result.content).ok(),
                false => Some(result.content.clone()),
            };
            if let Some(code) = tag_value(result, "exit").filter(|code| *code != "0") {
                let code = one_line(code);
                entry.state = JobState::Failed(format!("exit code {code}"));
                entry.exit = Some(code);
            }
        }
    }
    Ok(())
}

/// Reads everything of one comparison: figures, and what changed in the copies that are still there.
///
/// # Errors
/// When treefort cannot be asked.
pub(in crate::cli) async fn fill(
    connection: &mut Connection,
    contest: &mut Contest,
) -> Result<(), CommandError> {
    outcomes(connection, std::slice::from_mut(contest)).await?;
    let sessions: BTreeSet<PublicKey> = contest
        .entries
        .iter()
        .filter_map(|entry| entry.session)
        .collect();
    if sessions.is_empty() {
        return Ok(());
    }
    let jobs = contest.entries.iter().map(|entry| entry.job.to_hex());
    let records = Filter::new()
        .authors(sessions)
        .kinds((kind::SESSION_START..=kind::SESSION_END).map(nostr::Kind::from))
        .custom_tags(gather::ROOT, jobs);
    let mut records = connection.client.query(records).await?;
    gather::sort_oldest_first(&mut records);
    for event in &records {
        let root = view::ids(event, "E").next();
        let mine =
            |entry: &&mut Entry| Some(entry.job) == root && entry.session == Some(event.pubkey);
        if let Some(entry) = contest.entries.iter_mut().find(mine)
            && let Ok(record) = Record::parse(event)
        {
            entry.figures.take(&record);
        }
    }
    for entry in &mut contest.entries {
        if let (Some(session), true) = (entry.session, entry.figures.tree.is_some()) {
            entry.changed = changed(connection, session).await?;
        }
    }
    Ok(())
}

/// What changed in a copy since it began; none when it is gone.
async fn changed(
    connection: &mut Connection,
    session: PublicKey,
) -> Result<Option<Changed>, CommandError> {
    let task = Task {
        which: Which::Session(session),
        operation: Operation::Diff {
            // From how it began, whatever was applied since.
            from: Some(State::Number(1)),
            to: None,
        },
    };
    let answer = match workspace::request(connection, &task).await {
        Ok(answer) => answer,
        Err(error) if error.kind() == Kind::Failed => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(match answer.outcome {
        Outcome::Diff {
            files,
            changed,
            text,
            cut,
            ..
        } => Some(Changed {
            files,
            in_all: changed,
            text,
            cut,
        }),
        _ => None,
    })
}

/// The comparison that a person names by the beginning of its id, or by one of its jobs or sessions.
///
/// # Errors
/// When nothing or several are called so.
pub(in crate::cli) async fn named(
    connection: &mut Connection,
    needle: &str,
) -> Result<Contest, CommandError> {
    if !gather::may_name(needle) {
        let problem = Problem::NotAnId(needle.to_owned());
        return Err(CommandError::new(Kind::Usage, problem));
    }
    let prefix = needle.to_ascii_lowercase();
    let mut found = list(connection).await?;
    found.retain(|contest| {
        let job = |entry: &Entry| entry.job.to_hex().starts_with(&prefix);
        contest.id.to_hex().starts_with(&prefix) || contest.entries.iter().any(job)
    });
    match found.len() {
        0 => Err(
            CommandError::new(Kind::Failed, Problem::Unknown(needle.to_owned()))
                .hint("`treefort compare` lists what was asked of several"),
        ),
        1 => Ok(found.remove(0)),
        _ => Err(CommandError::new(
            Kind::Usage,
            Problem::Ambiguous {
                needle: needle.to_owned(),
                candidates: found
                    .iter()
                    .take(8)
                    .map(|contest| format!("comparison {}", &contest.id.to_hex()[..16]))
                    .collect(),
            },
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nips::Draft;

    #[test]
    fn jobs_of_one_comparison_are_found_also_when_one_was_withdrawn_or_is_private() {
        let (operator, coordinator) = (Keys::generate(), Keys::generate());
        let of = |id: u8, n: u16| Comparison {
            id: EventId::from_slice(&[id; 32]).unwrap(),
            n,
            of: 3,
        };
        let asked = |tags: Vec<Vec<String>>| Draft::new(5870).tags(tags);
        let first = asked(vec![
            vec!["i".into(), "Paint it".into(), "text".into()],
            vec!["param".into(), "agent".into(), "opencode".into()],
            of(1, 2).tag(),
        ]);
        let other = asked(vec![vec!["i".into(), "alone".into()]]);
        let hidden = serde_json::json!([["i", "Psst", "text"], of(2, 1).tag()]).to_string();
        let hidden = Scheme::Nip44.encrypt(&operator, &coordinator.public_key(), &hidden);
        let private = Draft::new(5050).tag(["encrypted"]).content(hidden.unwrap());
        let asked: Vec<Event> = [first, other, private]
            .iter()
            .map(|draft| draft.sign(&operator, 5).unwrap())
            .collect();
        let gone = EventId::from_slice(&[9; 32]).unwrap();
        let handed = |n: u16, customer: &Keys| {
            let one = of(1, n);
            Draft::new(5870)
                .tag(["i", "Paint it", "text"])
                .tag(["E", &gone.to_hex()])
                .tags([one.tag(), one.quote("ws://r", &customer.public_key())])
                .sign(&coordinator, 4)
                .unwrap()
        };
        // A guest's job joins nothing of the owner's.
        let handed = [handed(1, &operator), handed(3, &Keys::generate())];
        let contests = grouped(&asked, &handed, &operator, &coordinator.public_key());
        let shown: Vec<_> = contests
            .iter()
            .map(|contest| {
                let entries = contest.entries.iter();
                (
                    contest.prompt.as_str(),
                    entries
                        .map(|entry| (entry.n, entry.agent()))
                        .collect::<Vec<_>>(),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("Psst", vec![(1, "the agent".to_owned())]),
                (
                    "Paint it",
                    vec![(1, "the agent".to_owned()), (2, "opencode".to_owned())]
                ),
            ]
        );
        assert_eq!(contests[1].entries[0].job, gone);
    }
}
