//! Which folders may be handed to an agent at all.

use std::path::{Path, PathBuf};

use super::Error;

/// What belongs to the system with everything below it.
const SYSTEM: &[&str] = &[
    "/proc", "/sys", "/dev", "/boot", "/bin", "/sbin", "/lib", "/lib64", "/run", "/System",
];
/// Folders of the system in which projects may lie.
const SHARED: &[&str] = &[
    "/usr",
    "/usr/bin",
    "/usr/include",
    "/usr/lib",
    "/usr/lib64",
    "/usr/libexec",
    "/usr/local",
    "/usr/sbin",
    "/usr/share",
    "/etc",
    "/var",
    "/var/lib",
    "/opt",
    "/srv",
    "/home",
    "/media",
    "/mnt",
    "/nix",
    "/snap",
    "/Applications",
    "/Library",
    "/Users",
    "/Volumes",
    "/private",
];

/// Checks that a folder is somebody's project, and returns it without links in its path.
///
/// Refused are `/`, the person's home directory and what contains it, `/proc` and its like, treefort's own
/// home (`home_dir`), what contains it and what lies in it.
pub fn check_source(path: &Path, home_dir: &Path) -> Result<PathBuf, Error> {
    let user = directories::BaseDirs::new().map(|dirs| dirs.home_dir().to_owned());
    check(path, home_dir, user.as_deref())
}

/// [`check_source`] with the person's home directory given.
fn check(path: &Path, own: &Path, user: Option<&Path>) -> Result<PathBuf, Error> {
    let canonical = path.canonicalize().map_err(|error| Error::NotAFolder {
        path: path.to_owned(),
        source: Some(error),
    })?;
    if !canonical.is_dir() {
        return Err(Error::NotAFolder {
            path: path.to_owned(),
            source: None,
        });
    }
    let too_wide = |why| {
        Err(Error::TooWide {
            path: canonical.clone(),
            why,
        })
    };
    if canonical.parent().is_none() {
        return too_wide("it is the whole machine");
    }
    let system = SYSTEM.iter().any(|system| canonical.starts_with(system));
    if system || SHARED.iter().any(|shared| canonical == Path::new(shared)) {
        return too_wide("it belongs to the system");
    }
    if let Some(user) = user.and_then(|user| user.canonicalize().ok()) {
        // A home of `/`, as some services have it, is refused above; beneath it everything would be "home".
        if user == canonical {
            return too_wide("it is your home directory");
        }
        if user.starts_with(&canonical) {
            return too_wide("your home directory lies in it");
        }
    }
    let own = own.canonicalize().unwrap_or_else(|_| own.to_owned());
    let relation = if own == canonical {
        Some("is")
    } else if canonical.starts_with(&own) {
        Some("lies in")
    } else if own.starts_with(&canonical) {
        Some("contains")
    } else {
        None
    };
    match relation {
        Some(relation) => Err(Error::OwnHome {
            path: canonical,
            home: own,
            relation,
        }),
        None => Ok(canonical),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{fs, os::unix::fs::symlink};

    #[test]
    fn refuses_what_is_no_single_project() {
        let dir = tempfile::tempdir().unwrap();
        let base = dir.path().canonicalize().unwrap();
        let (user, own) = (base.join("user"), base.join("user/.treefort"));
        for folder in [
            &user.join("project"),
            &own.join("workspaces/x"),
            &base.join("far"),
        ] {
            fs::create_dir_all(folder).unwrap();
        }
        fs::write(base.join("file"), "").unwrap();
        symlink(&user, base.join("link")).unwrap();
        let check = |path: &Path| check(path, &own, Some(&user));

        assert_eq!(check(&user.join("project")).unwrap(), user.join("project"));
        assert_eq!(
            check(&user.join("project/../project/.")).unwrap(),
            user.join("project")
        );
        assert_eq!(check(&base.join("far")).unwrap(), base.join("far"));
        for path in [
            Path::new("/"),
            Path::new("/proc/self"),
            Path::new("/usr"),
            Path::new("/etc"),
            &user,
            &base,
            &base.join("link"),
        ] {
            assert!(
                matches!(check(path), Err(Error::TooWide { .. })),
                "{path:?}"
            );
        }
        for path in [&own, &own.join("workspaces"), &own.join("workspaces/x")] {
            assert!(
                matches!(check(path), Err(Error::OwnHome { .. })),
                "{path:?}"
            );
        }
        for path in [&base.join("file"), &base.join("none")] {
            assert!(
                matches!(check(path), Err(Error::NotAFolder { .. })),
                "{path:?}"
            );
        }
    }

    #[test]
    fn refuses_what_contains_its_own_home() {
        let dir = tempfile::tempdir().unwrap();
        let own = dir.path().join("project/.home");
        fs::create_dir_all(&own).unwrap();
        let error = check(&dir.path().join("project"), &own, None).unwrap_err();
        assert!(
            matches!(
                error,
                Error::OwnHome {
                    relation: "contains",
                    ..
                }
            ),
            "{error}"
        );
        assert!(error.to_string().contains("--home"), "{error}");
    }
}
