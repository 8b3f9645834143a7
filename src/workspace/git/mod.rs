//! The disposable repository inside the tree: what an agent's own `git` works with.
//!
//! It has one commit of the project as it was, and an index with which `git status` is clean and quick.
//! treefort never reads it: an agent may put anything there. It is made beside the tree, where only the host
//! writes, and moved in as a whole.

mod index;

use std::{
    collections::{HashMap, HashSet},
    fs,
    io::{self, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::{Path, PathBuf},
};

use flate2::{Compression, write::ZlibEncoder};
use rustix::fs::{AtFlags, CWD, renameat, statat};
use serde::{Deserialize, Serialize};

use self::index::Entry;
use super::{
    Error, ObjectId, Workspace, history, inventory,
    ladder::{Ladder, look},
    objects::{Kind, PackWriter, TreeEntry, encode_tree, is_ref_name, write_durably},
    snapshot::cache::Stamp,
};

const CONFIG: &str = "[core]
\trepositoryformatversion = 0
\tfilemode = true
\tbare = false
\tlogallrefupdates = true
[user]
\tname = agent
\temail = agent@localhost
[commit]
\tgpgsign = false
[gc]
\tauto = 0
";

/// Bytes are as they are: what the project's attributes would convert or filter is in the commit already.
const ATTRIBUTES: &str = "* -text -ident -filter -working-tree-encoding\n";

const MESSAGE: &str = "The project as it was";

/// Says that no agent was in the tree since its repository was planted for the owner.
const OWNED: &str = "git.owned";

/// An agent comes to the workspace in a folder: the repository in its tree is the agent's from now on.
///
/// # Errors
/// When the disk refuses.
pub fn give_git_to_the_agent(dir: &Path) -> io::Result<()> {
    match fs::remove_file(dir.join(OWNED)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// What was planted, in `plant.json`, so that it can be planted again.
#[derive(Debug, Serialize, Deserialize)]
struct Plant {
    v: u32,
    branch: String,
    base: ObjectId,
    at: u64,
}

impl Workspace {
    /// Plants the disposable repository `tree/.git`, in place of what is there: one commit, "The project as it
    /// was", of the first checkpoint's tree on a branch. A branch whose name is none for a file becomes `main`.
    ///
    /// # Errors
    /// When the disk or the store fails.
    pub fn plant_git(&self, branch: &str, at: u64) -> Result<(), Error> {
        let base = match history::list(&self.store, &self.prefix)?.first() {
            Some(first) => first.tree,
            None => {
                let mut batch = self.store.batch();
                let snapshot = self.snapshot(&mut batch)?;
                batch.finish()?;
                snapshot.tree
            }
        };
        let is_name = is_ref_name(&format!("refs/heads/{branch}"));
        let plant = Plant {
            v: 1,
            branch: if is_name { branch } else { "main" }.to_owned(),
            base,
            at,
        };
        let path = self.dir.join("plant.json");
        let text = serde_json::to_vec(&plant).map_err(|source| Error::Json {
            path: path.clone(),
            source,
        })?;
        write_durably(&path, &text)?;
        self.plant(&plant)
    }

    /// Plants the repository again when it was planted once and is none any more.
    pub(super) fn replant_git(&self) -> Result<(), Error> {
        let path = self.dir.join("plant.json");
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(Error::io("reading", &path)(error)),
        };
        // `.git` may be a link; then what is behind it is none of ours.
        let is = |name: &str, kind: u32| {
            statat(&self.root, name, AtFlags::SYMLINK_NOFOLLOW)
                .is_ok_and(|stat| stat.st_mode & 0o170_000 == kind)
        };
        if is(".git", 0o040_000) && is(".git/HEAD", 0o100_000) && is(".git/objects", 0o040_000) {
            return Ok(());
        }
        let plant = serde_json::from_slice(&text).map_err(|source| Error::Json { path, source })?;
        self.plant(&plant)
    }

    /// Plants the repository anew for the owner, who is going to work in the tree with a git of their own: the
    /// settings, hooks and modules of the one that an agent could write run the agent's programs. That one goes
    /// to `git.agent` beside the tree. What the owner did in the new one stays until the next agent comes.
    ///
    /// # Errors
    /// When the disk or the store fails: the repository is the agent's still, or gone.
    pub fn take_git_from_the_agent(&self) -> Result<(), Error> {
        let owned = self.dir.join(OWNED);
        if owned.symlink_metadata().is_ok() {
            return Ok(());
        }
        self.clear("git.agent")?;
        match renameat(&self.root, ".git", CWD, self.dir.join("git.agent")) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => {
                return Err(Error::errno("moving the repository out of", &self.tree)(
                    error,
                ));
            }
        }
        self.replant_git()?;
        write_durably(&owned, b"")
    }

    fn plant(&self, plant: &Plant) -> Result<(), Error> {
        let new = self.dir.join("git.new");
        self.clear("git.new")?;
        self.build(plant, &new)?;
        if let Some(owner) = self.owner {
            inventory::give(&new, owner).map_err(Error::io("giving away", &new))?;
        }
        for _ in 0..3 {
            match renameat(CWD, &new, &self.root, ".git") {
                Ok(()) => return Ok(()),
                Err(error) => {
                    use rustix::io::Errno;
                    let in_the_way = [Errno::EXIST, Errno::NOTEMPTY, Errno::NOTDIR];
                    if !in_the_way.contains(&error) {
                        return Err(Error::errno("planting a repository in", &self.tree)(error));
                    }
                }
            }
            // What the agent left there goes out of its reach before it is removed.
            self.clear("git.old")?;
            renameat(&self.root, ".git", CWD, self.dir.join("git.old"))
                .map_err(Error::errno("moving the repository out of", &self.tree))?;
            self.clear("git.old")?;
        }
        Err(Error::Exists(self.tree.join(".git")))
    }

    /// Removes something of ours beside the tree. What cannot be removed is moved out of the way; it goes with
    /// the workspace.
    fn clear(&self, name: &str) -> Result<(), Error> {
        let path = self.dir.join(name);
        let Ok(metadata) = path.symlink_metadata() else {
            return Ok(());
        };
        let removed = if metadata.is_dir() {
            // An agent made it: it may be as deep as it likes.
            inventory::remove(&path)
        } else {
            fs::remove_file(&path)
        };
        if removed.is_ok() {
            return Ok(());
        }
        let free = (1_u32..)
            .map(|number| self.dir.join(format!("{name}-{number}")))
            .find(|free| free.symlink_metadata().is_err())
            .unwrap_or_else(|| path.with_extension("left"));
        fs::rename(&path, free).map_err(Error::io("moving away", &path))
    }

    fn build(&self, plant: &Plant, new: &Path) -> Result<(), Error> {
        let failed = Error::io("making the repository", new);
        let head = format!("refs/heads/{}", plant.branch);
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(0o700);
        let branch = new.join(&head);
        let folders =
            ["objects/pack", "objects/info", "refs/tags", "info"].map(|name| new.join(name));
        for folder in folders.iter().map(PathBuf::as_path).chain(branch.parent()) {
            builder.create(folder).map_err(failed)?;
        }
        let mut packing = Packing {
            workspace: self,
            pack: PackWriter::new(&folders[0]).map_err(failed)?,
            done: HashSet::new(),
            trees: HashMap::new(),
        };
        let tree = packing.clean(&plant.base)?;
        let root = self.root.try_clone().map_err(failed)?;
        let entries = packing.files(tree, Ladder::new(root, 0o500));
        let who = format!("treefort <treefort@localhost> {} +0000", plant.at);
        let text = format!("tree {tree}\nauthor {who}\ncommitter {who}\n\n{MESSAGE}\n");
        let commit = packing.add(Kind::Commit, text.as_bytes())?;
        packing.pack.finish().map_err(failed)?;
        for (name, text) in [
            ("config", CONFIG.as_bytes()),
            ("info/attributes", ATTRIBUTES.as_bytes()),
            ("index", &index::encode(entries)),
            (&head, format!("{commit}\n").as_bytes()),
            ("HEAD", format!("ref: {head}\n").as_bytes()),
        ] {
            fs::write(new.join(name), text).map_err(failed)?;
        }
        Ok(())
    }
}

/// The objects of a repository that git itself could have made: no `.git` below, no empty folders, git's two
/// modes.
struct Packing<'w> {
    workspace: &'w Workspace,
    pack: PackWriter,
    /// What is in the pack.
    done: HashSet<ObjectId>,
    /// The entries of the packed trees.
    trees: HashMap<ObjectId, Vec<TreeEntry>>,
}

impl Packing<'_> {
    fn add(&mut self, kind: Kind, bytes: &[u8]) -> Result<ObjectId, Error> {
        let id = ObjectId::of_stored(kind.name(), bytes);
        if self.done.insert(id) {
            self.put(id, kind, bytes)?;
        }
        Ok(id)
    }

    fn put(&mut self, id: ObjectId, kind: Kind, bytes: &[u8]) -> Result<(), Error> {
        let failed = Error::io("packing for", &self.workspace.tree);
        let mut deflated = ZlibEncoder::new(Vec::new(), Compression::fast());
        deflated.write_all(bytes).map_err(failed)?;
        let zipped = deflated.finish().map_err(failed)?;
        self.pack
            .add(id, kind, bytes.len() as u64, &zipped)
            .map_err(failed)
    }

    /// Packs a tree and everything in it, the lowest folders first.
    fn clean(&mut self, root: &ObjectId) -> Result<ObjectId, Error> {
        let store = std::sync::Arc::clone(&self.workspace.store);
        let mut trees: HashMap<ObjectId, ObjectId> = HashMap::new();
        let mut waiting = vec![*root];
        while let Some(id) = waiting.last().copied() {
            if trees.contains_key(&id) {
                waiting.pop();
                continue;
            }
            let mut entries = store.tree(&id)?;
            entries.retain(|entry| !entry.name.eq_ignore_ascii_case(b".git"));
            let before = waiting.len();
            let folders = entries.iter().filter(|entry| entry.is_dir());
            waiting.extend(
                folders
                    .map(|entry| entry.id)
                    .filter(|id| !trees.contains_key(id)),
            );
            if waiting.len() > before {
                continue;
            }
            waiting.pop();
            let mut clean = Vec::with_capacity(entries.len());
            for entry in entries {
                let (mode, id) = if entry.is_dir() {
                    (0o040_000, trees[&entry.id])
                } else {
                    let mode = match entry.mode {
                        mode if mode & 0o170_000 == 0o120_000 => 0o120_000,
                        mode if mode & 0o100 != 0 => 0o100_755,
                        _ => 0o100_644,
                    };
                    if self.done.insert(entry.id) {
                        self.put(entry.id, Kind::Blob, &store.blob(&entry.id)?)?;
                    }
                    (mode, entry.id)
                };
                if id != ObjectId::EMPTY_TREE {
                    let name = entry.name;
                    clean.push(TreeEntry { mode, name, id });
                }
            }
            let id_clean = if clean.is_empty() && id != *root {
                ObjectId::EMPTY_TREE
            } else {
                self.add_tree(clean)?
            };
            trees.insert(id, id_clean);
        }
        Ok(trees[root])
    }

    fn add_tree(&mut self, entries: Vec<TreeEntry>) -> Result<ObjectId, Error> {
        let bytes = encode_tree(entries.clone());
        let id = self.add(Kind::Tree, &bytes)?;
        self.trees.insert(id, entries);
        Ok(id)
    }

    /// What the index says about every file of a packed tree. A file that is not what the commit has is
    /// listed without its state, so that git looks at it.
    fn files(&self, root: ObjectId, mut ladder: Ladder) -> Vec<Entry> {
        let mut files = Vec::new();
        let mut path = Vec::new();
        // How many of the lowest folders are not there.
        let mut lost = 0_usize;
        let mut frames = vec![(0, self.entries(root))];
        while let Some((length, entries)) = frames.last_mut() {
            path.truncate(*length);
            let Some(entry) = entries.next() else {
                frames.pop();
                if lost > 0 {
                    lost -= 1;
                } else if ladder.depth() > 0 {
                    let _ = ladder.leave();
                }
                continue;
            };
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(&entry.name);
            if entry.is_dir() {
                if lost > 0 || ladder.enter(&entry.name).is_err() {
                    lost += 1;
                }
                frames.push((path.len(), self.entries(entry.id)));
                continue;
            }
            let found = match lost {
                0 => ladder.here().and_then(|here| look(here, &entry.name)),
                _ => Ok(None),
            };
            let known = self.workspace.cache.get(&path);
            let known = known.filter(|known| known.id == entry.id);
            let stat = found
                .ok()
                .flatten()
                .filter(|stat| known.is_some_and(|known| known.stamp == Some(Stamp::of(stat))));
            files.push(Entry {
                path: path.clone(),
                mode: entry.mode,
                id: entry.id,
                stat,
            });
        }
        files
    }

    fn entries(&self, tree: ObjectId) -> std::vec::IntoIter<TreeEntry> {
        self.trees
            .get(&tree)
            .cloned()
            .unwrap_or_default()
            .into_iter()
    }
}
