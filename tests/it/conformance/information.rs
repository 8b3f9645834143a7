//! NIP-11: what a relay says about itself, and that it is so.

use super::{
    Row, row,
    script::{A, Script, Step},
};
use serde_json::{Value, json};

const CORS: [&str; 3] = [
    "access-control-allow-origin: *",
    "access-control-allow-headers: ",
    "access-control-allow-methods: ",
];

fn http(s: &mut Script, head: &str, start: &'static str, wanted: &[&'static str], body: Value) {
    let request = format!("{head}\r\nHost: {{host}}\r\nConnection: close\r\n\r\n");
    s.steps
        .push(Step::Http(request, start, wanted.to_vec(), body));
}

fn document(s: &mut Script, wanted: &[&'static str], body: Value) {
    let head = "GET / HTTP/1.1\r\nAccept: application/nostr+json";
    http(s, head, "HTTP/1.1 200", wanted, body);
}

pub(super) const ROWS: &[Row] = &[
    row(11, "a document says what the relay is", |s| {
        let wanted =
            json!({"name": "*", "description": "*", "supported_nips": "*", "software": "*"});
        document(s, &["content-type: application/nostr+json"], wanted);
    }),
    row(11, "any page may read the document", |s| {
        document(s, &CORS, Value::Null);
    }),
    row(11, "a page may ask whether it may", |s| {
        let head = "OPTIONS / HTTP/1.1\r\nOrigin: https://page.example\r\n\
                    Access-Control-Request-Method: GET\r\nAccess-Control-Request-Headers: accept";
        http(s, head, "HTTP/1.1 20", &CORS, Value::Null);
    }),
    row(11, "the document has the relay's own key", |s| {
        document(s, &[], json!({"self": "*"}));
    }),
    row(11, "the document says which limits hold", |s| {
        let limits = json!({
            "max_message_length": "*", "max_subscriptions": "*", "max_limit": "*",
            "default_limit": "*", "max_subid_length": 64, "max_event_tags": "*",
            "max_content_length": "*", "auth_required": "*", "payment_required": false,
            "restricted_writes": "*", "created_at_upper_limit": "*",
        });
        document(s, &[], json!({"limitation": limits}));
    }),
    row(11, "the document comes among several types, too", |s| {
        let head = "GET / HTTP/1.1\r\nAccept: text/html;q=0.1, application/nostr+json;q=1";
        http(s, head, "HTTP/1.1 200", &[], json!({"name": "*"}));
    }),
    row(
        11,
        "a connection is open to who asks nothing of HTTP",
        |s| {
            s.silence(A);
        },
    ),
];
