//! What a sandbox sends is bounded in bytes, count and time; and what settings may say.

use super::*;

#[tokio::test]
async fn what_a_job_moves_is_bounded_and_said_once() {
    let (own, _) = server(3 << 20).await;
    let place = format!("registry.lan:{}", own.port());
    let config = Config {
        in_mb: 1,
        ..with_private(std::slice::from_ref(&place))
    };
    let it = fixture(config, &[&place], vec![vec![own]]);
    let get = format!("GET http://{place}/ HTTP/1.1\r\n\r\n");
    let said = it.says(&get).await;
    assert!(
        said.len() <= 1 << 20 && said.len() > 900_000,
        "{}",
        said.len()
    );
    let again = it.says(&get).await;
    assert!(
        again.contains("it moved as many bytes as a job may"),
        "{again}"
    );
    let spent = it
        .seen()
        .iter()
        .filter(|(place, _)| place == "spent")
        .count();
    assert_eq!(spent, 1);
    // The next job has its own.
    it.network.end().await;
    it.network.begin();
    assert!(it.says(&get).await.len() > 900_000);
}

#[tokio::test]
async fn a_slow_head_is_given_up_and_a_long_one_refused() {
    let it = fixture(Config::default(), &["packages"], vec![]);
    let (mut stream, serving) = it.open();
    let began = Instant::now();
    let dripping = tokio::spawn(async move {
        for byte in connect("registry.npmjs.org:443").into_bytes() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            if stream.write_all(&[byte]).await.is_err() {
                return true;
            }
        }
        false
    });
    assert!(dripping.await.unwrap(), "it was waited for to the end");
    serving.await.unwrap();
    assert!(
        began.elapsed() < Duration::from_secs(20),
        "{:?}",
        began.elapsed()
    );
    let long = format!("GET http://a.com/{} HTTP/1.1\r\n\r\n", "a".repeat(40_000));
    let (mut stream, serving) = it.open();
    let writing = async {
        let _cut = stream.write_all(long.as_bytes()).await;
        let mut said = String::new();
        let _cut = stream.read_to_string(&mut said).await;
        said
    };
    assert!(writing.await.starts_with("HTTP/1.1 431 "));
    serving.await.unwrap();
    assert!(it.seen().is_empty() && it.looked.load(Ordering::Relaxed) == 0);
}

#[tokio::test]
async fn a_flood_of_hosts_is_refused_and_its_record_bounded() {
    let it = fixture(Config::default(), &["*.evil.example"], vec![vec![]]);
    for n in 0..150 {
        let said = it.says(&connect(&format!("h{n}.other.example:443"))).await;
        assert!(said.starts_with("HTTP/1.1 403 "), "{said}");
    }
    assert_eq!(it.seen().len(), 100);
    assert_eq!(
        it.looked.load(Ordering::Relaxed),
        0,
        "what is refused is not even looked up"
    );
    // The same host again and again is one.
    for _ in 0..20 {
        it.says(&connect("h1.other.example:443")).await;
    }
    assert_eq!(it.seen().len(), 100);
    let tallies = it.network.end().await;
    assert_eq!(tallies.iter().map(|tally| tally.count).max(), Some(21));
}

#[tokio::test]
async fn what_stands_still_moves_nothing_until_it_goes_on() {
    let (own, _) = server(0).await;
    let place = format!("registry.lan:{}", own.port());
    let it = fixture(
        with_private(std::slice::from_ref(&place)),
        &[&place],
        vec![vec![own]],
    );
    let (mut stream, _serving) = it.open();
    stream.write_all(connect(&place).as_bytes()).await.unwrap();
    let mut head = [0; 39];
    stream.read_exact(&mut head).await.unwrap();
    it.network.stand_still(true);
    stream.write_all(b"hello").await.unwrap();
    let mut said = [0; 5];
    let early = tokio::time::timeout(Duration::from_millis(300), stream.read_exact(&mut said));
    assert!(early.await.is_err(), "it moved while it stood still");
    it.network.stand_still(false);
    stream.read_exact(&mut said).await.unwrap();
    assert_eq!(&said, b"hello");
}

#[tokio::test]
async fn the_end_of_a_turn_is_the_end_of_its_connections() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let place = format!("registry.lan:{}", listener.local_addr().unwrap().port());
    let it = fixture(
        with_private(std::slice::from_ref(&place)),
        &[&place],
        vec![vec![listener.local_addr().unwrap()]],
    );
    let (mut stream, serving) = it.open();
    stream.write_all(connect(&place).as_bytes()).await.unwrap();
    let (mut far, _) = listener.accept().await.unwrap();
    let began = Instant::now();
    let tallies = it.network.end().await;
    assert!(began.elapsed() < Duration::from_secs(2));
    assert_eq!(tallies.len(), 1);
    serving.await.unwrap();
    let mut rest = Vec::new();
    assert_eq!(far.read_to_end(&mut rest).await.unwrap_or(0), 0);
}

#[test]
fn settings_that_say_nothing_are_refused() {
    let with = |change: fn(&mut Config)| {
        let mut config = Config::default();
        change(&mut config);
        Egress::new(config).unwrap_err().to_string()
    };
    assert!(
        with(|it| it.private = vec!["registry.lan".to_owned()])
            .contains("`registry.lan` is no host:port")
    );
    for proxy in [
        "https://a.com:1",
        "a.com:1",
        "http://a.com",
        "http://u:p@a.com:1",
    ] {
        let config = Config {
            proxy: proxy.to_owned(),
            ..Config::default()
        };
        assert!(
            Egress::new(config)
                .unwrap_err()
                .to_string()
                .contains("http://host:port"),
            "{proxy}"
        );
    }
    assert!(
        with(|it| drop(it.presets.insert("ask".to_owned(), vec![])))
            .contains("`ask` under [network.presets]")
    );
    assert!(
        with(|it| drop(
            it.presets
                .insert("mine".to_owned(), vec!["10.0.0.1".to_owned()])
        ))
        .contains("`mine`")
    );
    assert!(with(|it| drop(it.presets.insert("a.com".to_owned(), vec![]))).contains("`a.com`"));
}
