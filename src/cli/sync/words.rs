//! What a person reads of what is shared.

use std::collections::BTreeMap;

use nostr::EventId;

use super::{
    shown::{events, kind_words, more},
    steps::step,
};
use crate::{
    cli::{
        Context,
        render::plural,
        text::{ago, one_line},
    },
    sync::{
        Left, Named, Preview, RelayPreview, RelayStatus, Shared, Status, Tally, config::FILE,
        policy::Stays,
    },
};

/// How things are shown.
pub(super) struct Show {
    /// Where `sync.toml` is, or would be.
    pub(super) file: String,
    /// Whether events and their ids are shown whole.
    pub(super) whole: bool,
    /// Whether what has left is listed.
    pub(super) list: bool,
}

/// Digits of an id that are shown to somebody who did not ask for more.
const DIGITS: usize = 12;

impl Show {
    pub(super) fn of(context: &Context) -> Self {
        let file = context.home.dir().join(FILE);
        Self {
            file: one_line(&file.display().to_string()),
            whole: context.verbose,
            list: false,
        }
    }

    pub(super) fn id(&self, id: &EventId) -> String {
        self.digits(id.to_hex())
    }

    fn digits(&self, mut hex: String) -> String {
        if !self.whole {
            hex.truncate(DIGITS);
        }
        hex
    }

    /// That nothing is shared, and what to do to share something.
    fn off(&self, changed: bool) -> Vec<String> {
        let what_to_do = match changed {
            true => CHANGED.to_owned(),
            false => format!(
                "to share something, write {}; `treefort sync --help` shows how",
                self.file
            ),
        };
        vec![
            "off: nothing leaves this machine, and no connection is made".to_owned(),
            what_to_do,
        ]
    }
}

/// The settings are not those that the program goes by.
pub(super) const CHANGED: &str = "sync.toml changed since treefort started, which still goes by what was in it then: start it again";

pub(super) fn preview_lines(preview: &Preview, show: &Show) -> Vec<String> {
    if !preview.on {
        return show.off(preview.changed);
    }
    let mut lines = changed(preview.changed);
    if preview.relays.is_empty() {
        lines.push(
            "nothing would leave: no stream in sync.toml goes up, and nobody named a relay"
                .to_owned(),
        );
    }
    for relay in &preview.relays {
        lines.extend(relay_preview(relay, show));
    }
    lines
}

fn changed(changed: bool) -> Vec<String> {
    changed.then(|| CHANGED.to_owned()).into_iter().collect()
}

fn relay_preview(relay: &RelayPreview, show: &Show) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {} would leave",
        one_line(&relay.url),
        plural(relay.leaves.len() as u64, "event"),
    )];
    lines.extend(counts(&relay.tally).map(|counts| format!("  until now: {counts}")));
    lines.extend(relay.named.iter().map(|by| named(by, show)));
    lines.extend(events(&relay.leaves, show));
    lines.extend(more(&relay.leaves, show));
    if !relay.secrets.is_empty() {
        lines.push("  these seem to hold a password or key, so they stay:".to_owned());
        lines.extend(events(&relay.secrets, show));
        lines.extend(next_step(&Stays::Secret.to_string()));
    }
    for (why, count) in &relay.stays {
        let stay = if *count == 1 { "stays" } else { "stay" };
        lines.push(format!("  {count} {stay}: {}", one_line(why)));
        lines.extend(next_step(why));
    }
    lines
}

/// What to do about something that stays.
fn next_step(why: &str) -> Option<String> {
    step(why).map(|step| format!("    → {step}"))
}

/// How many events are in which state, in the same words wherever it is said.
fn counts(tally: &Tally) -> Option<String> {
    let counts: Vec<String> = [
        (tally.sent, "sent"),
        (tally.there, "there before"),
        (tally.waiting, "waiting"),
        (tally.refused, "refused"),
        (tally.failed, "failed"),
        (tally.held, "kept here"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} {what}"))
    .collect();
    (!counts.is_empty()).then(|| counts.join(", "))
}

/// Who named a relay that is not in `sync.toml`.
fn named(by: &Named, show: &Show) -> String {
    format!(
        "  named by {}, in {}",
        show.digits(by.key.to_hex()),
        show.id(&by.event)
    )
}

pub(super) fn status_lines(status: &Status, show: &Show, now: u64) -> Vec<String> {
    let mut lines = match status.on {
        true => changed(status.changed),
        false => show.off(status.changed),
    };
    if !status.on && !status.relays.is_empty() {
        lines.push("what was shared before stays where it is:".to_owned());
    }
    if status.on && !status.running {
        lines
            .push("treefort is not running: what waits leaves while `treefort up` runs".to_owned());
    }
    for relay in &status.relays {
        let mut of_relay = relay_status(relay, show, now);
        if status.running && !relay.connected && relay.problem.is_some() {
            of_relay.push(
                "  it is tried again by itself; nothing is lost meanwhile, and nothing leaves twice"
                    .to_owned(),
            );
        }
        lines.extend(of_relay);
    }
    for folder in &status.missing_folders {
        lines.push(format!(
            "there is no folder {}: its rule in sync.toml keeps nothing here, is it spelt right?",
            one_line(folder)
        ));
    }
    if status.unplaced > 0 {
        lines.push(format!(
            "{} until a relay that was named can have a place (most and per_key in sync.toml)",
            match status.unplaced {
                1 => "1 answer waits".to_owned(),
                count => format!("{count} answers wait"),
            }
        ));
    }
    if status.left_out > 0 {
        lines.push(format!(
            "{} to relays that were named, because too many are (most and per_key in sync.toml)",
            match status.left_out {
                1 => "1 answer did not go".to_owned(),
                count => format!("{count} answers did not go"),
            }
        ));
    }
    lines
}

fn relay_status(relay: &RelayStatus, show: &Show, now: u64) -> Vec<String> {
    let spoken = match (relay.connected, relay.spoken_at) {
        (true, _) => "connected".to_owned(),
        (false, 0) => "never reached".to_owned(),
        (false, at) => format!("last reached {}", ago(at, now)),
    };
    let streams: Vec<String> = relay
        .streams
        .iter()
        .map(|(name, dir)| format!("{} {dir}", one_line(name)))
        .collect();
    let streams = match streams.is_empty() {
        true => "not in sync.toml".to_owned(),
        false => streams.join(", "),
    };
    let mut lines = vec![format!("{} ({streams}): {spoken}", one_line(&relay.url))];
    lines.extend(relay.named.iter().map(|by| named(by, show)));
    let tally = &relay.tally;
    lines.extend(counts(tally).map(|counts| format!("  {counts}")));
    if relay.streams.is_empty() && relay.named.is_empty() && tally.sent + tally.there > 0 {
        lines.push(
            "  `treefort unpublish` can ask for it back once sync.toml names this relay again"
                .to_owned(),
        );
    }
    if let Some(problem) = &relay.problem {
        lines.push(format!("  trouble: {}", one_line(problem)));
    }
    if let Some(notice) = &relay.notice {
        lines.push(format!("  it notes: {}", one_line(notice)));
    }
    for (kind, words) in &relay.refused_kinds {
        lines.push(format!(
            "  takes nothing of kind {kind}: {}",
            one_line(words)
        ));
    }
    for trouble in &relay.troubles {
        let is = match trouble.is.as_str() {
            "held" => "kept here",
            is => is,
        };
        lines.push(format!(
            "  {}: {} {:>5}  {}",
            one_line(is),
            show.id(&trouble.id),
            trouble.kind,
            one_line(&trouble.words)
        ));
    }
    let mut whys: Vec<&str> = relay.troubles.iter().map(|it| it.words.as_str()).collect();
    whys.sort_unstable();
    whys.dedup();
    lines.extend(whys.into_iter().filter_map(next_step));
    if tally.refused + tally.failed > 0 {
        lines.push("  what was refused or failed is not sent to this relay again".to_owned());
    }
    if show.list {
        lines.extend(relay.left.iter().map(|one| left(one, show, now)));
        let more = (tally.sent + tally.there).saturating_sub(relay.left.len() as u64);
        if more > 0 {
            lines.push(format!("  and {more} before these"));
        }
    }
    lines
}

/// One event that a relay has.
fn left(one: &Left, show: &Show, now: u64) -> String {
    let is = match one.is.as_str() {
        "there" => "there before",
        is => is,
    };
    format!(
        "  {} {:>5}  {:<12}  {:<11}  {}",
        show.id(&one.id),
        one.kind,
        one_line(is),
        ago(one.at, now),
        kind_words(one.kind)
    )
}

pub(super) fn publish_lines(shared: &Shared, show: &Show, done: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if !shared.goes.is_empty() {
        let relays: Vec<String> = shared.relays.iter().map(|url| one_line(url)).collect();
        lines.push(format!(
            "{} {} to {}",
            plural(shared.goes.len() as u64, "event"),
            match (done, shared.running) {
                (false, _) => "would leave",
                (true, true) => "on the way",
                (true, false) => "will leave while `treefort up` runs,",
            },
            relays.join(", ")
        ));
        lines.extend(events(&shared.goes, show));
        lines.extend(more(&shared.goes, show));
    }
    lines.extend(staying(shared));
    if shared.before > 0 {
        lines.push(format!("{} shared before", plural(shared.before, "event")));
    }
    if shared.kept > 0 {
        lines.push(format!(
            "sync.toml keeps {} of these here, by a rule for their folder or session; this shares them all the same",
            shared.kept
        ));
    }
    if shared.again > 0 {
        lines.push(format!(
            "you took {} of these back before: a relay that was asked to delete them may not take them again",
            shared.again
        ));
    }
    lines
}

pub(super) fn unpublish_lines(shared: &Shared, show: &Show, done: bool) -> Vec<String> {
    let mut lines = Vec::new();
    if !shared.goes.is_empty() {
        let relays: Vec<String> = shared.relays.iter().map(|url| one_line(url)).collect();
        lines.push(format!(
            "{} {} to delete {}",
            match (done, shared.running) {
                (false, _) => "would ask",
                (true, true) => "asks",
                (true, false) => "asks, while `treefort up` runs,",
            },
            relays.join(", "),
            plural(shared.goes.len() as u64, "event"),
        ));
        lines.extend(events(&shared.goes, show));
        lines.extend(more(&shared.goes, show));
        lines.push(
            "this is a request: nobody can promise that it is followed, and who has a copy keeps it"
                .to_owned(),
        );
    }
    lines.extend(not_asked(shared));
    lines
}

/// What nobody is asked for, by the reason.
fn not_asked(shared: &Shared) -> Vec<String> {
    let reasons = reasons(shared).into_iter();
    let mut lines: Vec<String> = reasons
        .map(|(why, count)| format!("{}: {}", plural(count, "event"), one_line(why)))
        .collect();
    if !shared.unnamed.is_empty() {
        let relays: Vec<String> = shared.unnamed.iter().map(|url| one_line(url)).collect();
        lines.push(format!(
            "not asked, because sync.toml does not name it: {}",
            relays.join(", ")
        ));
    }
    lines
}

/// What stays, by the reason, with the next step for each.
fn staying(shared: &Shared) -> Vec<String> {
    let mut lines = Vec::new();
    for (why, count) in reasons(shared) {
        let stays = if count == 1 { "stays" } else { "stay" };
        lines.push(format!(
            "{} {stays}: {}",
            plural(count, "event"),
            one_line(why)
        ));
        lines.extend(next_step(why));
    }
    lines
}

fn reasons(shared: &Shared) -> BTreeMap<&str, u64> {
    let mut reasons = BTreeMap::new();
    for (_, why) in &shared.stays {
        *reasons.entry(why.as_str()).or_default() += 1;
    }
    reasons
}
