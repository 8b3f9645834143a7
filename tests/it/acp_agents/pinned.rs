//! The versions that `agents/` pins.

use super::*;

#[tokio::test]
async fn speaks_with_the_opencode_that_is_pinned() {
    let claims = replay(Expected {
        recording: include_str!("../../fixtures/acp/opencode-1.18.33.jsonl"),
        auth: None,
        mode: None,
        permissions: PermissionPolicy::Allow,
        text: "I wrote it.",
        usage: Some((100, 10)),
        option: None,
    })
    .await;
    // With full permissions it never asks, and never shows a difference.
    assert_eq!((permissions(&claims).len(), diffs(&claims)), (0, 0));
}
