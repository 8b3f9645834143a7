//! A real browser with a page that tries every way out: Debian's Chromium, without a window.

use std::sync::{Arc, Mutex};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, UdpSocket},
};

use super::*;

/// A page that does what a page can to reach the canary, and says what became of it.
const PAGE: &str = r##"<!doctype html><html><head><meta charset=utf-8><title>x</title>
<link rel=preconnect href="http://CANARY/preconnect">
<link rel=prefetch href="http://CANARY/prefetch">
<link rel=preload as=image href="http://CANARY/preload">
<link rel=modulepreload href="http://CANARY/modulepreload">
<link rel=stylesheet href="http://CANARY/css">
<link rel=manifest href="http://CANARY/manifest">
<link rel=icon href="http://CANARY/icon">
<style>@import url(http://CANARY/import);@font-face{font-family:q;src:url(http://CANARY/font)}body{font-family:q;background:url(http://CANARY/bg)}</style>
<script type=speculationrules>{"prefetch":[{"source":"list","urls":["http://CANARY/speculation"],"eagerness":"immediate"}],"prerender":[{"source":"list","urls":["http://CANARY/prerender"],"eagerness":"immediate"}]}</script>
</head><body>
<img src="http://CANARY/img"><iframe src="http://CANARY/iframe"></iframe><object data="http://CANARY/object"></object>
<embed src="http://CANARY/embed"><video src="http://CANARY/video" autoplay></video><script src="http://CANARY/script"></script>
<form id=f target=t method=post action="http://CANARY/form"><input name=a value=b></form><iframe name=t></iframe>
<a id=ping href="#x" ping="http://CANARY/ping">p</a><pre id=out></pre>
<script>
const said = {}, E = 'http://CANARY/';
const say = (name, what) => { said[name] = what; document.getElementById('out').textContent = JSON.stringify(said); };
const tries = (name, what) => { try { what(); } catch { say(name, 'no'); } };
const of = (name, promise) => promise.then(() => say(name, 'yes')).catch(() => say(name, 'no'));
of('own', fetch('/own.txt').then(answer => answer.ok || Promise.reject()));
of('fetch', fetch(E + 'fetch', {mode: 'no-cors'}));
of('page', fetch('http://PAGE/', {mode: 'no-cors'}));
tries('xhr', () => { const x = new XMLHttpRequest(); x.onload = () => say('xhr', 'yes'); x.onerror = () => say('xhr', 'no'); x.open('GET', E + 'xhr'); x.send(); });
tries('ws', () => { const w = new WebSocket('ws://CANARY/ws'); w.onopen = () => say('ws', 'yes'); w.onerror = () => say('ws', 'no'); });
tries('es', () => { const s = new EventSource(E + 'es'); s.onopen = () => say('es', 'yes'); s.onerror = () => { say('es', 'no'); s.close(); }; });
tries('beacon', () => navigator.sendBeacon(E + 'beacon', 'x'));
tries('worker', () => { new Worker('/worker.js').onmessage = heard => say('worker', heard.data); });
tries('blob', () => { new Worker(URL.createObjectURL(new Blob(["fetch('" + E + "blob',{mode:'no-cors'}).then(()=>postMessage('yes')).catch(()=>postMessage('no'))"]))).onmessage = heard => say('blob', heard.data); });
tries('service', () => of('service', navigator.serviceWorker.register('/worker.js')));
tries('rtc', () => { const p = new RTCPeerConnection({iceServers: [{urls: 'stun:CANARY'}]}); p.createDataChannel('x'); p.createOffer().then(offer => p.setLocalDescription(offer)); });
tries('form', () => document.getElementById('f').submit());
tries('ping', () => document.getElementById('ping').click());
for (const inner of ["<img src='" + E + "srcdoc'>"]) { const frame = document.createElement('iframe'); frame.srcdoc = inner; document.body.append(frame); }
tries('data', () => { const frame = document.createElement('iframe'); frame.src = "data:text/html,<img src='" + E + "data'>"; document.body.append(frame); });
setTimeout(() => say('done', 'yes'), 2500);
</script></body></html>"##;

const WORKER: &str = "fetch('http://CANARY/worker',{mode:'no-cors'}).then(()=>postMessage('yes')).catch(()=>postMessage('no'))";

/// A service of this computer, and everything that reached it.
struct Canary {
    address: String,
    heard: Arc<Mutex<Vec<String>>>,
    _tasks: tokio::task::JoinSet<()>,
}

impl Canary {
    async fn sing() -> Self {
        let heard = Arc::new(Mutex::new(Vec::new()));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let socket = UdpSocket::bind(address).await.unwrap();
        let mut tasks = tokio::task::JoinSet::new();
        let (tcp, udp) = (heard.clone(), heard.clone());
        tasks.spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let mut piece = [0; 200];
                let read = stream.read(&mut piece);
                let read = tokio::time::timeout(Duration::from_millis(300), read).await;
                let n = read.map_or(0, |read| read.unwrap_or(0));
                let text = String::from_utf8_lossy(&piece[..n]).into_owned();
                let line = text.lines().next().unwrap_or("a connection").to_owned();
                tcp.lock().unwrap().push(line);
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok";
                drop(stream.write_all(answer).await);
            }
        });
        tasks.spawn(async move {
            let mut piece = [0; 100];
            while socket.recv_from(&mut piece).await.is_ok() {
                udp.lock().unwrap().push("a datagram".to_owned());
            }
        });
        Self {
            address: address.to_string(),
            heard,
            _tasks: tasks,
        }
    }

    fn heard(&self) -> Vec<String> {
        self.heard.lock().unwrap().clone()
    }
}

/// What a page looks like in the end.
async fn look(url: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut browser =
        tokio::process::Command::new(std::env::var("CHROMIUM").as_deref().unwrap_or("chromium"));
    browser
        .args([
            "--headless=new",
            "--disable-gpu",
            "--no-first-run",
            "--virtual-time-budget=6000",
        ])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(
            rustix::process::geteuid()
                .is_root()
                .then_some("--no-sandbox"),
        )
        .args(["--dump-dom", url])
        .stdin(Stdio::null())
        .stderr(Stdio::null())
        .kill_on_drop(true);
    let output = tokio::time::timeout(PATIENCE, browser.output()).await;
    let output = output.expect("the browser ends").expect("install chromium");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_in_a_browser_works_and_reaches_nothing_but_its_origin() {
    let canary = Canary::sing().await;
    let fort = fort("auto", 0).await;
    let with = |text: &str| {
        text.replace("CANARY", &canary.address)
            .replace("PAGE", &fort.treefort.address)
    };
    fort.write("index.html", &with(PAGE));
    fort.write("worker.js", &with(WORKER));
    fort.write("own.txt", "mine");
    fort.write(
        "away.html",
        &with("<script>location = 'http://CANARY/away?secret'</script>"),
    );
    fort.run("says done").await.ok();

    // The browser shows that it reaches the canary when it may.
    let open = format!("http://{}/there", canary.address);
    assert!(look(&open).await.contains("ok"));
    assert!(canary.heard().contains(&"GET /there HTTP/1.1".to_owned()));
    canary.heard.lock().unwrap().clear();

    // It finds the name by itself, gets the key, and shows the page.
    let answer = fort.preview(&["--static"]).await.ok().json();
    let seen = look(answer["url"].as_str().unwrap()).await;
    let said = seen
        .split("<pre id=\"out\">")
        .nth(1)
        .and_then(|rest| rest.split("</pre>").next());
    let said: BTreeMap<String, String> =
        serde_json::from_str(said.unwrap_or_else(|| panic!("{seen}"))).unwrap();
    assert_eq!(
        (said["own"].as_str(), said["done"].as_str()),
        ("yes", "yes"),
        "{said:?}"
    );
    let reached: Vec<&String> = said
        .iter()
        .filter(|(name, what)| *what == "yes" && !["own", "done"].contains(&name.as_str()))
        .map(|(name, _)| name)
        .collect();
    assert!(reached.is_empty(), "{reached:?}");
    for tried in [
        "fetch", "page", "xhr", "ws", "es", "worker", "blob", "service",
    ] {
        assert_eq!(said[tried], "no", "{tried}");
    }
    assert_eq!(canary.heard(), [""; 0]);

    // Where this browser can be kept from it, a page does not lead elsewhere either.
    fort.say(&["preview", "--end"]).await.ok();
    fort.write("index.html", "x");
    let copy = fort.copy().await;
    std::fs::copy(copy.join("away.html"), copy.join("index.html")).unwrap();
    let answer = fort.preview(&["--static"]).await.ok().json();
    look(answer["url"].as_str().unwrap()).await;
    if chromium() >= 152 {
        assert_eq!(canary.heard(), [""; 0]);
    }
}

/// The browser's version.
fn chromium() -> u32 {
    let said = Command::new(std::env::var("CHROMIUM").as_deref().unwrap_or("chromium"))
        .arg("--version")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&said.stdout).into_owned();
    let numbers = said
        .split_whitespace()
        .find_map(|word| word.split('.').next()?.parse().ok());
    numbers.unwrap_or_else(|| panic!("{said}"))
}
