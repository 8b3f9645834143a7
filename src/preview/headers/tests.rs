//! What goes to an app, what comes back to a browser, and what a hostile app cannot have it told.

use super::*;

const HOST: &str = "abc.localhost:4000";

fn map(headers: &[(&'static str, &str)]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        map.append(*name, value.parse().unwrap());
    }
    map
}

fn all(headers: &HeaderMap, name: &str) -> Vec<String> {
    let values = headers.get_all(name).iter();
    values.map(|v| v.to_str().unwrap().to_owned()).collect()
}

#[test]
fn the_app_is_asked_at_localhost_and_never_sees_the_key() {
    let asked = map(&[
        ("host", HOST),
        ("origin", "http://abc.localhost:4000"),
        ("referer", "http://abc.localhost:4000/a?b"),
        ("cookie", "a=1; __treefort=secret; b=2"),
        ("cookie", "c=3"),
        ("connection", "keep-alive, X-Drop"),
        ("x-drop", "1"),
        ("keep-alive", "5"),
        ("upgrade", "h2c"),
        ("proxy-authorization", "x"),
        ("te", "trailers"),
        ("transfer-encoding", "chunked"),
        ("accept", "text/html"),
    ]);
    let seen = inward(&asked, HOST, 5173, false);
    let expected = map(&[
        ("host", "localhost:5173"),
        ("origin", "http://localhost:5173"),
        ("referer", "http://localhost:5173/a?b"),
        ("cookie", "a=1; b=2; c=3"),
        ("accept", "text/html"),
    ]);
    assert_eq!(seen, expected);
    let only_ours = map(&[("host", HOST), ("cookie", "__treefort=secret")]);
    let seen = inward(&only_ours, HOST, 80, true);
    let expected = map(&[
        ("host", "localhost:80"),
        ("connection", "Upgrade"),
        ("upgrade", "websocket"),
    ]);
    assert_eq!(seen, expected);
}

#[test]
fn every_answer_keeps_the_page_to_its_origin_whatever_the_app_says() {
    let said = map(&[
        ("content-type", "text/html"),
        (
            "content-security-policy",
            "default-src *; report-uri https://evil.example/x, img-src *; Report-To y",
        ),
        (
            "content-security-policy-report-only",
            "default-src 'none'; report-uri https://evil.example",
        ),
        ("permissions-policy", "camera=*"),
        ("referrer-policy", "unsafe-url"),
        ("reporting-endpoints", "y=\"https://evil.example\""),
        ("report-to", "{}"),
        ("nel", "{}"),
        ("link", "<https://evil.example>; rel=preconnect"),
        ("access-control-allow-origin", "*"),
        ("service-worker-allowed", "/"),
        ("strict-transport-security", "max-age=9"),
        ("cross-origin-opener-policy", "unsafe-none"),
        ("cross-origin-resource-policy", "cross-origin"),
        ("x-frame-options", "ALLOWALL"),
        ("x-dns-prefetch-control", "on"),
        ("connection-allowlist", "(\"https://evil.example\")"),
        ("refresh", "0; url=https://evil.example"),
        ("transfer-encoding", "chunked"),
        ("x-own", "kept"),
    ]);
    let seen = outward(&said, HOST, 5173).unwrap();
    let policies = all(&seen, "content-security-policy");
    assert_eq!(policies[0], "default-src *, img-src *");
    assert!(
        policies[1].starts_with("default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; ")
    );
    assert!(policies[1].contains("connect-src 'self' ws://abc.localhost:4000 "));
    assert_eq!(policies.len(), 2);
    assert_eq!(all(&seen, "cross-origin-opener-policy"), ["same-origin"]);
    assert_eq!(all(&seen, "cross-origin-resource-policy"), ["same-origin"]);
    assert_eq!(all(&seen, "referrer-policy"), ["same-origin"]);
    assert_eq!(all(&seen, "x-dns-prefetch-control"), ["off"]);
    let allowed = all(&seen, "connection-allowlist");
    assert_eq!(allowed, ["(response-origin);redirects=allow"]);
    assert_eq!(all(&seen, "x-frame-options"), ["SAMEORIGIN"]);
    assert!(all(&seen, "permissions-policy")[0].contains("camera=()"));
    assert_eq!(all(&seen, "permissions-policy").len(), 1);
    assert_eq!(all(&seen, "x-own"), ["kept"]);
    let text = format!("{seen:?}");
    for gone in [
        "evil",
        "service-worker",
        "access-control",
        "strict-transport",
        "chunked",
        "nel",
    ] {
        assert!(!text.contains(gone), "{gone}: {text}");
    }
}

#[test]
fn a_cookie_of_the_app_stays_with_it_and_never_becomes_ours() {
    let clean = |text: &str| {
        let seen = outward(&map(&[("set-cookie", text)]), HOST, 80).unwrap();
        all(&seen, "set-cookie")
    };
    assert_eq!(clean("a=b; Path=/; HttpOnly"), ["a=b; Path=/; HttpOnly"]);
    assert_eq!(clean("a=b; Domain=localhost; domain = x"), ["a=b"]);
    for taken in [
        "__treefort=x",
        " __treefort =x; Path=/",
        "__TREEFORT=x",
        "__treefort",
        "=__treefort=x",
    ] {
        assert_eq!(clean(taken), [""; 0], "{taken}");
    }
    let several = outward(
        &map(&[("set-cookie", "a=1"), ("set-cookie", "b=2")]),
        HOST,
        80,
    )
    .unwrap();
    assert_eq!(all(&several, "set-cookie"), ["a=1", "b=2"]);
}

#[test]
fn a_redirect_to_the_apps_own_address_stays_in_the_preview_and_no_other_is_handed_on() {
    let leads = |text: &str| {
        let seen = outward(&map(&[("location", text)]), HOST, 5173);
        seen.map(|seen| all(&seen, "location").remove(0))
    };
    let here = |rest: &str| Ok(format!("http://{HOST}{rest}"));
    for (to, seen) in [
        ("http://localhost:5173/a?b#c", here("/a?b#c")),
        ("http://127.0.0.1:5173", here("/")),
        ("http://[::1]:5173?x", here("/?x")),
        (
            "http://localhost:5173//evil.example",
            here("//evil.example"),
        ),
        ("http://abc.localhost:4000/x", here("/x")),
        ("/plain", here("/plain")),
        ("next?a", Ok("next?a".to_owned())),
        ("?a", Ok("?a".to_owned())),
    ] {
        assert_eq!(leads(to), seen, "{to}");
    }
    for elsewhere in [
        "http://localhost:51730/a",
        "http://localhost:5173.evil.example/",
        "https://localhost:5173/",
        "https://example.com/",
        "//evil.example/",
        "/\\evil.example/",
        "\\\\evil.example",
        "/\t/evil.example",
        "ht\ttp://evil.example",
        "http://abc.localhost:4001/",
        "http:\\\\evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "http://",
    ] {
        let seen = leads(elsewhere);
        assert!(matches!(seen, Err(Elsewhere(_))), "{elsewhere}: {seen:?}");
    }
}
