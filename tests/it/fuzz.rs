//! What the fuzzers of `tests/fuzz` kept, through the same functions; an input that once crashed one is among it.

use std::{fs, path::Path};

#[expect(
    unreachable_pub,
    reason = "the fuzzers have these functions as a library"
)]
#[path = "../fuzz/src/lib.rs"]
mod targets;

/// Bytes of all that is kept.
const MOST: u64 = 1 << 20;

#[test]
fn what_the_fuzzers_kept_passes() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
    let mut bytes = 0;
    for (name, target) in targets::TARGETS {
        let mut count = 0;
        for entry in fs::read_dir(corpus.join(name)).unwrap() {
            let path = entry.unwrap().path();
            let input = fs::read(&path).unwrap();
            bytes += input.len() as u64;
            count += 1;
            if let Err(panic) = std::panic::catch_unwind(|| target(&input)) {
                eprintln!("{} crashes {name}", path.display());
                std::panic::resume_unwind(panic);
            }
        }
        assert!(count > 0, "{name} has a corpus");
    }
    assert!(bytes <= MOST, "{bytes} bytes are kept");
    let known = fs::read_dir(&corpus).unwrap().count();
    assert_eq!(known, targets::TARGETS.len(), "each corpus has its target");
}
