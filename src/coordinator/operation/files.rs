//! The files of a copy, at any state of it, for its owner to look at. They are read out of the store: no link leads
//! anywhere, and nothing of the agent's is opened.

use std::sync::Arc;

use base64::{Engine as _, prelude::BASE64_STANDARD};

use super::{
    LIST,
    difference::written,
    state::{latest, pick},
};
use crate::{
    coordinator::{context::Context, shared::Shared, words, workspaces},
    job::Failure,
    nips::workspace::{EntryLine, Outcome, State, cut_to},
    recorder::Redactor,
    workspace::{
        ObjectId,
        browse::{self, Found},
        objects::{Store, TreeEntry},
    },
};

/// Bytes that the piece of a file takes in an answer.
const PIECE: usize = 40_000;
/// The largest file that is shown: each piece of it is cut out of the whole, from which secrets were taken.
const MAX_FILE: u64 = 8 << 20;
/// The longest path that can be asked for.
const MAX_PATH: usize = 4_096;
/// Bytes of where a link leads.
const MAX_TARGET: u64 = 4_096;

/// A state that is looked at.
struct Looked {
    number: u32,
    tree: ObjectId,
    now: bool,
}

async fn look(shared: &Arc<Shared>, at: Option<&State>, path: &str) -> Result<Looked, Failure> {
    if path.len() > MAX_PATH {
        return Err(Failure::new("workspace", "no file has so long a name"));
    }
    let (checkpoint, now) = match at {
        Some(state) => {
            let all = shared.with(|files| Ok(files.checkpoints()?)).await?;
            (pick(&all, state)?.clone(), false)
        }
        None => (latest(shared).await?, true),
    };
    Ok(Looked {
        number: checkpoint.number,
        tree: checkpoint.tree,
        now,
    })
}

fn nothing(path: &str, found: &Found) -> Failure {
    let sentence = match found {
        Found::Several => {
            format!("several files are called {path}, in characters that are no text")
        }
        _ => format!("there is no {path} in this state of the copy"),
    };
    Failure::new("workspace", sentence)
}

/// What is in a folder, from the entry `offset` on.
pub(super) async fn list(
    shared: &Arc<Shared>,
    at: Option<&State>,
    path: String,
    offset: u64,
) -> Result<Outcome, Failure> {
    let looked = look(shared, at, &path).await?;
    shared
        .with(move |files| {
            let store = files.store();
            let (entries, total, offset) = match browse::find(store, &looked.tree, &path)? {
                Found::Folder(id) => {
                    let all = browse::entries(store, &id)?;
                    let from = usize::try_from(offset).map_or(all.len(), |at| at.min(all.len()));
                    let folder = clean(&path);
                    let mut lines = Vec::new();
                    // No more than there can be room for.
                    for entry in all[from..].iter().take(LIST / 32) {
                        lines.push(line(store, &folder, entry)?);
                    }
                    (cut_to(lines, LIST).0, all.len(), from)
                }
                Found::File { id, link } => {
                    let entry = of_file(store, clean(&path), &id, link)?;
                    (vec![entry], 1, 0)
                }
                found => return Ok(Err(nothing(&path, &found))),
            };
            let end = offset + entries.len();
            let uncovered = if looked.now { files.uncovered() } else { &[] };
            let (left_out, left_out_in_all) = words::left_out(uncovered);
            Ok(Ok(Outcome::Files {
                checkpoint: looked.number,
                next: (end < total).then_some(end as u64),
                total: total as u64,
                entries,
                left_out,
                left_out_in_all,
            }))
        })
        .await?
}

/// A path with one `/` between its parts and none around them.
fn clean(path: &str) -> String {
    let parts = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

fn line(store: &Store, folder: &str, entry: &TreeEntry) -> Result<EntryLine, workspaces::Error> {
    let name = words::text(&entry.name);
    let path = match folder {
        "" => name,
        folder => format!("{folder}/{name}"),
    };
    if entry.is_dir() {
        return Ok(EntryLine {
            path,
            kind: "folder".to_owned(),
            size: 0,
            to: None,
        });
    }
    of_file(store, path, &entry.id, entry.is_link())
}

fn of_file(
    store: &Store,
    path: String,
    id: &ObjectId,
    link: bool,
) -> Result<EntryLine, workspaces::Error> {
    let size = store.blob_size(id)?;
    let to = match link && size <= MAX_TARGET {
        true => Some(words::text(&store.blob(id)?)),
        false => None,
    };
    Ok(EntryLine {
        path,
        kind: if link { "link" } else { "file" }.to_owned(),
        size,
        to,
    })
}

/// A piece of a file, from `offset` on.
pub(super) async fn read(
    context: &Context,
    shared: &Arc<Shared>,
    at: Option<&State>,
    path: String,
    offset: u64,
) -> Result<Outcome, Failure> {
    let looked = look(shared, at, &path).await?;
    let redactor = context.redactor.clone();
    shared
        .with(move |files| {
            let store = files.store();
            let id = match browse::find(store, &looked.tree, &path)? {
                Found::File { id, .. } => id,
                Found::Folder(_) => {
                    let sentence = format!("{path} is a folder: ask for `files` in it");
                    return Ok(Err(Failure::new("workspace", sentence)));
                }
                found => return Ok(Err(nothing(&path, &found))),
            };
            let size = store.blob_size(&id)?;
            let piece = if size > MAX_FILE {
                let mib = MAX_FILE >> 20;
                Piece::none(&format!(
                    "files of more than {mib} MiB are not shown; `treefort open` says where the copy lies"
                ))
            } else {
                let room = PIECE.saturating_sub(json_len(&path));
                piece(store.blob(&id)?, &redactor, offset, room)
            };
            Ok(Ok(Outcome::File {
                checkpoint: looked.number,
                file: clean(&path),
                size,
                text: piece.text,
                base64: piece.base64,
                next: piece.next,
                redacted: piece.redacted,
                withheld: piece.withheld,
            }))
        })
        .await?
}

/// Bytes that a text takes as JSON, beside its quotation marks.
fn json_len(text: &str) -> usize {
    written(text, usize::MAX).1
}

/// A piece of a file.
#[derive(Debug, Default, PartialEq, Eq)]
struct Piece {
    text: Option<String>,
    base64: Option<String>,
    next: Option<u64>,
    redacted: bool,
    withheld: Option<String>,
}

impl Piece {
    fn none(why: &str) -> Self {
        Self {
            withheld: Some(why.to_owned()),
            ..Self::default()
        }
    }
}

/// What of a file fits into so many bytes of JSON. Secrets go out of the whole before it is cut, so that none shows in
/// two halves; of what is no text nothing can be taken without breaking it.
fn piece(bytes: Vec<u8>, redactor: &Redactor, offset: u64, room: usize) -> Piece {
    let offset = usize::try_from(offset).unwrap_or(usize::MAX);
    let text = match String::from_utf8(bytes) {
        Ok(text) if !text.contains('\0') => text,
        Ok(text) => return binary(text.as_bytes(), redactor, offset, room),
        Err(error) => return binary(error.as_bytes(), redactor, offset, room),
    };
    let shown = redactor.redact(&text);
    let redacted = *shown != text;
    let from = shown.floor_char_boundary(offset.min(shown.len()));
    let (length, _) = written(&shown[from..], room);
    let end = from + length;
    Piece {
        text: Some(shown[from..end].to_owned()),
        next: (end < shown.len()).then_some(end as u64),
        redacted,
        ..Piece::default()
    }
}

fn binary(bytes: &[u8], redactor: &Redactor, offset: usize, room: usize) -> Piece {
    let readable = String::from_utf8_lossy(bytes);
    if *redactor.redact(&readable) != *readable {
        return Piece::none(
            "it holds what looks like a password or key, which is not shown; `treefort open` says where the copy lies",
        );
    }
    let from = offset.min(bytes.len());
    let end = bytes.len().min(from + room / 4 * 3);
    Piece {
        base64: Some(BASE64_STANDARD.encode(&bytes[from..end])),
        next: (end < bytes.len()).then_some(end as u64),
        ..Piece::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_again_when_its_pieces_are_put_together() {
        let redactor = Redactor::new(Vec::new());
        let text = "grün \"日本\"\n\t\u{1}".repeat(500);
        let (mut whole, mut at) = (String::new(), Some(0));
        while let Some(offset) = at {
            let piece = piece(text.clone().into_bytes(), &redactor, offset, 1000);
            let part = piece.text.unwrap();
            assert!(serde_json::to_string(&part).unwrap().len() <= 1002 && !part.is_empty());
            whole.push_str(&part);
            at = piece.next;
        }
        assert_eq!(whole, text);

        let bytes: Vec<u8> = (0..=255).cycle().take(5000).collect();
        let (mut whole, mut at) = (Vec::new(), Some(0));
        while let Some(offset) = at {
            let piece = piece(bytes.clone(), &redactor, offset, 1000);
            let part = piece.base64.unwrap();
            assert!(part.len() <= 1000 && piece.text.is_none());
            whole.extend(BASE64_STANDARD.decode(part).unwrap());
            at = piece.next;
        }
        assert_eq!(whole, bytes);
        let beyond = piece(b"abc".to_vec(), &redactor, u64::MAX, 1000);
        assert_eq!((beyond.text.as_deref(), beyond.next), (Some(""), None));
    }

    #[test]
    fn a_secret_goes_before_the_text_is_cut_and_keeps_a_binary_file_to_itself() {
        let redactor = Redactor::new(vec!["correct horse battery".to_owned()]);
        let text = "a = correct horse battery staple";
        for room in [8, 12, 1000] {
            let (mut whole, mut at) = (String::new(), Some(0));
            while let Some(offset) = at {
                let piece = piece(text.into(), &redactor, offset, room);
                assert!(piece.redacted);
                whole.push_str(&piece.text.unwrap());
                at = piece.next;
            }
            assert_eq!(whole, "a = [redacted] staple");
        }
        let mut bytes = b"\0\xff".to_vec();
        bytes.extend(text.as_bytes());
        let piece = piece(bytes, &redactor, 0, 1000);
        assert!(piece.base64.is_none() && piece.withheld.is_some());
    }

    #[test]
    fn a_path_is_written_in_one_way() {
        assert_eq!(clean("/src//a/./b/"), "src/a/b");
        assert_eq!(clean("."), "");
    }
}
