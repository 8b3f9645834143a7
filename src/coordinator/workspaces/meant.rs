//! Which copy a person means who names a folder, or nothing.

use std::{path::PathBuf, sync::Arc};

use nostr::PublicKey;

use super::{Shared, Workspaces};
use crate::{
    job::Failure,
    nips::workspace::{Operation, Which},
    workspace::About,
};

/// Copies of a folder that are looked at to find the last work on it.
const LOOKED_AT: usize = 50;

impl Workspaces {
    /// The copy that a task means, and how many newer ones of the folder were passed over since nothing happened in them.
    /// `of` gives the copy of a session.
    ///
    /// # Errors
    /// When there is none, or several were asked the same and none of them was chosen.
    pub(in crate::coordinator) async fn find(
        self: &Arc<Self>,
        which: &Which,
        operation: &Operation,
        of: impl FnOnce(&PublicKey) -> Option<PublicKey>,
    ) -> Result<(Arc<Shared>, usize), Failure> {
        let none = |sentence: &str| Failure::new("workspace", sentence.to_owned());
        let mut passed_over = 0;
        let id = match which {
            Which::Session(session) => of(session)
                .ok_or_else(|| Failure::new("no-copy", "this session has no copy of a project"))?,
            Which::Project(path) => {
                let path = std::fs::canonicalize(path).unwrap_or_else(|_| PathBuf::from(path));
                let all = self.list().await?;
                // A person may be in a folder of the project.
                let here = path.ancestors().find_map(|folder| {
                    let of = |about: &&About| about.project.as_deref() == Some(folder);
                    let copies: Vec<&About> = all.iter().filter(of).collect();
                    (!copies.is_empty()).then_some(copies)
                });
                let copies = here.ok_or_else(|| none("no agent has worked on this folder"))?;
                match last_applied(&copies) {
                    Some(id) if *operation == Operation::TakeBack => id,
                    _ => {
                        let (id, idle) = self.last_work(&copies).await?;
                        passed_over = idle;
                        id
                    }
                }
            }
            Which::Newest => {
                let all = self.list().await?;
                all.first()
                    .ok_or_else(|| none("no agent has worked on a folder yet"))?
                    .id
            }
        };
        Ok((self.open(id).await?, passed_over))
    }

    /// The first of these in which something happened: a command that only looked is not what is meant by
    /// "the last work on this folder". Of several that were asked the same it is the one that was chosen last, and
    /// nobody guesses where none was. With how many there are before it.
    async fn last_work(self: &Arc<Self>, copies: &[&About]) -> Result<(PublicKey, usize), Failure> {
        let mut found: Option<&About> = None;
        let mut idle = 0;
        let mut rivals = Vec::new();
        for about in copies.iter().take(LOOKED_AT) {
            let rival =
                |first: &About| first.comparison.is_some() && first.comparison == about.comparison;
            if found.is_none_or(rival) && self.has_work(about.id).await {
                found.get_or_insert(about);
                rivals.push(*about);
            } else if found.is_none() {
                idle += 1;
            }
        }
        let Some(first) = found else {
            return Ok((copies[0].id, 0));
        };
        let chosen = rivals.iter().filter(|about| about.chosen_at().is_some());
        match chosen.max_by_key(|about| about.chosen_at()) {
            Some(chosen) => Ok((chosen.id, idle)),
            None if rivals.len() == 1 => Ok((first.id, idle)),
            None => Err(several(&rivals)),
        }
    }

    /// Whether anything happened in a copy.
    async fn has_work(self: &Arc<Self>, id: PublicKey) -> bool {
        match self.open(id).await {
            Ok(shared) => shared.has_work().await,
            Err(_) => false,
        }
    }
}

fn several(rivals: &[&About]) -> Failure {
    let named: Vec<String> = rivals
        .iter()
        .map(|about| format!("{} ({})", &about.id.to_hex()[..8], about.agent))
        .collect();
    let sentence = format!(
        "{} were asked the same about this folder, so name the one that you mean: {}",
        rivals.len(),
        named.join(", ")
    );
    Failure::new("several", sentence)
}

/// The one of these copies that was brought home last: what a person takes back, also when others were made later or
/// beside it.
fn last_applied(copies: &[&About]) -> Option<PublicKey> {
    let applied = copies
        .iter()
        .filter_map(|about| Some((about.applied.last()?.at, about.id)));
    // The list begins with the newest, which is the one of those of one second.
    let last = applied.reduce(|last, next| if next.0 > last.0 { next } else { last });
    last.map(|(_, id)| id)
}
