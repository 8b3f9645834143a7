//! What a person reads of it: what would leave, what has, and who named which relay.

use crate::{
    cli::{
        render::plural,
        text::{ago, one_line},
    },
    sync::{Leaving, Named, Preview, RelayPreview, RelayStatus, Shared, Status},
};

const OFF: &str = "off: nothing leaves this machine, and no connection is made. sync.toml in treefort's home turns it on";

pub(super) fn preview_lines(preview: &Preview) -> Vec<String> {
    if !preview.on {
        return vec![OFF.to_owned()];
    }
    if preview.relays.is_empty() {
        return vec![
            "nothing would leave: no stream in sync.toml goes up, and nobody named a relay"
                .to_owned(),
        ];
    }
    preview.relays.iter().flat_map(relay_preview).collect()
}

fn relay_preview(relay: &RelayPreview) -> Vec<String> {
    let mut lines = vec![format!(
        "{}: {} would leave, {} {} dealt with before",
        one_line(&relay.url),
        plural(relay.leaves.len() as u64, "event"),
        relay.settled,
        if relay.settled == 1 { "was" } else { "were" },
    )];
    lines.extend(relay.named.iter().map(named));
    lines.extend(relay.leaves.iter().map(leaving));
    if !relay.secrets.is_empty() {
        lines.push("  seem to hold a password or key, so they stay:".to_owned());
        lines.extend(relay.secrets.iter().map(leaving));
    }
    for (why, count) in &relay.stays {
        let stay = if *count == 1 { "stays" } else { "stay" };
        lines.push(format!("  {count} {stay}: {}", one_line(why)));
    }
    lines
}

/// Who named a relay that is not in `sync.toml`.
fn named(by: &Named) -> String {
    format!("  named by {}, in {}", by.key.to_hex(), by.event.to_hex())
}

fn leaving(one: &Leaving) -> String {
    let mut line = format!("  {} {:>5}", one.id.to_hex(), one.kind);
    for part in [Some(&one.alt), one.project.as_ref()] {
        if let Some(part) = part.filter(|part| !part.is_empty()) {
            line.push_str("  ");
            line.push_str(&one_line(part));
        }
    }
    line
}

pub(super) fn status_lines(status: &Status, now: u64) -> Vec<String> {
    if !status.on {
        return vec![OFF.to_owned()];
    }
    let mut lines = Vec::new();
    if !status.running {
        lines
            .push("treefort is not running; what waits leaves while `treefort up` runs".to_owned());
    }
    for relay in &status.relays {
        lines.extend(relay_status(relay, now));
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

fn relay_status(relay: &RelayStatus, now: u64) -> Vec<String> {
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
    lines.extend(relay.named.iter().map(named));
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
        lines.push(format!(
            "  {} {} {}: {}",
            one_line(&trouble.is),
            trouble.id.to_hex(),
            trouble.kind,
            one_line(&trouble.words)
        ));
    }
    lines
}

pub(super) fn publish_lines(shared: &Shared, done: bool) -> Vec<String> {
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
        lines.extend(shared.goes.iter().map(leaving));
    }
    lines.extend(staying(shared));
    if shared.before > 0 {
        lines.push(format!("{} shared before", plural(shared.before, "event")));
    }
    lines
}

pub(super) fn unpublish_lines(shared: &Shared, done: bool) -> Vec<String> {
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
        lines.extend(shared.goes.iter().map(leaving));
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
    let mut reasons = std::collections::BTreeMap::<&str, u64>::new();
    for (_, why) in &shared.stays {
        *reasons.entry(why).or_default() += 1;
    }
    reasons
        .into_iter()
        .map(|(why, count)| format!("{}: {}", plural(count, "event"), one_line(why)))
        .collect()
}
