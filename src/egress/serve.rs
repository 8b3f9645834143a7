//! One connection of a sandbox to its proxy: a head, a decision, and then bytes or a plain sentence.

use std::time::Duration;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::{Instant, timeout, timeout_at},
};

use super::{
    carry::carry,
    head::{self, Bad, Head, MAX_HEAD},
    host::Place,
    network::{Line, Network, Refusal, Way, Why},
    reach::{self, Unreached},
};

/// How long a head may take to come, and an answer of ours to go.
const HEAD: Duration = Duration::from_secs(15);
const ANSWER: Duration = Duration::from_secs(10);

/// Serves one connection.
pub(super) async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send>(
    network: &Network,
    mut stream: S,
) {
    let (head, rest) = match read(&mut stream).await {
        Ok(Some(read)) => read,
        Ok(None) => return,
        Err(bad) => {
            let status = if bad == Bad::Long { 431 } else { 400 };
            return answer(stream, status, &bad.to_string()).await;
        }
    };
    let place = &head.place;
    let (line, way) = match network.admit(place, head.plain.is_some()).await {
        Ok(admitted) => admitted,
        Err(refusal) => return refuse(stream, &refusal, Some((place, network))).await,
    };
    let mut outside = match reach::connect(&way, place, head.plain.is_some()).await {
        Ok(outside) => outside,
        Err(unreached) => {
            return refuse(
                stream,
                &Refusal::Unreached(unreached),
                Some((place, network)),
            )
            .await;
        }
    };
    // Whether small pieces wait for larger ones matters little.
    let _small = outside.set_nodelay(true);
    let begun = match &head.plain {
        None => {
            stream
                .write_all(b"HTTP/1.1 200 Connection established\r\n\r\n")
                .await
                .is_ok()
                && stream.flush().await.is_ok()
        }
        Some(plain) => {
            let text = match way {
                reach::Way::Addresses(..) => &plain.head,
                reach::Way::Proxy(_) => &plain.whole,
            };
            let sent = sends(&line, &mut outside, text).await;
            sent && (rest.is_empty() || sends(&line, &mut outside, &rest).await)
        }
    };
    if begun {
        let body = head
            .plain
            .as_ref()
            .map(|plain| plain.body.saturating_sub(rest.len() as u64));
        carry(&line, stream, outside, body).await;
    }
}

async fn sends(line: &Line<'_>, outside: &mut (impl AsyncWrite + Unpin), bytes: &[u8]) -> bool {
    line.goes_on().await;
    line.spends(Way::Out, bytes.len()) && outside.write_all(bytes).await.is_ok()
}

/// The head, and what came after it of the body; nothing when the other side left or is too slow.
async fn read(stream: &mut (impl AsyncRead + Unpin)) -> Result<Option<(Head, Vec<u8>)>, Bad> {
    let by = Instant::now() + HEAD;
    let mut bytes = Vec::with_capacity(1024);
    let mut piece = [0; 2048];
    loop {
        let read = match timeout_at(by, stream.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) | Err(_) => return Ok(None),
            Ok(Ok(read)) => read,
        };
        let looked_at = bytes.len();
        bytes.extend_from_slice(&piece[..read]);
        let Some(end) = head::end(&bytes, looked_at) else {
            if bytes.len() > MAX_HEAD {
                return Err(Bad::Long);
            }
            continue;
        };
        if end > MAX_HEAD {
            return Err(Bad::Long);
        }
        let head = head::read(&bytes[..end])?;
        let mut rest = bytes.split_off(end);
        match &head.plain {
            // Nobody may send before the way is open.
            None if !rest.is_empty() => return Err(Bad::Http),
            None => {}
            // One request on a connection: what follows its body is not read.
            Some(plain) => rest.truncate(usize::try_from(plain.body).unwrap_or(usize::MAX)),
        }
        return Ok(Some((head, rest)));
    }
}

/// Says in a sentence why a request goes no further.
pub(super) async fn refuse<S: AsyncRead + AsyncWrite + Unpin + Send>(
    stream: S,
    refusal: &Refusal,
    asked: Option<(&Place, &Network)>,
) {
    let place = asked
        .map(|(place, _)| place.to_string())
        .unwrap_or_default();
    let (status, sentence) = match refusal {
        Refusal::Verdict(why) => (
            403,
            match why {
                Why::NotNamed => {
                    let words = asked
                        .map(|(_, network)| network.rules().words().join(", "))
                        .unwrap_or_default();
                    format!("this job may not reach {place}: its network is {words}")
                }
                Why::Private => format!(
                    "this job may not reach {place}: it leads to this computer or into a private network"
                ),
                Why::SaidNo => format!("this job may not reach {place}: its owner said no"),
                Why::Unanswered => format!(
                    "this job may not reach {place}: its owner was asked and did not answer"
                ),
                Why::TooManyAsked => {
                    format!("this job may not reach {place}: it asked its owner for too many hosts")
                }
            },
        ),
        Refusal::TooManyHosts => (
            403,
            format!(
                "this job may not reach {place}: it asked for more hosts than its record holds"
            ),
        ),
        Refusal::Spent => (
            403,
            format!("this job may not reach {place}: it moved as many bytes as a job may"),
        ),
        Refusal::Unreached(Unreached::Private) => (
            403,
            format!("this job may not reach {place}: it leads to this computer"),
        ),
        Refusal::Unreached(Unreached::Unknown) => (502, format!("{place} is not known")),
        Refusal::Unreached(Unreached::Silent) => (504, format!("{place} does not answer")),
        Refusal::Over => (503, "there is a network only while a job runs".to_owned()),
    };
    answer(stream, status, &sentence).await;
}

/// An answer of the proxy's own. The sentence is in its first line too: of a refused `CONNECT` many programs show no
/// more.
async fn answer<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, status: u16, sentence: &str) {
    let line: String = sentence
        .chars()
        .take(300)
        .filter(|c| c.is_ascii_graphic() || *c == ' ')
        .collect();
    let text = format!("treefort: {sentence}\n");
    let answer = format!(
        "HTTP/1.1 {status} treefort: {line}\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{text}",
        text.len()
    );
    let going = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await
    };
    // Who does not read it waits for nothing else.
    let _gone = timeout(ANSWER, going).await;
}
