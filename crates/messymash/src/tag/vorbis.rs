//! Vorbis comments, as FLAC and Ogg Vorbis have them: a vendor and a list of `KEY=value`.

use sha2::Sha256;

use super::source::feed;
use super::{Field, PRIVATE, refused};
use crate::Result;

/// What we call ourselves where a file has no comments yet.
const VENDOR: &[u8] = b"messymash";

#[derive(Debug, Clone, PartialEq)]
pub(super) struct Comments {
    vendor: Vec<u8>,
    comments: Vec<Vec<u8>>,
}

impl Comments {
    pub(super) fn new() -> Self {
        Self {
            vendor: VENDOR.to_vec(),
            comments: Vec::new(),
        }
    }

    /// Reads a list; what lies behind it is of no account.
    pub(super) fn parse(mut bytes: &[u8]) -> Result<Self> {
        let damaged = || refused("its list of comments is damaged");
        let vendor = item(&mut bytes).ok_or_else(damaged)?;
        let (count, rest) = bytes.split_first_chunk::<4>().ok_or_else(damaged)?;
        bytes = rest;
        let comments: Option<Vec<_>> = (0..u32::from_le_bytes(*count))
            .map(|_| item(&mut bytes))
            .collect();
        Ok(Self {
            vendor,
            comments: comments.ok_or_else(damaged)?,
        })
    }

    pub(super) fn values(&self, field: Field) -> Result<Vec<String>> {
        let ours = self.comments.iter().filter_map(|comment| value(comment, field));
        ours.filter(|value| !value.is_empty())
            .map(|value| String::from_utf8(value.to_vec()).map_err(|_| refused("its genre is no UTF-8 text")))
            .collect()
    }

    /// Puts values into a field instead of those it has; none removes it.
    pub(super) fn set(&mut self, field: Field, values: &[String]) {
        let ours = |comment: &Vec<u8>| value(comment, field).is_some();
        let place = self.comments.iter().position(ours);
        self.comments.retain(|comment| !ours(comment));
        let place = place.unwrap_or(self.comments.len());
        let new = values
            .iter()
            .map(|value| format!("{}={value}", key(field)).into_bytes());
        self.comments.splice(place..place, new);
    }

    /// Whether nothing is in it but what we would have begun ourselves.
    pub(super) fn is_empty(&self) -> bool {
        *self == Self::new()
    }

    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let item = |item: &Vec<u8>| [&(item.len() as u32).to_le_bytes(), &item[..]].concat();
        let mut bytes = item(&self.vendor);
        bytes.extend((self.comments.len() as u32).to_le_bytes());
        bytes.extend(self.comments.iter().flat_map(item));
        bytes
    }

    /// Takes all comments but those of a field into a digest.
    pub(super) fn feed_rest(&self, field: Field, digest: &mut Sha256) {
        // Where there were no comments, the vendor comes with the first.
        if self.vendor != VENDOR {
            feed(&self.vendor, digest);
        }
        for comment in self
            .comments
            .iter()
            .filter(|comment| value(comment, field).is_none())
        {
            feed(comment, digest);
        }
    }
}

/// Takes one item, with its length before it.
fn item(bytes: &mut &[u8]) -> Option<Vec<u8>> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (item, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
    *bytes = rest;
    Some(item.to_vec())
}

fn key(field: Field) -> &'static str {
    match field {
        Field::Private => PRIVATE,
        Field::Genre => "GENRE",
    }
}

fn name(comment: &[u8]) -> &[u8] {
    let end = comment.iter().position(|&byte| byte == b'=');
    &comment[..end.unwrap_or(comment.len())]
}

/// The value of a comment of that field.
fn value(comment: &[u8], field: Field) -> Option<&[u8]> {
    let key = key(field).as_bytes();
    let named = name(comment).eq_ignore_ascii_case(key) && comment.len() > key.len();
    named.then(|| &comment[key.len() + 1..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_set_read_and_removed_and_nothing_else_changes() {
        let mut bytes = Vec::new();
        bytes.extend(b"\x08\0\0\0a vendor");
        bytes.extend(3u32.to_le_bytes());
        for item in [&b"Genre=Rock"[..], b"TITLE=\xFF\xFE", b"no equals sign"] {
            bytes.extend((item.len() as u32).to_le_bytes());
            bytes.extend(item);
        }
        let old = Comments::parse(&bytes).unwrap();
        assert_eq!(old.to_bytes(), bytes);
        assert_eq!(old.values(Field::Genre).unwrap(), ["Rock"]);
        assert!(old.values(Field::Private).unwrap().is_empty());
        let mut new = old.clone();
        let values = ["jazz".to_string(), "日本".to_string()];
        new.set(Field::Private, &values);
        let read = Comments::parse(&new.to_bytes()).unwrap();
        assert_eq!(read.values(Field::Private).unwrap(), values);
        let mut undone = read.clone();
        undone.set(Field::Private, &[]);
        assert_eq!(undone.to_bytes(), bytes);
        for cut in 0..bytes.len() {
            assert!(Comments::parse(&bytes[..cut]).is_err());
        }
    }
}
