//! What a person reads of what is shared.

use std::collections::BTreeMap;

use nostr::EventId;

use crate::{
    cli::{
        Context,
        render::plural,
        text::{ago, one_line},
    },
    nips::kind,
    sync::{
        Leaving, Named, Preview, RelayPreview, RelayStatus, Shared, Status, config::FILE,
        policy::Stays,
    },
};

/// How things are shown.
pub(super) struct Show {
    /// Where `sync.toml` is, or would be.
    pub(super) file: String,
    /// Whether ids are shown whole.
    pub(super) whole: bool,
}

/// Digits of an id that are shown to somebody who did not ask for more.
const DIGITS: usize = 12;

impl Show {
    pub(super) fn of(context: &Context) -> Self {
        let file = context.home.dir().join(FILE);
        Self {
            file: one_line(&file.display().to_string()),
            whole: context.verbose,
        }
    }

    fn id(&self, id: &EventId) -> String {
        self.digits(id.to_hex())
    }

    fn digits(&self, mut hex: String) -> String {
        if !self.whole {
            hex.truncate(DIGITS);
        }
        hex
    }

    /// That nothing is shared, and what to do to share something.
    fn off(&self) -> Vec<String> {
        vec![
            "off: nothing leaves this machine, and no connection is made".to_owned(),
            format!(
                "to share something, write {}; `treefort sync --help` shows how",
                self.file
            ),
        ]
    }
}

pub(super) fn preview_lines(preview: &Preview, show: &Show) -> Vec<String> {
    if !preview.on {
        return show.off();
    }
    if preview.relays.is_empty() {
        return vec![
            "nothing would leave: no stream in sync.toml goes up, and nobody named a relay"
                .to_owned(),
        ];
    }
    let relays = preview.relays.iter();
    relays
        .flat_map(|relay| relay_preview(relay, show))
        .collect()
}

fn relay_preview(relay: &RelayPreview, show: &Show) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {} would leave, {} {} dealt with before",
        one_line(&relay.url),
        plural(relay.leaves.len() as u64, "event"),
        relay.settled,
        if relay.settled == 1 { "was" } else { "were" },
    )];
    lines.extend(relay.named.iter().map(|by| named(by, show)));
    lines.extend(relay.leaves.iter().map(|one| leaving(one, show)));
    if !relay.secrets.is_empty() {
        lines.push("  these seem to hold a password or key, so they stay:".to_owned());
        lines.extend(relay.secrets.iter().map(|one| leaving(one, show)));
        lines.push(SECRET.to_owned());
    }
    for (why, count) in &relay.stays {
        let stay = if *count == 1 { "stays" } else { "stay" };
        lines.push(format!("  {count} {stay}: {}", one_line(why)));
    }
    lines
}

/// What to do about it.
const SECRET: &str =
    "  if it is a real password or key, change it; `treefort purge` deletes the session here";

/// Who named a relay that is not in `sync.toml`.
fn named(by: &Named, show: &Show) -> String {
    format!(
        "  named by {}, in {}",
        show.digits(by.key.to_hex()),
        show.id(&by.event)
    )
}

fn leaving(one: &Leaving, show: &Show) -> String {
    let mut line = format!("  {} {:>5}", show.id(&one.id), one.kind);
    let what = match (one.alt.as_str(), one.kind) {
        ("", kind::PROFILE) => "Who an agent, or this treefort, is",
        ("", kind::NOTE) => "A note",
        (alt, _) => alt,
    };
    for part in [what, one.project.as_deref().unwrap_or_default()] {
        if !part.is_empty() {
            line.push_str("  ");
            line.push_str(&one_line(part));
        }
    }
    line
}

pub(super) fn status_lines(status: &Status, show: &Show, now: u64) -> Vec<String> {
    if !status.on {
        return show.off();
    }
    let mut lines = Vec::new();
    if !status.running {
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
    let mut counts = Vec::new();
    for (count, what) in [
        (tally.sent, "sent"),
        (tally.there, "there before"),
        (tally.waiting, "waiting"),
        (tally.refused, "refused"),
        (tally.failed, "failed"),
        (tally.held, "kept here"),
    ] {
        if count > 0 {
            counts.push(format!("{count} {what}"));
        }
    }
    if !counts.is_empty() {
        lines.push(format!("  {}", counts.join(", ")));
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
    let secret = Stays::Secret.to_string();
    if relay.troubles.iter().any(|it| it.words == secret) {
        lines.push(SECRET.to_owned());
    }
    if tally.refused + tally.failed > 0 {
        lines.push("  what was refused or failed is not sent to this relay again".to_owned());
    }
    lines
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
        lines.extend(shared.goes.iter().map(|one| leaving(one, show)));
    }
    lines.extend(staying(shared));
    if shared.before > 0 {
        lines.push(format!("{} shared before", plural(shared.before, "event")));
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
        lines.extend(shared.goes.iter().map(|one| leaving(one, show)));
        lines.push(
            "this is a request: nobody can promise that it is followed, and who has a copy keeps it"
                .to_owned(),
        );
    }
    lines.extend(staying(shared));
    lines
}

/// What stays, by the reason.
fn staying(shared: &Shared) -> Vec<String> {
    let mut reasons = BTreeMap::<&str, u64>::new();
    for (_, why) in &shared.stays {
        *reasons.entry(why).or_default() += 1;
    }
    reasons
        .into_iter()
        .map(|(why, count)| format!("{}: {}", plural(count, "event"), one_line(why)))
        .collect()
}
