//! The folders that a job and a session are about, with those of all that they go on from: an agent knows what was said
//! there, and may still work on the copy.

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    sync::Arc,
};

use nostr::{Event, EventId, PublicKey};

use super::Surroundings;
use crate::sync::Error;

/// Jobs that are gone back through from one that goes on from another.
const TURNS: usize = 1000;

/// What was found for a job, and the one that its session began with.
pub(super) type Known = HashMap<(Option<EventId>, Option<EventId>), Arc<BTreeSet<String>>>;

impl Surroundings {
    /// See the module.
    pub(super) fn folders(
        &self,
        job: Option<EventId>,
        session: Option<PublicKey>,
        seen: &mut Known,
    ) -> Result<Arc<BTreeSet<String>>, Error> {
        let began_with = match session {
            Some(session) => self.state.session(&session)?.map(|record| record.job),
            None => None,
        };
        let of = (job, began_with);
        if let Some(known) = seen.get(&of) {
            return Ok(known.clone());
        }
        let (mut found, mut known) = (BTreeSet::new(), HashSet::new());
        let mut left: Vec<EventId> = began_with.into_iter().chain(job).collect();
        while let Some(id) = left.pop() {
            if known.len() == TURNS || !known.insert(id) {
                continue;
            }
            let Some(record) = self.state.job(&id)? else {
                continue;
            };
            found.extend(of_request(&record.request));
            left.extend(record.continues);
            // A copy is of the folder of whoever began it.
            if let Some(session) = record.session
                && let Some(copy) = self.state.session(&session)?.and_then(|one| one.workspace)
                && let Some(first) = self.state.session(&copy)?
            {
                left.push(first.job);
            }
        }
        let found = Arc::new(found);
        seen.insert(of, found.clone());
        Ok(found)
    }
}

/// The folder that a job is about, as it is named and where it really is.
fn of_request(job: &Event) -> Vec<String> {
    let named = job
        .tags
        .iter()
        .map(nostr::Tag::as_slice)
        .find(|tag| tag[0] == "param" && tag.get(1).is_some_and(|name| name == "workspace"))
        .and_then(|tag| tag.get(2));
    let Some(named) = named else {
        return Vec::new();
    };
    let real = std::fs::canonicalize(named).ok();
    let real = real.and_then(|real| real.into_os_string().into_string().ok());
    match real {
        Some(real) => vec![real],
        // It is no longer there: then by its name, and without the steps up in it.
        None => vec![named.clone(), straight(named)],
    }
}

/// A path without `.` and `..`.
fn straight(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use nostr::Keys;

    use super::*;
    use crate::nips::Draft;

    #[test]
    fn a_folder_is_where_it_really_is_and_when_it_is_gone_where_its_name_leads() {
        let place = tempfile::tempdir().unwrap();
        let real = place.path().canonicalize().unwrap();
        std::fs::create_dir_all(real.join("secret")).unwrap();
        std::os::unix::fs::symlink(real.join("secret"), real.join("link")).unwrap();
        let of = |path: &str| {
            let named = real.join(path).display().to_string();
            let job = Draft::new(5870).tag(["param", "workspace", &named]);
            of_request(&job.sign(&Keys::generate(), 1).unwrap())
        };
        let is = |path: &str| real.join(path).display().to_string();
        for named in ["secret", "link", "link/../secret", "secret/."] {
            assert_eq!(of(named), [is("secret")], "{named}");
        }
        assert_eq!(of("gone/../x"), [is("gone/../x"), is("x")]);
        let none = Draft::new(5870).sign(&Keys::generate(), 1).unwrap();
        assert!(of_request(&none).is_empty());
    }
}
