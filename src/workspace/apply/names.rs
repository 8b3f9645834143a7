//! Which paths are never written.

use super::{Refusal, Refused};
use crate::workspace::beneath;

/// The longest name that file systems have, bytes.
const MAX_NAME: usize = 255;

/// The part of a path that is at fault, if any.
pub(super) fn refusal(path: &[u8]) -> Option<Refused> {
    let mut end = 0;
    for part in path.split(|byte| *byte == b'/') {
        end += part.len();
        let why = if beneath::is_git_name(part) {
            Some(Refusal::Git)
        } else if matches!(part, b"" | b"." | b"..") || part.contains(&0) || part.len() > MAX_NAME {
            Some(Refusal::Name)
        } else {
            None
        };
        if let Some(why) = why {
            return Some(Refused {
                path: path[..end.min(path.len())].to_vec(),
                why,
            });
        }
        end += 1;
    }
    None
}

/// The folders on the way to a path, from the top.
pub(super) fn parents(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    path.iter()
        .enumerate()
        .filter(|(_, byte)| **byte == b'/')
        .map(|(slash, _)| &path[..slash])
}

/// Whether a path is `folder` or lies in it; everything lies in the folder without a name.
pub(super) fn lies_in(path: &[u8], folder: &[u8]) -> bool {
    match path.strip_prefix(folder) {
        Some(rest) => folder.is_empty() || rest.is_empty() || rest.starts_with(b"/"),
        None => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_the_part_that_is_at_fault() {
        for (path, at, why) in [
            (&b".git/hooks/post-checkout"[..], &b".git"[..], Refusal::Git),
            (b"sub/.GIT/config", b"sub/.GIT", Refusal::Git),
            (b"sub/.git", b"sub/.git", Refusal::Git),
            (b"a/../../etc/passwd", b"a/..", Refusal::Name),
            (b"/etc/passwd", b"", Refusal::Name),
            (b"a//b", b"a/", Refusal::Name),
            (b"a/./b", b"a/.", Refusal::Name),
            (b"nul\0", b"nul\0", Refusal::Name),
        ] {
            let refused = refusal(path).unwrap();
            assert_eq!((&refused.path[..], refused.why), (at, why));
        }
        for path in [
            &b".gitignore"[..],
            b".github/workflows/x",
            b"a/...",
            b"\xff\xfe",
        ] {
            assert_eq!(refusal(path), None);
        }
    }

    #[test]
    fn parents_come_from_the_top() {
        assert_eq!(parents(b"a/b/c").collect::<Vec<_>>(), [&b"a"[..], b"a/b"]);
        assert_eq!(parents(b"a").count(), 0);
    }
}
