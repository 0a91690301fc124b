//! WAV and AIFF: chunks, one of which may be an ID3v2 tag.

use std::ops::Range;

use sha2::Sha256;

use super::id3::{self, Id3};
use super::source::{Piece, Source, feed};
use super::{Field, refused};
use crate::Result;

/// Chunks that a sound may have before its header is taken for a trap.
const MAX_CHUNKS: usize = 10_000;
/// `RIFF`, size, `WAVE`; `FORM`, size, `AIFF`.
const HEADER: u64 = 12;

/// WAV counts from the small end, AIFF from the large one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Kind {
    Wav,
    Aiff,
}

impl Kind {
    fn read(self, bytes: [u8; 4]) -> u32 {
        match self {
            Kind::Wav => u32::from_le_bytes(bytes),
            Kind::Aiff => u32::from_be_bytes(bytes),
        }
    }

    fn write(self, size: u32) -> [u8; 4] {
        match self {
            Kind::Wav => size.to_le_bytes(),
            Kind::Aiff => size.to_be_bytes(),
        }
    }

    /// What the chunk of a tag is called.
    fn id(self) -> &'static [u8; 4] {
        match self {
            Kind::Wav => b"id3 ",
            Kind::Aiff => b"ID3 ",
        }
    }
}

pub(super) struct Iff {
    kind: Kind,
    head: Vec<u8>,
    chunks: Vec<Chunk>,
    tag: Option<Id3>,
    /// Genres in the list of facts that WAV has of its own.
    pub(super) elsewhere: bool,
}

struct Chunk {
    id: [u8; 4],
    /// Header and padding included.
    all: Range<u64>,
    body: Range<u64>,
    is_tag: bool,
}

impl Iff {
    pub(super) fn open(source: &mut Source, kind: Kind) -> Result<Self> {
        let odd = || {
            refused(
                "its chunks do not fit its length: it was cut off, written by a pipe, or has more behind its end",
            )
        };
        let head = source.bytes(0..HEADER)?;
        let size = kind.read([head[4], head[5], head[6], head[7]]);
        let end = source.len();
        // A last byte of padding may be missing, or not be counted.
        if !(end..=end + 1).contains(&(u64::from(size) + 8)) && u64::from(size) + 9 != end {
            return Err(odd());
        }
        let (mut chunks, mut tag, mut elsewhere) = (Vec::new(), None, false);
        let mut start = HEADER;
        while start + 8 <= end {
            if chunks.len() == MAX_CHUNKS {
                return Err(odd());
            }
            let header = source.bytes(start..start + 8)?;
            let id = [header[0], header[1], header[2], header[3]];
            let size = u64::from(kind.read([header[4], header[5], header[6], header[7]]));
            let body = start + 8..start + 8 + size;
            if body.end > end {
                return Err(odd());
            }
            let mut is_tag = false;
            if tag.is_none() && id.eq_ignore_ascii_case(b"id3 ") {
                let bytes = source.bytes(body.clone())?;
                if let Some(len) = id3::length(&bytes) {
                    let behind = bytes.get(len as usize..).unwrap_or_default();
                    if behind.iter().any(|&byte| byte != 0) {
                        return Err(refused("its ID3v2 tag is shorter than the chunk that holds it"));
                    }
                    tag = Some(Id3::parse(&bytes)?);
                    is_tag = true;
                }
            } else if &id == b"LIST" && size <= 1 << 20 {
                let list = source.bytes(body.clone())?;
                elsewhere |= list.starts_with(b"INFO") && list.windows(4).any(|id| id == b"IGNR");
            }
            let all = start..(body.end + size % 2).min(end);
            start = all.end;
            chunks.push(Chunk {
                id,
                all,
                body,
                is_tag,
            });
        }
        if start != end {
            return Err(odd());
        }
        Ok(Self {
            kind,
            head,
            chunks,
            tag,
            elsewhere,
        })
    }

    pub(super) fn values(&self, field: Field) -> Result<Vec<String>> {
        self.tag.as_ref().map_or(Ok(Vec::new()), |tag| tag.values(field))
    }

    pub(super) fn lists(&self) -> bool {
        self.tag.as_ref().is_none_or(Id3::lists)
    }

    pub(super) fn feed_rest(&self, source: &mut Source, field: Field, digest: &mut Sha256) -> Result<()> {
        feed(&self.head[8..], digest);
        for chunk in self.chunks.iter().filter(|chunk| !chunk.is_tag) {
            feed(&chunk.id, digest);
            feed(&(chunk.body.end - chunk.body.start).to_le_bytes(), digest);
            source.feed(chunk.body.clone(), digest)?;
        }
        if let Some(tag) = &self.tag {
            tag.feed_rest(field, digest);
        }
        Ok(())
    }

    pub(super) fn with(&self, field: Field, values: &[String]) -> Result<Vec<Piece>> {
        let mut tag = self.tag.clone().unwrap_or_else(Id3::new);
        tag.set(field, values);
        let tag = self.chunk(&tag.to_bytes()?)?;
        let mut pieces = Vec::new();
        let mut size = 4 + tag.len() as u64;
        let mut place = None;
        for chunk in &self.chunks {
            if chunk.is_tag {
                place = Some(pieces.len());
                continue;
            }
            let len = chunk.all.end - chunk.all.start;
            pieces.push(Piece::Old(chunk.all.clone()));
            size += len;
            if len % 2 == 1 {
                pieces.push(Piece::Bytes(vec![0])); // the padding that was missing
                size += 1;
            }
        }
        pieces.insert(place.unwrap_or(pieces.len()), Piece::Bytes(tag));
        let size = u32::try_from(size).map_err(|_| refused("with its tag it would exceed 4 GiB"))?;
        let mut head = self.head.clone();
        head[4..8].copy_from_slice(&self.kind.write(size));
        pieces.insert(0, Piece::Bytes(head));
        Ok(pieces)
    }

    fn chunk(&self, tag: &[u8]) -> Result<Vec<u8>> {
        if tag.is_empty() {
            return Ok(Vec::new());
        }
        let size = u32::try_from(tag.len()).map_err(|_| refused("its ID3v2 tag is full"))?;
        let id = self.chunks.iter().find(|chunk| chunk.is_tag);
        let id = id.map_or(self.kind.id(), |chunk| &chunk.id);
        let mut chunk = [&id[..], &self.kind.write(size), tag].concat();
        chunk.resize(chunk.len().next_multiple_of(2), 0);
        Ok(chunk)
    }
}
