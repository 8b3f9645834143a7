//! One session's network: what its rules say, what was asked and answered, what it moved, and what is told of it to
//! whoever keeps the record.
//!
//! It is open during a turn and closed between two: what runs on in a sandbox reaches nothing when nobody works.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::{mpsc, oneshot, watch},
};
use tokio_util::sync::CancellationToken;

use super::{
    Rules, Settings,
    host::Place,
    reach::{self, Unreached},
    rules::Decision,
    serve,
};

/// Hosts of a turn that are let through, and that are refused, with a record each. More are refused without one.
const MAX_HOSTS: usize = 100;
/// Questions of a turn.
const MAX_ASKED: usize = 20;
/// How long a turn's end waits for connections to stop.
const STOP: Duration = Duration::from_millis(500);

/// What is told while a turn runs.
#[derive(Debug)]
pub enum Contact {
    /// The first contact with a host in this turn. Nothing goes on before it is answered.
    Seen {
        /// Where.
        place: Place,
        /// What became of it.
        verdict: Verdict,
        /// To be answered when it is on the record.
        recorded: oneshot::Sender<()>,
    },
    /// A host that no rule names: its owner says.
    Asks {
        /// Where.
        place: Place,
        /// The answer; without one it is refused.
        answer: oneshot::Sender<Said>,
    },
    /// The job moved what it may: nothing goes on.
    Spent,
}

/// What an owner said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// The requests that wait for it.
    Once,
    /// And every further one of this session.
    Always,
    /// No.
    No,
    /// Nothing, in the time that there was.
    Nothing,
}

/// What became of a request.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Verdict {
    /// Let through, by this rule.
    Allowed(String),
    /// Refused.
    Refused(Why),
}

/// Why a request was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Why {
    /// No rule names the host.
    NotNamed,
    /// The host leads to this computer or into a private network.
    Private,
    /// Its owner said no.
    SaidNo,
    /// Its owner did not answer.
    Unanswered,
    /// More was asked than an owner can answer.
    TooManyAsked,
}

impl Why {
    /// The word for it on the wire.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::NotNamed => "not-named",
            Self::Private => "private-address",
            Self::SaidNo => "no",
            Self::Unanswered => "unanswered",
            Self::TooManyAsked => "too-many-asked",
        }
    }
}

/// What a host was to a turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Where.
    pub place: Place,
    /// What became of the requests.
    pub verdict: Verdict,
    /// Requests.
    pub count: u64,
    /// Bytes sent.
    pub sent: u64,
    /// Bytes received.
    pub received: u64,
}

/// One session's way out; its clones are the same.
#[derive(Clone)]
pub struct Network(Arc<Inner>);

struct Inner {
    settings: Arc<Settings>,
    rules: Rules,
    contacts: mpsc::Sender<Contact>,
    still: watch::Sender<bool>,
    active: watch::Sender<usize>,
    /// What the job may still send and receive.
    left: [AtomicU64; 2],
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// Ends what is open; nothing between two turns.
    turn: Option<CancellationToken>,
    seen: BTreeMap<(Place, Verdict), Arc<Seen>>,
    /// What the owner said, of a host.
    said: BTreeMap<Place, Said>,
    /// What is asked right now.
    asking: BTreeMap<Place, watch::Receiver<Option<Said>>>,
    asked: usize,
    spent: bool,
}

/// One host with one verdict in a turn.
#[derive(Default)]
struct Seen {
    count: AtomicU64,
    moved: [AtomicU64; 2],
    told: tokio::sync::Mutex<bool>,
}

/// A direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    Out = 0,
    In = 1,
}

/// Why a request goes no further.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    Verdict(Why),
    /// As many hosts as a record holds.
    TooManyHosts,
    /// The job moved what it may.
    Spent,
    /// The name is not known, or nobody answers.
    Unreached(Unreached),
    /// The turn is over.
    Over,
}

impl fmt::Debug for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Network")
            .field("rules", &self.0.rules)
            .finish_non_exhaustive()
    }
}

impl Network {
    pub(super) fn new(settings: Arc<Settings>, rules: Rules) -> (Self, mpsc::Receiver<Contact>) {
        let (contacts, told) = mpsc::channel(64);
        let inner = Inner {
            left: [settings.out_bytes, settings.in_bytes].map(AtomicU64::new),
            settings,
            rules,
            contacts,
            still: watch::Sender::new(false),
            active: watch::Sender::new(0),
            state: Mutex::default(),
        };
        (Self(Arc::new(inner)), told)
    }

    /// What holds.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.0.rules
    }

    /// A turn begins; one that has begun goes on.
    pub fn begin(&self) {
        let mut state = self.state();
        if state.turn.is_some() {
            return;
        }
        let said = std::mem::take(&mut state.said);
        *state = State {
            turn: Some(CancellationToken::new()),
            // Who said no to one job may be asked again in the next.
            said: said
                .into_iter()
                .filter(|(_, said)| *said == Said::Always)
                .collect(),
            ..State::default()
        };
        let most = [self.0.settings.out_bytes, self.0.settings.in_bytes];
        for (left, most) in self.0.left.iter().zip(most) {
            left.store(most, Ordering::Relaxed);
        }
    }

    /// The turn is over: ends every connection, and says what each host was to it.
    pub async fn end(&self) -> Vec<Tally> {
        if let Some(turn) = self.state().turn.take() {
            turn.cancel();
        }
        let mut active = self.0.active.subscribe();
        // One that is not still by then moves nothing either: its turn is over.
        drop(tokio::time::timeout(STOP, active.wait_for(|active| *active == 0)).await);
        let seen = std::mem::take(&mut self.state().seen);
        seen.into_iter()
            .map(|((place, verdict), seen)| Tally {
                place,
                verdict,
                count: seen.count.load(Ordering::Relaxed),
                sent: seen.moved[Way::Out as usize].load(Ordering::Relaxed),
                received: seen.moved[Way::In as usize].load(Ordering::Relaxed),
            })
            .collect()
    }

    /// Nothing moves from now on, or goes on.
    pub fn stand_still(&self, still: bool) {
        self.0.still.send_replace(still);
    }

    /// Serves one connection out of the sandbox, to its end.
    pub async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(&self, stream: S) {
        let turn = self.state().turn.clone();
        let Some(turn) = turn else {
            return serve::refuse(stream, &Refusal::Over, None).await;
        };
        let _active = Active::new(&self.0.active);
        tokio::select! {
            () = turn.cancelled() => {}
            () = serve::serve(self, stream) => {}
        }
    }

    /// Whether a request may go on, and over which connection's count. Its first one is told before this returns.
    pub(super) async fn admit(
        &self,
        place: &Place,
        plain: bool,
    ) -> Result<(Line<'_>, reach::Way), Refusal> {
        if self.state().spent {
            return Err(Refusal::Spent);
        }
        let allowed = match self.0.rules.decide(place, plain) {
            Decision::Allowed(rule) => Ok(rule.to_owned()),
            Decision::Refused => Err(Why::NotNamed),
            Decision::Ask => self.ask(place).await,
        };
        let looked = match allowed {
            Ok(rule) => match reach::look(&self.0.settings, place).await {
                Ok(way) => Ok((rule, way)),
                Err(Unreached::Private) => Err(Why::Private),
                Err(other) => return Err(Refusal::Unreached(other)),
            },
            Err(why) => Err(why),
        };
        match looked {
            Ok((rule, way)) => {
                let seen = self.tell(place, Verdict::Allowed(rule)).await?;
                Ok((
                    Line {
                        network: self,
                        seen,
                    },
                    way,
                ))
            }
            Err(why) => {
                self.tell(place, Verdict::Refused(why)).await?;
                Err(Refusal::Verdict(why))
            }
        }
    }

    /// What the owner says of a host; who asks for the same one meanwhile waits for the same answer.
    async fn ask(&self, place: &Place) -> Result<String, Why> {
        enum Turn {
            Mine(watch::Sender<Option<Said>>),
            Wait(watch::Receiver<Option<Said>>),
        }
        let turn = {
            let mut state = self.state();
            match state.said.get(place) {
                Some(said) => return verdict(*said),
                None => {}
            }
            let waiting = state.asking.get(place).cloned();
            match waiting {
                Some(answer) => Turn::Wait(answer),
                None if state.asked >= MAX_ASKED => return Err(Why::TooManyAsked),
                None => {
                    state.asked += 1;
                    let (mine, theirs) = watch::channel(None);
                    state.asking.insert(place.clone(), theirs);
                    Turn::Mine(mine)
                }
            }
        };
        let said = match turn {
            Turn::Wait(mut answer) => match answer.wait_for(Option::is_some).await {
                Ok(said) => said.unwrap_or(Said::Nothing),
                Err(_) => Said::Nothing,
            },
            Turn::Mine(tell) => {
                let (answer, said) = oneshot::channel();
                let place = place.clone();
                let asks = Contact::Asks {
                    place: place.clone(),
                    answer,
                };
                let said = match self.0.contacts.send(asks).await {
                    Ok(()) => said.await.unwrap_or(Said::Nothing),
                    Err(_) => Said::Nothing,
                };
                let mut state = self.state();
                state.asking.remove(&place);
                if said != Said::Once {
                    state.said.insert(place, said);
                }
                drop(state);
                tell.send_replace(Some(said));
                said
            }
        };
        verdict(said)
    }

    /// Counts a request, and tells of the first one with its host and its verdict.
    async fn tell(&self, place: &Place, verdict: Verdict) -> Result<Arc<Seen>, Refusal> {
        let allowed = matches!(verdict, Verdict::Allowed(_));
        let seen = {
            let mut state = self.state();
            let key = (place.clone(), verdict.clone());
            if !state.seen.contains_key(&key) {
                let same = |(_, known): &&(Place, Verdict)| {
                    matches!(known, Verdict::Allowed(_)) == allowed
                };
                if state.seen.keys().filter(same).count() >= MAX_HOSTS {
                    return Err(Refusal::TooManyHosts);
                }
            }
            state.seen.entry(key).or_default().clone()
        };
        seen.count.fetch_add(1, Ordering::Relaxed);
        let mut told = seen.told.lock().await;
        if !*told {
            let (recorded, done) = oneshot::channel();
            let contact = Contact::Seen {
                place: place.clone(),
                verdict,
                recorded,
            };
            let sent = self.0.contacts.send(contact).await;
            if sent.is_err() || done.await.is_err() {
                return Err(Refusal::Over);
            }
            *told = true;
        }
        drop(told);
        Ok(seen)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn verdict(said: Said) -> Result<String, Why> {
    match said {
        Said::Once | Said::Always => Ok(super::ASK.to_owned()),
        Said::No => Err(Why::SaidNo),
        Said::Nothing => Err(Why::Unanswered),
    }
}

/// One connection that was let through.
pub(super) struct Line<'a> {
    network: &'a Network,
    seen: Arc<Seen>,
}

impl Line<'_> {
    /// Whether so many bytes may go this way; they are counted then.
    pub(super) fn spends(&self, way: Way, bytes: usize) -> bool {
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        let left = &self.network.0.left[way as usize];
        let spent = left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| {
            left.checked_sub(bytes)
        });
        if spent.is_ok() {
            self.seen.moved[way as usize].fetch_add(bytes, Ordering::Relaxed);
            return true;
        }
        let first = !std::mem::replace(&mut self.network.state().spent, true);
        if first && self.network.0.contacts.try_send(Contact::Spent).is_err() {
            tracing::warn!("that a job moved as much as it may could not be told");
        }
        false
    }

    /// Bytes that its host moved in this turn.
    pub(super) fn moved(&self) -> u64 {
        let moved = &self.seen.moved;
        moved[0]
            .load(Ordering::Relaxed)
            .wrapping_add(moved[1].load(Ordering::Relaxed))
    }

    /// Whether its session stands still.
    pub(super) fn stands_still(&self) -> bool {
        *self.network.0.still.borrow()
    }

    /// Returns when its session does not stand still.
    pub(super) async fn goes_on(&self) {
        let mut still = self.network.0.still.subscribe();
        // The sender lives as long as the network.
        drop(still.wait_for(|still| !still).await);
    }
}

/// Counts a connection as long as it lives.
struct Active<'a>(&'a watch::Sender<usize>);

impl<'a> Active<'a> {
    fn new(active: &'a watch::Sender<usize>) -> Self {
        active.send_modify(|active| *active += 1);
        Self(active)
    }
}

impl Drop for Active<'_> {
    fn drop(&mut self) {
        self.0
            .send_modify(|active| *active = active.saturating_sub(1));
    }
}
