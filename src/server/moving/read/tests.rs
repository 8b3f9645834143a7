//! What somebody puts into an archive whose password and code are right.

use std::os::unix::fs::symlink;

use nostr::{
    Keys, ToBech32 as _,
    nips::nip49::{EncryptedSecretKey, KeySecurity},
};
use tar::{Builder, Header};

use super::*;
use crate::server::moving::export;

const PASSWORD: &str = "correct horse";

/// A home with a copy that an agent worked in.
fn lived_in(home: &Path) {
    drop(Offline::open(home, true).unwrap());
    let tree = home.join("workspaces/s/tree");
    fs::create_dir_all(tree.join("node_modules/.bin")).unwrap();
    fs::create_dir_all(tree.join("node_modules/tool")).unwrap();
    fs::write(tree.join("node_modules/tool/cli.js"), "x").unwrap();
    symlink("../tool/cli.js", tree.join("node_modules/.bin/tool")).unwrap();
    symlink("node_modules", tree.join("modules")).unwrap();
    symlink("/etc/passwd", tree.join("passwd")).unwrap();
    fs::create_dir_all(tree.join(".git/refs/heads")).unwrap();
    symlink("refs/heads/main", tree.join(".git/HEAD")).unwrap();
    fs::create_dir(tree.join("closed")).unwrap();
    symlink("../passwd", tree.join("closed/link")).unwrap();
    fs::set_permissions(tree.join("closed"), fs::Permissions::from_mode(0o555)).unwrap();
    fs::write(home.join("treefort.toml"), "").unwrap();
}

fn exported(home: &Path) -> Exported {
    let mut archive = Vec::new();
    export(home, PASSWORD, &mut archive, &mut |_| {
        std::ops::ControlFlow::Continue(())
    })
    .unwrap();
    let keyring = Keyring::open(home).unwrap();
    Exported { keyring, archive }
}

fn imported(home: &Path, archive: &[u8]) -> Result<Moved, MoveError> {
    import(home, archive, PASSWORD, &mut |_| {
        std::ops::ControlFlow::Continue(())
    })
}

#[derive(Clone, Copy)]
enum Put<'a> {
    Folder(&'a str),
    Link(&'a str, &'a Path),
}

/// A home and what was written of it.
struct Exported {
    keyring: Keyring,
    archive: Vec<u8>,
}

/// The archive with more in it and a right code over all of it, as somebody makes it who also tells its password. Its keys
/// cost less to open, so that many can be tried.
fn with(exported: &Exported, puts: &[Put<'_>], about: impl Fn(&mut About)) -> Vec<u8> {
    let key = Keys::generate();
    let encrypted = |secret: &SecretKey| {
        let encrypted = EncryptedSecretKey::new(secret, PASSWORD, 1, KeySecurity::Medium);
        encrypted.unwrap().to_bech32().unwrap().into_bytes()
    };
    let keys = exported.keyring.all().unwrap();
    let mut code = Code::new(key.secret_key());
    let mut out = Builder::new(Vec::new());
    let mut tar = Archive::new(&exported.archive[..]);
    for entry in tar.entries().unwrap() {
        let mut entry = entry.unwrap();
        let name = entry.path().unwrap().to_str().unwrap().to_owned();
        let mut header = Header::new_gnu();
        let mode = entry.header().mode().unwrap();
        header.set_mode(mode);
        header.set_size(0);
        let sort = entry.header().entry_type();
        header.set_entry_type(sort);
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).unwrap();
        if name == ABOUT {
            let mut said: About = serde_json::from_slice(&bytes).unwrap();
            about(&mut said);
            bytes = serde_json::to_vec(&said).unwrap();
        } else if name == CODE {
            break;
        } else if let Some(name) = name.strip_prefix("keys/") {
            let of = |(known, _): &&(String, Keys)| name.strip_suffix(ENCRYPTED) == Some(known);
            let known = keys.iter().find(of).map(|(_, keys)| keys);
            bytes = encrypted(known.unwrap_or(&key).secret_key());
        }
        match sort {
            EntryType::Symlink => {
                let target = entry.link_name().unwrap().unwrap().into_owned();
                link(&mut out, &mut code, &name, &target);
            }
            EntryType::Directory => {
                code.entry(Sort::Folder, name.as_bytes(), mode, 0);
                out.append_data(&mut header, &name, io::empty()).unwrap();
            }
            _ => {
                code.entry(Sort::File, name.as_bytes(), mode, bytes.len() as u64);
                code.content(&bytes);
                header.set_size(bytes.len() as u64);
                out.append_data(&mut header, &name, &bytes[..]).unwrap();
            }
        }
    }
    for put in puts {
        match put {
            Put::Link(path, target) => link(&mut out, &mut code, path, target),
            Put::Folder(path) => {
                code.entry(Sort::Folder, path.as_bytes(), 0o700, 0);
                let mut header = Header::new_gnu();
                header.set_mode(0o700);
                header.set_size(0);
                header.set_entry_type(EntryType::Directory);
                out.append_data(&mut header, path, io::empty()).unwrap();
            }
        }
    }
    let end = hex::encode(code.end());
    let mut header = Header::new_gnu();
    header.set_mode(0o600);
    header.set_size(end.len() as u64);
    out.append_data(&mut header, CODE, end.as_bytes()).unwrap();
    out.into_inner().unwrap()
}

fn link(out: &mut Builder<Vec<u8>>, code: &mut Code, path: &str, target: &Path) {
    let bytes = target.as_os_str().as_bytes();
    code.entry(Sort::Link, path.as_bytes(), 0, bytes.len() as u64);
    code.content(bytes);
    let mut header = Header::new_gnu();
    header.set_entry_type(EntryType::Symlink);
    header.set_mode(0o777);
    header.set_size(0);
    out.append_link(&mut header, path, target).unwrap();
}

#[test]
fn no_link_of_an_archive_leads_what_is_made_out_of_the_home() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    lived_in(&at("home"));
    let archive = exported(&at("home"));
    let victim = at("victim");
    fs::create_dir(&victim).unwrap();
    fs::write(victim.join("file"), "theirs").unwrap();
    let payload = Path::new("payload");

    let through = |first: &str| {
        let second = format!("{first}/.profile");
        let puts = [Put::Link(first, &victim), Put::Link(&second, payload)];
        let right = with(&archive, &puts, |_| {});
        // The same in an archive that is refused for another reason: nothing was made by then either.
        let wrong = with(&archive, &puts, |about| about.seq += 900);
        [right, wrong]
    };
    for first in [
        "workspaces/out",
        "workspaces/s/out",
        "workspaces/s/tree/out",
    ] {
        for archive in through(first) {
            let refused = imported(&at("new"), &archive);
            assert!(
                matches!(refused, Err(MoveError::Changed(_))),
                "{first}: {refused:?}"
            );
            assert_eq!(fs::read_dir(&victim).unwrap().count(), 1, "{first}");
            assert!(!at("new").join("keys").exists(), "{first}");
        }
    }
    // Where treefort itself reads and writes there is none at all.
    for path in [
        "sync.toml",
        "blobs",
        "projects",
        "agents",
        "agents/mine",
        "state.9",
        "events/00000009.log",
        "workspaces/t",
        "workspaces/s/tree2",
        "workspaces/s/restore.json",
    ] {
        let top = path.split('/').next().unwrap();
        let mut puts = vec![Put::Link(path, &victim)];
        if top != path && !matches!(top, "events" | "workspaces") {
            puts.insert(0, Put::Folder(top));
        }
        let refused = imported(&at("new"), &with(&archive, &puts, |_| {}));
        assert!(
            matches!(&refused, Err(MoveError::Changed(why)) if why.contains("link")),
            "{path}: {refused:?}"
        );
    }
    assert_eq!(fs::read(victim.join("file")).unwrap(), b"theirs");
    let beside = fs::read_dir(place.path()).unwrap();
    assert!(beside.count() <= 3, "something was left beside the homes");
}

#[test]
fn the_links_of_agents_come_in_as_they_were() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    lived_in(&at("home"));
    fs::create_dir_all(at("home/agents/mine/files")).unwrap();
    fs::create_dir_all(at("home/workspaces/s/kept")).unwrap();
    symlink("../../agent.toml", at("home/agents/mine/files/link")).unwrap();
    symlink("anywhere", at("home/workspaces/s/kept/1")).unwrap();
    // Of what an agent keeps: what it leads to is its owner's, and not the agent's.
    fs::write(at("secret"), "theirs").unwrap();
    fs::create_dir_all(at("home/workspaces/s/state/bin")).unwrap();
    symlink(at("secret"), at("home/workspaces/s/state/bin/tool")).unwrap();
    // Nobody makes this one, so nobody follows it.
    symlink(at("secret"), at("home/workspaces/s/notes")).unwrap();
    // Rewritten, so that it is known that a rewritten archive is not refused for being one.
    let archive = with(&exported(&at("home")), &[], |_| {});
    imported(&at("new"), &archive).unwrap();
    for (link, target) in [
        ("node_modules/.bin/tool", "../tool/cli.js"),
        ("modules", "node_modules"),
        ("passwd", "/etc/passwd"),
        (".git/HEAD", "refs/heads/main"),
        ("closed/link", "../passwd"),
        ("../kept/1", "anywhere"),
        ("../../../agents/mine/files/link", "../../agent.toml"),
    ] {
        let link = at("new/workspaces/s/tree").join(link);
        assert_eq!(fs::read_link(&link).unwrap(), Path::new(target));
    }
    let tool = fs::read_link(at("new/workspaces/s/state/bin/tool")).unwrap();
    assert_eq!(tool, at("secret"));
    assert!(at("new/workspaces/s/notes").symlink_metadata().is_err());
    let closed = fs::metadata(at("new/workspaces/s/tree/closed")).unwrap();
    assert_eq!(closed.permissions().mode() & 0o777, 0o555);
}

#[test]
fn what_the_owner_keeps_elsewhere_is_in_the_archive_itself() {
    let place = tempfile::tempdir().unwrap();
    let at = |name: &str| place.path().join(name);
    lived_in(&at("home"));
    fs::create_dir_all(at("elsewhere/mine")).unwrap();
    fs::write(at("elsewhere/settings"), "[jobs]\n").unwrap();
    fs::write(at("elsewhere/mine/agent.toml"), "x").unwrap();
    fs::rename(at("home/workspaces"), at("elsewhere/workspaces")).unwrap();
    fs::create_dir(at("home/agents")).unwrap();
    symlink("../../elsewhere/mine", at("home/agents/mine")).unwrap();
    symlink("gone", at("home/agents/old")).unwrap();
    symlink(at("elsewhere/workspaces"), at("home/workspaces")).unwrap();
    fs::remove_file(at("home/treefort.toml")).unwrap();
    symlink("../elsewhere/settings", at("home/treefort.toml")).unwrap();
    imported(&at("new"), &exported(&at("home")).archive).unwrap();
    for (file, holds) in [
        ("treefort.toml", "[jobs]\n"),
        ("agents/mine/agent.toml", "x"),
        ("workspaces/s/tree/node_modules/tool/cli.js", "x"),
    ] {
        assert_eq!(fs::read_to_string(at("new").join(file)).unwrap(), holds);
    }
    for folder in ["agents", "agents/mine", "workspaces", "treefort.toml"] {
        assert!(!at("new").join(folder).is_symlink(), "{folder}");
    }
    assert!(!at("new/agents/old").is_symlink());
    // Not even then in plain, when somebody made a link around the keys.
    symlink("..", at("home/agents/around")).unwrap();
    let refused = export(&at("home"), PASSWORD, io::sink(), &mut |_| {
        std::ops::ControlFlow::Continue(())
    });
    assert!(refused.is_err());
}

/// Counts what is read of it.
struct Endless<'a>(&'a [u8], &'a mut u64);

impl Read for Endless<'_> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let read = match self.0.is_empty() {
            false => self.0.read(buf)?,
            true => {
                buf.fill(b'a');
                buf.len()
            }
        };
        *self.1 += read as u64;
        Ok(read)
    }
}

#[test]
fn a_name_without_an_end_is_not_read_into_memory() {
    let place = tempfile::tempdir().unwrap();
    for sort in [
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
    ] {
        let mut header = Header::new_gnu();
        header.set_entry_type(sort);
        header.set_size(256 << 20);
        header.set_cksum();
        let mut read = 0;
        let from = Endless(header.as_bytes(), &mut read);
        let refused = import(&place.path().join("home"), from, PASSWORD, &mut |_| {
            std::ops::ControlFlow::Continue(())
        });
        assert!(matches!(refused, Err(MoveError::NotOne(_))), "{refused:?}");
        assert!(read <= 2 * LONGEST_NAMES, "{read} bytes were read");
    }
    // A long name and a long link target are still names.
    let long = format!("workspaces/s/tree/{}", "d/".repeat(100) + &"n".repeat(200));
    let home = place.path().join("old");
    lived_in(&home);
    fs::create_dir_all(home.join(&long).parent().unwrap()).unwrap();
    symlink("t/".repeat(2000), home.join(&long)).unwrap();
    imported(&place.path().join("new"), &exported(&home).archive).unwrap();
    let link = fs::read_link(place.path().join("new").join(&long)).unwrap();
    assert_eq!(link.as_os_str().len(), 4000);
}
