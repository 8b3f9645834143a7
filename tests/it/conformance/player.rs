//! Plays the steps of a row against a relay.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use negentropy::{Id, Negentropy, NegentropyStorageVector};
use nostr::{Event, EventId, JsonUtil as _, Keys};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use treefort::nips::Draft;

use super::script::{Script, Step, Who};
use crate::harness::Client;

/// The connections of a row.
struct Player<'a> {
    url: &'a str,
    patience: Duration,
    clients: BTreeMap<Who, Client>,
    /// Subscriptions that were closed: a relay may say so.
    closed: BTreeSet<(Who, String)>,
}

/// Plays one row; why it failed.
pub(super) async fn play(url: &str, script: Script, patience: Duration) -> Result<(), String> {
    let mut player = Player {
        url,
        patience,
        clients: BTreeMap::new(),
        closed: BTreeSet::new(),
    };
    for (at, step) in script.steps.into_iter().enumerate() {
        let played = player.step(step).await;
        played.map_err(|reason| format!("step {}: {reason}", at + 1))?;
    }
    Ok(())
}

impl Player<'_> {
    async fn client(&mut self, who: Who) -> Result<&mut Client, String> {
        if !self.clients.contains_key(&who) {
            let client = Client::connect_to(self.url, Keys::generate()).await?;
            self.clients.insert(who, client);
        }
        Ok(self.clients.get_mut(&who).unwrap())
    }

    async fn say(&mut self, who: Who, frame: String) -> Result<(), String> {
        if let Ok((verb, name)) = serde_json::from_str::<(String, String)>(&frame)
            && verb == "CLOSE"
        {
            self.closed.insert((who, name));
        }
        self.client(who).await?.say(frame).await
    }

    async fn hear(&mut self, who: Who) -> Result<Value, String> {
        let patience = self.patience;
        loop {
            let heard = self.client(who).await?.hear(patience).await?;
            let name = heard[1].as_str().unwrap_or_default().to_owned();
            if heard[0] != "CLOSED" || !self.closed.remove(&(who, name)) {
                return Ok(heard);
            }
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Say(who, frame) => self.say(who, frame).await,
            Step::Hear(who, patterns) => {
                let heard = self
                    .hear(who)
                    .await
                    .map_err(|reason| format!("{reason}; wanted {}", patterns[0]))?;
                if patterns.iter().any(|pattern| fits(pattern, &heard)) {
                    return Ok(());
                }
                Err(format!("wanted {}, heard {}", patterns[0], brief(&heard)))
            }
            Step::HearAll(who, mut patterns) => {
                while !patterns.is_empty() {
                    let heard = self.hear(who).await?;
                    let place = patterns.iter().position(|pattern| fits(pattern, &heard));
                    let place = place.ok_or_else(|| format!("heard {}", brief(&heard)))?;
                    patterns.remove(place);
                }
                self.silence(who).await
            }
            Step::HearOnce(who, name, ids) => self.hear_once(who, name, ids).await,
            Step::Silence(who) => self.silence(who).await,
            Step::Answer(who, draft, keys, at, wanted) => {
                self.answer(who, draft, &keys, at, &wanted).await
            }
            Step::Reconcile(who, filter, have, need, lacks) => {
                self.reconcile(who, &filter, &have, need, lacks).await
            }
            Step::Http(request, start, head, body) => {
                self.http(&request, start, &head, &body).await
            }
            Step::Wait(time) => {
                tokio::time::sleep(time).await;
                Ok(())
            }
        }
    }

    /// Asks for what nobody has, and expects nothing before the answer.
    async fn silence(&mut self, who: Who) -> Result<(), String> {
        let nobody = "0".repeat(63) + "1";
        let frame = json!(["REQ", "silence", {"ids": [nobody], "limit": 1}]);
        self.client(who).await?.say(frame.to_string()).await?;
        let heard = self.hear(who).await?;
        if heard != json!(["EOSE", "silence"]) {
            return Err(format!("wanted nothing, heard {}", brief(&heard)));
        }
        let close = json!(["CLOSE", "silence"]).to_string();
        self.say(who, close).await
    }

    async fn hear_once(
        &mut self,
        who: Who,
        name: &str,
        mut ids: Vec<EventId>,
    ) -> Result<(), String> {
        let mut eose = false;
        while !eose || !ids.is_empty() {
            let heard = self.hear(who).await?;
            if heard == json!(["EOSE", name]) && !eose {
                eose = true;
                continue;
            }
            let place = ids
                .iter()
                .position(|id| fits(&json!(["EVENT", name, {"id": id}]), &heard));
            match place {
                Some(place) => drop(ids.remove(place)),
                None => return Err(format!("twice or not wanted: {}", brief(&heard))),
            }
        }
        self.silence(who).await
    }

    async fn answer(
        &mut self,
        who: Who,
        mut draft: Draft,
        keys: &Keys,
        at: u64,
        wanted: &Value,
    ) -> Result<(), String> {
        let (patience, url) = (self.patience, self.url);
        let client = self.client(who).await?;
        while client.challenge.is_none() {
            let heard = client.hear_any(patience).await;
            heard.map_err(|reason| format!("no challenge: {reason}"))?;
        }
        let challenge = client.challenge.clone().unwrap_or_default();
        for value in draft.tags.iter_mut().flatten() {
            *value = value
                .replace("{challenge}", &challenge)
                .replace("{relay}", url);
        }
        let event = draft.sign(keys, at).unwrap();
        let frame = format!(r#"["AUTH",{}]"#, event.as_json());
        client.say(frame).await?;
        let heard = client.hear(patience).await?;
        if heard[1] != event.id.to_hex() || !fits(wanted, &heard) {
            return Err(format!("wanted {wanted}, heard {}", brief(&heard)));
        }
        Ok(())
    }

    async fn reconcile(
        &mut self,
        who: Who,
        filter: &Value,
        have: &[Event],
        mut need: Vec<EventId>,
        mut lacks: Vec<EventId>,
    ) -> Result<(), String> {
        let mut storage = NegentropyStorageVector::new();
        for event in have {
            let id = Id::from_byte_array(event.id.to_bytes());
            storage.insert(event.created_at.as_secs(), id).unwrap();
        }
        storage.seal().unwrap();
        let mut ours = Negentropy::owned(storage, 0).unwrap();
        let first = hex::encode(ours.initiate().unwrap());
        let mut frame = json!(["NEG-OPEN", "neg", filter, first]);
        let (mut theirs, mut only_ours) = (Vec::new(), Vec::new());
        loop {
            self.client(who).await?.say(frame.to_string()).await?;
            let heard = self.hear(who).await?;
            let message = match (heard[0].as_str(), heard[2].as_str()) {
                (Some("NEG-MSG"), Some(message)) if heard[1] == "neg" => message,
                _ => return Err(format!("wanted NEG-MSG, heard {}", brief(&heard))),
            };
            let message = hex::decode(message).map_err(|error| error.to_string())?;
            let next = ours.reconcile_with_ids(&message, &mut only_ours, &mut theirs);
            match next.map_err(|error| error.to_string())? {
                Some(next) => frame = json!(["NEG-MSG", "neg", hex::encode(next)]),
                None => break,
            }
        }
        let close = json!(["NEG-CLOSE", "neg"]).to_string();
        self.client(who).await?.say(close).await?;
        for (what, wanted, ids) in [("has", &mut need, theirs), ("lacks", &mut lacks, only_ours)] {
            let mut found: Vec<EventId> = ids
                .iter()
                .map(|id| EventId::from_byte_array(id.to_bytes()))
                .collect();
            found.sort();
            wanted.sort();
            if found != *wanted {
                let (found, wanted) = (found.len(), wanted.len());
                return Err(format!("the relay {what} {found} events, not the {wanted}"));
            }
        }
        Ok(())
    }

    async fn http(
        &self,
        request: &str,
        start: &str,
        head: &[&str],
        body: &Value,
    ) -> Result<(), String> {
        let address = self
            .url
            .strip_prefix("ws://")
            .and_then(|rest| rest.split('/').next())
            .ok_or("only over ws://")?;
        let request = request.replace("{host}", address);
        let exchange = async {
            let mut stream = tokio::net::TcpStream::connect(address).await?;
            stream.write_all(request.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).into_owned())
        };
        let answer = tokio::time::timeout(self.patience, exchange)
            .await
            .map_err(|_| "no answer over HTTP".to_owned())?
            .map_err(|error| error.to_string())?;
        let (found, text) = answer.split_once("\r\n\r\n").ok_or("no HTTP")?;
        let found = found.to_ascii_lowercase();
        if !found.starts_with(&start.to_ascii_lowercase()) {
            return Err(format!("wanted {start}, heard {found}"));
        }
        if let Some(missing) = head.iter().find(|line| !found.contains(**line)) {
            return Err(format!("wanted {missing} in {found}"));
        }
        let text: Value = serde_json::from_str(text).unwrap_or(Value::Null);
        match body.is_null() || fits(body, &text) {
            true => Ok(()),
            false => Err(format!("wanted {body}, heard {text}")),
        }
    }
}

/// Whether a message is as a pattern says.
fn fits(pattern: &Value, value: &Value) -> bool {
    match (pattern, value) {
        (Value::String(pattern), _) if pattern == "*" => true,
        // Something before a colon, and something after it.
        (Value::String(pattern), Value::String(value)) if pattern == "*:*" => value
            .split_once(": ")
            .is_some_and(|(word, _)| !word.contains(' ')),
        (Value::String(pattern), Value::String(value)) => match pattern.strip_suffix('*') {
            Some(beginning) => value.starts_with(beginning),
            None => value == pattern,
        },
        (Value::Array(patterns), Value::Array(values)) => {
            patterns.len() == values.len()
                && (patterns.iter().zip(values)).all(|(pattern, value)| fits(pattern, value))
        }
        (Value::Object(patterns), Value::Object(values)) => patterns
            .iter()
            .all(|(name, pattern)| values.get(name).is_some_and(|value| fits(pattern, value))),
        _ => pattern == value,
    }
}

fn brief(value: &Value) -> String {
    value.to_string().chars().take(160).collect()
}
