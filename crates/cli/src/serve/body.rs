//! Bodies: read whole into memory, within limits of size and time, and what is in them taken out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http_body_util::BodyExt;
use hyper::HeaderMap;
use hyper::body::{Body, Bytes, Incoming};
use hyper::header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName};
use serde::Deserialize;
use tokio::time::timeout;

use super::errors::{Kind, Problem, Result};
use super::limits::{Limits, reserved_kib};
use super::multipart;
use super::queue::{Place, Queue};

/// A body may not come slower than this on average, bytes a second.
const SLOWEST: f64 = 8192.0;

/// How long what is still sent after a refusal is read and thrown away: a client that is in the middle of its body sees
/// the answer only if the connection is not reset under it.
const LINGER: Duration = Duration::from_secs(3);

/// One request's sound, and what came with it.
#[derive(Debug)]
pub struct Sound {
    pub bytes: Bytes,
    /// The name that the client gave it; only ever given back.
    pub name: Option<String>,
    /// Parameters from the JSON of a Hugging Face client.
    pub parameters: Option<Parameters>,
}

/// `parameters` of a Hugging Face client.
#[derive(Debug, Default, Clone, Deserialize)]
pub struct Parameters {
    pub top_k: Option<usize>,
    pub function_to_apply: Option<String>,
}

#[derive(Deserialize)]
struct Inputs {
    inputs: String,
    #[serde(default)]
    parameters: Option<Parameters>,
}

fn text(headers: &HeaderMap, name: HeaderName) -> &str {
    headers
        .get(name)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default()
        .trim()
}

/// The type of the body, in small letters and without parameters.
pub fn media_type(headers: &HeaderMap) -> String {
    let (media_type, _) = split_once_or_all(text(headers, CONTENT_TYPE), ';');
    media_type.trim().to_ascii_lowercase()
}

fn split_once_or_all(text: &str, at: char) -> (&str, &str) {
    text.split_once(at).unwrap_or((text, ""))
}

/// Takes a place in the queue and reads the body into memory: in this order, so that what cannot be heard is not read.
pub async fn receive(
    headers: &HeaderMap,
    body: &mut Incoming,
    queue: &Queue,
    limits: &Limits,
) -> Result<(Place, Bytes)> {
    let mut place = queue.place()?;
    let encoding = text(headers, CONTENT_ENCODING);
    if !encoding.is_empty() && !encoding.eq_ignore_ascii_case("identity") {
        let message = "The body is compressed (Content-Encoding); send the sound file as it is.";
        return Err(Problem::new(Kind::UnsupportedMedia, message));
    }
    let is_json = media_type(headers) == "application/json";
    let most = limits.body_of(is_json);
    // Without a stated length the limit is what it may become.
    let stated = body.size_hint().upper();
    if stated.is_some_and(|stated| stated > most as u64) {
        return Err(too_large(limits));
    }
    let expected = stated.map_or(most, |stated| stated as usize);
    queue.reserve(&mut place, reserved_kib(is_json, expected)).await?;
    let bytes = read(body, limits, most, stated.map(|stated| stated as usize)).await?;
    Ok((place, bytes))
}

fn too_large(limits: &Limits) -> Problem {
    let mib = limits.body() >> 20;
    let message = format!(
        "The sound file is larger than the limit of {mib} MiB. Send a compressed file (MP3, FLAC, OGG) or a part of it."
    );
    Problem::new(Kind::PayloadTooLarge, message)
}

async fn read(body: &mut Incoming, limits: &Limits, most: usize, stated: Option<usize>) -> Result<Bytes> {
    let began = Instant::now();
    let slow = |what: &str| Problem::new(Kind::SlowRequest, format!("The upload {what}."));
    // What a client states is believed as far as it goes on sending: the room grows with what has come.
    let mut bytes = Vec::with_capacity(stated.unwrap_or(0).min(1 << 20));
    loop {
        let left = limits.body_timeout().saturating_sub(began.elapsed());
        let pause = limits.idle_timeout().min(left);
        let frame = match timeout(pause, body.frame()).await {
            Err(_) if pause == left => return Err(slow("took too long")),
            Err(_) => return Err(slow("stopped in the middle")),
            Ok(None) => return Ok(bytes.into()),
            // Whoever reads this has broken off the upload.
            Ok(Some(Err(_))) => return Err(Problem::validation("The body ended before it was whole.")),
            Ok(Some(Ok(frame))) => frame,
        };
        if let Ok(data) = frame.into_data() {
            if bytes.len() + data.len() > most {
                return Err(too_large(limits));
            }
            bytes.extend_from_slice(&data);
        }
        let seconds = began.elapsed().as_secs_f64();
        if seconds > limits.idle_timeout().as_secs_f64() && bytes.len() as f64 / seconds < SLOWEST {
            return Err(slow("was too slow"));
        }
    }
}

/// Reads on and throws away what a refused client still sends, for a while and on a task of its own.
pub fn linger(mut body: Incoming, most: usize) {
    if body.is_end_stream() {
        return;
    }
    tokio::spawn(timeout(LINGER, async move {
        let mut thrown = 0;
        while let Some(Ok(frame)) = body.frame().await {
            thrown += frame.data_ref().map_or(0, Bytes::len);
            if thrown > most {
                break;
            }
        }
    }));
}

/// The sound in a body: the `inputs` of a Hugging Face client's JSON, the field `file` of a form, or the body itself.
///
/// A string in JSON is the sound itself in base64, never a path or an address: nothing a client names is ever opened.
pub async fn sound(headers: &HeaderMap, bytes: Bytes) -> Result<Sound> {
    let media_type = media_type(headers);
    let content_type = text(headers, CONTENT_TYPE).to_string();
    apart(move || taken_out(&media_type, &content_type, bytes)).await
}

/// Does what takes a large body its time beside the threads that all connections share.
pub async fn apart<T: Send + 'static>(work: impl FnOnce() -> Result<T> + Send + 'static) -> Result<T> {
    let work = tokio::task::spawn_blocking(work).await;
    work.unwrap_or_else(|_| Err(Problem::internal()))
}

fn taken_out(media_type: &str, content_type: &str, bytes: Bytes) -> Result<Sound> {
    match media_type {
        "application/json" => {
            let inputs: Inputs = serde_json::from_slice(&bytes).map_err(|error| {
                Problem::validation(format!(
                    "The JSON cannot be used ({error}); it must be {{\"inputs\": \"<sound file in base64>\", \"parameters\": {{…}}}}."
                ))
            })?;
            let bytes = STANDARD.decode(inputs.inputs.trim()).map_err(|_| {
                Problem::validation("\"inputs\" is no base64; it must be the sound file itself (a path or an address is never opened).")
            })?;
            Ok(Sound {
                bytes: bytes.into(),
                name: None,
                parameters: inputs.parameters,
            })
        }
        "multipart/form-data" => {
            let mut parts = multipart::parts(content_type, &bytes)?;
            let at = parts.iter().position(|part| part.name == "file");
            let part = parts.swap_remove(at.ok_or_else(|| {
                Problem::validation(
                    "The form has no field \"file\" with a sound file (curl: -F file=@song.mp3).",
                )
            })?);
            Ok(Sound {
                bytes: part.content,
                name: part.file_name,
                parameters: None,
            })
        }
        _ => Ok(Sound {
            bytes,
            name: None,
            parameters: None,
        }),
    }
}

/// As the library's decoder takes it; copied, once, by who decodes it.
pub fn shared(bytes: &Bytes) -> Arc<[u8]> {
    Arc::from(&bytes[..])
}
