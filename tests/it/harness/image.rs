//! The chat agent's image is made once for a build of the program, before a test's clock or eyes are on it:
//! whose job comes first would be told that it is being made, and wait for it.

use std::{fs::File, io::Write as _, path::Path, process::Command, time::UNIX_EPOCH};

use super::PROGRAM;

/// Makes the image unless it was made for this build of the program.
pub(super) fn ready() {
    let program = std::fs::metadata(PROGRAM).unwrap();
    let built = program.modified().unwrap().duration_since(UNIX_EPOCH);
    let mark = format!("{} {}", program.len(), built.unwrap().as_nanos());
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join("chat-image");
    if std::fs::read_to_string(&path).is_ok_and(|known| known == mark) {
        return;
    }
    let lock = File::create(path.with_extension("lock")).unwrap();
    lock.lock().unwrap();
    if std::fs::read_to_string(&path).is_ok_and(|known| known == mark) {
        return;
    }
    let home = tempfile::tempdir().unwrap();
    let output = Command::new(PROGRAM)
        .args(["agent", "build", "chat", "--home"])
        .arg(home.path())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    File::create(&path)
        .unwrap()
        .write_all(mark.as_bytes())
        .unwrap();
}
