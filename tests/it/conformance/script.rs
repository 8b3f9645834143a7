//! What a row consists of: its people, its events, and its steps.

use std::time::Duration;

use nostr::{Event, EventId, JsonUtil as _, Keys, Timestamp};
use serde_json::{Value, json};
use treefort::nips::Draft;

/// A connection.
pub(super) type Who = usize;
/// The first connection.
pub(super) const A: Who = 0;
/// The second.
pub(super) const B: Who = 1;

/// One thing that is sent or expected.
pub(super) enum Step {
    /// A frame goes out.
    Say(Who, String),
    /// One of these comes.
    Hear(Who, Vec<Value>),
    /// These come, in any order, and nothing else.
    HearAll(Who, Vec<Value>),
    /// Each of these comes once, around one EOSE.
    HearOnce(Who, &'static str, Vec<EventId>),
    /// Nothing came but the answer to what is asked now.
    Silence(Who),
    /// An answer to the challenge, with `{challenge}` and `{relay}` filled in, and what comes of it.
    Answer(Who, Draft, Keys, u64, Value),
    /// A reconciliation over a filter: what we have, what we find out that the relay has beside, and it lacks.
    Reconcile(Who, Value, Vec<Event>, Vec<EventId>, Vec<EventId>),
    /// A request over HTTP, the beginning of its answer, what its head has to have, and what its body says.
    Http(String, &'static str, Vec<&'static str>, Value),
    /// Time passes.
    Wait(Duration),
}

/// What a row writes its steps with. Patterns: `*` stands for anything, `x*` for a string that begins with x; objects may
/// have more fields than the pattern.
pub(super) struct Script {
    /// Two people.
    pub(super) alice: Keys,
    pub(super) bob: Keys,
    /// The present, as events are dated unless they say otherwise.
    pub(super) now: u64,
    /// A word that no other row uses.
    pub(super) word: String,
    /// The relay's address.
    pub(super) relay: String,
    pub(super) steps: Vec<Step>,
}

impl Script {
    pub(super) fn new(relay: &str) -> Self {
        let alice = Keys::generate();
        Self {
            word: alice.public_key().to_hex()[..16].to_owned(),
            alice,
            bob: Keys::generate(),
            now: Timestamp::now().as_secs(),
            relay: relay.to_owned(),
            steps: Vec::new(),
        }
    }

    /// Signs as Alice, at the present.
    pub(super) fn sign(&self, draft: Draft) -> Event {
        self.sign_at(draft, self.now)
    }

    /// Signs as Alice, at a time.
    pub(super) fn sign_at(&self, draft: Draft, at: u64) -> Event {
        draft.sign(&self.alice, at).unwrap()
    }

    /// A note of Alice's.
    pub(super) fn note(&self, text: &str) -> Event {
        self.sign(Draft::new(1).content(text))
    }

    /// A note of Alice's of some seconds ago.
    pub(super) fn note_ago(&self, text: &str, ago: u64) -> Event {
        self.sign_at(Draft::new(1).content(text), self.now - ago)
    }

    /// A gift wrap for Alice, by nobody that is known.
    pub(super) fn wrap(&self, kind: u16) -> Event {
        Draft::new(kind)
            .tag(["p", &self.alice.public_key().to_hex()])
            .sign(&Keys::generate(), self.now)
            .unwrap()
    }

    /// Alice's key, in hexadecimal.
    pub(super) fn author(&self) -> String {
        self.alice.public_key().to_hex()
    }

    pub(super) fn raw(&mut self, who: Who, frame: impl Into<String>) {
        self.steps.push(Step::Say(who, frame.into()));
    }

    pub(super) fn say(&mut self, who: Who, frame: Value) {
        self.raw(who, frame.to_string());
    }

    pub(super) fn hear(&mut self, who: Who, pattern: Value) {
        self.steps.push(Step::Hear(who, vec![pattern]));
    }

    pub(super) fn hear_one_of(&mut self, who: Who, patterns: impl Into<Vec<Value>>) {
        self.steps.push(Step::Hear(who, patterns.into()));
    }

    pub(super) fn hear_all(&mut self, who: Who, patterns: impl Into<Vec<Value>>) {
        self.steps.push(Step::HearAll(who, patterns.into()));
    }

    pub(super) fn silence(&mut self, who: Who) {
        self.steps.push(Step::Silence(who));
    }

    pub(super) fn wait(&mut self, millis: u64) {
        self.steps.push(Step::Wait(Duration::from_millis(millis)));
    }

    /// Sends an event and leaves its OK to come.
    pub(super) fn send(&mut self, who: Who, event: &Event) {
        self.raw(who, format!(r#"["EVENT",{}]"#, event.as_json()));
    }

    /// Sends an event, which is taken.
    pub(super) fn publish(&mut self, who: Who, event: &Event) {
        self.send(who, event);
        self.hear(who, json!(["OK", event.id, true, "*"]));
    }

    /// Sends an event, which is refused with a reason that begins so.
    pub(super) fn refused(&mut self, who: Who, event: &Event, reason: &str) {
        self.send(who, event);
        self.hear(who, json!(["OK", event.id, false, format!("{reason}*")]));
    }

    /// Opens a subscription, which gets these events and then EOSE.
    pub(super) fn subscribe(&mut self, who: Who, name: &str, filters: &[Value], events: &[&Event]) {
        let mut frame = vec![json!("REQ"), json!(name)];
        frame.extend_from_slice(filters);
        self.say(who, Value::Array(frame));
        for event in events {
            self.live(who, name, event);
        }
        self.hear(who, json!(["EOSE", name]));
    }

    /// A subscription gets this event next.
    pub(super) fn live(&mut self, who: Who, name: &str, event: &Event) {
        self.hear(
            who,
            json!(["EVENT", name, {"id": event.id, "sig": event.sig}]),
        );
    }

    /// What is stored for filters is this, in this order.
    pub(super) fn stored(&mut self, who: Who, filters: &[Value], events: &[&Event]) {
        self.subscribe(who, "stored", filters, events);
        self.say(who, json!(["CLOSE", "stored"]));
    }

    /// What is stored of Alice's is this, in this order.
    pub(super) fn kept(&mut self, events: &[&Event]) {
        let filter = json!({"authors": [self.author()]});
        self.stored(A, &[filter], events);
    }

    /// Proves a key.
    pub(super) fn auth(&mut self, who: Who, keys: &Keys) {
        self.answer(who, keys, "{relay}", "{challenge}", 0, true);
    }

    /// Answers the challenge with what may not be right.
    pub(super) fn answer(
        &mut self,
        who: Who,
        keys: &Keys,
        relay: &str,
        challenge: &str,
        ago: u64,
        taken: bool,
    ) {
        let draft = Draft::new(22242)
            .tag(["relay", relay])
            .tag(["challenge", challenge]);
        let reason = if taken { "*" } else { "*:*" };
        let wanted = json!(["OK", "*", taken, reason]);
        let at = self.now - ago;
        self.steps
            .push(Step::Answer(who, draft, keys.clone(), at, wanted));
    }

    /// Reconciles: `have` is ours, `need` is what only the relay has, `lacks` what only we have.
    pub(super) fn reconcile(
        &mut self,
        who: Who,
        filter: Value,
        have: &[&Event],
        need: &[&Event],
        lacks: &[&Event],
    ) {
        let ids = |events: &[&Event]| events.iter().map(|event| event.id).collect::<Vec<_>>();
        let have: Vec<Event> = have.iter().map(|event| (*event).clone()).collect();
        let step = Step::Reconcile(who, filter, have, ids(need), ids(lacks));
        self.steps.push(step);
    }
}
