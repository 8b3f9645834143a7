//! What of a request's headers an app sees, what of its answer's a browser sees, and what a browser is told beside.
//!
//! The app believes that it is asked at `localhost` by its own page, as a development server wants. The browser is
//! told to keep the page to this origin. What it cannot be told: that the page leads nowhere (a link, a redirect,
//! a form's result that is one), and that it prepares no connection (`preconnect`): each can carry data out in an
//! address. A person who does not trust the agent sees to where the page leads, as on any site.

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};

use super::access::{COOKIE, cookies};

/// What concerns one connection (RFC 9110, 7.6.1), beside what `Connection` names.
const HOP: [&str; 7] = [
    "connection",
    "keep-alive",
    "proxy-connection",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];

/// What of an app's answer stays away from the browser: it would have it report or connect elsewhere, take the
/// limits below away or widen them, or reach beyond this origin.
const WITHHELD: [&str; 24] = [
    "alt-svc",
    "attribution-reporting-register-source",
    "attribution-reporting-register-trigger",
    "clear-site-data",
    "critical-ch",
    "expect-ct",
    "feature-policy",
    "link",
    "nel",
    "no-vary-search",
    "observe-browsing-topics",
    "origin-agent-cluster",
    "origin-trial",
    "permissions-policy",
    "public-key-pins",
    "referrer-policy",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-login",
    "speculation-rules",
    "strict-transport-security",
    "supports-loading-mode",
    "x-dns-prefetch-control",
];

/// What no page of a preview may use of the browser, the computer and its person.
const PERMISSIONS: [&str; 44] = [
    "accelerometer",
    "ambient-light-sensor",
    "attribution-reporting",
    "autoplay",
    "battery",
    "bluetooth",
    "browsing-topics",
    "camera",
    "clipboard-read",
    "clipboard-write",
    "compute-pressure",
    "display-capture",
    "document-domain",
    "encrypted-media",
    "fullscreen",
    "gamepad",
    "geolocation",
    "gyroscope",
    "hid",
    "identity-credentials-get",
    "idle-detection",
    "interest-cohort",
    "join-ad-interest-group",
    "keyboard-map",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "otp-credentials",
    "payment",
    "picture-in-picture",
    "private-aggregation",
    "publickey-credentials-create",
    "publickey-credentials-get",
    "run-ad-auction",
    "screen-wake-lock",
    "serial",
    "shared-storage",
    "speaker-selection",
    "storage-access",
    "usb",
    "web-share",
    "window-management",
    "xr-spatial-tracking",
];

/// The headers of a request as the app at `port` gets them; `host` is the preview's own.
pub(super) fn inward(headers: &HeaderMap, host: &str, port: u16, websocket: bool) -> HeaderMap {
    let there = format!("http://localhost:{port}");
    let here = format!("http://{host}");
    let mut kept = without_hops(headers);
    kept.remove("expect");
    kept.remove("http2-settings");
    kept.remove(header::COOKIE);
    let own: Vec<String> = cookies(headers)
        .filter(|(name, _)| !name.is_empty() && *name != COOKIE)
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if !own.is_empty() {
        set(&mut kept, header::COOKIE, &own.join("; "));
    }
    set(&mut kept, header::HOST, &format!("localhost:{port}"));
    for name in [header::ORIGIN, header::REFERER] {
        let seen = kept.get(&name).and_then(|value| value.to_str().ok());
        let rest = seen.and_then(|seen| seen.strip_prefix(&here));
        if let Some(rest) = rest.map(str::to_owned) {
            set(&mut kept, name, &format!("{there}{rest}"));
        }
    }
    if websocket {
        kept.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        kept.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    }
    kept
}

/// The headers of an app's answer as a browser gets them.
pub(super) fn outward(headers: &HeaderMap, host: &str, port: u16) -> HeaderMap {
    let mut kept = HeaderMap::new();
    for (name, value) in &without_hops(headers) {
        if is_withheld(name.as_str()) {
            continue;
        }
        let value = match *name {
            header::SET_COOKIE => cookie(value),
            header::LOCATION => location(value, port),
            header::CONTENT_SECURITY_POLICY => silent(value),
            _ => Some(value.clone()),
        };
        if let Some(value) = value {
            kept.append(name.clone(), value);
        }
    }
    protect(&mut kept, host);
    kept
}

/// Adds what keeps a page to its origin. The app's own policy stays beside it: both hold.
pub(super) fn protect(headers: &mut HeaderMap, host: &str) {
    let policy = format!(
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; \
         connect-src 'self' ws://{host} data: blob:; base-uri 'self'; form-action 'self'; \
         frame-ancestors 'self'; webrtc 'block'"
    );
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        headers.append(header::CONTENT_SECURITY_POLICY, policy);
    }
    let permissions = PERMISSIONS.map(|name| format!("{name}=()")).join(", ");
    set(headers, "permissions-policy", &permissions);
    for (name, value) in [
        // Nothing of an address goes to another site. Within the origin it has to: without it a form's request has no
        // `Origin`, and frameworks refuse it.
        ("referrer-policy", "same-origin"),
        ("x-dns-prefetch-control", "off"),
        ("x-frame-options", "SAMEORIGIN"),
        ("cross-origin-opener-policy", "same-origin"),
        ("cross-origin-resource-policy", "same-origin"),
        ("x-robots-tag", "noindex"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
}

fn set(headers: &mut HeaderMap, name: impl TryInto<HeaderName>, value: &str) {
    if let (Ok(name), Ok(value)) = (name.try_into(), HeaderValue::from_str(value)) {
        headers.insert(name, value);
    }
}

/// All but what concerns one connection only.
fn without_hops(headers: &HeaderMap) -> HeaderMap {
    let named: Vec<String> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    let mut kept = headers.clone();
    for name in HOP.into_iter().chain(named.iter().map(String::as_str)) {
        kept.remove(name);
    }
    let proxy: Vec<HeaderName> = kept
        .keys()
        .filter(|name| name.as_str().starts_with("proxy-"))
        .cloned()
        .collect();
    for name in proxy {
        kept.remove(name);
    }
    kept
}

fn is_withheld(name: &str) -> bool {
    WITHHELD.contains(&name)
        || name.ends_with("-report-only")
        || name.starts_with("access-control-")
        || name.starts_with("sec-") && !name.starts_with("sec-websocket-")
}

/// A cookie of the app's, for this host alone; never one that takes the place of ours.
fn cookie(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let mut parts = text.split(';');
    let pair = parts.next()?;
    let name = pair.split_once('=').map_or("", |(name, _)| name).trim();
    // Browsers take a cookie without a name for one that is called like its value.
    if name.is_empty() || name.eq_ignore_ascii_case(COOKIE) {
        return None;
    }
    let is_domain = |part: &&str| {
        let name = part.split('=').next().unwrap_or_default();
        !name.trim().eq_ignore_ascii_case("domain")
    };
    let rest: Vec<&str> = parts.filter(is_domain).collect();
    let text = [&[pair][..], &rest].concat().join(";");
    HeaderValue::from_str(&text).ok()
}

/// Where an app leads that believes to be at `localhost`.
fn location(value: &HeaderValue, port: u16) -> Option<HeaderValue> {
    let Ok(text) = value.to_str() else {
        return None;
    };
    for name in ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"] {
        let Some(rest) = text.strip_prefix(&format!("http://{name}:{port}")) else {
            continue;
        };
        if rest.is_empty() || rest.starts_with(['/', '?', '#']) {
            // One slash: two would be another host.
            let rest = format!("/{}", rest.trim_start_matches('/'));
            return HeaderValue::from_str(&rest).ok();
        }
    }
    Some(value.clone())
}

/// A policy without what has the browser tell others when it is broken.
fn silent(value: &HeaderValue) -> Option<HeaderValue> {
    let text = value.to_str().ok()?;
    let tells = |directive: &&str| {
        let name = directive.split_ascii_whitespace().next();
        !name.is_some_and(|name| {
            name.eq_ignore_ascii_case("report-uri") || name.eq_ignore_ascii_case("report-to")
        })
    };
    let policies: Vec<String> = text
        .split(',')
        .map(|policy| {
            policy
                .split(';')
                .filter(tells)
                .collect::<Vec<_>>()
                .join(";")
        })
        .collect();
    HeaderValue::from_str(&policies.join(",")).ok()
}

#[cfg(test)]
mod tests {
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
            ("transfer-encoding", "chunked"),
            ("x-own", "kept"),
        ]);
        let seen = outward(&said, HOST, 5173);
        let policies = all(&seen, "content-security-policy");
        assert_eq!(policies[0], "default-src *, img-src *");
        assert!(
            policies[1]
                .starts_with("default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; ")
        );
        assert!(policies[1].contains("connect-src 'self' ws://abc.localhost:4000 "));
        assert_eq!(policies.len(), 2);
        assert_eq!(all(&seen, "cross-origin-opener-policy"), ["same-origin"]);
        assert_eq!(all(&seen, "cross-origin-resource-policy"), ["same-origin"]);
        assert_eq!(all(&seen, "referrer-policy"), ["same-origin"]);
        assert_eq!(all(&seen, "x-dns-prefetch-control"), ["off"]);
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
            let seen = outward(&map(&[("set-cookie", text)]), HOST, 80);
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
        );
        assert_eq!(all(&several, "set-cookie"), ["a=1", "b=2"]);
    }

    #[test]
    fn a_redirect_to_the_apps_own_address_stays_in_the_preview() {
        let leads = |text: &str| {
            let seen = outward(&map(&[("location", text)]), HOST, 5173);
            all(&seen, "location")
        };
        for (to, seen) in [
            ("http://localhost:5173/a?b#c", "/a?b#c"),
            ("http://127.0.0.1:5173", "/"),
            ("http://[::1]:5173?x", "/?x"),
            ("http://localhost:5173//evil.example", "/evil.example"),
            ("http://localhost:51730/a", "http://localhost:51730/a"),
            (
                "http://localhost:5173.evil.example/",
                "http://localhost:5173.evil.example/",
            ),
            ("/plain", "/plain"),
            ("https://example.com/", "https://example.com/"),
        ] {
            assert_eq!(leads(to), [seen], "{to}");
        }
    }
}
