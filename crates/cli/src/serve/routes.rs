//! Routes: what is at which address, and what every request goes through.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::time::Instant;

use hyper::body::{Body, Incoming};
use hyper::header::{CONNECTION, HeaderValue};
use hyper::http::request::Parts;
use hyper::{HeaderMap, Method, Request, StatusCode};
use serde_json::json;

use super::answer::{Answer, bytes, ok};
use super::errors::{Kind, Problem, Result};
use super::{Service, api, body, gradio, hugging_face, openapi, page};

/// What answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Route {
    Index,
    Web,
    Sample,
    Predict,
    Classify,
    Spectrogram,
    Attention,
    Model,
    Live,
    Ready,
    Metrics,
    OpenApi,
    Docs,
    DocsStyle,
    GradioConfig,
    GradioInfo,
    GradioUpload,
    GradioJoin,
    GradioData,
    GradioCall,
    GradioResult,
}

/// Method, address (`{…}` stands for one part of it), and what answers there.
pub const ROUTES: &[(&str, &str, Route)] = &[
    ("GET", "/", Route::Index),
    ("GET", "/web/{name}", Route::Web),
    ("GET", "/samples/{name}", Route::Sample),
    ("POST", "/", Route::Predict),
    ("POST", "/predict", Route::Predict),
    ("POST", "/v1/classify", Route::Classify),
    ("POST", "/v1/spectrogram", Route::Spectrogram),
    ("POST", "/v1/attention", Route::Attention),
    ("GET", "/v1/model", Route::Model),
    ("GET", "/livez", Route::Live),
    ("GET", "/readyz", Route::Ready),
    ("GET", "/health", Route::Ready),
    ("GET", "/metrics", Route::Metrics),
    ("GET", "/openapi.json", Route::OpenApi),
    ("GET", "/docs", Route::Docs),
    ("GET", "/docs.css", Route::DocsStyle),
    ("GET", "/config", Route::GradioConfig),
    ("GET", "/gradio_api/info", Route::GradioInfo),
    ("POST", "/gradio_api/upload", Route::GradioUpload),
    ("POST", "/gradio_api/queue/join", Route::GradioJoin),
    ("GET", "/gradio_api/queue/data", Route::GradioData),
    ("POST", "/gradio_api/call/predict", Route::GradioCall),
    ("GET", "/gradio_api/call/predict/{event_id}", Route::GradioResult),
];

impl Route {
    /// Whether it answers without a key: what is no secret, and what asks whether the service lives.
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Route::Index
                | Route::Web
                | Route::Sample
                | Route::OpenApi
                | Route::Docs
                | Route::DocsStyle
                | Route::Live
                | Route::Ready
        )
    }

    /// Whether it hears something, and is refused while the service is not ready.
    fn is_work(self) -> bool {
        matches!(
            self,
            Route::Predict
                | Route::Classify
                | Route::Spectrogram
                | Route::Attention
                | Route::GradioUpload
                | Route::GradioJoin
                | Route::GradioCall
        )
    }
}

/// The part of `path` that `{…}` stands for (empty without one), if the pattern fits.
fn fits<'a>(pattern: &str, path: &'a str) -> Option<&'a str> {
    match pattern.split_once('{') {
        None => (pattern == path).then_some(""),
        Some((start, _)) => path
            .strip_prefix(start)
            .filter(|rest| !rest.is_empty() && !rest.contains('/')),
    }
}

/// The address for figures, the route, and the part of the path that is a name.
fn find<'a>(method: &Method, path: &'a str) -> Result<(&'static str, Route, &'a str)> {
    let method = if method == Method::HEAD {
        "GET"
    } else {
        method.as_str()
    };
    let at_path = || {
        ROUTES
            .iter()
            .filter_map(|row| fits(row.1, path).map(|name| (row, name)))
    };
    if let Some((&(_, pattern, route), name)) = at_path().find(|(row, _)| row.0 == method) {
        return Ok((pattern, route, name));
    }
    let knows = |method| at_path().any(|(row, _)| row.0 == method);
    let allow = match (knows("GET"), knows("POST")) {
        (false, false) => {
            return Err(Problem::new(
                Kind::NotFound,
                "There is nothing at this address; see /docs.",
            ));
        }
        (true, true) => "GET, HEAD, POST",
        (true, false) => "GET, HEAD",
        (false, true) => "POST",
    };
    let mut problem = Problem::new(
        Kind::MethodNotAllowed,
        format!("This address knows {allow} only."),
    );
    problem.allow = Some(allow);
    Err(problem)
}

impl Service {
    /// Answers a request, whatever it is.
    pub async fn answer(self: &Arc<Self>, request: Request<Incoming>) -> Answer {
        let began = Instant::now();
        let (parts, mut body) = request.into_parts();
        let id = request_id(&parts.headers);
        let path = parts.uri.path();
        let found = find(&parts.method, path);
        let label = found.as_ref().map_or("other", |found| found.0);
        let result = match found {
            Ok((_, route, name)) => {
                let work = self.route(route, name, &parts, &mut body, &id);
                caught(work).await.unwrap_or_else(|| Err(Problem::internal()))
            }
            Err(problem) => Err(problem),
        };
        // A body without a stated length does not know that it was read to its end before it is asked for more.
        let unread = !(body.is_end_stream() || result.is_ok() && ended(&mut body).await);
        let mut answer = match result {
            Ok(answer) => answer,
            Err(problem) => {
                self.note(&problem, &id, label);
                problem.answer(&id)
            }
        };
        if unread || self.draining.load(std::sync::atomic::Ordering::SeqCst) {
            answer
                .headers_mut()
                .insert(CONNECTION, HeaderValue::from_static("close"));
            body::linger(body, self.limits.body_of(true));
        }
        if let Ok(id) = HeaderValue::from_str(&id) {
            answer.headers_mut().insert("x-request-id", id);
        }
        page::secure(&mut answer);
        let status = answer.status().as_u16();
        self.metrics.answered(label, status, began.elapsed());
        if self.log {
            eprintln!(
                "{} {label} {status} {:.1} ms {id}",
                parts.method,
                began.elapsed().as_secs_f64() * 1e3
            );
        }
        answer
    }

    /// Counts a fault of the program and says which request met it; to be told of every problem that reaches a client.
    pub fn note(&self, problem: &Problem, id: &str, label: &str) {
        if problem.kind == Kind::Internal {
            self.metrics.panicked();
            eprintln!("request {id} to {label} met a fault of the program");
        }
    }

    async fn route(
        self: &Arc<Self>,
        route: Route,
        name: &str,
        parts: &Parts,
        body: &mut Incoming,
        id: &str,
    ) -> Result<Answer> {
        let headers = &parts.headers;
        let asked = self.key.as_ref().filter(|_| !route.is_open());
        if asked.is_some_and(|key| !key.is_in(headers)) {
            let message = "This service asks for a key: send Authorization: Bearer KEY.";
            return Err(Problem::new(Kind::Unauthorized, message));
        }
        if route.is_work() {
            self.accepting()?;
        }
        match route {
            Route::Index => page::index(headers),
            Route::Web => page::web(name, headers),
            Route::Sample => page::sample(name, headers),
            Route::Predict => hugging_face::predict(self, parts, body).await,
            Route::Classify => api::classify(self, parts, body, id).await,
            Route::Spectrogram => api::spectrogram(self, parts, body).await,
            Route::Attention => api::attention(self, parts, body).await,
            Route::Model => api::model(self),
            Route::OpenApi => Ok(openapi::document()),
            Route::Docs => Ok(openapi::page()),
            Route::DocsStyle => Ok(openapi::style()),
            Route::GradioConfig => Ok(gradio::config(self)),
            Route::GradioInfo => Ok(gradio::info()),
            Route::GradioUpload => gradio::upload(self, parts, body).await,
            Route::GradioJoin => gradio::join(self, parts, body, id).await,
            Route::GradioData => gradio::data(self, parts),
            Route::GradioCall => gradio::start(self, parts, body, id).await,
            Route::GradioResult => gradio::result(self, parts, name),
            Route::Live => Ok(ok(&json!({"status": "alive"}))),
            Route::Ready => {
                self.accepting()?;
                Ok(ok(&json!({"status": "ready"})))
            }
            Route::Metrics => {
                let text = self.metrics.text(&self.queue, self.ready());
                Ok(bytes(
                    StatusCode::OK,
                    "text/plain; version=0.0.4; charset=utf-8",
                    text,
                ))
            }
        }
    }

    /// Whether new work is taken.
    fn accepting(&self) -> Result<()> {
        if self.draining.load(std::sync::atomic::Ordering::SeqCst) {
            let message = "The service is about to end and takes no new requests.";
            return Err(Problem::new(Kind::Unhealthy, message).retry_after(5));
        }
        self.classifier().map(|_| ())
    }
}

/// Whether nothing of a body is left, as far as can be told without waiting.
async fn ended(body: &mut Incoming) -> bool {
    std::future::poll_fn(|context| {
        let next = Pin::new(&mut *body).poll_frame(context);
        Poll::Ready(matches!(next, Poll::Ready(None)))
    })
    .await
}

/// What a future gives, or `None` if it panics.
async fn caught<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    std::future::poll_fn(
        |context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
            Ok(poll) => poll.map(Some),
            Err(_) => Poll::Ready(None),
        },
    )
    .await
}

/// The client's own id of the request if it is fit to be repeated, else a new one.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get("x-request-id").and_then(|id| id.to_str().ok());
    let fit = |id: &&str| {
        (1..=64).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_".contains(&b))
    };
    given.filter(fit).map_or_else(token, str::to_string)
}

/// 128 bits that nobody can guess, in hexadecimal digits.
pub fn token() -> String {
    let mut random = [0; 16];
    // A system without randomness has no business in a network; ids then repeat, and nothing else happens.
    let _ = getrandom::fill(&mut random);
    random.iter().map(|byte| format!("{byte:02x}")).collect()
}
