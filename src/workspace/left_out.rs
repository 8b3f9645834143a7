//! What no checkpoint covers, compared with how the copy began: what of it is the agent's work.
//!
//! Kept in `beginning.json` in the workspace's folder, from the first checkpoint on. What lay in the copy then
//! is the project's own, and is covered also in folders with names that tools make again.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde::{Deserialize, Serialize};

use super::{
    Error,
    objects::write_durably,
    snapshot::{Snapshot, Uncovered, Why, cache::Stamp},
};

const FILE: &str = "beginning.json";

/// How a copy began, as far as its checkpoints do not say.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub(super) struct Beginning {
    v: u32,
    /// Folders that are covered though a rule names them: the project had them.
    folders: BTreeSet<Vec<u8>>,
    /// What was not covered then, and its state where it has one.
    #[serde(with = "pairs")]
    left: BTreeMap<Vec<u8>, Option<Stamp>>,
}

/// JSON's keys are texts, and paths are not.
mod pairs {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::Stamp;

    type Left = BTreeMap<Vec<u8>, Option<Stamp>>;

    pub(super) fn serialize<S: Serializer>(left: &Left, to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(left)
    }

    pub(super) fn deserialize<'d, D: Deserializer<'d>>(from: D) -> Result<Left, D::Error> {
        let pairs = Vec::<(Vec<u8>, Option<Stamp>)>::deserialize(from)?;
        Ok(pairs.into_iter().collect())
    }
}

impl Beginning {
    /// Of the first snapshot.
    pub(super) fn of(first: &Snapshot) -> Self {
        let left = first.uncovered.iter();
        Self {
            v: 1,
            folders: first.named_by_rules.iter().cloned().collect(),
            left: left.map(|left| (left.path.clone(), left.stamp)).collect(),
        }
    }

    /// Of a workspace that has a first checkpoint.
    pub(super) fn read(dir: &Path) -> Result<Self, Error> {
        let path = dir.join(FILE);
        match fs::read(&path) {
            Ok(text) => {
                serde_json::from_slice(&text).map_err(|source| Error::Json { path, source })
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(Error::io("reading", &path)(error)),
        }
    }

    pub(super) fn write(&self, dir: &Path) -> Result<(), Error> {
        let path = dir.join(FILE);
        let text = serde_json::to_vec(self).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
        write_durably(&path, &text)
    }

    /// Folders that are covered though a rule names them.
    pub(super) fn folders(&self) -> &BTreeSet<Vec<u8>> {
        &self.folders
    }

    /// What a snapshot does not cover, with what of it is work: what was made or changed since the beginning,
    /// and what is gone.
    pub(super) fn judge(&self, snapshot: &Snapshot) -> Vec<Uncovered> {
        let mut found: Vec<Uncovered> = snapshot
            .uncovered
            .iter()
            .map(|left| {
                let then = self.left.get(&left.path);
                Uncovered {
                    path: left.path.clone(),
                    why: left.why,
                    // A pipe or a socket holds nothing.
                    work: left.why != Why::Special && then != Some(&left.stamp),
                }
            })
            .collect();
        let here: BTreeSet<&[u8]> = found.iter().map(|left| left.path.as_slice()).collect();
        let gone: Vec<Uncovered> = self
            .left
            .iter()
            .filter(|(path, stamp)| {
                // One that lies in what is not covered now may still be there.
                let hidden = prefixes(path).any(|above| here.contains(above));
                stamp.is_some() && !hidden && snapshot.cache.get(path).is_none()
            })
            .map(|(path, _)| Uncovered::work(path.clone(), Why::Gone))
            .collect();
        found.extend(gone);
        found.sort_by(|a, b| a.path.cmp(&b.path));
        found
    }
}

/// A path, the folders that it lies in, and the root.
fn prefixes(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let slashes = path.iter().enumerate().filter(|(_, byte)| **byte == b'/');
    let above = slashes.map(|(at, _)| &path[..at]);
    [&b""[..], path].into_iter().chain(above)
}

/// How many of these are work.
pub(super) fn count(uncovered: &[Uncovered]) -> u64 {
    let work = uncovered.iter().filter(|uncovered| uncovered.work);
    work.map(Uncovered::paths).fold(0, u64::saturating_add)
}

/// Whether two lists name the same paths for the same reasons.
pub(super) fn same(one: &[Uncovered], other: &[Uncovered]) -> bool {
    let kind = |uncovered: &Uncovered| std::mem::discriminant(&uncovered.why);
    one.len() == other.len()
        && one
            .iter()
            .zip(other)
            .all(|(a, b)| a.path == b.path && a.work == b.work && kind(a) == kind(b))
}
