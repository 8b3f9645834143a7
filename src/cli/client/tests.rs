//! The client against a relay that lies, withholds and insists.

use std::sync::Arc;

use nostr::{Event, Filter, JsonUtil as _, Keys, Kind, RelayMessage, SubscriptionId, Timestamp};
use nostr::{filter::MatchEventOptions, message::ClientMessage};
use tokio::net::{TcpListener, TcpStream};
use tokio_tungstenite::WebSocketStream;

use super::*;
use crate::nips::{Draft, kind};

/// How a scripted relay behaves.
#[derive(Debug, Clone)]
struct Script {
    events: Vec<Event>,
    max_limit: usize,
    auth: bool,
}

async fn relay(script: Script) -> Relay {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let relay = Relay {
        address: listener.local_addr().unwrap(),
        key: Keys::generate().public_key(),
        max_limit: script.max_limit,
        version: None,
    };
    let script = Arc::new(script);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(serve(stream, script.clone()));
        }
    });
    relay
}

async fn serve(stream: TcpStream, script: Arc<Script>) {
    let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
    if script.auth {
        say(&mut socket, RelayMessage::auth("c")).await;
    }
    let mut admitted = !script.auth;
    while let Some(Ok(Message::Text(text))) = socket.next().await {
        match ClientMessage::from_json(text.as_str()).unwrap() {
            ClientMessage::Auth(event) => {
                admitted = event.kind.as_u16() == kind::CLIENT_AUTH && event.verify().is_ok();
                say(&mut socket, RelayMessage::ok(event.id, admitted, "")).await;
            }
            ClientMessage::Req {
                subscription_id,
                filters,
            } => {
                let id = subscription_id.into_owned();
                if !admitted {
                    say(
                        &mut socket,
                        RelayMessage::closed(id, "auth-required: who are you"),
                    )
                    .await;
                    continue;
                }
                answer(&mut socket, &script, id, &filters[0]).await;
            }
            ClientMessage::Event(event) => {
                let (ok, words) = if admitted {
                    (event.content != "bad", "blocked: you may not")
                } else {
                    (false, "auth-required: who are you")
                };
                say(&mut socket, RelayMessage::ok(event.id, ok, words)).await;
            }
            _ => {}
        }
    }
}

async fn answer(
    socket: &mut WebSocketStream<TcpStream>,
    script: &Script,
    id: SubscriptionId,
    filter: &Filter,
) {
    let mut found: Vec<&Event> = script
        .events
        .iter()
        .filter(|event| filter.match_event(event, MatchEventOptions::new()))
        .collect();
    found.sort_by(|a, b| b.created_at.cmp(&a.created_at).then(a.id.cmp(&b.id)));
    let limit = filter
        .limit
        .unwrap_or(script.max_limit)
        .min(script.max_limit);
    for event in found.into_iter().take(limit) {
        say(socket, RelayMessage::event(id.clone(), event.clone())).await;
    }
    say(socket, RelayMessage::eose(id)).await;
}

async fn say(socket: &mut WebSocketStream<TcpStream>, message: RelayMessage<'_>) {
    socket.send(Message::text(message.as_json())).await.unwrap();
}

fn notes(times: impl IntoIterator<Item = u64>) -> Vec<Event> {
    let keys = Keys::generate();
    let note = |(n, at): (usize, u64)| Draft::new(1).content(n.to_string()).sign(&keys, at);
    times
        .into_iter()
        .enumerate()
        .map(|x| note(x).unwrap())
        .collect()
}

fn all() -> Filter {
    Filter::new().kind(Kind::from(1))
}

#[tokio::test]
async fn reads_every_event_above_the_relays_limit() {
    // Five events a second, seven an answer: pages end within seconds.
    let events = notes((0..200).map(|n| 100 + n / 5));
    let script = Script {
        events: events.clone(),
        max_limit: 7,
        auth: false,
    };
    let mut client = Client::connect(relay(script).await, None).await.unwrap();
    let read = client.query(all()).await.unwrap();
    assert_eq!(read.len(), 200);
    assert!(
        read.windows(2)
            .all(|pair| pair[0].created_at >= pair[1].created_at)
    );
    let newest = client.newest(all(), 3).await.unwrap();
    assert_eq!(newest.len(), 3);
    assert_eq!(newest[0].created_at, Timestamp::from(139));
}

#[tokio::test]
async fn says_when_one_second_holds_more_than_an_answer() {
    let script = Script {
        events: notes(std::iter::repeat_n(5, 20)),
        max_limit: 7,
        auth: false,
    };
    let mut client = Client::connect(relay(script).await, None).await.unwrap();
    assert!(matches!(
        client.query(all()).await,
        Err(Error::TooDense { limit: 7 })
    ));
}

#[tokio::test]
async fn shows_no_event_that_does_not_verify() {
    let mut events = notes([1, 2, 3]);
    events[1].content.push('!');
    let script = Script {
        events,
        max_limit: 2,
        auth: false,
    };
    let mut client = Client::connect(relay(script).await, None).await.unwrap();
    assert_eq!(client.query(all()).await.unwrap().len(), 2);
}

#[tokio::test]
async fn authenticates_when_asked_and_has_a_key() {
    let script = Script {
        events: notes([1]),
        max_limit: 10,
        auth: true,
    };
    let relay = relay(script).await;
    let mut known = Client::connect(relay.clone(), Some(Keys::generate()))
        .await
        .unwrap();
    assert_eq!(known.query(all()).await.unwrap().len(), 1);
    known.publish(&notes([7])[0]).await.unwrap();

    let mut stranger = Client::connect(relay, None).await.unwrap();
    match stranger.query(all()).await {
        Err(Error::Refused(refused)) => assert!(refused.is_not_admitted()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_subscription_that_was_refused_while_something_else_was_awaited_is_asked_again() {
    let script = Script {
        events: notes([1]),
        max_limit: 10,
        auth: true,
    };
    let keys = Some(Keys::generate());
    let mut client = Client::connect(relay(script).await, keys).await.unwrap();
    let id = client.subscribe(vec![all()]).await.unwrap();
    // The relay says to both that it wants to know who asks, before it can have read the proof.
    client.publish(&notes([7])[0]).await.unwrap();
    let heard = async { [client.next().await.unwrap(), client.next().await.unwrap()] };
    let heard = tokio::time::timeout(Duration::from_secs(10), heard);
    let [(first, event), (second, live)] = heard.await.expect("nothing comes");
    assert!(first == id && second == id);
    assert!(matches!(event, Update::Event(_)) && matches!(live, Update::Live));
}

#[tokio::test]
async fn a_subscription_that_ended_while_something_else_was_awaited_is_said_to_have_ended() {
    let script = Script {
        events: Vec::new(),
        max_limit: 10,
        auth: true,
    };
    let mut client = Client::connect(relay(script).await, None).await.unwrap();
    client.subscribe(vec![all()]).await.unwrap();
    assert!(client.publish(&notes([7])[0]).await.is_err());
    let next = tokio::time::timeout(Duration::from_secs(10), client.next());
    match next.await.expect("nothing comes") {
        Err(Error::Refused(refused)) => assert!(refused.is_not_admitted()),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_refusal_is_an_error_in_the_relays_words() {
    let script = Script {
        events: Vec::new(),
        max_limit: 10,
        auth: false,
    };
    let mut client = Client::connect(relay(script).await, None).await.unwrap();
    let bad = Draft::new(1)
        .content("bad")
        .sign(&Keys::generate(), 1)
        .unwrap();
    let error = client.publish(&bad).await.unwrap_err();
    assert_eq!(error.to_string(), "treefort refused: blocked: you may not");
}

#[tokio::test]
async fn a_subscription_keeps_what_arrives_while_something_else_is_asked() {
    let script = Script {
        events: notes([1, 2]),
        max_limit: 10,
        auth: false,
    };
    let mut client = Client::connect(relay(script).await, None).await.unwrap();
    let id = client.subscribe(vec![all()]).await.unwrap();
    assert_eq!(client.query(all()).await.unwrap().len(), 2);
    for _ in 0..2 {
        let (of, update) = client.next().await.unwrap();
        assert!(of == id && matches!(update, Update::Event(_)));
    }
    assert!(matches!(client.next().await.unwrap().1, Update::Live));
}
