//! What is served on the relay's port beside the relay: the page, and the owner's questions about sync.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use hyper::{Request, body::Incoming};

use crate::{
    relay::{Front, HttpReply, Sender},
    sync,
    web::Page,
};

pub(super) struct Fronts {
    pub(super) page: Arc<Page>,
    pub(super) sync: sync::Door,
}

impl Front for Fronts {
    fn answer<'a>(
        &'a self,
        request: Request<Incoming>,
        sender: Sender,
    ) -> BoxFuture<'a, HttpReply> {
        if request.uri().path() == sync::PATH {
            return Box::pin(async move { self.sync.answer(request, &sender).await });
        }
        self.page.answer(request, sender)
    }
}
