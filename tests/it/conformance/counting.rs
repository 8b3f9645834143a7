//! NIP-45: how many events match.

use super::{
    Row, row,
    script::{A, Script},
};
use serde_json::{Value, json};
use treefort::nips::Draft;

/// Alice has three notes and two reactions; filters count these.
fn count(s: &mut Script, filters: fn(&str) -> Value, wanted: u64) {
    for n in 0..5 {
        let kind = if n < 3 { 1 } else { 7 };
        let event = s.sign(Draft::new(kind).content(n.to_string()));
        s.publish(A, &event);
    }
    let mut frame = vec![json!("COUNT"), json!("c")];
    if let Value::Array(filters) = filters(&s.author()) {
        frame.extend(filters);
    }
    s.say(A, Value::Array(frame));
    s.hear(A, json!(["COUNT", "c", {"count": wanted}]));
    s.silence(A);
}

pub(super) const ROWS: &[Row] = &[
    row(45, "what matches is counted", |s| {
        count(s, |author| json!([{"authors": [author]}]), 5);
    }),
    row(45, "what matches several filters is counted once", |s| {
        count(
            s,
            |author| json!([{"authors": [author]}, {"authors": [author], "kinds": [7]}]),
            5,
        );
    }),
    row(45, "nothing is counted too", |s| {
        count(s, |author| json!([{"authors": [author], "kinds": [9]}]), 0);
    }),
    row(45, "empty lists count nothing", |s| {
        count(s, |author| json!([{"authors": [author], "kinds": []}]), 0);
    }),
    row(45, "a COUNT that is not right is refused", |s| {
        s.say(A, json!(["COUNT", "c", {"kinds": ["x"]}]));
        s.hear_one_of(A, [json!(["CLOSED", "c", "*:*"]), json!(["NOTICE", "*"])]);
        s.silence(A);
    }),
];
