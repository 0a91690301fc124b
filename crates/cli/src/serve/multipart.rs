//! Forms (`multipart/form-data`, RFC 7578) that are in memory, their parts without a copy.

use hyper::body::Bytes;
use memchr::memmem;

use super::errors::{Problem, Result};

/// A form of more parts is none of a sound file.
const MOST_PARTS: usize = 32;

/// Bytes of a field's head, which becomes text: so a body of nothing else is not copied as such.
const LONGEST_HEAD: usize = 16 << 10;

/// One field.
#[derive(Debug, PartialEq, Eq)]
pub struct Part {
    pub name: String,
    pub file_name: Option<String>,
    pub content: Bytes,
}

fn broken(what: &str) -> Problem {
    Problem::validation(format!("The form (multipart/form-data) is damaged: {what}."))
}

/// The fields of a form of this `Content-Type`.
pub fn parts(content_type: &str, body: &Bytes) -> Result<Vec<Part>> {
    let boundary = parameter(content_type, "boundary")
        .filter(|boundary| (1..=70).contains(&boundary.len()))
        .ok_or_else(|| broken("its Content-Type has no boundary"))?;
    let delimiter = format!("\r\n--{boundary}");
    let finder = memmem::Finder::new(delimiter.as_bytes());
    // The first delimiter may stand at the very beginning, without its line break.
    let mut at = if body.starts_with(&delimiter.as_bytes()[2..]) {
        delimiter.len() - 2
    } else {
        finder
            .find(body)
            .ok_or_else(|| broken("its boundary is nowhere in it"))?
            + delimiter.len()
    };
    let mut parts = Vec::new();
    loop {
        let rest = &body[at..];
        if rest.starts_with(b"--") {
            return Ok(parts);
        }
        if parts.len() == MOST_PARTS {
            return Err(broken("it has too many fields"));
        }
        let head = memmem::find(&rest[..rest.len().min(LONGEST_HEAD)], b"\r\n\r\n")
            .ok_or_else(|| broken("a field has no end of its head"))?;
        let content = at + head + 4;
        // A field may be empty: its delimiter then begins with the end of its head.
        let end = finder
            .find(&body[content - 2..])
            .ok_or_else(|| broken("it ends early"))?
            + content
            - 2;
        let fields = String::from_utf8_lossy(&rest[..head]);
        let disposition = fields
            .lines()
            .filter_map(|line| line.split_once(':'))
            .find(|(name, _)| name.trim().eq_ignore_ascii_case("content-disposition"))
            .map(|(_, value)| value)
            .ok_or_else(|| broken("a field has no name"))?;
        parts.push(Part {
            name: parameter(disposition, "name").ok_or_else(|| broken("a field has no name"))?,
            file_name: parameter(disposition, "filename").map(|name| plain(&name)),
            content: body.slice(content.min(end)..end),
        });
        at = end + delimiter.len();
    }
}

/// A parameter of a header's value, quoted or not.
fn parameter(value: &str, wanted: &str) -> Option<String> {
    let mut rest = value.split_once(';')?.1;
    loop {
        let (name, after) = rest.split_once('=')?;
        let (found, next) = match after.trim_start().strip_prefix('"') {
            Some(quoted) => {
                let mut text = String::new();
                let mut letters = quoted.char_indices();
                let end = loop {
                    match letters.next()? {
                        (end, '"') => break end,
                        (_, '\\') if quoted[letters.offset()..].starts_with(['"', '\\']) => {
                            text.push(letters.next()?.1)
                        }
                        (_, letter) => text.push(letter),
                    }
                };
                (
                    text,
                    quoted[end + 1..].split_once(';').map_or("", |(_, next)| next),
                )
            }
            None => {
                let (text, next) = after.split_once(';').unwrap_or((after, ""));
                (text.trim().to_string(), next)
            }
        };
        if name.trim().eq_ignore_ascii_case(wanted) {
            return Some(found);
        }
        rest = next;
    }
}

/// The last part of a name, without what could command a terminal; it is only ever given back.
fn plain(name: &str) -> String {
    let name = name.rsplit(['/', '\\']).next().unwrap_or_default();
    name.chars().filter(|c| !c.is_control()).take(255).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TYPE: &str = "multipart/form-data; boundary=\"xx\"";

    fn of(body: &[u8]) -> Result<Vec<Part>> {
        parts(TYPE, &Bytes::copy_from_slice(body))
    }

    #[test]
    fn parts_are_taken_as_they_are() {
        let body = b"--xx\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n\r\n--xx\r\ncontent-type: audio/wav\r\n\
            Content-Disposition: form-data; filename=\"../../etc/p\\\"w\x07d\"; name=file\r\n\r\n\x00\r\n--x\xff\r\n--xx--\r\n";
        let parts = of(body).unwrap();
        assert_eq!((parts[0].name.as_str(), &parts[0].content[..]), ("a", &b""[..]));
        assert_eq!(parts[1].file_name.as_deref(), Some("p\"wd"));
        assert_eq!(&parts[1].content[..], b"\x00\r\n--x\xff");
        assert_eq!(parts.len(), 2);
    }

    #[test]
    fn damaged_forms_are_refused_in_words() {
        let head = b"--xx\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\nabc";
        for body in [&b""[..], b"--xx", b"--xx\r\n\r\n\r\n--xx--", head, b"--yy--"] {
            assert!(of(body).unwrap_err().message.contains("damaged"), "{body:?}");
        }
        assert!(parts("multipart/form-data", &Bytes::new()).is_err());
        let many = b"--xx\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\n\r\n".repeat(40);
        assert!(of(&many).unwrap_err().message.contains("too many"));
        let of_head = |spaces| {
            let spaces = " ".repeat(spaces);
            let form =
                format!("--xx\r\nContent-Disposition: form-data; name=a{spaces}\r\n\r\nabc\r\n--xx--\r\n");
            of(form.as_bytes())
        };
        assert_eq!(&of_head(LONGEST_HEAD - 100).unwrap()[0].content[..], b"abc");
        assert!(of_head(LONGEST_HEAD).unwrap_err().message.contains("head"));
    }
}
