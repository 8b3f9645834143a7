//! The page (issue bars: first view 200 ms): from an event's commit to its appearance in the browser, from `up` to
//! the first useful view, and from a link to it, in Debian's Chromium.
//!
//! Run with `cargo bench --bench page`. Needs Node.js, Chromium, and `npm ci` in `tests/page` and `src/web/page`
//! (`tests/run setup` does both).

#![expect(clippy::unwrap_used, reason = "a benchmark fails by panicking")]

use std::process::Command;

fn main() {
    let root = env!("CARGO_MANIFEST_DIR");
    let status = Command::new("node")
        .arg(format!("{root}/benches/page/measure.mjs"))
        .env("TREEFORT_BIN", env!("CARGO_BIN_EXE_treefort"))
        .status()
        .unwrap();
    // It said which bar was missed, or what it could not do.
    if !status.success() {
        std::process::exit(1);
    }
}
