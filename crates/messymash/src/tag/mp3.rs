//! MP3: an ID3v2 tag, if there is one, and everything behind it.

use sha2::Sha256;

use super::id3::{self, Id3};
use super::source::{Piece, Source};
use super::{Field, refused};
use crate::Result;

/// Zeros behind a tag that are still taken for its padding.
const JUNK: u64 = 1 << 16;

pub(super) struct Mp3 {
    tag: Option<Id3>,
    /// Where the tag ends.
    start: u64,
    len: u64,
}

impl Mp3 {
    pub(super) fn open(source: &mut Source) -> Result<Self> {
        let head = source.at_most(0, id3::HEADER as u64)?;
        let start = id3::length(&head).unwrap_or(0);
        let tag = match start {
            0 => None,
            end => Some(Id3::parse(&source.bytes(0..end)?)?),
        };
        let behind = source.at_most(start, JUNK)?;
        let sound = behind.iter().position(|&byte| byte != 0).unwrap_or(behind.len());
        match &behind[sound..] {
            // Eleven bits set, and a layer.
            [0xFF, second, ..] if second & 0xE0 == 0xE0 && second & 0x06 != 0 => {}
            _ => {
                let what =
                    "its tag is not followed by MP3 sound, so that it is not known how to write into it";
                return Err(refused(what));
            }
        }
        Ok(Self {
            tag,
            start,
            len: source.len(),
        })
    }

    pub(super) fn values(&self, field: Field) -> Result<Vec<String>> {
        self.tag.as_ref().map_or(Ok(Vec::new()), |tag| tag.values(field))
    }

    pub(super) fn lists(&self) -> bool {
        self.tag.as_ref().is_none_or(Id3::lists)
    }

    pub(super) fn feed_rest(&self, source: &mut Source, field: Field, digest: &mut Sha256) -> Result<()> {
        if let Some(tag) = &self.tag {
            tag.feed_rest(field, digest);
        }
        source.feed(self.start..self.len, digest)
    }

    pub(super) fn with(&self, field: Field, values: &[String]) -> Result<Vec<Piece>> {
        let mut tag = self.tag.clone().unwrap_or_else(Id3::new);
        tag.set(field, values);
        Ok(vec![
            Piece::Bytes(tag.to_bytes()?),
            Piece::Old(self.start..self.len),
        ])
    }
}
