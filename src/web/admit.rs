//! Who may ask at all: our own page, and programs of this machine.
//!
//! A page of another origin can send requests here, from a form, an image, a script or a frame, and cannot keep the
//! browser from saying so: by `Origin`, which has to be ours to the letter, and by `Sec-Fetch-Site`. Another port
//! of this machine is another origin. There are no cookies, so such a request brings no rights with it either.

use hyper::{HeaderMap, StatusCode};

use super::reply::Refusal;
use crate::relay::{Sender, Site};

/// Whether the API may be asked.
pub(super) fn api(sender: &Sender) -> Result<(), Refusal> {
    this_machine(sender)?;
    match sender.site {
        Site::Unknown | Site::Own => Ok(()),
        // An address that a person typed, or a page of another origin.
        Site::Person | Site::Other => Err(foreign()),
    }
}

/// Whether the page or a part of it may be had. Nothing in it is secret. The page itself can be opened by a link
/// from anywhere, also from the file that `treefort page` writes; what it does, it does with a bearer only.
pub(super) fn asset(sender: &Sender, headers: &HeaderMap, is_page: bool) -> Result<(), Refusal> {
    this_machine(sender)?;
    let is = |name: &str, value: &str| headers.get(name).is_some_and(|is| is == value);
    match sender.site {
        Site::Unknown | Site::Own | Site::Person => Ok(()),
        Site::Other
            if is_page && is("sec-fetch-mode", "navigate") && is("sec-fetch-dest", "document") =>
        {
            Ok(())
        }
        Site::Other => Err(foreign()),
    }
}

fn this_machine(sender: &Sender) -> Result<(), Refusal> {
    if sender.trusted {
        return Ok(());
    }
    Err(Refusal::new(
        StatusCode::FORBIDDEN,
        "foreign",
        "This page is for the machine that treefort runs on, at 127.0.0.1, and for no other page. From another \
         machine, `ssh -L 4869:127.0.0.1:4869` brings it there, encrypted.",
    ))
}

fn foreign() -> Refusal {
    Refusal::new(
        StatusCode::FORBIDDEN,
        "foreign",
        "Only treefort's own page may ask this.",
    )
}
