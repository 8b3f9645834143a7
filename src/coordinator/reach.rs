//! What an agent reaches outside of its sandbox: nothing, unless its job was given a network by the owner. Then every host
//! is on the record before a byte flows, once when it is first reached or refused in a turn, and once with what it came
//! to at the turn's end.

use tokio::{
    sync::{mpsc, oneshot},
    task::JoinSet,
};

use super::{
    asking::{self, Asked, Waiting},
    context::{Context, now},
    executor::Order,
    publisher::PublishError,
    saying::tag,
    session::{Lines, Session},
};
use crate::{
    agent::manifest::Manifest,
    egress::{ASK, Contact, Network, Place, Rules, Said, Tally, Verdict, Why},
    job::Failure,
    nips::{
        nip90::{JobRequest, request::NETWORK},
        session::ActionKind,
        workspace::OptionLine,
    },
    sandbox::{BoxedStream, NETWORK_VARIABLE, PROXY_PORT},
};

/// What a person who gives a network has to know.
const RISK: &str = "What an agent may reach, it may also send your files to.";
/// The word for a host that was let through.
const ALLOWED: &str = "allowed";
/// What an npm that was told to stay offline has to be told.
const NPM_OFFLINE: &str = "npm_config_offline";

/// A session's way out.
pub(super) struct Reach {
    network: Network,
    contacts: mpsc::Receiver<Contact>,
}

/// Whether a job may have the network that it asks for, if any.
///
/// # Errors
/// When it is not its owner's, or asks for what is no rule.
pub(super) fn check(context: &Context, request: &JobRequest) -> Result<(), Failure> {
    let asks = request.params.iter().any(|(name, _)| name == NETWORK);
    if asks && request.customer != context.admission.operator() {
        // Whose jobs run is one thing, what they may reach another.
        let sentence = "only the owner of this machine may give a job a network";
        return Err(Failure::new("not-admitted", sentence));
    }
    rules(context, request).map(drop)
}

/// What a job may reach; nothing, as a rule.
///
/// # Errors
/// When it asks for what is no rule.
pub(super) fn rules(context: &Context, request: &JobRequest) -> Result<Option<Rules>, Failure> {
    let named = request.params.iter().filter(|(name, _)| name == NETWORK);
    let words: Vec<&str> = named
        .flat_map(|(_, values)| values)
        .map(String::as_str)
        .collect();
    // Once more: what was taken in by an earlier treefort was looked at by that one.
    if words.is_empty() || request.customer != context.admission.operator() {
        return Ok(None);
    }
    let rules = context.egress.rules(words);
    rules
        .map(Some)
        .map_err(|error| Failure::new("input", error.to_string()))
}

impl Reach {
    /// A way out under these rules. It opens with the first turn.
    pub(super) fn new(context: &Context, rules: Rules) -> Self {
        let (network, contacts) = context.egress.open(rules);
        Self { network, contacts }
    }

    /// What the agent's programs are told of it. The model is reached without.
    pub(super) fn environment() -> Vec<(String, String)> {
        let proxy = format!("http://127.0.0.1:{PROXY_PORT}");
        let proxied = ["HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"];
        let not = ["NO_PROXY", "no_proxy"];
        let proxied = proxied.map(|name| (name.to_owned(), proxy.clone()));
        let not = not.map(|name| (name.to_owned(), "127.0.0.1,localhost,::1".to_owned()));
        // Node asks its own requests to keep to the variables only with this one.
        let others = [("NODE_USE_ENV_PROXY", "1"), (NETWORK_VARIABLE, "1")];
        let others = others.map(|(name, value)| (name.to_owned(), value.to_owned()));
        proxied.into_iter().chain(not).chain(others).collect()
    }

    /// What holds.
    pub(super) fn rules(&self) -> &Rules {
        self.network.rules()
    }

    /// Carries the sandbox's connections from now on.
    pub(super) fn serve(
        &self,
        mut streams: mpsc::Receiver<BoxedStream>,
        serving: &mut JoinSet<()>,
    ) {
        let network = self.network.clone();
        serving.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                tokio::select! {
                    stream = streams.recv() => match stream {
                        Some(stream) => {
                            let network = network.clone();
                            connections.spawn(async move { network.serve(stream).await });
                        }
                        None => return,
                    },
                    Some(_) = connections.join_next() => {}
                }
            }
        });
    }

    /// A turn begins.
    pub(super) fn begin(&self) {
        self.network.begin();
    }

    /// Nothing moves from now on, or goes on.
    pub(super) fn stand_still(&self, still: bool) {
        self.network.stand_still(still);
    }

    /// What the agent is told in front of its first prompt: its own words may say that there is none.
    pub(super) fn introduction(&self, manifest: &Manifest) -> String {
        let hosts = match self.rules().hosts().join(", ") {
            hosts if hosts.is_empty() => String::new(),
            hosts => format!(" It leads to {hosts}."),
        };
        let asks = match self.rules().asks() {
            true => " Your owner is asked about every other host.",
            false => "",
        };
        let npm = match manifest.env.contains_key(NPM_OFFLINE) {
            true => " npm is set to stay offline here: give it --offline=false.",
            false => "",
        };
        format!(
            "For this job there is a network after all, through the proxy that HTTP_PROXY and HTTPS_PROXY name.{hosts}{asks} \
             Everything else is refused.{npm}\n\n"
        )
    }
}

/// The rules, for the start of a session; of a private job that there are some is in `env` alone.
pub(super) fn tag_of(reach: Option<&Reach>, private: bool) -> Option<Vec<String>> {
    let words = reach.filter(|_| !private)?.rules().words().iter().cloned();
    Some(std::iter::once(NETWORK.to_owned()).chain(words).collect())
}

/// The same in words.
pub(super) fn with_network(reach: Option<&Reach>, private: bool) -> String {
    match reach {
        None => "without a network".to_owned(),
        Some(_) if private => "with a network of some hosts".to_owned(),
        Some(reach) => format!(
            "with a network of some hosts: {}",
            reach.rules().words().join(", ")
        ),
    }
}

/// What is to be recorded next; never, for a session without a network.
pub(super) async fn next(reach: &mut Option<Reach>) -> Contact {
    match reach {
        Some(reach) => match reach.contacts.recv().await {
            Some(contact) => contact,
            None => std::future::pending().await,
        },
        None => std::future::pending().await,
    }
}

/// Records a contact, or puts it to the owner.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn take(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
    contact: Contact,
) -> Result<(), PublishError> {
    match contact {
        Contact::Seen {
            place,
            verdict,
            recorded,
        } => {
            let alt = match (&verdict, session.private) {
                (Verdict::Allowed(rule), false) => format!("Reaches {}{}", shown(&place), by(rule)),
                (Verdict::Allowed(_), true) => "Reaches a host".to_owned(),
                (Verdict::Refused(why), false) => {
                    format!("May not reach {}: {}", shown(&place), sentence(*why))
                }
                (Verdict::Refused(_), true) => "May not reach a host".to_owned(),
            };
            let detail = detail(&place, &verdict, session.private);
            let entry = session.log.action(label(), detail, alt, "", now())?;
            session.publish(entry).await?;
            // Who asked may have gone.
            let _ = recorded.send(());
            Ok(())
        }
        Contact::Asks { place, answer } => ask(session, order, lines, &place, answer).await,
        Contact::Spent => {
            let sentence = "The job moved as many bytes over its network as it may, so it reaches nothing any more. \
                            `out_mb` and `in_mb` under [network] of treefort.toml set the limit.";
            let entry = session.log.error("network", true, sentence, now())?;
            session.publish(entry).await
        }
    }
}

/// Puts a host that no rule names to the owner.
async fn ask(
    session: &mut Session,
    order: &Order,
    lines: &Lines,
    place: &Place,
    answer: oneshot::Sender<Said>,
) -> Result<(), PublishError> {
    // Dropping the way to answer is a no.
    if session.stand.stopping || !session.stand.questions.has_room() {
        return Ok(());
    }
    let shown = shown(place);
    let text = format!("It wants to reach {shown} on the network. {RISK}");
    let option = |id: &str, kind: &str, name: &str| OptionLine {
        id: id.to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
    };
    let options = vec![
        option("1", "allow_once", "Once"),
        option("2", "allow_always", "For this session"),
        option("3", "reject_once", "No"),
    ];
    let detail = match session.private {
        true => Vec::new(),
        false => vec![host(place)],
    };
    let asked = Asked {
        about: String::new(),
        wish: format!("reach {shown}"),
        text,
        options,
        detail,
        answer: Waiting::Host(answer),
    };
    asking::put(session, order, lines, asked).await
}

/// A turn begins.
pub(super) fn begin(session: &Session) {
    if let Some(reach) = &session.process.reach {
        reach.begin();
    }
}

/// The turn is over: ends every connection, and records what each host came to.
///
/// # Errors
/// When the record cannot be written.
pub(super) async fn end(session: &mut Session) -> Result<(), PublishError> {
    let Some(reach) = &mut session.process.reach else {
        return Ok(());
    };
    let tallies = reach.network.end().await;
    // Those that wait to be told of went with their connections.
    while reach.contacts.try_recv().is_ok() {}
    for tally in tallies {
        if matches!(tally.verdict, Verdict::Refused(_)) && tally.count < 2 {
            continue;
        }
        let entry = sum(session, &tally)?;
        session.held.push(entry);
    }
    session.emit(Vec::new()).await
}

fn sum(session: &mut Session, tally: &Tally) -> Result<nostr::Event, PublishError> {
    let private = session.private;
    let place = match private {
        true => "a host".to_owned(),
        false => shown(&tally.place),
    };
    let times = match tally.count {
        1 => "1 connection".to_owned(),
        count => format!("{count} connections"),
    };
    let alt = match &tally.verdict {
        Verdict::Allowed(_) => {
            let (sent, received) = (size(tally.sent), size(tally.received));
            format!("Reached {place}: {times}, {sent} sent, {received} received")
        }
        Verdict::Refused(_) => format!("Was refused {place}: {times}"),
    };
    let mut detail = detail(&tally.place, &tally.verdict, private);
    detail.push(tag("count", [tally.count.to_string()]));
    detail.push(tag(
        "bytes",
        [tally.sent.to_string(), tally.received.to_string()],
    ));
    Ok(session.log.action(label(), detail, alt, "", now())?.event)
}

/// The list that names a host; one that is named itself needs no more words.
fn by(rule: &str) -> String {
    match rule {
        ASK => " (its owner said yes)".to_owned(),
        rule if rule.contains(['.', ':']) => String::new(),
        rule => format!(" ({rule})"),
    }
}

fn sentence(why: Why) -> &'static str {
    match why {
        Why::NotNamed => "no rule of the job names it",
        Why::Private => "it leads to this computer or into a private network",
        Why::SaidNo => "its owner said no",
        Why::Unanswered => "its owner did not answer",
        Why::TooManyAsked => "too many hosts were asked for",
    }
}

fn label() -> ActionKind {
    ActionKind::Other("network".to_owned())
}

/// Which host, and what became of it; of a private job which host stays unsaid, and so does the rule that names it.
fn detail(place: &Place, verdict: &Verdict, private: bool) -> Vec<Vec<String>> {
    let mut verdict = match verdict {
        Verdict::Allowed(rule) => vec!["verdict".to_owned(), ALLOWED.to_owned(), rule.clone()],
        Verdict::Refused(why) => tag("verdict", ["refused".to_owned(), why.word().to_owned()]),
    };
    if private {
        if verdict[1] == ALLOWED {
            verdict.truncate(2);
        }
        let length = place.to_string().len().to_string();
        return vec![verdict, tag("withheld", [length])];
    }
    vec![host(place), verdict]
}

fn host(place: &Place) -> Vec<String> {
    tag("host", [place.host.to_string(), place.port.to_string()])
}

/// A host for people: the port where it is none of the usual ones.
fn shown(place: &Place) -> String {
    match place.port {
        80 | 443 => place.host.to_string(),
        _ => place.to_string(),
    }
}

/// `1.2 MB`.
fn size(bytes: u64) -> String {
    let (unit, by) = match bytes {
        0..1_000 => return format!("{bytes} bytes"),
        1_000..1_000_000 => ("kB", 1_000),
        1_000_000..1_000_000_000 => ("MB", 1_000_000),
        _ => ("GB", 1_000_000_000),
    };
    format!("{}.{} {unit}", bytes / by, bytes % by * 10 / by)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_hosts_are_said_in_a_persons_words() {
        let sizes = [
            (0, "0 bytes"),
            (999, "999 bytes"),
            (1_250, "1.2 kB"),
            (1_200_000, "1.2 MB"),
            (3_000_000_000, "3.0 GB"),
        ];
        for (bytes, said) in sizes {
            assert_eq!(size(bytes), said);
        }
        let place = |text: &str| shown(&Place::parse(text, None).unwrap());
        assert_eq!(
            (place("a.com:443"), place("a.com:8443")),
            ("a.com".to_owned(), "a.com:8443".to_owned())
        );
    }
}
