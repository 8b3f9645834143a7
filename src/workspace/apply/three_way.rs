//! The plan: base, result and project, path by path.

mod flagging;

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    path::Path,
};

use super::states::{Trees, given, parts, permissions, same_content, state_of};
use super::{
    Action, Error, Plan, Refusal, Refused, State, Step, Store, Uncovered, Why, Write, links,
    merge_limits, names, next,
    project::{At, Project},
};
use crate::workspace::{
    ObjectId,
    diff::{self, Change, is_folder, is_link},
    flags, import,
    merge::{self, Outcome},
    objects::Batch,
};

/// The longest target of a link, bytes.
pub(super) const MAX_TARGET: u64 = 4_095;

/// A plan under way.
pub(super) struct Planner<'a> {
    store: &'a Store,
    batch: Batch<'a>,
    ignored: import::Ignored,
    project: Project,
    plan: Plan,
    trees: Trees<'a>,
    /// Paths of the project that this plan removes.
    gone: BTreeSet<Vec<u8>>,
    /// Paths that this plan makes.
    made: BTreeSet<Vec<u8>>,
    /// Changed paths of which nothing comes home.
    held: BTreeSet<Vec<u8>>,
    removals: Vec<Write>,
    arrivals: Vec<Write>,
    /// Names by folder and by how they read without case.
    folded: HashMap<Vec<u8>, BTreeMap<String, Vec<u8>>>,
    /// Names by folder, without case, as the project is now.
    present: HashMap<Vec<u8>, BTreeMap<String, Vec<u8>>>,
    /// What links that act by themselves lead to.
    pointed: HashMap<Vec<u8>, BTreeSet<flags::Flag>>,
}

/// What is to be done with the content of a path.
enum Content {
    /// The person's stays.
    Keep,
    /// This comes.
    Put(ObjectId),
    /// Both cannot be had, and this text with markers comes.
    Marked(ObjectId, Why),
    /// Both cannot be had, the agent's goes beside.
    Clash(Why),
}

impl<'a> Planner<'a> {
    pub(super) fn new(
        store: &'a Store,
        base: &ObjectId,
        result: &ObjectId,
        path: &Path,
    ) -> Result<Self, Error> {
        let project = Project::open(path)?;
        let plan = Plan {
            id: String::new(),
            base: *base,
            result: *result,
            next: *result,
            folder: project.identity,
            steps: Vec::new(),
            refused: Vec::new(),
            already: 0,
            writes: Vec::new(),
        };
        Ok(Self {
            store,
            batch: store.batch(),
            ignored: import::Ignored::of(path),
            project,
            plan,
            trees: Trees::new(store, *result),
            gone: BTreeSet::new(),
            made: BTreeSet::new(),
            held: BTreeSet::new(),
            removals: Vec::new(),
            arrivals: Vec::new(),
            folded: HashMap::new(),
            present: HashMap::new(),
            pointed: HashMap::new(),
        })
    }

    pub(super) fn run(mut self, uncovered: &[Uncovered]) -> Result<Plan, Error> {
        let base = self.plan.base;
        let all = diff::changes(self.store, Some(&base), &self.plan.result)?;
        self.pointed = links::acting(self.store, &self.plan.result, &mut self.trees)?;
        let mut refused = BTreeSet::new();
        let mut changes = Vec::new();
        for change in &all {
            match self.refusal(change, uncovered)? {
                Some(fault) => {
                    refused.insert(fault);
                    self.held.insert(change.path.clone());
                }
                None => changes.extend(parts(change)),
            }
        }
        self.plan.refused = refused.into_iter().collect();
        // First what goes, because what comes may need its place.
        for change in changes.iter().filter(|change| change.new.is_none()) {
            self.deletion(change)?;
        }
        self.emptied_folders()?;
        for change in changes.iter().filter(|change| change.new.is_some()) {
            self.arrival(change)?;
        }
        let Self {
            mut plan,
            mut batch,
            held,
            mut removals,
            arrivals,
            ..
        } = self;
        plan.next = next::tree(self.store, &mut batch, &base, &plan.result, &held)?;
        batch.finish()?;
        plan.steps.sort_by(|one, other| one.path.cmp(&other.path));
        removals.sort_by(|one, other| other.path.cmp(&one.path));
        plan.writes = removals;
        plan.writes.extend(arrivals);
        Ok(plan)
    }

    /// Why a change is not even looked at.
    fn refusal(&self, change: &Change, uncovered: &[Uncovered]) -> Result<Option<Refused>, Error> {
        if let Some(fault) = names::refusal(&change.path) {
            return Ok(Some(fault));
        }
        if change.new.is_none() {
            let unknown = uncovered
                .iter()
                .find(|uncovered| names::lies_in(&change.path, &uncovered.path));
            return Ok(unknown.map(|uncovered| Refused {
                path: uncovered.path.clone(),
                why: Refusal::Uncovered,
            }));
        }
        let Some((_, id)) = change.new.filter(|(mode, _)| is_link(*mode)) else {
            return Ok(None);
        };
        let size = self.store.blob_size(&id)?;
        let sound = size > 0 && size <= MAX_TARGET && !self.store.blob(&id)?.contains(&0);
        Ok((!sound).then(|| Refused {
            path: change.path.clone(),
            why: Refusal::Target,
        }))
    }

    fn step(
        &mut self,
        change: &Change,
        action: Action,
        beside: Option<Vec<u8>>,
    ) -> Result<(), Error> {
        let nowhere = beside.is_none() && !matches!(action, Action::Conflict(Why::Text(_)));
        if nowhere && matches!(action, Action::Conflict(_)) {
            self.held.insert(change.path.clone());
        }
        let step = Step {
            path: change.path.clone(),
            flags: self.flags(change, &action)?,
            collides: self.collisions(&change.path, &action),
            action,
            beside,
        };
        self.plan.steps.push(step);
        Ok(())
    }

    fn deletion(&mut self, change: &Change) -> Result<(), Error> {
        let Some((mode, id)) = change.old else {
            return Ok(());
        };
        let state = match self.project.at(&change.path, &BTreeSet::new())? {
            At::Here(state) => state,
            // The person put something else in the place of a folder on the way: theirs stays.
            At::ThroughLink(_) | At::UnderFile(_) => State::Absent,
        };
        let was = state_of(mode, id);
        match state {
            State::Absent => self.plan.already += 1,
            // The person put something into it, so it stays.
            State::Folder if is_folder(mode) && !self.project.empties(&change.path, &self.gone) => {
                self.plan.already += 1;
            }
            State::Folder if is_folder(mode) => {
                self.gone.insert(change.path.clone());
                self.removals.push(Write {
                    path: change.path.clone(),
                    expect: State::Folder,
                    put: State::Absent,
                });
                self.step(change, Action::RemoveFolder, None)?;
            }
            state if same_content(state, was) => {
                self.gone.insert(change.path.clone());
                self.removals.push(Write {
                    path: change.path.clone(),
                    expect: state,
                    put: State::Absent,
                });
                self.step(change, Action::Delete, None)?;
            }
            _ => self.step(change, Action::Conflict(Why::AgentDeleted), None)?,
        }
        Ok(())
    }

    /// Folders that have nothing left, and that the result does not have either, go too.
    fn emptied_folders(&mut self) -> Result<(), Error> {
        let mut folders = BTreeSet::new();
        for path in &self.gone {
            folders.extend(names::parents(path).map(<[u8]>::to_vec));
        }
        for folder in folders.into_iter().rev() {
            let stays = self
                .trees
                .find(&folder)?
                .is_some_and(|(mode, _)| is_folder(mode));
            if !stays && !self.gone.contains(&folder) && self.project.empties(&folder, &self.gone) {
                self.gone.insert(folder.clone());
                self.removals.push(Write {
                    path: folder,
                    expect: State::Folder,
                    put: State::Absent,
                });
            }
        }
        Ok(())
    }

    fn arrival(&mut self, change: &Change) -> Result<(), Error> {
        let Some((mode, id)) = change.new else {
            return Ok(());
        };
        let agents = state_of(mode, id);
        let base = change
            .old
            .map_or(State::Absent, |(mode, id)| state_of(mode, id));
        let yours = match self.project.at(&change.path, &self.gone)? {
            At::Here(state) => state,
            At::ThroughLink(link) => {
                return self.step(change, Action::Conflict(Why::ThroughLink(link)), None);
            }
            At::UnderFile(_) => return self.clash(change, agents, Why::Folder),
        };
        match (base, yours, agents) {
            (_, State::Folder, State::Folder) => {
                self.plan.already += 1;
                Ok(())
            }
            (_, State::Absent, State::Folder) => {
                self.write(&change.path, State::Absent, State::Folder);
                self.step(change, Action::Folder, None)
            }
            (_, _, State::Folder) | (_, State::Folder, _) => {
                self.clash(change, agents, Why::Folder)
            }
            (_, State::Other, _) => self.clash(change, agents, Why::Unreadable),
            (State::Absent, State::Absent, _) => {
                let put = given(agents);
                self.write(&change.path, State::Absent, put);
                let action = match put {
                    State::Link { .. } => Action::Link,
                    _ => Action::Create,
                };
                self.step(change, action, None)
            }
            (_, State::Absent, _) => self.clash(change, agents, Why::YouDeleted),
            (State::Absent, yours, _) if same_content(yours, agents) => {
                self.plan.already += 1;
                Ok(())
            }
            (State::Absent, ..) => {
                let why = if self.ignored.has(&change.path) {
                    Why::Ignored
                } else {
                    Why::BothAdded
                };
                self.clash(change, agents, why)
            }
            _ => self.both(change, base, yours, agents),
        }
    }

    /// A path that base, project and result all have, as files or links.
    fn both(
        &mut self,
        change: &Change,
        base: State,
        yours: State,
        agents: State,
    ) -> Result<(), Error> {
        let content = self.content(&change.path, base, yours, agents)?;
        let (mode, mode_clash) = permissions(base, yours, agents);
        let put = |id| match agents {
            State::Link { .. } => State::Link { id },
            _ => State::File { mode, id },
        };
        match content {
            Content::Clash(why) => self.clash(change, agents, why),
            Content::Marked(id, why) => {
                self.write(&change.path, yours, put(id));
                self.step(change, Action::Conflict(why), None)
            }
            Content::Put(id) => {
                self.write(&change.path, yours, put(id));
                let action = match agents {
                    State::Link { .. } => Action::Link,
                    State::File { id: theirs, .. } if theirs == id => Action::Replace,
                    _ => Action::Merge,
                };
                self.step(change, action, None)
            }
            Content::Keep => match yours {
                State::File { mode: now, id } if now != mode => {
                    self.write(&change.path, yours, State::File { mode, id });
                    self.step(change, Action::Mode, None)
                }
                _ if mode_clash => self.step(change, Action::Conflict(Why::Permissions), None),
                _ => {
                    self.plan.already += 1;
                    Ok(())
                }
            },
        }
    }

    fn content(
        &mut self,
        path: &[u8],
        base: State,
        yours: State,
        agents: State,
    ) -> Result<Content, Error> {
        if same_content(yours, agents) || same_content(base, agents) {
            return Ok(Content::Keep);
        }
        if same_content(base, yours) {
            return Ok(match agents {
                State::File { id, .. } | State::Link { id } => Content::Put(id),
                _ => Content::Keep,
            });
        }
        let (State::File { id: base, .. }, State::File { id: theirs, .. }) = (base, agents) else {
            return Ok(Content::Clash(Why::Kind));
        };
        if !matches!(yours, State::File { .. }) {
            return Ok(Content::Clash(Why::Kind));
        }
        let (base, theirs) = (self.store.blob(&base)?, self.store.blob(&theirs)?);
        let mine = match self.project.read(path)? {
            Some((state, content)) if state == yours => content,
            _ => {
                return Err(Error::Changed {
                    path: path.to_vec(),
                });
            }
        };
        Ok(match merge::merge(&base, &mine, &theirs, &merge_limits()) {
            Outcome::Clean(text) => Content::Put(self.batch.blob(&text)?),
            Outcome::Conflict { text, count } => {
                Content::Marked(self.batch.blob(&text)?, Why::Text(count))
            }
            Outcome::Binary => Content::Clash(Why::Binary),
            Outcome::TooFar => Content::Clash(Why::TooFar),
        })
    }

    /// The person's stays, and the agent's goes beside it under another name.
    fn clash(&mut self, change: &Change, agents: State, why: Why) -> Result<(), Error> {
        let mut beside = None;
        if matches!(agents, State::File { .. }) {
            for number in 1..10 {
                let mut path = change.path.clone();
                path.extend_from_slice(b".treefort");
                if number > 1 {
                    path.extend_from_slice(format!(".{number}").as_bytes());
                }
                let ours = self.trees.find(&path)?.is_none() && names::refusal(&path).is_none();
                let at = self.project.at(&path, &self.gone)?;
                match at {
                    At::Here(State::Absent) if ours => {
                        // Never executable: it is there to be read.
                        let put = match given(agents) {
                            State::File { mode, id } => State::File {
                                mode: mode & 0o644,
                                id,
                            },
                            other => other,
                        };
                        self.write(&path, State::Absent, put);
                        beside = Some(path);
                        break;
                    }
                    At::Here(yours) if same_content(yours, agents) => {
                        beside = Some(path);
                        break;
                    }
                    At::Here(_) => {}
                    At::ThroughLink(_) | At::UnderFile(_) => break,
                }
            }
        }
        self.step(change, Action::Conflict(why), beside)
    }

    /// A write, after the folders that it needs.
    fn write(&mut self, path: &[u8], expect: State, put: State) {
        if expect == State::Absent {
            for parent in names::parents(path) {
                if self.made.contains(parent) {
                    continue;
                }
                if matches!(
                    self.project.at(parent, &self.gone),
                    Ok(At::Here(State::Absent))
                ) {
                    self.made.insert(parent.to_vec());
                    self.arrivals.push(Write {
                        path: parent.to_vec(),
                        expect: State::Absent,
                        put: State::Folder,
                    });
                }
            }
            if put == State::Folder && !self.made.insert(path.to_vec()) {
                return;
            }
        }
        self.arrivals.push(Write {
            path: path.to_vec(),
            expect,
            put,
        });
    }
}
