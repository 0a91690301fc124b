//! Ogg Vorbis: pages of packets; the second packet holds the comments. Where it needs more or fewer pages than before, all pages
//! behind it are numbered anew.

use std::io::Write;
use std::ops::Range;

use sha2::Sha256;

use super::source::{Piece, Source, feed};
use super::vorbis::Comments;
use super::{Field, refused};
use crate::{Error, Result};

/// Comments are the second of three packets of headers.
const HEADERS: usize = 3;
/// What the three packets may take: covers lie among the comments.
const MAX_HEADERS: usize = 64 << 20;
const CRC: crc::Algorithm<u32> = crc::Algorithm {
    width: 32,
    poly: 0x04C1_1DB7,
    init: 0,
    refin: false,
    refout: false,
    xorout: 0,
    check: 0,
    residue: 0,
};
static CHECKSUM: crc::Crc<u32> = crc::Crc::<u32>::new(&CRC);

/// What a packet of comments begins with.
const MARK: &[u8] = b"\x03vorbis";

pub(super) struct Ogg {
    headers: Vec<Vec<u8>>,
    comments: Comments,
    /// What follows the comments in their packet.
    behind: Vec<u8>,
    serial: [u8; 4],
    /// Where the first page ends, which holds the first packet alone.
    first: u64,
    /// Where the pages behind the headers begin, and how many there are before them.
    start: u64,
    pages: usize,
    len: u64,
}

struct Page {
    /// Up to the segments.
    head: Vec<u8>,
    segments: Vec<u8>,
    body: Vec<u8>,
    end: u64,
}

impl Page {
    fn serial(&self) -> [u8; 4] {
        std::array::from_fn(|i| self.head[14 + i])
    }

    fn number(&self) -> u32 {
        u32::from_le_bytes(std::array::from_fn(|i| self.head[18 + i]))
    }

    fn checksum(&self) -> [u8; 4] {
        let mut sum = CHECKSUM.digest();
        for part in [
            &self.head[..22],
            &[0; 4],
            &self.head[26..],
            &self.segments,
            &self.body,
        ] {
            sum.update(part);
        }
        sum.finalize().to_le_bytes()
    }

    fn is_whole(&self) -> bool {
        self.head[22..26] == self.checksum()
    }

    /// The page as bytes, with another number and the checksum that belongs to it.
    fn numbered(mut self, number: u32) -> Vec<u8> {
        self.head[18..22].copy_from_slice(&number.to_le_bytes());
        let sum = self.checksum();
        self.head[22..26].copy_from_slice(&sum);
        [self.head, self.segments, self.body].concat()
    }
}

impl Ogg {
    pub(super) fn open(source: &mut Source) -> Result<Self> {
        let first = page(source, 0)?;
        let (serial, mut start, mut pages) = (first.serial(), first.end, 1);
        let (mut headers, mut packet) = (vec![first.body], Vec::new());
        if first.segments.iter().filter(|&&segment| segment < 255).count() != 1 {
            return Err(damaged());
        }
        while headers.len() < HEADERS {
            let page = page(source, start)?;
            if page.serial() != serial {
                return Err(refused("it holds several streams at once"));
            }
            (start, pages) = (page.end, pages + 1);
            let mut body = &page.body[..];
            for &segment in &page.segments {
                let (piece, rest) = body.split_at_checked(segment.into()).ok_or_else(damaged)?;
                packet.extend_from_slice(piece);
                body = rest;
                if segment < 255 {
                    headers.push(std::mem::take(&mut packet));
                }
                if packet.len() > MAX_HEADERS {
                    return Err(refused("its tags take more than 64 MiB"));
                }
            }
        }
        if headers.len() != HEADERS || !packet.is_empty() {
            return Err(refused("its sound begins on the page of its headers"));
        }
        let bytes = headers[1]
            .strip_prefix(MARK)
            .ok_or_else(|| refused("there are no Vorbis comments where they must be"))?;
        let comments = Comments::parse(bytes)?;
        Ok(Self {
            behind: bytes[comments.to_bytes().len()..].to_vec(),
            comments,
            headers,
            serial,
            first: first.end,
            start,
            pages,
            len: source.len(),
        })
    }

    pub(super) fn values(&self, field: Field) -> Result<Vec<String>> {
        self.comments.values(field)
    }

    pub(super) fn feed_rest(&self, source: &mut Source, field: Field, digest: &mut Sha256) -> Result<()> {
        feed(&self.headers[0], digest);
        self.comments.feed_rest(field, digest);
        feed(&self.behind, digest);
        feed(&self.headers[2], digest);
        let mut start = self.start;
        while start < source.len() {
            let page = page(source, start)?;
            if !page.is_whole() {
                return Err(refused("the checksum of one of its pages is wrong"));
            }
            start = page.end;
            // Numbers of this stream may all be higher by what the headers have grown, and nothing else.
            let ours = page.serial() == self.serial;
            let number = page
                .number()
                .wrapping_sub(if ours { self.pages as u32 } else { 0 });
            feed(&page.head[5..18], digest);
            feed(&number.to_le_bytes(), digest);
            feed(&page.segments, digest);
            feed(&page.body, digest);
        }
        Ok(())
    }

    pub(super) fn with(&self, field: Field, values: &[String]) -> Result<Vec<Piece>> {
        let mut comments = self.comments.clone();
        comments.set(field, values);
        let packet = [MARK, &comments.to_bytes(), &self.behind].concat();
        let mut pages = self.paged(&[&packet, &self.headers[2]]);
        let count = pages.len() + 1;
        let behind = self.start..self.len;
        pages.insert(0, Piece::Old(0..self.first));
        pages.push(match count as i64 - self.pages as i64 {
            0 => Piece::Old(behind),
            by => Piece::Pages {
                range: behind,
                serial: self.serial,
                by: by as u32, // numbers wrap around
            },
        });
        Ok(pages)
    }

    /// Packets on pages of their own, the second of the stream and on.
    fn paged(&self, packets: &[&[u8]]) -> Vec<Piece> {
        // Of a packet, 255 bytes a segment and a last one that is shorter, even if it is empty.
        let mut segments = Vec::new();
        for packet in packets {
            segments.extend(packet.chunks(255).map(|piece| (piece, piece.len() < 255)));
            if packet.len().is_multiple_of(255) {
                segments.push((&[][..], true));
            }
        }
        let mut continued = false;
        let mut pages = Vec::new();
        for (place, on_page) in segments.chunks(255).enumerate() {
            let mut head = b"OggS\0".to_vec();
            head.push(u8::from(continued));
            // A page on which no packet ends has no place in time.
            let ends = on_page.iter().any(|(_, last)| *last);
            head.extend(if ends { [0; 8] } else { [0xFF; 8] });
            head.extend(self.serial);
            head.extend([0; 8]);
            head.push(on_page.len() as u8);
            continued = on_page.last().is_some_and(|(_, last)| !last);
            let page = Page {
                head,
                segments: on_page.iter().map(|(piece, _)| piece.len() as u8).collect(),
                body: on_page
                    .iter()
                    .flat_map(|(piece, _)| piece.iter().copied())
                    .collect(),
                end: 0,
            };
            pages.push(Piece::Bytes(page.numbered(place as u32 + 1)));
        }
        pages
    }
}

/// Copies pages, those of one stream with numbers that are higher by `by`.
pub(super) fn renumber(
    source: &mut Source,
    range: Range<u64>,
    serial: [u8; 4],
    by: u32,
    target: &mut dyn Write,
) -> Result<()> {
    let mut start = range.start;
    while start < range.end {
        let page = page(source, start)?;
        if !page.is_whole() {
            return Err(refused("the checksum of one of its pages is wrong"));
        }
        start = page.end;
        let by = if page.serial() == serial { by } else { 0 };
        let number = page.number().wrapping_add(by);
        let written = target.write_all(&page.numbered(number));
        written.map_err(Error::io(source.path()))?;
    }
    Ok(())
}

fn damaged() -> crate::Error {
    refused("its Ogg pages are damaged, or it was cut off")
}

fn page(source: &mut Source, start: u64) -> Result<Page> {
    let head = source.at_most(start, 27)?;
    if head.len() < 27 || !head.starts_with(b"OggS\0") {
        return Err(damaged());
    }
    let segments = source.at_most(start + 27, u64::from(head[26]))?;
    let len: u64 = segments.iter().map(|&segment| u64::from(segment)).sum();
    let body = source.at_most(start + 27 + segments.len() as u64, len)?;
    if segments.len() != usize::from(head[26]) || body.len() as u64 != len {
        return Err(damaged());
    }
    Ok(Page {
        end: start + 27 + segments.len() as u64 + len,
        head,
        segments,
        body,
    })
}
