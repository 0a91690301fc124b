//! Answers: JSON, bytes, and streams of events.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use hyper::{Response, StatusCode};
use serde::Serialize;
use tokio::sync::mpsc;

pub const JSON: &str = "application/json";

/// What every handler gives back.
pub type Answer = Response<UnsyncBoxBody<Bytes, Infallible>>;

/// Bytes of a type.
pub fn bytes(status: StatusCode, content_type: &'static str, content: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(content.into()).boxed_unsync());
    *answer.status_mut() = status;
    answer
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}

/// JSON. What is served can always be written as such: its keys are strings.
pub fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    bytes(
        status,
        "application/json",
        serde_json::to_vec(value).unwrap_or_default(),
    )
}

/// JSON of a request that went well.
pub fn ok(value: &impl Serialize) -> Answer {
    json(StatusCode::OK, value)
}

/// One server-sent event. JSON has no line breaks of its own, so one line of data is enough.
pub fn event(name: Option<&str>, json: &str) -> Bytes {
    let name = name.map(|name| format!("event: {name}\n")).unwrap_or_default();
    format!("{name}data: {json}\n\n").into()
}

/// Events as they are sent to the returned channel's other end; when the client goes away the channel is closed.
pub fn events(receiver: mpsc::Receiver<Bytes>) -> Answer {
    let mut answer = Response::new(Events(receiver).boxed_unsync());
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    // Proxies that collect answers would keep progress to themselves.
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    answer
}

struct Events(mpsc::Receiver<Bytes>);

impl Body for Events {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        self.0
            .poll_recv(context)
            .map(|bytes| bytes.map(|bytes| Ok(Frame::data(bytes))))
    }
}
