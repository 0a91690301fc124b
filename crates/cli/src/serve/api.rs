//! The service's own interface, version 1: everything that is known about a sound, as JSON or while it is heard.

use std::sync::Arc;
use std::time::{Duration, Instant};

use hyper::body::{Bytes, Incoming};
use hyper::header::ACCEPT;
use hyper::http::request::Parts;
use messymash::audio::AudioStream;
use messymash::classifier::{ClassifyOptions, Predictions, Windows};
use serde_json::{Value, json};
use tokio::sync::mpsc;

use super::Service;
use super::answer::{Answer, event, events, ok};
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
    super::hooks::work(sound, task);
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
    let size = bytes.len();
    let sound = body::sound(&parts.headers, bytes)?;
    let question = Question {
        service: service.clone(),
        options,
        top_k,
        size,
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
    Ok(ok(&answer.await?))
}

/// What `POST /v1/classify` was asked.
struct Question {
    service: Arc<Service>,
    options: ClassifyOptions,
    top_k: Option<usize>,
    size: usize,
    name: Option<String>,
    id: String,
    came: Instant,
}

impl Question {
    fn answer(&self, sound: &Sound, task: &Task, heard: Heard<'_>) -> Result<Value> {
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
        let mut answer = json!({
            "model": {"id": classifier.name(), "labels": classifier.labels()},
            "file": {"name": self.name, "bytes": sound.bytes.len().min(self.size), "seconds": heard.seconds},
            "timeline": timeline,
            "timings": {
                "queue_ms": millis(task.waited),
                "decode_and_model_ms": millis(began.elapsed()),
                "total_ms": millis(self.came.elapsed()),
            },
            "request_id": self.id,
        });
        // Whatever else the library says of a sound is part of the answer.
        if let (Value::Object(answer), Ok(Value::Object(heard))) = (&mut answer, serde_json::to_value(&heard))
        {
            answer.extend(heard.into_iter().filter(|(key, _)| key != "seconds"));
        }
        Ok(answer)
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
            let _ = send.try_send(event(Some("queued"), &json!({"position": position})));
            let progress = send.clone();
            let mut heard = move |seconds: f64, total: Option<f64>| {
                let windows = ((seconds - window).max(0.0) / hop).ceil() as u64 + 1;
                let data = json!({"seconds": seconds, "total": total, "windows": windows});
                let _ = progress.try_send(event(Some("progress"), &data));
            };
            let work = service
                .queue
                .run(place, move |task| self.answer(&sound, task, &mut heard));
            let last = tokio::select! {
                // The client has gone: the work is dropped, and ends.
                () = send.closed() => return,
                answer = work => match answer {
                    Ok(answer) => event(Some("result"), &answer),
                    Err(problem) => event(Some("error"), &problem.value(&id)),
                },
            };
            let _ = send.send(last).await;
        });
        events(receive)
    }
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
        "license": license(info.card.as_deref()),
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
