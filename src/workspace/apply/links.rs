//! Where a link leads.

use crate::workspace::beneath;

/// Whether the target of a link at `path` leads out of the project, or into its `.git`.
///
/// It is decided by the text alone, since what is on the way may change. A `..` after a name counts as leading out:
/// the name may be a link itself, and then nobody can tell.
pub(super) fn leads_out(path: &[u8], target: &[u8]) -> bool {
    if target.starts_with(b"/") {
        return true;
    }
    let mut depth = path.iter().filter(|byte| **byte == b'/').count();
    let mut named = false;
    for part in target.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." if named || depth == 0 => return true,
            b".." => depth -= 1,
            name if beneath::is_git_name(name) => return true,
            _ => named = true,
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sees_where_links_lead() {
        for (path, target) in [
            ("a", "/etc/passwd"),
            ("a", ".."),
            ("a", "../other"),
            ("d/a", "../../x"),
            ("d/a", "b/../../../x"),
            ("d/a", "link/../x"),
            ("a", ".git/hooks"),
            ("d/a", "../.GIT"),
            ("a", "//x"),
        ] {
            assert!(
                leads_out(path.as_bytes(), target.as_bytes()),
                "{path} -> {target}"
            );
        }
        for (path, target) in [
            ("a", "b"),
            ("d/a", "../b"),
            ("d/e/a", "../../b/c"),
            ("a", "./b//c"),
            ("a", "..."),
        ] {
            assert!(
                !leads_out(path.as_bytes(), target.as_bytes()),
                "{path} -> {target}"
            );
        }
    }
}
