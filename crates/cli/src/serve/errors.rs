//! What can go wrong with a request: one table of statuses and kinds, which the documentation is made of, too.

use hyper::StatusCode;
use hyper::header::{ALLOW, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use serde_json::json;

use super::answer::{Answer, json};

/// Why a request was not answered with what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Validation,
    Unauthorized,
    NotFound,
    MethodNotAllowed,
    SlowRequest,
    PayloadTooLarge,
    AudioTooLong,
    UnsupportedMedia,
    InvalidAudio,
    TooShort,
    Overloaded,
    Internal,
    Unhealthy,
    Deadline,
}

impl Kind {
    /// All of them, in the order of their statuses.
    pub const ALL: [Kind; 14] = [
        Kind::Validation,
        Kind::Unauthorized,
        Kind::NotFound,
        Kind::MethodNotAllowed,
        Kind::SlowRequest,
        Kind::PayloadTooLarge,
        Kind::AudioTooLong,
        Kind::UnsupportedMedia,
        Kind::InvalidAudio,
        Kind::TooShort,
        Kind::Overloaded,
        Kind::Internal,
        Kind::Unhealthy,
        Kind::Deadline,
    ];

    /// Status, `error_type`, and when it is given.
    pub fn row(self) -> (u16, &'static str, &'static str) {
        match self {
            Kind::Validation => (
                400,
                "validation",
                "a parameter, the JSON, its base64 or the multipart form is wrong",
            ),
            Kind::Unauthorized => (
                401,
                "unauthorized",
                "the service asks for a key, and this is not it",
            ),
            Kind::NotFound => (404, "not_found", "there is nothing at this address"),
            Kind::MethodNotAllowed => (
                405,
                "method_not_allowed",
                "the address exists, but not for this method; see `Allow`",
            ),
            Kind::SlowRequest => (408, "timeout", "the body came too slowly, or stopped coming"),
            Kind::PayloadTooLarge => (413, "payload_too_large", "the body is larger than the limit"),
            Kind::AudioTooLong => (
                413,
                "audio_too_long",
                "there is more sound in the body than the limit; with `windows=first` only its first seconds count",
            ),
            Kind::UnsupportedMedia => (
                415,
                "unsupported_media",
                "the body is not sound that can be read (the sentence says what it is), or is compressed (`Content-Encoding`)",
            ),
            Kind::InvalidAudio => (
                422,
                "invalid_audio",
                "it is a sound file, but the sound in it cannot be used: damaged, empty, an absurd rate",
            ),
            Kind::TooShort => (422, "too_short", "there is less than 0.025 s of sound"),
            Kind::Overloaded => (
                429,
                "overloaded",
                "as much waits as may wait; try again after `Retry-After` seconds",
            ),
            Kind::Internal => (500, "internal", "a fault of the service; tell its `request_id`"),
            Kind::Unhealthy => (
                503,
                "unhealthy",
                "the model is still being loaded, or the service is about to end",
            ),
            Kind::Deadline => (504, "timeout", "the answer took longer than the limit"),
        }
    }

    pub fn error_type(self) -> &'static str {
        self.row().1
    }
}

/// A request that failed: what kind, and a sentence for who sent it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    pub kind: Kind,
    pub message: String,
    /// Seconds after which it makes sense to try again.
    pub retry_after: Option<u64>,
    /// Methods that the address does know.
    pub allow: Option<&'static str>,
}

pub type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            retry_after: None,
            allow: None,
        }
    }

    pub fn validation(message: impl Into<String>) -> Self {
        Self::new(Kind::Validation, message)
    }

    pub fn internal() -> Self {
        let message = "Something went wrong inside the service; it has been noted under this request_id.";
        Self::new(Kind::Internal, message)
    }

    pub fn retry_after(mut self, seconds: u64) -> Self {
        self.retry_after = Some(seconds);
        self
    }

    pub fn status(&self) -> StatusCode {
        StatusCode::from_u16(self.kind.row().0).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
    }

    /// The documented JSON.
    pub fn value(&self, request_id: &str) -> serde_json::Value {
        json!({"error": self.message, "error_type": self.kind.error_type(), "request_id": request_id})
    }

    pub fn answer(&self, request_id: &str) -> Answer {
        let mut answer = json(self.status(), &self.value(request_id));
        let headers = answer.headers_mut();
        if let Some(seconds) = self.retry_after {
            headers.insert(RETRY_AFTER, seconds.into());
        }
        if let Some(allow) = self.allow {
            headers.insert(ALLOW, HeaderValue::from_static(allow));
        }
        if self.kind == Kind::Unauthorized {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        answer
    }
}

impl From<messymash::Error> for Problem {
    fn from(error: messymash::Error) -> Self {
        use messymash::Error;
        let kind = match &error {
            Error::UnsupportedMedia(_) => Kind::UnsupportedMedia,
            Error::InvalidAudio(_) => Kind::InvalidAudio,
            Error::TooShort { .. } => Kind::TooShort,
            Error::TooLong { .. } => Kind::AudioTooLong,
            Error::Config(_) => Kind::Validation,
            // Whoever interrupts the work has told the client why, or there is no client any more.
            Error::Interrupted => Kind::Deadline,
            // Files are none of the client's business, and their paths less so.
            _ => {
                eprintln!("messymash: {}", crate::input::printable(&error.to_string()));
                return Self::internal();
            }
        };
        Self::new(kind, sentence(&error.to_string()))
    }
}

/// With a capital letter and a full stop.
fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first = letters.next().map(|c| c.to_uppercase().to_string());
    let end = if text.ends_with(['.', '!', '?']) { "" } else { "." };
    format!("{}{}{end}", first.unwrap_or_default(), letters.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The table of `docs/serving.md`, between its two marks.
    fn table() -> String {
        let mut table = String::from("| status | `error_type` | when |\n|---|---|---|\n");
        for kind in Kind::ALL {
            let (status, error_type, when) = kind.row();
            table.push_str(&format!("| {status} | `{error_type}` | {when} |\n"));
        }
        table
    }

    #[test]
    fn the_documented_table_is_this_one() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/serving.md");
        let page = std::fs::read_to_string(path).unwrap();
        let (begin, end) = ("<!-- errors -->\n", "<!-- /errors -->");
        let (before, rest) = page.split_once(begin).unwrap();
        let (written, after) = rest.split_once(end).unwrap();
        if std::env::var_os("MESSYMASH_UPDATE_DOCS").is_some() {
            std::fs::write(path, format!("{before}{begin}{}{end}{after}", table())).unwrap();
            return;
        }
        assert_eq!(
            written,
            table(),
            "docs/serving.md is stale: run this test with MESSYMASH_UPDATE_DOCS=1"
        );
    }

    #[test]
    fn errors_of_the_library_become_sentences_and_never_tell_paths() {
        let short = Problem::from(messymash::Error::TooShort { seconds: 0.01 });
        assert_eq!((short.kind, short.status().as_u16()), (Kind::TooShort, 422));
        assert!(short.message.starts_with("The sound lasts 0.0100 s;") && short.message.ends_with('.'));
        let io = messymash::Error::io("/secret/place")(std::io::Error::other("gone"));
        let io = Problem::from(io);
        assert!(io.kind == Kind::Internal && !io.message.contains("secret"));
    }
}
