//! treefort runs AI agents that can build anything and break nothing, with a Nostr relay as their only bus.
//!
//! # The way of an event
//!
//! ```text
//! customer (WebSocket, HTTP) ─┐
//! sync (down) ────────────────┤
//! publisher ──────────────────┴▶ relay::ingest ─▶ store::events ─▶ store::feed ─▶ coordinator::dispatcher
//!                                 id, signature,    append, seq n,    read after    job::Job::handle(input)
//!                                 policy            then OK           a cursor          │ Vec<Effect>
//!                                                       │                               ▼
//!                                                 subscriptions, streams,     coordinator::executor
//!                                                 sync (up)                   session · process · turn
//!   publisher (redact, sign, verify) ◀── recorder ◀── claims (agent) and facts (model, sandbox)
//! ```
//!
//! A customer's job (NIP-90) enters by the relay's one door and is committed before it is acknowledged. The
//! dispatcher follows the log by a cursor, drives the job's pure state machine, stores ledger, cursor and
//! signed answers in one change, and only then publishes and starts. The executor gives the job a session:
//! a container without a network, an agent in it, a key of its own on the host. What the agent says and what
//! the host saw become chained, signed records.
//!
//! # Code map
//!
//! | module | what it is |
//! |---|---|
//! | [`nips`] | the wire: kinds, drafts, NIP-90, session records; no I/O |
//! | [`keys`] | keyring, admission |
//! | [`store`] | events (a log with an index) and their feed, the search over them, the coordinator's state (sled), blobs |
//! | [`relay`] | connections, the one door, the writer, live subscriptions, its HTTP with the bridge |
//! | [`job`] | the life of a job, pure |
//! | [`workspace`] | a session's folder: snapshots, checkpoints and undo in a store that git reads |
//! | [`sandbox`] | containers behind the `Runtime` trait, the multiplexer, PID 1, images |
//! | [`egress`] | the proxy on the host for jobs that were given a network: who may be reached, and what was |
//! | [`preview`] | what an agent built, in the person's browser, on an origin of its own |
//! | [`agent`] | agents as data, our ACP peer, the chat agent |
//! | [`model`] | the gateway, the local model server, the demo's scripted one |
//! | [`recorder`] | session records: redacted, signed, chained |
//! | [`coordinator`] | dispatcher, executor, sessions, announcements, recovery |
//! | [`sync`] | what the owner shares with other relays, and what comes back |
//! | [`web`] | the page: who may ask, its assets, signing for the owner, folders, files |
//! | [`config`] | `treefort.toml` |
//! | [`server`] | the only assembler |
//! | [`cli`] | the command line, a Nostr client like any other |
//! | [`bucket`] | how much of something may happen at once, and in a second after that |
//! | [`loopback`] | places for connections, some of them the own user's alone |
//! | [`ndjson`] | lines out of byte streams, for agents and models |
//! | [`plain_toml`] | what is wrong with a settings file, in plain words |
//!
//! # Invariants, each with the test that keeps it
//!
//! * **Dependencies point one way.** `tidy::modules_import_only_what_the_table_allows`.
//! * **OK only after a durable commit**, and nothing is missed or repeated between stored and live:
//!   `relay::flow::nothing_is_missed_or_repeated_between_stored_and_live`, `crash::*`.
//! * **A job ends in exactly one result or one error**, whatever comes in whatever order and whenever the
//!   host dies: `job::tests::every_order_of_inputs_ends_in_one_terminal_answer`, `crash::*`.
//! * **A session has one start, one end, and a chain without gaps:** `recorder::log::tests::*`, `crash::*`.
//! * **Who listens over HTTP and comes back with a number misses nothing and gets nothing twice; HTTP lets nobody do what
//!   a WebSocket would not:** `relay::bridge::stream::*`, `relay::bridge::access::*`; it is what its description says:
//!   `described::*`.
//! * **What is encrypted, gone or purged is not found, and no word of anything is in the search's files:**
//!   `relay::search::*`.
//! * **Secret keys stay in the keyring:** `secrets::*`. What the host signs is redacted first:
//!   `recorder::redact::tests::*`.
//! * **A container has no network, no capability and no writable place but its scratch space:**
//!   `sandbox::docker_spec` tests on what is asked, `sandbox::hardening::*` on what the engine made of it.
//! * **A preview is an origin of its own that nobody reads without its key, and from which a page reaches nothing
//!   else:** `workspace::preview::hostile::*`, `workspace::preview::browser::*`.
//! * **What an agent sends is bounded and never trusted:** `agent::acp` and `sandbox::mux` tests,
//!   `sandbox::streams::*`.
//! * **A checkpoint is byte for byte what was there, or names what it leaves out; an undo ends in exactly a
//!   checkpoint, whenever the host dies; nothing outside of the tree is touched:**
//!   `workspace::tests::properties::*`, `workspace::tests::crash::*`, `workspace::tests::hostile::*`.
//! * **No page of another origin reads or acts, and nobody without a bearer:** `web::access::*`.
//! * **Nothing leaves unless the owner says so; what leaves does so once, as it was signed:** `sync::off::*`,
//!   `sync::three::*`, `sync::up::*`, `sync::crash::*`, `sync::policy::tests::*`.
//! * **Of two that follow each other only one does a job, and both fall silent:** `sync::two::*`.
//! * **Nothing that treefort signed itself starts a customer's job:**
//!   `jobs::access::nothing_that_treefort_signs_itself_starts_a_job`.

pub mod agent;
pub mod bucket;
pub mod cli;
pub mod config;
pub mod coordinator;
pub mod egress;
pub mod job;
pub mod keys;
pub mod loopback;
pub mod model;
pub mod ndjson;
pub mod nips;
pub mod plain_toml;
pub mod preview;
pub mod recorder;
pub mod relay;
pub mod sandbox;
pub mod server;
pub mod store;
pub mod sync;
pub mod web;
pub mod workspace;
