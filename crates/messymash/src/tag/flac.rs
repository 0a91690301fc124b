//! FLAC: metadata blocks, one of which holds Vorbis comments, and the frames behind them.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::source::{Piece, Source, feed};
use super::vorbis::Comments;
use super::{Field, refused};
use crate::Result;

const STREAM: u8 = 0;
const PADDING: u8 = 1;
const COMMENTS: u8 = 4;
/// Room left where the blocks had to grow, so that the next change needs none.
const ROOM: u64 = 4096;
/// The most that a block's length can say.
const MAX_BLOCK: u64 = (1 << 24) - 1;
const HEADER: u64 = 4;
/// Blocks that a file may have before its header is taken for a trap.
const MAX_BLOCKS: usize = 1_000;

pub(super) struct Flac {
    blocks: Vec<Block>,
    comments: Option<Comments>,
    /// Where the frames begin.
    frames: u64,
    len: u64,
}

struct Block {
    kind: u8,
    body: Range<u64>,
}

impl Block {
    fn len(&self) -> u64 {
        self.body.end - self.body.start
    }
}

impl Flac {
    pub(super) fn open(source: &mut Source) -> Result<Self> {
        let (mut blocks, mut comments, mut start, mut last) = (Vec::new(), None, 4, false);
        while !last {
            let header = source.bytes(start..start + HEADER)?;
            last = header[0] & 0x80 != 0;
            let kind = header[0] & 0x7F;
            let len = u64::from(u32::from_be_bytes([0, header[1], header[2], header[3]]));
            let body = start + HEADER..start + HEADER + len;
            start = body.end;
            if start > source.len() || kind == 0x7F {
                return Err(refused(
                    "the file ends inside its header; it was probably cut off",
                ));
            }
            // The description of the stream comes first, and once.
            if (kind == STREAM) != blocks.is_empty() || blocks.len() == MAX_BLOCKS {
                return Err(refused("its header is damaged"));
            }
            if kind == COMMENTS && comments.is_none() {
                comments = Some(Comments::parse(&source.bytes(body.clone())?)?);
            } else if kind == COMMENTS {
                return Err(refused("it has two lists of comments"));
            }
            blocks.push(Block { kind, body });
        }
        Ok(Self {
            blocks,
            comments,
            frames: start,
            len: source.len(),
        })
    }

    pub(super) fn values(&self, field: Field) -> Result<Vec<String>> {
        self.comments
            .as_ref()
            .map_or(Ok(Vec::new()), |comments| comments.values(field))
    }

    pub(super) fn feed_rest(&self, source: &mut Source, field: Field, digest: &mut Sha256) -> Result<()> {
        for block in &self.blocks {
            match block.kind {
                PADDING | COMMENTS => {}
                kind => {
                    feed(&[kind], digest);
                    digest.update(block.len().to_le_bytes());
                    source.feed(block.body.clone(), digest)?;
                }
            }
        }
        if let Some(comments) = &self.comments {
            comments.feed_rest(field, digest);
        }
        source.feed(self.frames..self.len, digest)
    }

    pub(super) fn with(&self, field: Field, values: &[String]) -> Result<Vec<Piece>> {
        let mut comments = self.comments.clone().unwrap_or_else(Comments::new);
        comments.set(field, values);
        let bytes = if comments.is_empty() {
            Vec::new()
        } else {
            comments.to_bytes()
        };
        // What padding there is comes last, in one block that takes up the difference where it can.
        let kept = |block: &&Block| !matches!(block.kind, PADDING | COMMENTS);
        let needed: u64 = self.blocks.iter().filter(kept).map(|b| HEADER + b.len()).sum();
        let needed = 4
            + needed
            + if bytes.is_empty() {
                0
            } else {
                HEADER + bytes.len() as u64
            };
        let padding = match self.frames.checked_sub(needed) {
            Some(0) => None,
            Some(free) if (HEADER..=HEADER + MAX_BLOCK).contains(&free) => Some(free - HEADER),
            _ => Some(ROOM),
        };
        let mut blocks = Vec::new();
        for block in self.blocks.iter().filter(kept) {
            blocks.push((block.kind, Piece::Old(block.body.clone()), block.len()));
        }
        if !bytes.is_empty() {
            // The description of the stream stays first, as it must.
            let before = self
                .blocks
                .iter()
                .take_while(|block| block.kind != COMMENTS)
                .filter(kept);
            let place = if self.comments.is_some() {
                before.count()
            } else {
                1
            };
            let len = bytes.len() as u64;
            blocks.insert(
                place.clamp(1, blocks.len().max(1)).min(blocks.len()),
                (COMMENTS, Piece::Bytes(bytes), len),
            );
        }
        if let Some(len) = padding {
            blocks.push((PADDING, Piece::Bytes(vec![0; len as usize]), len));
        }
        let mut pieces = vec![Piece::Bytes(b"fLaC".to_vec())];
        let count = blocks.len();
        for (place, (kind, body, len)) in blocks.into_iter().enumerate() {
            if len > MAX_BLOCK {
                return Err(refused("its list of comments is full"));
            }
            let mut header = (len as u32).to_be_bytes();
            header[0] = kind | if place + 1 == count { 0x80 } else { 0 };
            pieces.push(Piece::Bytes(header.to_vec()));
            pieces.push(body);
        }
        pieces.push(Piece::Old(self.frames..self.len));
        Ok(pieces)
    }
}
