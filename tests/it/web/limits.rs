//! Bounds: of what a request carries, of how long it takes, and of how many wrong ones come.

use std::time::Instant;

use super::*;

#[tokio::test(flavor = "multi_thread")]
async fn what_a_request_carries_is_bounded() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let long = |bytes: usize| json!({"kind": 5050, "content": "x".repeat(bytes)});
    assert_eq!(page.post("/api/sign", &long(500 << 10)).await.status, 200);
    let answer = page.post("/api/sign", &long(1 << 20)).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too-large"));
    let events = json!({"events": vec![json!({}); 101]});
    assert_eq!(page.post("/api/decrypt", &events).await.status, 400);
    assert_eq!(page.enter(&"0".repeat(2000)).await.status, 413);
    assert_eq!(
        page.ask("PUT", "/api/files", &"x".repeat(16 << 20))
            .await
            .status,
        200
    );
    let answer = page
        .ask("PUT", "/api/files", &"x".repeat((16 << 20) + 1))
        .await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too-large"));

    // A length that is not said.
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, "x".repeat(1 << 20));
    let request = format!(
        "POST /api/sign HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}Content-Type: application/json\r\n\
         Transfer-Encoding: chunked\r\n\r\n{chunk}{chunk}0\r\n\r\n",
        page.address(),
        page.bearer()
    );
    assert_eq!(raw(page.address(), request.as_bytes()).await.status, 413);
    // What says that it is compressed is not unpacked, however little it is: it is no JSON.
    let request = format!(
        "POST /api/sign HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n{}Content-Type: application/json\r\n\
         Content-Encoding: gzip\r\nContent-Length: 19\r\n\r\n",
        page.address(),
        page.bearer()
    );
    let mut request = request.into_bytes();
    request.extend(b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xed\xc1\x01\x0d\x00\x00\x00\xc2\xa0");
    assert_eq!(raw(page.address(), &request).await.status, 400);
    // More is said than comes.
    let request = format!(
        "POST /api/enter HTTP/1.1\r\nHost: {}\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{{",
        page.address()
    );
    let mut stream = TcpStream::connect(page.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    let read = stream.read_exact(&mut answer);
    let read = tokio::time::timeout(Duration::from_secs(20), read).await;
    read.expect("in time").unwrap();
    assert_eq!(&answer, b"HTTP/1.1 408");
    // However many come slowly, the owner's code is taken.
    let mut slow = Vec::new();
    for _ in 0..40 {
        let mut stream = TcpStream::connect(page.address()).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        slow.push(stream);
    }
    let code = page.code().await;
    assert_eq!(page.enter(&code).await.status, 200);
    drop(slow);
    // Who may not ask is told before it is read.
    let began = Instant::now();
    let request = format!(
        "PUT /api/files HTTP/1.1\r\nHost: {}\r\nContent-Length: 16777216\r\n\r\n",
        page.address()
    );
    let mut stream = TcpStream::connect(page.address()).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 401");
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread")]
async fn guesses_are_slow_few_at_once_and_in_nobodys_way() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let code = page.code().await;
    let wrong = "Authorization: Bearer 1.2.3\r\n";
    let guesses = (0..60).map(|number| {
        let page = &page;
        async move {
            match number % 2 {
                0 => page.send("GET", "/api/who", wrong, "").await.status,
                _ => page.enter("0123").await.status,
            }
        }
    });
    let guesses = futures_util::future::join_all(guesses);
    let right = async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        (
            page.get("/api/who").await.status,
            page.enter(&code).await.status,
        )
    };
    let (guesses, right) = tokio::join!(guesses, right);
    assert_eq!(right, (200, 200));
    let of = |status| guesses.iter().filter(|is| **is == status).count();
    assert_eq!(of(401) + of(429), 60, "{guesses:?}");
    assert!(of(401) >= 1 && of(429) >= 1, "{guesses:?}");
    assert_eq!(page.get("/api/who").await.status, 200);
}

#[tokio::test(flavor = "multi_thread")]
async fn links_are_bounded_and_a_new_one_takes_the_place_of_the_oldest() {
    let model = ModelServer::start().await;
    let page = Page::open(&model).await;
    let mut codes = Vec::new();
    for _ in 0..33 {
        let url = page.post("/api/link", &json!({})).await.json()["url"].clone();
        codes.push(
            url.as_str()
                .unwrap()
                .split_once("#t=")
                .unwrap()
                .1
                .to_owned(),
        );
    }
    assert_eq!(page.enter(&codes[0]).await.status, 401);
    assert_eq!(page.enter(&codes[1]).await.status, 200);
    assert_eq!(page.enter(&codes[32]).await.status, 200);
}
