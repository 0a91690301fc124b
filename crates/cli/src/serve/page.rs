//! The page and its files, which are inside the program.

use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, ETAG, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, StatusCode};
use sha2::{Digest, Sha256};

use super::answer::{Answer, bytes};
use super::errors::{Kind, Problem, Result};

mod files {
    include!(concat!(env!("OUT_DIR"), "/files.rs"));
}

/// The page may use what comes from here and what it made itself, and nothing else.
pub const POLICY: &str = "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; \
    base-uri 'none'; form-action 'self'; frame-ancestors 'self' https://huggingface.co";

/// `index.html`.
pub fn index(headers: &HeaderMap) -> Result<Answer> {
    file(files::WEB, "index.html", headers)
}

/// A file of the page.
pub fn web(name: &str, headers: &HeaderMap) -> Result<Answer> {
    file(files::WEB, name, headers)
}

/// A sample sound.
pub fn sample(name: &str, headers: &HeaderMap) -> Result<Answer> {
    file(files::SAMPLES, name, headers)
}

/// From a table: a name is compared, never opened.
fn file(table: &'static [(&str, &[u8])], name: &str, headers: &HeaderMap) -> Result<Answer> {
    let found = table.iter().find(|(n, _)| *n == name);
    let (name, content) = found.ok_or_else(|| Problem::new(Kind::NotFound, "There is no such file."))?;
    let digest = Sha256::digest(content);
    let tag: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    let tag = format!("\"{tag}\"");
    let known = headers.get(IF_NONE_MATCH).and_then(|known| known.to_str().ok());
    let mut answer = if known.is_some_and(|known| known.split(',').any(|known| known.trim() == tag)) {
        bytes(StatusCode::NOT_MODIFIED, content_type(name), "")
    } else {
        bytes(StatusCode::OK, content_type(name), *content)
    };
    let headers = answer.headers_mut();
    if let Ok(tag) = HeaderValue::from_str(&tag) {
        headers.insert(ETAG, tag);
    }
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(answer)
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit('.').next().unwrap_or_default() {
        "html" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "ico" => "image/x-icon",
        "json" => "application/json",
        "flac" => "audio/flac",
        "ogg" => "audio/ogg",
        "mp3" => "audio/mpeg",
        "wav" => "audio/wav",
        _ => "application/octet-stream",
    }
}

/// Headers that every answer has.
pub fn secure(answer: &mut Answer) {
    let is_html = answer
        .headers()
        .get(CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(b"text/html"));
    let headers = answer.headers_mut();
    headers.insert("x-content-type-options", HeaderValue::from_static("nosniff"));
    headers.insert("referrer-policy", HeaderValue::from_static("no-referrer"));
    if is_html {
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    }
}
