//! What of a request's headers an app sees, what of its answer's a browser sees, and what a browser is told beside.
//!
//! The app believes that it is asked at `localhost` by its own page, as a development server wants. The browser is
//! told to keep the page to this origin, twice: a Content-Security-Policy, which every browser knows, keeps in what a
//! page loads, asks for and sends; a Connection-Allowlist, which Chromium knows since 152, also where it leads, and
//! what is prepared ahead of that (`preconnect`, speculation rules) and WebRTC. A redirect is an answer, so it is
//! looked at here. What is left: in a browser without the second, a page may lead the person elsewhere, or have a
//! connection prepared, and carry data out in the address. A person sees where a page leads, as on any site.

use hyper::{
    HeaderMap,
    header::{self, HeaderName, HeaderValue},
};

use reqwest::Url;

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
const WITHHELD: [&str; 26] = [
    "alt-svc",
    "attribution-reporting-register-source",
    "attribution-reporting-register-trigger",
    "clear-site-data",
    "connection-allowlist",
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
    "refresh",
    "report-to",
    "reporting-endpoints",
    "service-worker-allowed",
    "set-login",
    "speculation-rules",
    "strict-transport-security",
    "supports-loading-mode",
    "x-dns-prefetch-control",
];

/// What no page of a preview may use of the browser, the computer and its person: what browsers know, since they
/// complain of others.
const PERMISSIONS: [&str; 35] = [
    "accelerometer",
    "autoplay",
    "bluetooth",
    "browsing-topics",
    "camera",
    "clipboard-read",
    "clipboard-write",
    "compute-pressure",
    "display-capture",
    "encrypted-media",
    "fullscreen",
    "gamepad",
    "geolocation",
    "gyroscope",
    "hid",
    "identity-credentials-get",
    "idle-detection",
    "keyboard-map",
    "local-fonts",
    "magnetometer",
    "microphone",
    "midi",
    "otp-credentials",
    "payment",
    "picture-in-picture",
    "publickey-credentials-create",
    "publickey-credentials-get",
    "screen-wake-lock",
    "serial",
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

/// Where an answer leads that is no place of the preview.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Elsewhere(pub(super) String);

/// The headers of an app's answer as a browser gets them.
///
/// # Errors
/// When it leads elsewhere.
pub(super) fn outward(headers: &HeaderMap, host: &str, port: u16) -> Result<HeaderMap, Elsewhere> {
    let mut kept = HeaderMap::new();
    for (name, value) in &without_hops(headers) {
        if is_withheld(name.as_str()) {
            continue;
        }
        let value = match *name {
            header::SET_COOKIE => cookie(value),
            header::LOCATION => Some(location(value, host, port)?),
            header::CONTENT_SECURITY_POLICY => silent(value),
            _ => Some(value.clone()),
        };
        if let Some(value) = value {
            kept.append(name.clone(), value);
        }
    }
    protect(&mut kept, host);
    Ok(kept)
}

/// Adds what keeps a page to its origin. The app's own policy stays beside it: both hold.
pub(super) fn protect(headers: &mut HeaderMap, host: &str) {
    let policy = format!(
        "default-src 'self' 'unsafe-inline' 'unsafe-eval' data: blob:; \
         connect-src 'self' ws://{host} data: blob:; base-uri 'self'; form-action 'self'; \
         frame-ancestors 'self'"
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
        // Redirects are looked at before they get here.
        ("connection-allowlist", "(response-origin);redirects=allow"),
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

/// Where an app leads that believes to be at `localhost`: read as a browser reads it, and written out whole.
fn location(value: &HeaderValue, host: &str, port: u16) -> Result<HeaderValue, Elsewhere> {
    let text = String::from_utf8_lossy(value.as_bytes());
    let elsewhere = || Elsewhere(text.chars().take(200).collect());
    let here = format!("http://{host}");
    let origin = |url: &str| Url::parse(url).map(|url| url.origin());
    let base = Url::parse(&here).map_err(|_| elsewhere())?;
    let to = base.join(&text).map_err(|_| elsewhere())?;
    let there = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"];
    let mut own = there.iter().map(|name| format!("http://{name}:{port}"));
    let is_own = |url: &str| origin(url).is_ok_and(|origin| origin == to.origin());
    if !is_own(&here) && !own.any(|url| is_own(&url)) {
        return Err(elsewhere());
    }
    let part = |sign: &str, part: Option<&str>| {
        part.map_or_else(String::new, |part| format!("{sign}{part}"))
    };
    let rest = format!(
        "{}{}{}",
        to.path(),
        part("?", to.query()),
        part("#", to.fragment())
    );
    // Something that is relative to the page's own address stays so.
    let relative = Url::parse(text.trim()).is_err() && !text.trim_start().starts_with(['/', '\\']);
    let text = match relative {
        true => text.trim().to_owned(),
        false => format!("{here}{rest}"),
    };
    HeaderValue::from_str(&text).map_err(|_| elsewhere())
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
mod tests;
