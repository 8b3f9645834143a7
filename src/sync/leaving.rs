//! One event that would leave, or is to be asked back: what its owner judges it by.

use nostr::{Event, EventId, JsonUtil as _};
use serde::{Deserialize, Serialize};

use crate::nips::reference::tag_value;

/// Characters of a first line.
const FIRST: usize = 300;

/// One event that would leave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leaving {
    /// The event.
    pub id: EventId,
    /// Its kind.
    pub kind: u16,
    /// Its time, in Unix seconds.
    pub created_at: u64,
    /// What it says of itself in a line.
    pub alt: String,
    /// The first line of its content, cut. What stays because it may hold a secret shows none.
    #[serde(default)]
    pub says: String,
    /// The folder that it is about. It is known here, and not a part of the event.
    pub project: Option<String>,
    /// Whether the event names that folder all the same: in its words or its tags.
    #[serde(default)]
    pub names_project: bool,
    /// All of it, for who asks for that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub event: Option<Event>,
}

impl Leaving {
    pub(super) fn of(event: &Event, project: Option<String>, whole: bool) -> Self {
        let names_project = (project.as_deref()).is_some_and(|folder| names(event, folder));
        Self {
            id: event.id,
            kind: event.kind.as_u16(),
            created_at: event.created_at.as_secs(),
            alt: tag_value(event, "alt").unwrap_or_default().to_owned(),
            says: first_line(&event.content),
            project,
            names_project,
            event: whole.then(|| event.clone()),
        }
    }

    /// One that stays because it seems to hold a secret: none of its words is shown.
    pub(super) fn secret(event: &Event, project: Option<String>) -> Self {
        Self {
            says: String::new(),
            ..Self::of(event, project, false)
        }
    }

    /// A request to delete, which is not on the log.
    pub(super) fn request(
        id: EventId,
        kind: u16,
        created_at: u64,
        json: &str,
        whole: bool,
    ) -> Self {
        let event = whole.then(|| Event::from_json(json).ok()).flatten();
        Self {
            id,
            kind,
            created_at,
            alt: "Asks to delete what was shared".to_owned(),
            says: String::new(),
            project: None,
            names_project: false,
            event,
        }
    }
}

fn first_line(content: &str) -> String {
    let mut lines = content.lines().map(str::trim);
    let line = lines.find(|line| !line.is_empty()).unwrap_or_default();
    let mut first: String = line.chars().take(FIRST).collect();
    if first.len() < line.len() {
        first.push('…');
    }
    first
}

/// Whether an event names a folder, as it is or as JSON writes it.
fn names(event: &Event, folder: &str) -> bool {
    let quoted = serde_json::to_string(folder).unwrap_or_default();
    let holds = |text: &str| text.contains(folder) || text.contains(quoted.trim_matches('"'));
    holds(&event.content)
        || (event.tags.iter()).any(|tag| tag.as_slice().iter().any(|value| holds(value)))
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    #[test]
    fn it_shows_how_it_begins_and_whether_it_names_the_folder() {
        let long = format!("\n\n  first \u{1f956}{}\nsecond", "x".repeat(400));
        let event = |draft: Draft| draft.sign(&Keys::generate(), 1).unwrap();
        let folder = Some("/home/me/a \"b\"".to_owned());
        let one = event(Draft::new(4782).content(long));
        let shown = Leaving::of(&one, folder.clone(), false);
        assert_eq!(shown.says.chars().count(), FIRST + 1);
        assert!(shown.says.starts_with("first \u{1f956}x") && shown.says.ends_with('…'));
        assert!(!shown.names_project && shown.event.is_none());
        for named in [
            Draft::new(4782).content(r#"{"path":"/home/me/a \"b\"/c"}"#),
            Draft::new(4782).tag(["cwd", "/home/me/a \"b\""]),
        ] {
            let one = event(named);
            let shown = Leaving::of(&one, folder.clone(), true);
            assert!(shown.names_project);
            assert_eq!(shown.event, Some(one));
        }
        let secret = event(Draft::new(1).content("hunter2"));
        assert_eq!(Leaving::secret(&secret, None).says, "");
    }
}
