//! A relay that the tests script, over real WebSockets: slow, cutting, rate-limiting, lying, refusing, replaying.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::{SinkExt as _, StreamExt as _};
use nostr::{Event, EventId, Filter, JsonUtil as _, filter::MatchEventOptions};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
    sync::broadcast,
    task::AbortHandle,
};
use tokio_rustls::TlsAcceptor;
use tokio_tungstenite::tungstenite::Message;

/// How the relay behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// Milliseconds before each answer to an event.
    pub(crate) slow: u64,
    /// Ends a connection after so many of its events, stored and not answered.
    pub(crate) cut_after: Option<usize>,
    /// Of each so many events in a row, the last is refused as too many.
    pub(crate) limit: Option<usize>,
    /// Kinds that it refuses, with its words.
    pub(crate) refuses: HashMap<u16, String>,
    /// Of each so many events that it takes, it throws the last away, and says that it took it.
    pub(crate) loses: Option<usize>,
    /// Sends these to every subscription, whatever it asks for.
    pub(crate) replays: Vec<Event>,
    /// Says this to everybody, first of all.
    pub(crate) babbles: Vec<String>,
    /// Wants to know who writes and reads.
    pub(crate) auth: bool,
    /// How many events fail first.
    pub(crate) fails: usize,
    /// Refuses every question.
    pub(crate) closed: bool,
    /// Ends the connection in which it would tell more than so many events that it has; once.
    pub(crate) tells: Option<usize>,
    /// Leaves every question unanswered.
    pub(crate) deaf: bool,
    /// What it does when somebody wants to reconcile (NIP-77), which it cannot.
    pub(crate) negentropy: Negentropy,
}

/// What a relay does that cannot reconcile.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Negentropy {
    /// Nothing.
    #[default]
    Unanswered,
    /// It says so.
    Refused,
    /// It ends the connection.
    Cut,
}

struct Shared {
    manner: Mutex<Manner>,
    /// Who it is, when it speaks TLS.
    tls: Option<TlsAcceptor>,
    /// What it has: the bytes as they came.
    kept: Mutex<Vec<(Event, String)>>,
    /// Where in it an event is.
    places: Mutex<HashMap<EventId, usize>>,
    /// How often each event was sent to it.
    sent: Mutex<HashMap<EventId, usize>>,
    /// The order in which events came.
    order: Mutex<Vec<EventId>>,
    /// How often it took an event, or had it already when it was sent: once for each, or somebody sent it in vain.
    taken: Mutex<HashMap<EventId, usize>>,
    /// What it said that it took, and threw away.
    lost: Mutex<Vec<EventId>>,
    /// All other messages.
    asked: Mutex<Vec<Value>>,
    connections: AtomicUsize,
    live: broadcast::Sender<Event>,
}

/// See the module; dropping it ends it.
pub(crate) struct Foreign {
    shared: Arc<Shared>,
    pub(crate) address: String,
    task: Mutex<AbortHandle>,
}

impl Foreign {
    pub(crate) async fn start(manner: Manner) -> Self {
        Self::start_as(manner, None).await
    }

    /// The same behind TLS.
    pub(crate) async fn start_as(manner: Manner, tls: Option<TlsAcceptor>) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        Self::start_on(listener, manner, tls)
    }

    /// The same, on a listener that there is.
    pub(crate) fn start_on(
        listener: std::net::TcpListener,
        manner: Manner,
        tls: Option<TlsAcceptor>,
    ) -> Self {
        listener.set_nonblocking(true).unwrap();
        let listener = TcpListener::from_std(listener).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shared = Arc::new(Shared {
            manner: Mutex::new(manner),
            tls,
            kept: Mutex::default(),
            places: Mutex::default(),
            sent: Mutex::default(),
            order: Mutex::default(),
            taken: Mutex::default(),
            lost: Mutex::default(),
            asked: Mutex::default(),
            connections: AtomicUsize::new(0),
            live: broadcast::channel(4096).0,
        });
        let task = Mutex::new(listen(listener, shared.clone()));
        Self {
            shared,
            address,
            task,
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("ws://{}/", self.address)
    }

    /// It behaves otherwise from here on.
    pub(crate) fn behave(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.shared.manner.lock().unwrap());
    }

    /// Nobody answers any more.
    pub(crate) fn stop(&self) {
        self.task.lock().unwrap().abort();
    }

    /// It is back, with what it had.
    pub(crate) async fn back(&self) {
        let listener = TcpListener::bind(&self.address).await.unwrap();
        *self.task.lock().unwrap() = listen(listener, self.shared.clone());
    }

    /// What it has.
    pub(crate) fn kept(&self) -> Vec<(Event, String)> {
        self.shared.kept.lock().unwrap().clone()
    }

    pub(crate) fn has(&self, id: &EventId) -> bool {
        self.shared.places.lock().unwrap().contains_key(id)
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.kept.lock().unwrap().len()
    }

    /// How often each event was sent.
    pub(crate) fn sent(&self) -> HashMap<EventId, usize> {
        self.shared.sent.lock().unwrap().clone()
    }

    pub(crate) fn order(&self) -> Vec<EventId> {
        self.shared.order.lock().unwrap().clone()
    }

    /// How often it took each event, or had it already.
    pub(crate) fn taken(&self) -> HashMap<EventId, usize> {
        self.shared.taken.lock().unwrap().clone()
    }

    /// What it threw away.
    pub(crate) fn lost(&self) -> BTreeSet<EventId> {
        self.shared.lost.lock().unwrap().iter().copied().collect()
    }

    pub(crate) fn asked(&self, verb: &str) -> Vec<Value> {
        let asked = self.shared.asked.lock().unwrap();
        asked
            .iter()
            .filter(|message| message[0] == verb)
            .cloned()
            .collect()
    }

    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }

    /// Somebody else publishes here.
    pub(crate) fn publish(&self, event: &Event) {
        keep(&self.shared, event, event.as_json());
        // Nobody may listen yet.
        let _ = self.shared.live.send(event.clone());
    }

    /// Sends an event again to whoever listens.
    pub(crate) fn replay(&self, event: &Event) {
        let _ = self.shared.live.send(event.clone());
    }
}

impl Drop for Foreign {
    fn drop(&mut self) {
        self.stop();
    }
}

fn listen(listener: TcpListener, shared: Arc<Shared>) -> AbortHandle {
    tokio::spawn(async move {
        let mut all = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let shared = shared.clone();
            all.spawn(async move {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                // What was said before a cut arrives: a promise that is lost was none.
                let _ = stream.set_nodelay(true);
                match &shared.tls {
                    None => serve(stream, &shared).await,
                    Some(tls) => {
                        if let Ok(stream) = tls.accept(stream).await {
                            serve(stream, &shared).await;
                        }
                    }
                }
            });
        }
    })
    .abort_handle()
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, shared: &Shared) {
    let Ok(mut socket) = tokio_tungstenite::accept_async(stream).await else {
        return;
    };
    let mut live = shared.live.subscribe();
    let mut open: HashMap<String, Vec<Filter>> = HashMap::new();
    let mut known = false;
    let mut events = 0;
    let babbles = shared.manner.lock().unwrap().babbles.clone();
    for words in babbles {
        // It hangs up when it has enough.
        if socket.send(Message::text(words)).await.is_err() {
            return;
        }
    }
    if shared.manner.lock().unwrap().auth {
        let challenge = json!(["AUTH", "prove it"]).to_string();
        let _ = socket.send(Message::text(challenge)).await;
    }
    loop {
        let text = tokio::select! {
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => text.to_string(),
                Some(Ok(Message::Close(_)) | Err(_)) | None => return,
                Some(Ok(_)) => continue,
            },
            Ok(event) = live.recv() => {
                for (name, filters) in &open {
                    if matches(filters, &event) {
                        let message = format!("[\"EVENT\",{},{}]", json!(name), event.as_json());
                        let _ = socket.send(Message::text(message)).await;
                    }
                }
                continue;
            }
        };
        let message: Value = serde_json::from_str(&text).unwrap();
        let manner = shared.manner.lock().unwrap().clone();
        let locked = manner.auth && !known;
        let answers = match message[0].as_str().unwrap() {
            "EVENT" => {
                events += 1;
                let raw = text["[\"EVENT\",".len()..text.len() - 1].to_owned();
                let event = Event::from_json(&raw).unwrap();
                event.verify().unwrap();
                if manner.slow > 0 {
                    tokio::time::sleep(Duration::from_millis(manner.slow)).await;
                }
                let (taken, words) = if locked {
                    (false, "auth-required: who are you".to_owned())
                } else {
                    take(shared, &manner, &event, raw, events)
                };
                if manner.cut_after.is_some_and(|most| events >= most) {
                    return;
                }
                vec![json!(["OK", event.id, taken, words]).to_string()]
            }
            "AUTH" => {
                let event = Event::from_json(message[1].to_string()).unwrap();
                event.verify().unwrap();
                let tags: Vec<_> = event
                    .tags
                    .iter()
                    .map(|tag| tag.as_slice().to_vec())
                    .collect();
                known = tags.contains(&vec!["challenge".to_owned(), "prove it".to_owned()]);
                vec![json!(["OK", event.id, known, ""]).to_string()]
            }
            "REQ" => {
                shared.asked.lock().unwrap().push(message.clone());
                let name = message[1].as_str().unwrap().to_owned();
                if locked {
                    vec![json!(["CLOSED", name, "auth-required: who are you"]).to_string()]
                } else if manner.closed {
                    vec![json!(["CLOSED", name, "blocked: write only"]).to_string()]
                } else if manner.deaf {
                    continue;
                } else {
                    let filters: Vec<Filter> = message.as_array().unwrap()[2..]
                        .iter()
                        .map(|filter| Filter::from_json(filter.to_string()).unwrap())
                        .collect();
                    let mut found: Vec<String> = stored(shared, &filters)
                        .into_iter()
                        .map(|raw| format!("[\"EVENT\",{},{raw}]", json!(name)))
                        .collect();
                    let replayed = manner
                        .replays
                        .iter()
                        .map(|event| format!("[\"EVENT\",{},{}]", json!(name), event.as_json()));
                    if manner.tells.is_some_and(|most| found.len() > most) {
                        shared.manner.lock().unwrap().tells = None;
                        for told in found.into_iter().take(manner.tells.unwrap_or_default()) {
                            let _ = socket.send(Message::text(told)).await;
                        }
                        let _ = socket.close(None).await;
                        return;
                    }
                    found.extend(replayed);
                    found.push(json!(["EOSE", name]).to_string());
                    open.insert(name, filters);
                    found
                }
            }
            "CLOSE" => {
                open.remove(message[1].as_str().unwrap());
                continue;
            }
            verb => {
                let is_open = verb == "NEG-OPEN";
                let name = message[1].clone();
                shared.asked.lock().unwrap().push(message);
                match manner.negentropy {
                    Negentropy::Refused if is_open => {
                        vec![json!(["NEG-ERR", name, "blocked: not today"]).to_string()]
                    }
                    Negentropy::Cut if is_open => return,
                    _ => continue,
                }
            }
        };
        for answer in answers {
            if socket.send(Message::text(answer)).await.is_err() {
                return;
            }
        }
    }
}

fn take(
    shared: &Shared,
    manner: &Manner,
    event: &Event,
    raw: String,
    events: usize,
) -> (bool, String) {
    *shared.sent.lock().unwrap().entry(event.id).or_default() += 1;
    shared.order.lock().unwrap().push(event.id);
    if let Some(words) = manner.refuses.get(&event.kind.as_u16()) {
        return (false, words.clone());
    }
    if manner
        .limit
        .is_some_and(|limit| events.is_multiple_of(limit))
    {
        return (false, "rate-limited: not so fast".to_owned());
    }
    if manner.fails > 0 {
        shared.manner.lock().unwrap().fails -= 1;
        return (false, "error: a bad day".to_owned());
    }
    *shared.taken.lock().unwrap().entry(event.id).or_default() += 1;
    let mut lost = shared.lost.lock().unwrap();
    let held = shared.kept.lock().unwrap().len();
    if shared.places.lock().unwrap().contains_key(&event.id) {
        return (false, "duplicate: have it".to_owned());
    }
    // One that is lost without a word was not promised.
    let cut = manner.cut_after.is_some_and(|most| events >= most);
    let of = held + lost.len() + 1;
    if !cut && manner.loses.is_some_and(|loses| of.is_multiple_of(loses)) {
        lost.push(event.id);
        return (true, String::new());
    }
    keep(shared, event, raw);
    // Nobody may listen.
    let _ = shared.live.send(event.clone());
    (true, String::new())
}

fn keep(shared: &Shared, event: &Event, raw: String) {
    let mut kept = shared.kept.lock().unwrap();
    let place = kept.len();
    shared.places.lock().unwrap().insert(event.id, place);
    kept.push((event.clone(), raw));
}

/// What it has that matches. Who names ids gets them without a look at everything.
fn stored(shared: &Shared, filters: &[Filter]) -> Vec<String> {
    let kept = shared.kept.lock().unwrap();
    let places = shared.places.lock().unwrap();
    let raw = |(event, raw): &(Event, String)| matches(filters, event).then(|| raw.clone());
    if filters.iter().all(|filter| filter.ids.is_some()) {
        let ids: BTreeSet<EventId> = filters
            .iter()
            .flat_map(|filter| filter.ids.clone().unwrap_or_default())
            .collect();
        let found = ids.iter().filter_map(|id| places.get(id));
        return found.filter_map(|place| raw(&kept[*place])).collect();
    }
    kept.iter().filter_map(raw).collect()
}

fn matches(filters: &[Filter], event: &Event) -> bool {
    filters
        .iter()
        .any(|filter| filter.match_event(event, MatchEventOptions::new()))
}
