//! What an agent built, in its owner's browser: a web app that it started in its sandbox, and the files of its copy.

mod app;
mod browser;
mod files;
mod hostile;
mod wire;

use super::*;
use wire::Opened;

/// A web server out of a shell: one process of it answers one connection. It is in the project, and so in the copy.
const APP: &str = r#"
read -r method path version
key= host= origin= cookie= length=0 upgrade=
while read -r line; do
    line=${line%?}
    [ -z "$line" ] && break
    value=${line#*: }
    case "$line" in
    sec-websocket-key:*) key=$value ;;
    host:*) host=$value ;;
    origin:*) origin=$value ;;
    cookie:*) cookie=$value ;;
    content-length:*) length=$value ;;
    esac
done
head() { printf 'HTTP/1.1 %s\r\nConnection: close\r\n' "$1"; }
case "$path" in
/hello*) head '200 OK'; printf 'Content-Type: text/plain\r\n\r\n%s %s host=%s origin=%s cookie=%s' "$method" "$path" "$host" "$origin" "$cookie" ;;
/post) head '200 OK'; printf 'Content-Length: %s\r\n\r\n' "$length"; busybox head -c "$length" ;;
/stream) head '200 OK'; printf 'Transfer-Encoding: chunked\r\n\r\n3\r\none\r\n'; busybox sleep 2; printf '3\r\ntwo\r\n0\r\n\r\n' ;;
/there) head '302 Found'; printf 'Location: http://localhost:8000/hello\r\nContent-Length: 0\r\n\r\n' ;;
/away) head '302 Found'; printf 'Location: http://evil.example/?secret\r\nContent-Length: 0\r\n\r\n' ;;
/cookie) head '200 OK'; printf 'Set-Cookie: a=b; Domain=localhost; Path=/\r\nSet-Cookie: __treefort=mine\r\nContent-Length: 0\r\n\r\n' ;;
/bad-policy) head '200 OK'; printf 'Content-Security-Policy: default-src *; report-uri http://127.0.0.1:9/\r\nLink: <http://evil.example>; rel=preconnect\r\nAccess-Control-Allow-Origin: *\r\nContent-Length: 0\r\n\r\n' ;;
/ws)
    accept=$(printf '%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11' "$key" | busybox sha1sum | busybox cut -c 1-40 | busybox xxd -r -p | busybox base64)
    printf 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: %s\r\n\r\n' "$accept"
    exec busybox cat ;;
/headers) printf 'HTTP/1.1 200 OK\r\n'; while :; do printf 'X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n'; done ;;
/line) printf 'HTTP/1.1 200 OK\r\nX-Long: '; exec busybox cat /dev/zero ;;
/big) head '200 OK'; printf 'Content-Length: 10737418240\r\n\r\n'; exec busybox cat /dev/zero ;;
/silent) exec busybox sleep 300 ;;
/garbage) exec busybox head -c 100000 /dev/urandom ;;
/hangup) ;;
/short) head '200 OK'; printf 'Content-Length: 1000\r\n\r\nshort' ;;
/upgrade) printf 'HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n' ;;
*) head '404 Not Found'; printf 'Content-Length: 0\r\n\r\n' ;;
esac
"#;

/// What an agent says to start it, and not wait for it.
const STARTS: &str =
    "busybox nc -ll -p 8000 -e /bin/sh /workspace/app.sh </dev/null >/dev/null 2>&1 & app=$!;";

/// A treefort whose sandboxes are of this kind, and whose sessions stay open this long.
async fn fort(runtime: &str, idle_s: u64) -> Fort {
    let config =
        format!("[sessions]\nidle_s = {idle_s}\nwarm = 0\n[sandbox]\nruntime = \"{runtime}\"\n");
    let fort = Fort::start_with(&config).await;
    fort.write("app.sh", APP);
    fort
}

impl Fort {
    /// Asks for a preview, as a program does.
    async fn preview(&self, arguments: &[&str]) -> Said {
        let command = [&["preview", "--detach", "--json"], arguments].concat();
        self.say(&command).await
    }

    /// Opens a preview in a browser.
    async fn opened(&self, arguments: &[&str]) -> Opened {
        let answer = self.preview(arguments).await.ok().json();
        Opened::by(answer["url"].as_str().unwrap()).await
    }

    /// Records of what the agent's programs listened on: the port, and whether it closed.
    async fn served(&self) -> Vec<(String, bool)> {
        let filter = json!({"kinds": [4782], "#l": ["serve"], "limit": 500});
        let mut client = self.client().await;
        let mut records = client.query(filter).await;
        records.sort_by_key(|record| tag(record, "seq").unwrap().parse::<u64>().unwrap());
        let closed = |record: &Event| record.tags.iter().any(|tag| tag.as_slice()[0] == "closed");
        let served = records.iter();
        served
            .map(|record| (tag(record, "port").unwrap(), closed(record)))
            .collect()
    }

    /// Waits for as many of these records.
    async fn wait_for_served(&self, count: usize) -> Vec<(String, bool)> {
        let began = Instant::now();
        loop {
            let served = self.served().await;
            if served.len() >= count {
                return served;
            }
            assert!(began.elapsed() < PATIENCE, "{served:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}
