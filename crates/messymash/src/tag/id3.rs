//! ID3v2 tags (2.2, 2.3, 2.4): frames kept as the bytes they are, but for the one that is ours.

use sha2::Sha256;

use super::source::feed;
use super::{Field, PRIVATE, refused};
use crate::Result;

/// Length of a tag's header.
pub(super) const HEADER: usize = 10;
/// Room left behind the frames of a tag that had to grow, so that the next change needs none.
const ROOM: usize = 1024;
/// The most that a size of four times seven bits can say.
const MAX_SIZE: usize = 1 << 28;

/// A tag.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Id3 {
    /// 2, 3 or 4.
    version: u8,
    /// The header's flag that all frames of a 2.4 tag are unsynchronised; those of older tags are read as they were meant.
    unsynchronised: bool,
    frames: Vec<Frame>,
    /// Bytes that it takes in the file, header included.
    room: usize,
}

#[derive(Debug, Clone, PartialEq)]
struct Frame {
    /// Four bytes; in 2.2 three.
    id: Vec<u8>,
    flags: [u8; 2],
    body: Vec<u8>,
}

/// Bytes from `ID3` to the end of the tag, by its header; `None` if there is no tag.
pub(super) fn length(head: &[u8]) -> Option<u64> {
    let head = head.get(..HEADER).filter(|head| head.starts_with(b"ID3"))?;
    let footer = if head[5] & 0x10 != 0 && head[3] == 4 {
        HEADER
    } else {
        0
    };
    Some((HEADER + seven_bits(&head[6..10]) + footer) as u64)
}

impl Id3 {
    /// A tag without frames, of the current version.
    pub(super) fn new() -> Self {
        Self {
            version: 4,
            unsynchronised: false,
            frames: Vec::new(),
            room: 0,
        }
    }

    /// Reads a tag of [`length`] bytes.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self> {
        let damaged = || refused("its ID3v2 tag is damaged");
        if bytes.len() < HEADER || length(bytes).is_none() {
            return Err(damaged());
        }
        let (version, flags) = (bytes[3], bytes[5]);
        let end = HEADER + seven_bits(&bytes[6..10]);
        let body = bytes.get(HEADER..end).ok_or_else(damaged)?;
        let unsynchronised = flags & 0x80 != 0;
        let body = match version {
            2 | 3 if unsynchronised => synchronised(body),
            2..=4 => body.to_vec(),
            other => {
                return Err(refused(format!(
                    "its ID3v2 tag has the unknown version 2.{other}"
                )));
            }
        };
        if version == 2 && flags & 0x40 != 0 {
            return Err(refused("its ID3v2.2 tag is compressed"));
        }
        // An extended header says nothing about the frames, and its checksum would be wrong after a change.
        let skip = match version {
            3 | 4 if flags & 0x40 != 0 => {
                let size = body.get(..4).ok_or_else(damaged)?;
                if version == 3 {
                    4 + plain(size)
                } else {
                    seven_bits(size)
                }
            }
            _ => 0,
        };
        let body = body.get(skip..).ok_or_else(damaged)?;
        // iTunes wrote 2.4 tags whose frames have sizes as in 2.3.
        let frames = match version {
            2 => frames(body, 3, |size| Some(plain(size))),
            3 => frames(body, 4, |size| Some(plain(size))),
            _ => frames(body, 4, |size| size.is_ascii().then(|| seven_bits(size)))
                .or_else(|| frames(body, 4, |size| Some(plain(size)))),
        };
        Ok(Self {
            version,
            unsynchronised: unsynchronised && version == 4,
            frames: frames.ok_or_else(damaged)?,
            room: bytes.len(),
        })
    }

    /// The values of a field, in order.
    pub(super) fn values(&self, field: Field) -> Result<Vec<String>> {
        let ours = self.frames.iter().filter(|frame| self.is_of(frame, field));
        let mut values = Vec::new();
        for frame in ours {
            let texts = self
                .texts(frame)
                .ok_or_else(|| refused("its genre is compressed or encrypted"))?;
            let skip = usize::from(field == Field::Private); // the name of the field comes first
            values.extend(texts.into_iter().skip(skip).filter(|text| !text.is_empty()));
        }
        Ok(values)
    }

    /// Whether a frame may hold several values; before 2.4 most readers take them for one.
    pub(super) fn lists(&self) -> bool {
        self.version == 4
    }

    /// Puts values into a field instead of those it has; none removes it.
    pub(super) fn set(&mut self, field: Field, values: &[String]) {
        let place = self
            .frames
            .iter()
            .position(|frame| self.is_of(frame, field))
            .unwrap_or(self.frames.len());
        let ours: Vec<bool> = self.frames.iter().map(|frame| self.is_of(frame, field)).collect();
        let mut ours = ours.into_iter();
        self.frames.retain(|_| !ours.next().unwrap_or(false));
        if values.is_empty() {
            return;
        }
        let mut texts: Vec<&str> = values.iter().map(String::as_str).collect();
        if field == Field::Private {
            texts.insert(0, PRIVATE);
        }
        let frame = Frame {
            id: self.id(field).to_vec(),
            flags: [0; 2],
            body: self.encoded(&texts.join("\0")),
        };
        self.frames.insert(place.min(self.frames.len()), frame);
    }

    /// The tag as bytes: none without frames, else as many as it took before if that is enough.
    pub(super) fn to_bytes(&self) -> Result<Vec<u8>> {
        if self.frames.is_empty() {
            return Ok(Vec::new());
        }
        let mut bytes = b"ID3".to_vec();
        bytes.extend([self.version, 0, if self.unsynchronised { 0x80 } else { 0 }]);
        bytes.extend([0; 4]);
        for frame in &self.frames {
            let size = frame.body.len();
            bytes.extend(&frame.id);
            match self.version {
                2 => bytes.extend(&(size as u32).to_be_bytes()[1..]),
                3 => bytes.extend((size as u32).to_be_bytes()),
                _ => bytes.extend(in_seven_bits(size)),
            }
            if self.version > 2 {
                bytes.extend(frame.flags);
            }
            bytes.extend(&frame.body);
        }
        if bytes.len() > self.room {
            bytes.resize(bytes.len() + ROOM, 0);
        } else {
            bytes.resize(self.room, 0);
        }
        if bytes.len() - HEADER >= MAX_SIZE {
            return Err(refused("its ID3v2 tag is full"));
        }
        let size = in_seven_bits(bytes.len() - HEADER);
        bytes[6..HEADER].copy_from_slice(&size);
        Ok(bytes)
    }

    /// Takes all frames but those of a field into a digest.
    pub(super) fn feed_rest(&self, field: Field, digest: &mut Sha256) {
        for frame in self.frames.iter().filter(|frame| !self.is_of(frame, field)) {
            feed(&[self.version], digest);
            feed(&frame.id, digest);
            feed(&frame.flags, digest);
            feed(&frame.body, digest);
        }
    }

    fn id(&self, field: Field) -> &'static [u8] {
        match (field, self.version) {
            (Field::Private, 2) => b"TXX",
            (Field::Private, _) => b"TXXX",
            (Field::Genre, 2) => b"TCO",
            (Field::Genre, _) => b"TCON",
        }
    }

    fn is_of(&self, frame: &Frame, field: Field) -> bool {
        frame.id == self.id(field)
            && match field {
                Field::Genre => true,
                Field::Private => self
                    .texts(frame)
                    .and_then(|texts| texts.into_iter().next())
                    .is_some_and(|name| name.eq_ignore_ascii_case(PRIVATE)),
            }
    }

    /// The texts of a text frame; `None` if they are compressed or encrypted.
    fn texts(&self, frame: &Frame) -> Option<Vec<String>> {
        let flags = frame.flags[1];
        let mut body = frame.body.clone();
        match self.version {
            3 if flags & 0xC0 != 0 => return None,
            3 if flags & 0x20 != 0 => drop(body.drain(..1.min(body.len()))),
            4 if flags & 0x0C != 0 => return None,
            4 => {
                // A group, and the length before unsynchronisation.
                let skip = usize::from(flags & 0x40 != 0) + 4 * usize::from(flags & 0x01 != 0);
                body.drain(..skip.min(body.len()));
                if flags & 0x02 != 0 || self.unsynchronised {
                    body = synchronised(&body);
                }
            }
            _ => {}
        }
        let (&encoding, text) = body.split_first().unwrap_or((&0, &[]));
        let text = match encoding {
            1 | 2 => {
                let big = encoding == 2 || text.starts_with(b"\xFE\xFF");
                let read = if big {
                    u16::from_be_bytes
                } else {
                    u16::from_le_bytes
                };
                let units: Vec<u16> = text.as_chunks::<2>().0.iter().map(|&pair| read(pair)).collect();
                String::from_utf16_lossy(&units).replace('\u{FEFF}', "")
            }
            3 => String::from_utf8_lossy(text).into_owned(),
            _ => text.iter().map(|&byte| char::from(byte)).collect(),
        };
        let text = text.strip_suffix('\0').unwrap_or(&text);
        Some(text.split('\0').map(String::from).collect())
    }

    /// A text as the body of a frame, in the encoding that every reader of this version knows.
    fn encoded(&self, text: &str) -> Vec<u8> {
        if self.version == 4 {
            // No byte of UTF-8 is 0xFF: it is the same unsynchronised.
            return [&[3], text.as_bytes()].concat();
        }
        if text.is_ascii() {
            return [&[0], text.as_bytes()].concat();
        }
        // Each of several strings has its own byte order mark.
        let marked = text.split('\0').map(|part| format!("\u{FEFF}{part}"));
        let units = marked.collect::<Vec<_>>().join("\0");
        let bytes = units.encode_utf16().flat_map(u16::to_le_bytes);
        std::iter::once(1).chain(bytes).collect()
    }
}

/// Frames up to the padding; `None` where what stands there is no frame, or no padding. A size that was read wrongly ends anywhere,
/// also at a zero: it is taken for padding only if zeros are all that follows.
fn frames(mut body: &[u8], id_len: usize, size_of: fn(&[u8]) -> Option<usize>) -> Option<Vec<Frame>> {
    let header = if id_len == 3 { 6 } else { 10 };
    let mut frames = Vec::new();
    while body.len() >= header && body[0] != 0 {
        let id = &body[..id_len];
        // Some programs put the short names of 2.2 into 2.3, with a space or zero behind.
        let known = |(place, &byte): (usize, &u8)| {
            byte.is_ascii_uppercase() || byte.is_ascii_digit() || place == 3 && matches!(byte, 0 | b' ')
        };
        let size = size_of(&body[id_len..if id_len == 3 { 6 } else { 8 }])?;
        let end = header.checked_add(size)?;
        if !id.iter().enumerate().all(known) || end > body.len() {
            return None;
        }
        frames.push(Frame {
            id: id.to_vec(),
            flags: if id_len == 3 { [0; 2] } else { [body[8], body[9]] },
            body: body[header..end].to_vec(),
        });
        body = &body[end..];
    }
    body.iter().all(|&byte| byte == 0).then_some(frames)
}

/// Without the zeros that were put behind each 0xFF.
fn synchronised(bytes: &[u8]) -> Vec<u8> {
    let mut before = 0;
    let kept = bytes.iter().filter(|&&byte| {
        let inserted = before == 0xFF && byte == 0;
        before = byte;
        !inserted
    });
    kept.copied().collect()
}

fn plain(bytes: &[u8]) -> usize {
    bytes.iter().fold(0, |size, &byte| size << 8 | usize::from(byte))
}

fn seven_bits(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |size, &byte| size << 7 | usize::from(byte & 0x7F))
}

fn in_seven_bits(size: usize) -> [u8; 4] {
    [21, 14, 7, 0].map(|shift| (size >> shift) as u8 & 0x7F)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(values: &[&str]) -> Vec<String> {
        values.iter().map(|value| (*value).to_string()).collect()
    }

    /// A tag of a version with a title, a private frame of awkward bytes and 20 bytes of padding.
    fn tag(version: u8) -> Vec<u8> {
        let mut frames = Vec::new();
        let (title, other): (&[u8], &[u8]) = if version == 2 {
            (b"TT2", b"ULT")
        } else {
            (b"TIT2", b"PRIV")
        };
        for (id, body) in [(title, &b"\0Song"[..]), (other, b"\xFF\xE0 \xFF\0x")] {
            frames.extend(id);
            match version {
                2 => frames.extend([0, 0, body.len() as u8]),
                _ => frames.extend([0, 0, 0, body.len() as u8, 0, 0]),
            }
            frames.extend(body);
        }
        frames.extend([0; 20]);
        let mut bytes = vec![b'I', b'D', b'3', version, 0, 0];
        bytes.extend(in_seven_bits(frames.len()));
        bytes.extend(frames);
        bytes
    }

    #[test]
    fn a_value_is_set_read_and_removed_and_nothing_else_changes() {
        for version in 2..=4 {
            for field in [Field::Private, Field::Genre] {
                let bytes = tag(version);
                let old = Id3::parse(&bytes).unwrap();
                assert!(old.values(field).unwrap().is_empty());
                for values in [&["jazz"][..], &["Blues", "Jazz"], &["Музыка", "日本"]] {
                    let mut new = old.clone();
                    new.set(field, &strings(values));
                    let read = Id3::parse(&new.to_bytes().unwrap()).unwrap();
                    assert_eq!(read.values(field).unwrap(), strings(values));
                    assert_eq!(read.version, version);
                    let mut undone = read.clone();
                    undone.set(field, &[]);
                    assert_eq!(undone.frames, old.frames);
                }
                let mut same = old.clone();
                same.set(field, &[]);
                assert_eq!(same.to_bytes().unwrap(), bytes, "to the byte");
            }
        }
    }

    #[test]
    fn unsynchronised_tags_and_the_sizes_of_itunes_are_understood() {
        let body = [&b"TXXX\0\0\0\x05\0\0\0a\0\xFF"[..], b"\0b"].concat(); // an unsynchronised FF between
        let mut bytes = vec![b'I', b'D', b'3', 3, 0, 0x80];
        bytes.extend(in_seven_bits(body.len()));
        bytes.extend(&body);
        let read = Id3::parse(&bytes).unwrap();
        assert_eq!(read.frames[0].body, b"\0a\0\xFFb");

        let long = vec![b'x'; 300];
        let mut body = b"TIT2\0\0\x01\x2C\0\0".to_vec(); // 300 plainly, in a 2.4 tag
        body.extend(&long);
        body.extend(b"TPE1\0\0\0\x02\0\0\0a");
        let mut bytes = vec![b'I', b'D', b'3', 4, 0, 0];
        bytes.extend(in_seven_bits(body.len()));
        bytes.extend(&body);
        let read = Id3::parse(&bytes).unwrap();
        assert_eq!(read.frames.len(), 2);
        assert_eq!(read.frames[0].body, long);
    }

    #[test]
    fn a_size_that_ends_at_a_zero_is_not_taken_for_padding() {
        // Plain sizes in a 2.4 tag; every other byte of the text is zero.
        for units in [62, 130] {
            let mut text = b"\x02eng\0\0".to_vec();
            text.extend([0, b'x'].repeat(units));
            text.extend([0, 0, 0, 0]);
            let mut body = b"USLT".to_vec();
            body.extend((text.len() as u32).to_be_bytes());
            body.extend([0, 0]);
            body.extend(&text);
            body.extend(b"TPE1\0\0\0\x02\0\0\0a");
            body.extend([0; 30]);
            let mut bytes = vec![b'I', b'D', b'3', 4, 0, 0];
            bytes.extend(in_seven_bits(body.len()));
            bytes.extend(&body);
            let read = Id3::parse(&bytes).unwrap();
            assert_eq!(read.frames.len(), 2, "{} bytes", text.len());
            assert_eq!(read.frames[0].body, text);
            assert_eq!(read.frames[1].body, b"\0a");
        }
        // Neither way is there padding of zeros alone.
        for version in 2..=4 {
            let mut bytes = tag(version);
            *bytes.last_mut().unwrap() = 1;
            assert!(Id3::parse(&bytes).is_err(), "2.{version}");
        }
    }

    #[test]
    fn damaged_tags_are_refused_and_never_break_anything() {
        for version in 2..=4 {
            let bytes = tag(version);
            for place in 0..bytes.len() {
                for value in [0, 1, 0x7F, 0x80, 0xFF] {
                    let mut bytes = bytes.clone();
                    bytes[place] = value;
                    let _ = Id3::parse(&bytes).map(|tag| (tag.values(Field::Private), tag.to_bytes()));
                }
                assert!(Id3::parse(&bytes[..place]).is_err());
            }
        }
    }
}
