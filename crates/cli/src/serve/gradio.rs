//! The protocol of Gradio's clients (`gradio_client`, `@gradio/client`, the documented curl form), so that scripts that were
//! written for a Space work by changing the address.
//!
//! Sounds that are uploaded wait in memory for the call that uses them, under names that nobody can guess, for a minute.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyper::Method;
use hyper::body::{Bytes, Incoming};
use hyper::header::CONTENT_TYPE;
use hyper::http::request::Parts;
use messymash::classifier::{ClassifyOptions, Predictions};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};

use super::Service;
use super::answer::{Answer, event, events, ok};
use super::errors::{Kind, Problem, Result};
use super::limits::{Limits, reserved_kib};
use super::query::Query;
use super::queue::Place;
use super::routes::token;
use super::{api, body, multipart};

/// How long what was uploaded, or answered, waits for who asks for it.
const KEPT: Duration = Duration::from_secs(60);

/// How long the stream of a session stays after the last answer: a client that begins its next call before it has read that the stream
/// is closed waits for the answer there, in vain.
const LINGER: Duration = Duration::from_secs(1);

/// Uploads that wait, KiB together, with the copies that their calls will make: so much, or one of the largest sounds.
const SPOOL_KIB: u32 = 256 << 10;

/// Calls whose answers nobody has asked for yet.
const MOST_CALLS: usize = 1024;

/// Events of one call: progress beyond them is left out, the answer never.
const EVENTS: usize = 256;

/// The version of Gradio whose protocol this is.
const VERSION: &str = "6.31.0";

pub struct Gradio {
    room: Arc<Semaphore>,
    kept: Mutex<Kept>,
}

#[derive(Default)]
struct Kept {
    uploads: HashMap<String, Upload>,
    /// By session, or by event for the curl form.
    calls: HashMap<String, Calls>,
}

struct Upload {
    bytes: Bytes,
    _room: OwnedSemaphorePermit,
}

/// What is to be told to one listener.
struct Calls {
    send: mpsc::Sender<Bytes>,
    receive: Option<mpsc::Receiver<Bytes>>,
    pending: usize,
    /// When the last call came: a session has one key for all of its calls.
    since: Instant,
}

/// How events are written: for a session's clients, or for the curl form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Session,
    Curl,
}

impl Form {
    /// Where calls of this form come to.
    fn address(self) -> &'static str {
        match self {
            Form::Session => "/gradio_api/queue/join",
            Form::Curl => "/gradio_api/call/predict",
        }
    }
}

#[derive(Deserialize)]
struct Call {
    data: Vec<Value>,
    #[serde(default)]
    session_hash: String,
}

impl Kept {
    /// Does away with calls whose listener has gone.
    fn forget_closed(&mut self, key: &str) {
        if self.calls.get(key).is_some_and(|calls| calls.send.is_closed()) {
            self.calls.remove(key);
        }
    }

    /// Does away with answers that nobody asked for in time. Who listens already has the other end, and the calls that came
    /// later under the same key have a time of their own.
    fn forget_unasked(&mut self, key: &str) {
        let unasked = |calls: &Calls| calls.receive.is_some() && calls.since.elapsed() >= KEPT;
        if self.calls.get(key).is_some_and(unasked) {
            self.calls.remove(key);
        }
    }

    /// The calls that a sender belongs to: under its key there may be later ones by now.
    fn of(&mut self, key: &str, send: &mpsc::Sender<Bytes>) -> Option<&mut Calls> {
        self.calls
            .get_mut(key)
            .filter(|calls| calls.send.same_channel(send))
    }
}

impl Gradio {
    pub fn new(limits: &Limits) -> Self {
        let room = SPOOL_KIB.max(reserved_kib(false, limits.body_of(false)));
        Self {
            room: Arc::new(Semaphore::new(room as usize)),
            kept: Mutex::default(),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `GET /config`: one function, from a sound to a label.
pub fn config(service: &Service) -> Answer {
    let file = json!({"path": "string", "meta": {"_type": "gradio.FileData"}, "orig_name": "string"});
    let component = |id: u8, kind: &str, label: &str, info: Value| json!({"id": id, "type": kind, "props": {"label": label, "name": kind}, "skip_api": false, "api_info": info, "label": label});
    let sound = json!({"type": "object", "title": "FileData", "properties": file});
    ok(&json!({
        "version": VERSION,
        "api_prefix": "/gradio_api",
        "protocol": "sse_v3",
        "mode": "interface",
        "title": "messymash",
        "space_id": null,
        "is_space": false,
        "connect_heartbeat": false,
        "max_file_size": service.limits.body(),
        "components": [component(1, "audio", "Sound", sound), component(2, "label", "Genre", json!({"type": "object"}))],
        "dependencies": [{
            "id": 0, "api_name": "predict", "inputs": [1], "outputs": [2], "targets": [], "backend_fn": true, "queue": true,
            "api_visibility": "public", "show_api": true, "cancels": [], "types": {"generator": false, "cancel": false},
        }],
    }))
}

/// `GET /gradio_api/info`.
pub fn info() -> Answer {
    let path = "filepath";
    ok(&json!({
        "named_endpoints": {"/predict": {
            "parameters": [{
                "label": "Sound", "parameter_name": "audio_path", "parameter_has_default": false, "parameter_default": null,
                "type": {"type": "object"}, "component": "Audio", "example_input": null,
                "python_type": {"type": path, "description": "a sound file: use handle_file(\"song.mp3\")"},
            }],
            "returns": [{
                "label": "Genre", "type": {"type": "object"}, "component": "Label",
                "python_type": {"type": "dict(label: str, confidences: list[dict(label: str, confidence: float)])", "description": ""},
            }],
            "api_visibility": "public", "show_api": true,
        }},
        "unnamed_endpoints": {},
    }))
}

/// `POST /gradio_api/upload`: the field `files`; a list of names for them, which only this service understands.
pub async fn upload(service: &Arc<Service>, parts: &Parts, body: &mut Incoming) -> Result<Answer> {
    let (_place, bytes) = body::receive(&parts.headers, body, &service.queue, &service.limits).await?;
    let content_type = parts
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .to_string();
    // Parts of a form are views of all of it: a small file must not keep a large one.
    let files = body::apart(move || {
        let files = multipart::parts(&content_type, &bytes)?.into_iter();
        let files = files.filter(|part| part.name == "files");
        Ok(files
            .map(|file| Bytes::copy_from_slice(&file.content))
            .collect::<Vec<_>>())
    });
    let mut names = Vec::new();
    for bytes in files.await? {
        let kib = reserved_kib(false, bytes.len()).max(1);
        let room = service
            .gradio
            .room
            .clone()
            .try_acquire_many_owned(kib)
            .map_err(|_| {
                let message = "Too many uploads wait for their calls. Please try again in a minute.";
                Problem::new(Kind::Overloaded, message).retry_after(30)
            })?;
        let name = token();
        service
            .gradio
            .kept()
            .uploads
            .insert(name.clone(), Upload { bytes, _room: room });
        forget(service, name.clone(), |kept, name| {
            kept.uploads.remove(name);
        });
        names.push(name);
    }
    if names.is_empty() {
        return Err(Problem::validation(
            "The form has no field \"files\" with a sound file.",
        ));
    }
    Ok(ok(&names))
}

/// Does away with what nobody asked for in time.
fn forget(service: &Arc<Service>, name: String, remove: fn(&mut Kept, &str)) {
    let service = service.clone();
    tokio::spawn(async move {
        tokio::time::sleep(KEPT).await;
        remove(&mut service.gradio.kept(), &name);
    });
}

/// `POST /gradio_api/queue/join`.
pub async fn join(service: &Arc<Service>, parts: &Parts, body: &mut Incoming, id: &str) -> Result<Answer> {
    call(service, parts, body, id, Form::Session).await
}

/// `POST /gradio_api/call/predict`.
pub async fn start(service: &Arc<Service>, parts: &Parts, body: &mut Incoming, id: &str) -> Result<Answer> {
    call(service, parts, body, id, Form::Curl).await
}

async fn call(
    service: &Arc<Service>,
    parts: &Parts,
    body: &mut Incoming,
    request: &str,
    form: Form,
) -> Result<Answer> {
    let (place, bytes) = body::receive(&parts.headers, body, &service.queue, &service.limits).await?;
    let call: Call = serde_json::from_slice(&bytes)
        .map_err(|error| Problem::validation(format!("The JSON cannot be used ({error}).")))?;
    let path = call
        .data
        .first()
        .and_then(|sound| sound.get("path"))
        .and_then(Value::as_str);
    let path = path.ok_or_else(|| {
        Problem::validation("data must be [{\"path\": NAME}], with a NAME that /gradio_api/upload gave.")
    })?;
    let id = token();
    let key = match form {
        Form::Curl => id.clone(),
        Form::Session if (1..=128).contains(&call.session_hash.len()) => {
            format!("session {}", call.session_hash)
        }
        Form::Session => {
            return Err(Problem::validation(
                "session_hash must be a text of 1 to 128 letters.",
            ));
        }
    };
    let mut kept = service.gradio.kept();
    if kept.calls.len() >= MOST_CALLS {
        let message = "Too many answers wait to be asked for. Please try again in a minute.";
        return Err(Problem::new(Kind::Overloaded, message).retry_after(30));
    }
    // Looked up in a table: what a client names is never opened, be it a path or an address.
    let upload = kept.uploads.remove(path).ok_or_else(|| {
        Problem::validation("There is no such upload: paths and addresses are not opened; names are good for one call within a minute.")
    })?;
    kept.forget_closed(&key);
    let calls = kept.calls.entry(key.clone()).or_insert_with(|| {
        let (send, receive) = mpsc::channel(EVENTS);
        Calls {
            send,
            receive: Some(receive),
            pending: 0,
            since: Instant::now(),
        }
    });
    calls.pending += 1;
    calls.since = Instant::now();
    let send = calls.send.clone();
    drop(kept);
    forget(service, key.clone(), Kept::forget_unasked);
    tokio::spawn(hear(
        service.clone(),
        place,
        upload,
        Teller {
            form,
            id: id.clone(),
            request: request.to_string(),
            key,
            send,
        },
    ));
    Ok(ok(&json!({"event_id": id})))
}

/// Who is told of a call.
struct Teller {
    form: Form,
    /// Of the call, as its client knows it.
    id: String,
    /// Of the request that began it.
    request: String,
    key: String,
    send: mpsc::Sender<Bytes>,
}

impl Teller {
    fn message(&self, mut message: Value) -> Option<Bytes> {
        if self.form == Form::Curl {
            return None;
        }
        message["event_id"] = self.id.as_str().into();
        Some(event(None, &message.to_string()))
    }

    fn tell(&self, message: Value) {
        if let Some(event) = self.message(message) {
            let _ = self.send.try_send(event);
        }
    }

    fn end(&self, result: Result<Predictions>) -> Option<Bytes> {
        let label = result.map(|heard| {
            let confidences: Vec<Value> = heard
                .predictions
                .iter()
                .map(|p| json!({"label": p.label, "confidence": p.score}))
                .collect();
            json!([{"label": heard.predictions.first().map(|p| &p.label), "confidences": confidences}])
        });
        match (self.form, label) {
            (Form::Curl, Ok(data)) => Some(event(Some("complete"), &data.to_string())),
            (Form::Curl, Err(problem)) => Some(event(Some("error"), &json!({"error": problem.message}).to_string())),
            (Form::Session, Ok(data)) => self.message(json!({
                "msg": "process_completed", "success": true, "title": null,
                "output": {"data": data, "is_generating": false, "duration": 0.0, "average_duration": 0.0, "render_config": null, "changed_state_ids": []},
            })),
            (Form::Session, Err(problem)) => self.message(json!({
                "msg": "process_completed", "success": false, "title": "Error",
                "output": {"error": problem.message, "title": "Error", "visible": true, "duration": 10.0},
            })),
        }
    }
}

async fn hear(service: Arc<Service>, place: Place, upload: Upload, teller: Teller) {
    let waiting = service.queue.waiting();
    teller.tell(json!({"msg": "estimation", "rank": waiting, "queue_size": waiting + 1, "rank_eta": null}));
    teller.tell(json!({"msg": "process_starts", "eta": null}));
    let teller = Arc::new(teller);
    let (hearing, telling) = (service.clone(), teller.clone());
    let work = service.queue.run(place, move |task| {
        let options = ClassifyOptions {
            limits: hearing.limits.audio(),
            ..ClassifyOptions::default()
        };
        api::hear(&hearing, &upload.bytes, &options, task, &mut |seconds, total| {
            let part =
                json!({"index": seconds, "length": total, "unit": "seconds", "progress": null, "desc": null});
            telling.tell(json!({"msg": "progress", "progress_data": [part]}));
        })
    });
    let result = tokio::select! {
        // The client has gone, or never came: the work is dropped, and ends.
        () = teller.send.closed() => return service.gradio.kept().forget_closed(&teller.key),
        result = work => result,
    };
    if let Err(problem) = &result {
        service.note(problem, &teller.request, teller.form.address());
    }
    if let Some(event) = teller.end(result) {
        let _ = teller.send.send(event).await;
    }
    if teller.form == Form::Session {
        // The next call of a session may be on its way, and its client count on this stream.
        tokio::time::sleep(LINGER).await;
    }
    let mut kept = service.gradio.kept();
    let Some(calls) = kept.of(&teller.key, &teller.send) else {
        return;
    };
    calls.pending -= 1;
    if calls.pending == 0 {
        if teller.form == Form::Session {
            let _ = calls.send.try_send(event(
                None,
                &json!({"msg": "close_stream", "event_id": null}).to_string(),
            ));
        }
        // An answer that nobody has asked for yet stays; the stream of who has ends with the last sender.
        if calls.receive.is_none() {
            kept.calls.remove(&teller.key);
        }
    }
}

/// `GET /gradio_api/queue/data?session_hash=…`.
pub fn data(service: &Service, parts: &Parts) -> Result<Answer> {
    let query = Query::new(parts.uri.query());
    listen(
        service,
        &parts.method,
        &format!("session {}", query.text("session_hash").unwrap_or_default()),
    )
}

/// `GET /gradio_api/call/predict/{event_id}`.
pub fn result(service: &Service, parts: &Parts, id: &str) -> Result<Answer> {
    listen(service, &parts.method, id)
}

fn listen(service: &Service, method: &Method, key: &str) -> Result<Answer> {
    let mut kept = service.gradio.kept();
    let calls = kept.calls.get_mut(key);
    let none = || {
        Problem::new(
            Kind::NotFound,
            "There is no such call, or its answer has been asked for already.",
        )
    };
    let calls = calls.ok_or_else(none)?;
    if method == Method::HEAD && calls.receive.is_some() {
        // Who asks for the head only leaves the answer to who asks for it.
        return Ok(events(mpsc::channel(1).1));
    }
    let receive = calls.receive.take().ok_or_else(none)?;
    if calls.pending == 0 {
        kept.calls.remove(key);
    }
    Ok(events(receive))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn calls(age: Duration) -> Calls {
        let (send, receive) = mpsc::channel(1);
        Calls {
            send,
            receive: Some(receive),
            pending: 1,
            since: Instant::now().checked_sub(age).unwrap(),
        }
    }

    #[test]
    fn the_time_of_an_earlier_call_takes_no_later_one_away() {
        let mut kept = Kept::default();
        let key = "session s";
        kept.calls.insert(key.into(), calls(Duration::from_secs(1)));
        kept.forget_unasked(key);
        assert!(kept.calls.contains_key(key));
        kept.calls.insert(key.into(), calls(KEPT));
        kept.forget_unasked(key);
        assert!(!kept.calls.contains_key(key));
        let mut listened = calls(KEPT);
        listened.receive = None;
        kept.calls.insert(key.into(), listened);
        kept.forget_unasked(key);
        assert!(kept.calls.contains_key(key));
    }

    #[test]
    fn the_end_of_an_earlier_call_is_none_of_a_later_one() {
        let mut kept = Kept::default();
        let key = "session s";
        let (earlier, later) = (calls(KEPT), calls(Duration::ZERO));
        let (old, new) = (earlier.send.clone(), later.send.clone());
        kept.calls.insert(key.into(), later);
        assert!(kept.of(key, &old).is_none());
        assert!(kept.of(key, &new).is_some());
    }
}
