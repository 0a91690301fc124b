//! The service's own interface, version 1: everything that is known about a sound, as JSON or while it is heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::StatusCode;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, HeaderValue};
use hyper::http::request::Parts;
use messymash::ast::inference::Rollout;
use messymash::audio::AudioStream;
use messymash::classifier::{ClassifyOptions, Look, Predictions, Segment, Windows};
use serde::Serialize;
use serde_json::json;
use tokio::sync::mpsc;

use super::Service;
use super::answer::{Answer, JSON, event, events, ok};
use super::body::{self, Sound};
use super::errors::{Problem, Result};
use super::query::Query;
use super::queue::{Place, Task};

/// Events that may wait for a slow reader; progress beyond them is left out, the answer never.
const EVENTS: usize = 64;

/// How much was heard: seconds, and of how many by the file's word.
pub type Heard<'a> = &'a mut (dyn FnMut(f64, Option<f64>) + Send);

/// The part of a sound that is to be heard, from the address: `windows=all|first`, `hop=SECONDS`.
pub fn options(service: &Service, query: &Query) -> Result<ClassifyOptions> {
    let hop = query.get("hop", "a number of seconds")?;
    let all = |hop| Windows::All { hop };
    let windows = match query.text("windows") {
        None | Some("all") => hop.map_or(ClassifyOptions::default().windows, all),
        Some("first") => Windows::First,
        Some(_) => return Err(Problem::validation("windows must be \"all\" or \"first\".")),
    };
    let options = ClassifyOptions {
        windows,
        limits: service.limits.audio(),
        ..ClassifyOptions::default()
    };
    options.check()?;
    Ok(options)
}

/// `top_k` of an address or a client's parameters.
pub fn top_k(query: &Query) -> Result<Option<usize>> {
    match query.get("top_k", "a whole number from 1")? {
        Some(0) => Err(Problem::validation(
            "top_k is 0; it must be a whole number from 1.",
        )),
        k => Ok(k),
    }
}

/// Hears a sound, on a worker.
pub fn hear(
    service: &Service,
    sound: &Bytes,
    options: &ClassifyOptions,
    task: &Task,
    heard: Heard<'_>,
) -> Result<Predictions> {
    super::hooks::work(sound, task)?;
    let stream = stream(service, sound, task)?;
    let total = stream.expected_seconds();
    let predictions = service
        .classifier()?
        .classify_stream(stream, options, &mut |seconds| {
            heard(seconds, total);
            task.check()
        })?;
    service
        .metrics
        .heard(predictions.seconds, predictions.windows.len());
    Ok(predictions)
}

/// The sound as it is decoded, until nobody waits for it any more.
fn stream(service: &Service, sound: &Bytes, task: &Task) -> Result<AudioStream> {
    let task = task.clone();
    let stream = AudioStream::from_bytes(body::shared(sound), &service.limits.audio())?;
    Ok(stream.watched(move || task.check()))
}

/// `POST /v1/classify`.
pub async fn classify(
    service: &Arc<Service>,
    parts: &Parts,
    body: &mut Incoming,
    id: &str,
) -> Result<Answer> {
    let query = Query::new(parts.uri.query());
    let (options, top_k) = (options(service, &query)?, top_k(&query)?);
    let came = Instant::now();
    let (place, bytes) = body::receive(&parts.headers, body, &service.queue, &service.limits).await?;
    let sound = body::sound(&parts.headers, bytes).await?;
    let question = Question {
        service: service.clone(),
        options,
        top_k,
        name: sound.name.clone(),
        id: id.to_string(),
        came,
    };
    let accepts = parts.headers.get(ACCEPT).and_then(|accept| accept.to_str().ok());
    if accepts.is_some_and(|accept| accept.contains("text/event-stream")) {
        return Ok(question.stream(place, sound));
    }
    let service = service.clone();
    let answer = service
        .queue
        .run(place, move |task| question.answer(&sound, task, &mut |_, _| ()));
    Ok(super::answer::bytes(StatusCode::OK, JSON, answer.await?))
}

/// What `POST /v1/classify` was asked.
struct Question {
    service: Arc<Service>,
    options: ClassifyOptions,
    top_k: Option<usize>,
    name: Option<String>,
    id: String,
    came: Instant,
}

/// The documented JSON.
#[derive(Serialize)]
struct Told<'a> {
    model: Model<'a>,
    file: File<'a>,
    /// Whatever the library says of a sound is part of the answer.
    #[serde(flatten)]
    heard: &'a Predictions,
    timeline: Vec<Segment>,
    timings: Timings,
    request_id: &'a str,
}

#[derive(Serialize)]
struct Model<'a> {
    id: &'a str,
    labels: &'a [String],
}

#[derive(Serialize)]
struct File<'a> {
    name: Option<&'a str>,
    bytes: usize,
    seconds: f64,
}

/// Milliseconds.
#[derive(Serialize)]
struct Timings {
    queue_ms: f64,
    decode_and_model_ms: f64,
    total_ms: f64,
}

impl Question {
    /// The answer, as JSON.
    fn answer(&self, sound: &Sound, task: &Task, heard: Heard<'_>) -> Result<String> {
        let began = Instant::now();
        let mut heard = hear(&self.service, &sound.bytes, &self.options, task, heard)?;
        let timeline = heard.timeline();
        if let Some(k) = self.top_k {
            heard.predictions.truncate(k);
            heard
                .windows
                .iter_mut()
                .for_each(|window| window.predictions.truncate(k));
        }
        let classifier = self.service.classifier()?;
        let millis = |duration: Duration| (duration.as_secs_f64() * 1e4).round() / 10.0;
        let told = Told {
            model: Model {
                id: classifier.name(),
                labels: classifier.labels(),
            },
            file: File {
                name: self.name.as_deref(),
                bytes: sound.bytes.len(),
                seconds: heard.seconds,
            },
            heard: &heard,
            timeline,
            timings: Timings {
                queue_ms: millis(task.waited),
                decode_and_model_ms: millis(began.elapsed()),
                total_ms: millis(self.came.elapsed()),
            },
            request_id: &self.id,
        };
        serde_json::to_string(&told).map_err(|_| Problem::internal())
    }

    /// The same as events: `queued`, `progress` as it goes, then `result` or `error`.
    fn stream(self, place: Place, sound: Sound) -> Answer {
        let (send, receive) = mpsc::channel(EVENTS);
        let window = self.service.window_seconds();
        let hop = match self.options.windows {
            Windows::All { hop } => hop,
            Windows::First => f64::INFINITY,
        };
        let service = self.service.clone();
        let id = self.id.clone();
        tokio::spawn(async move {
            let position = service.queue.waiting();
            let _ = send.try_send(event(Some("queued"), &json!({"position": position}).to_string()));
            let progress = send.clone();
            let mut heard = move |seconds: f64, total: Option<f64>| {
                let windows = ((seconds - window).max(0.0) / hop).ceil() as u64 + 1;
                let data = json!({"seconds": seconds, "total": total, "windows": windows});
                let _ = progress.try_send(event(Some("progress"), &data.to_string()));
            };
            let work = service
                .queue
                .run(place, move |task| self.answer(&sound, task, &mut heard));
            let last = tokio::select! {
                // The client has gone: the work is dropped, and ends.
                () = send.closed() => return,
                answer = work => match answer {
                    Ok(answer) => event(Some("result"), &answer),
                    Err(problem) => {
                        service.note(&problem, &id, "/v1/classify");
                        event(Some("error"), &problem.value(&id).to_string())
                    }
                },
            };
            let _ = send.send(last).await;
        });
        events(receive)
    }
}

/// `POST /v1/spectrogram?start=SECONDS&height=PIXELS`: a window as the model sees it, as PNG.
pub async fn spectrogram(service: &Arc<Service>, parts: &Parts, body: &mut Incoming) -> Result<Answer> {
    let query = Query::new(parts.uri.query());
    let height = query.get("height", "a whole number of pixels")?;
    let (look, png) = look(service, &query, parts, body, move |service, look| {
        let classifier = service.classifier()?;
        let height = height.unwrap_or(classifier.extractor().num_mel_bins);
        Ok(classifier.spectrogram(look, height)?.picture.png)
    })
    .await?;
    let mut answer = super::answer::bytes(StatusCode::OK, "image/png", png);
    if let Ok(window) = HeaderValue::from_str(&format!("{},{}", look.start, look.end)) {
        answer.headers_mut().insert("x-window", window);
    }
    Ok(answer)
}

/// `POST /v1/attention?start=SECONDS`: where in a window the model looks.
pub async fn attention(service: &Arc<Service>, parts: &Parts, body: &mut Incoming) -> Result<Answer> {
    let query = Query::new(parts.uri.query());
    let (look, rollout) = look(service, &query, parts, body, |service, look| {
        Ok(service.classifier()?.attention(look)?)
    })
    .await?;
    let (start, end) = (look.start, look.end);
    Ok(ok(&Seen { start, end, rollout }))
}

/// The documented JSON; numbers as they are, which `json!` would widen.
#[derive(Serialize)]
struct Seen {
    start: f64,
    end: f64,
    #[serde(flatten)]
    rollout: Rollout,
}

/// The window of the request's sound that begins at `start`, and what `see` makes of it.
async fn look<T: Send + 'static>(
    service: &Arc<Service>,
    query: &Query,
    parts: &Parts,
    body: &mut Incoming,
    see: impl FnOnce(&Service, &Look) -> Result<T> + Send + 'static,
) -> Result<(Look, T)> {
    let start = query.get("start", "a number of seconds")?.unwrap_or(0.0);
    let (place, bytes) = body::receive(&parts.headers, body, &service.queue, &service.limits).await?;
    let sound = body::sound(&parts.headers, bytes).await?;
    let seeing = service.clone();
    let work = move |task: &Task| {
        let stream = stream(&seeing, &sound.bytes, task)?;
        let look = seeing.classifier()?.look(stream, start)?;
        let seen = see(&seeing, &look)?;
        Ok((look, seen))
    };
    service.queue.run(place, work).await
}

/// `GET /v1/model`.
pub fn model(service: &Service) -> Result<Answer> {
    let info = service.classifier()?.info();
    let hop = match ClassifyOptions::default().windows {
        Windows::All { hop } => hop,
        Windows::First => info.window_seconds,
    };
    Ok(ok(&json!({
        "id": info.name,
        "labels": info.labels,
        "license": if service.is_bundled { Some(env!("CARGO_PKG_LICENSE")) } else { license(info.card.as_deref()) },
        "card": info.card,
        "parameters": info.parameters,
        "precision": info.precision.name(),
        "sampling_rate": info.sampling_rate,
        "window_seconds": info.window_seconds,
        "hop_seconds": hop,
        "version": env!("CARGO_PKG_VERSION"),
        "limits": {"body_bytes": service.limits.body(), "seconds": service.limits.max_seconds},
    })))
}

/// What a model card says between its first two lines of dashes, as on the Hugging Face Hub.
fn license(card: Option<&str>) -> Option<&str> {
    let front = card?.strip_prefix("---\n")?.split("\n---").next()?;
    front
        .lines()
        .find_map(|line| line.strip_prefix("license:"))
        .map(str::trim)
}
