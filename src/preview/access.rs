//! Who may see a preview: whoever brought its code once, from its own pages.
//!
//! A page of another site or port can have the browser send a request here, and another user of this machine can
//! connect. Neither has the cookie: it is given for a code that works once, goes to this host alone
//! (`HttpOnly`, no `Domain`), and browsers send it with nothing that another site began (`SameSite=Strict`).

use std::{
    collections::VecDeque,
    io,
    sync::{Mutex, PoisonError},
};

use hyper::{HeaderMap, Method, header};
use nostr::hashes::cmp::fixed_time_eq;

use super::random_hex;

/// Everything below it is ours and never reaches an app.
pub(super) const OURS: &str = "/.treefort";
/// Where a code is brought.
pub(super) const FIRST: &str = "/.treefort/";
/// The cookie's name.
pub(super) const COOKIE: &str = "__treefort";
/// Codes that may wait to be used; the oldest goes.
const MAX_CODES: usize = 16;

/// What opens one preview.
#[derive(Debug)]
pub(super) struct Keys {
    cookie: String,
    codes: Mutex<VecDeque<String>>,
}

impl Keys {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            cookie: random_hex()?,
            codes: Mutex::default(),
        })
    }

    /// A fresh code.
    pub(super) fn code(&self) -> io::Result<String> {
        let code = random_hex()?;
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        if codes.len() >= MAX_CODES {
            codes.pop_front();
        }
        codes.push_back(code.clone());
        Ok(code)
    }

    /// Whether this is a code that nobody used; it is used now.
    fn take(&self, code: &str) -> bool {
        let mut codes = self.codes.lock().unwrap_or_else(PoisonError::into_inner);
        let before = codes.len();
        codes.retain(|known| !same(known, code));
        codes.len() < before
    }

    /// The header that gives a browser the cookie.
    pub(super) fn set_cookie(&self) -> String {
        format!(
            "{COOKIE}={}; Path=/; HttpOnly; SameSite=Strict",
            self.cookie
        )
    }

    fn has_cookie(&self, headers: &HeaderMap) -> bool {
        cookies(headers).any(|(name, value)| name == COOKIE && same(value, &self.cookie))
    }
}

/// The cookies of a request, each with its value.
pub(super) fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    headers
        .get_all(header::COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(';'))
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (name.trim(), value.trim())
        })
}

/// Compares without telling by its time how much is right.
fn same(one: &str, other: &str) -> bool {
    // The lengths are no secret.
    one.len() == other.len() && fixed_time_eq(one.as_bytes(), other.as_bytes())
}

/// What a request may do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Access {
    /// It brought a code: it gets the cookie.
    First,
    /// It is one of the preview's own; under this `Host`.
    Own(String),
    /// Nothing: its `Host` is not ours.
    WrongHost,
    /// Nothing: another site sent it.
    Foreign,
    /// Nothing: it has no cookie.
    Locked,
    /// There is nothing of ours at this path.
    Nothing,
}

/// Looks at a request.
pub(super) fn of(
    keys: &Keys,
    hosts: &[String],
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Access {
    let Some(host) = single(headers, header::HOST.as_str())
        .filter(|host| hosts.iter().any(|own| own.eq_ignore_ascii_case(host)))
    else {
        return Access::WrongHost;
    };
    let own = format!("http://{host}");
    let site = headers.get("sec-fetch-site").map(|site| site.as_bytes());
    let is_own_site = matches!(site, None | Some(b"same-origin" | b"none"));
    if path == OURS || path.starts_with(FIRST) {
        let opens = |name: &str, word: &str| headers.get(name).is_none_or(|value| value == word);
        if method != Method::GET
            || !opens("sec-fetch-mode", "navigate")
            || !opens("sec-fetch-dest", "document")
        {
            return Access::Nothing;
        }
        let code = path.strip_prefix(FIRST).unwrap_or_default();
        // Who has the cookie may come by the same way again.
        return match keys.take(code) || (is_own_site && keys.has_cookie(headers)) {
            true => Access::First,
            false => Access::Locked,
        };
    }
    let from_here = match headers.get_all(header::ORIGIN).iter().count() {
        0 => true,
        1 => match single(headers, header::ORIGIN.as_str()) {
            // A page without an origin of its own, such as one in a sandboxed frame; the browser says whose it is.
            Some("null") => site == Some(b"same-origin"),
            Some(origin) => origin.eq_ignore_ascii_case(&own),
            None => false,
        },
        _ => false,
    };
    if !keys.has_cookie(headers) {
        return Access::Locked;
    }
    if !from_here || !is_own_site {
        return Access::Foreign;
    }
    Access::Own(host.to_owned())
}

/// A header that occurs once.
pub(super) fn single<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOST: &str = "0123456789abcdef0123456789abcdef.localhost:4000";

    fn ask(keys: &Keys, method: &Method, path: &str, headers: &[(&'static str, &str)]) -> Access {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        let hosts = [HOST.to_owned(), "127.9.8.7:4000".to_owned()];
        of(keys, &hosts, method, path, &map)
    }

    #[test]
    fn a_code_opens_once_and_only_as_a_page_of_its_own() {
        let keys = Keys::new().unwrap();
        let host = ("host", HOST);
        let path = format!("{FIRST}{}", keys.code().unwrap());
        for headers in [
            [host, ("sec-fetch-dest", "iframe")],
            [host, ("sec-fetch-mode", "no-cors")],
        ] {
            assert_eq!(
                ask(&keys, &Method::GET, &path, &headers),
                Access::Nothing,
                "{headers:?}"
            );
        }
        assert_eq!(ask(&keys, &Method::HEAD, &path, &[host]), Access::Nothing);
        assert_eq!(
            ask(&keys, &Method::GET, &path, &[("host", "localhost:4000")]),
            Access::WrongHost
        );
        // Another site's link may lead here: the code is what counts.
        let clicked = [host, ("sec-fetch-site", "cross-site")];
        assert_eq!(ask(&keys, &Method::GET, &path, &clicked), Access::First);
        assert_eq!(ask(&keys, &Method::GET, &path, &[host]), Access::Locked);
        let cookie = keys.set_cookie();
        let cookie = cookie.split(';').next().unwrap();
        let again = [host, ("cookie", cookie)];
        assert_eq!(ask(&keys, &Method::GET, &path, &again), Access::First);
        for wrong in ["/.treefort", "/.treefort/", "/.treefort/zz"] {
            let wrong = ask(&keys, &Method::GET, wrong, &[host]);
            assert_eq!(wrong, Access::Locked);
        }
    }

    #[test]
    fn a_forgotten_code_goes_when_there_are_many() {
        let keys = Keys::new().unwrap();
        let first = keys.code().unwrap();
        let codes: Vec<String> = (0..MAX_CODES).map(|_| keys.code().unwrap()).collect();
        assert!(!keys.take(&first) && codes.iter().all(|code| keys.take(code)));
    }

    #[test]
    fn only_the_previews_own_pages_with_its_cookie_get_anything() {
        let keys = Keys::new().unwrap();
        let set = keys.set_cookie();
        let cookie = format!("a=b; {}; c", set.split(';').next().unwrap());
        let origin = format!("http://{HOST}");
        let host = ("host", HOST);
        let ok = ("cookie", cookie.as_str());
        let get = |headers: &[(&'static str, &str)]| ask(&keys, &Method::GET, "/", headers);
        assert_eq!(get(&[host, ok]), Access::Own(HOST.into()));
        assert_eq!(
            get(&[host, ok, ("origin", &origin)]),
            Access::Own(HOST.into())
        );
        for site in ["same-origin", "none"] {
            let own = get(&[host, ok, ("sec-fetch-site", site)]);
            assert_eq!(own, Access::Own(HOST.into()), "{site}");
        }
        let framed = [
            host,
            ok,
            ("origin", "null"),
            ("sec-fetch-site", "same-origin"),
        ];
        assert_eq!(get(&framed), Access::Own(HOST.into()));

        for site in ["cross-site", "same-site", "x"] {
            let foreign = get(&[host, ok, ("sec-fetch-site", site)]);
            assert_eq!(foreign, Access::Foreign, "{site}");
        }
        for origin in [
            "null",
            "",
            "http://127.0.0.1:4869",
            "http://localhost:4000",
            "https://0123456789abcdef0123456789abcdef.localhost:4000",
            "http://0123456789abcdef0123456789abcdef.localhost:4001",
        ] {
            assert_eq!(
                get(&[host, ok, ("origin", origin)]),
                Access::Foreign,
                "{origin}"
            );
        }
        let twice = [host, ok, ("origin", &origin), ("origin", &origin)];
        assert_eq!(get(&twice), Access::Foreign);
        for wrong in [
            "",
            "__treefort=",
            "__treefort=0",
            "x__treefort=1",
            &set[..30],
        ] {
            assert_eq!(get(&[host, ("cookie", wrong)]), Access::Locked, "{wrong}");
        }
        assert_eq!(get(&[host]), Access::Locked);
        for wrong in ["127.0.0.1:4000", "x.localhost:4000", "localhost", ""] {
            assert_eq!(get(&[("host", wrong), ok]), Access::WrongHost, "{wrong}");
        }
        assert_eq!(get(&[host, host, ok]), Access::WrongHost);
        assert_eq!(get(&[ok]), Access::WrongHost);
    }
}
