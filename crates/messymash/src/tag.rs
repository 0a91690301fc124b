//! Genres into the tags of music files, so that nothing else about a file changes and nothing is ever lost.
//!
//! ```text
//! Tags::read (what a field holds) -> decide (scores -> values, by Rules)
//! -> Edit::prepare (a whole new file beside the old one: written, read again, compared, synced)
//! -> Changes (what was there before, on disk) -> Edit::commit (rename)
//! ```
//!
//! MP3, WAV and AIFF hold an ID3v2 tag (2.2, 2.3 and 2.4; the version stays), FLAC and Ogg Vorbis comments, M4A an iTunes list.
//! Values go into the field [`PRIVATE`], which no player shows, or into the genre. All other frames, comments, pictures, chunks and
//! atoms, and the sound, are copied as the bytes they are; a file whose parts are not understood is refused and stays as it is.
//!
//! ```
//! use messymash::tag::{Edit, Field, KeepTime, Tags};
//! # fn main() -> messymash::Result<()> {
//! # let folder = tempfile::tempdir().unwrap();
//! # let song = folder.path().join("song.wav");
//! # messymash::Waveform::new(vec![0.0; 16_000], 16_000).write_wav(&song)?;
//! let edit = Edit::prepare(&song, Field::Genre, &["Jazz".into()], KeepTime::No)?;
//! assert!(Tags::read(&song)?.genre.is_empty(), "nothing has changed yet");
//! edit.commit()?;
//! assert_eq!(Tags::read(&song)?.genre, ["Jazz"]);
//! # Ok(())
//! # }
//! ```

mod changes;
mod decide;
mod edit;
mod flac;
mod id3;
mod iff;
mod mp3;
mod mp4;
mod ogg;
mod playlists;
mod source;
mod vorbis;

use std::path::Path;

pub use changes::{Change, Changes, State};
pub use decide::{Decision, Rules, decide};
pub use edit::{Edit, KeepTime, hands_off, sweep};
pub use playlists::Playlists;
use sha2::{Digest, Sha256};

use self::flac::Flac;
use self::iff::{Iff, Kind};
use self::mp3::Mp3;
use self::mp4::Mp4;
use self::ogg::Ogg;
use self::source::{Piece, Source};
use crate::{Error, Result};

/// The name of the private field: an ID3v2 user text (`TXXX`), a Vorbis comment, an iTunes item (`----:com.apple.iTunes:…`).
pub const PRIVATE: &str = "MESSYMASH_GENRE";

/// Which field of the tags is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Field {
    /// [`PRIVATE`], which players do not show.
    #[default]
    Private,
    /// The genre that players show: `TCON`, `GENRE`, `©gen`.
    Genre,
}

/// A kind of file whose tags can be written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// MPEG audio, an ID3v2 tag before it.
    Mp3,
    /// FLAC with Vorbis comments.
    Flac,
    /// Ogg Vorbis.
    OggVorbis,
    /// M4A (AAC or ALAC in MPEG-4).
    Mp4,
    /// RIFF WAVE with an ID3v2 chunk.
    Wav,
    /// AIFF or AIFF-C with an ID3v2 chunk.
    Aiff,
}

/// What the tags of a file say about its genre.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tags {
    /// What kind of file it is, by its content.
    pub format: Format,
    /// Values of [`Field::Private`], in order.
    pub private: Vec<String>,
    /// Values of [`Field::Genre`], in order, as they stand there (ID3v2 may hold numbers such as `(17)`).
    pub genre: Vec<String>,
    /// Whether a genre also stands where this library does not write: an ID3v1 tag, `IGNR` of WAV, `gnre` of M4A.
    pub genre_elsewhere: bool,
    /// Whether a field can hold several values; ID3v2 tags before 2.4 cannot.
    pub lists: bool,
}

impl Tags {
    /// Reads what a file says. The sound itself is not looked at.
    ///
    /// # Errors
    /// [`Error::Io`]; [`Error::Tag`] if this is no file whose tags can be written, or they are damaged.
    pub fn read(path: &Path) -> Result<Self> {
        let mut source = Source::open(path)?;
        let opened = Opened::open(&mut source)?;
        Ok(Self {
            format: opened.format(),
            private: opened.values(Field::Private)?,
            genre: opened.values(Field::Genre)?,
            genre_elsewhere: opened.elsewhere(&mut source)?,
            lists: opened.lists(),
        })
    }

    /// Values as this file can hold them: joined by a slash, as ID3v2.3 does with lists, where it holds only one.
    pub fn stored(&self, values: &[String]) -> Vec<String> {
        if self.lists || values.len() < 2 {
            values.to_vec()
        } else {
            vec![values.join("/")]
        }
    }

    /// The values of a field.
    pub fn of(&self, field: Field) -> &[String] {
        match field {
            Field::Private => &self.private,
            Field::Genre => &self.genre,
        }
    }
}

/// A file taken apart.
enum Opened {
    Mp3(Mp3),
    Flac(Flac),
    Ogg(Ogg),
    Mp4(Mp4),
    Iff(Iff, Kind),
}

impl Opened {
    fn open(source: &mut Source) -> Result<Self> {
        let head = source.at_most(0, 64)?;
        let behind_tag = match id3::length(&head) {
            Some(end) => source.at_most(end, 4)?,
            None => Vec::new(),
        };
        Ok(match &head[..] {
            [b'f', b'L', b'a', b'C', ..] => Self::Flac(Flac::open(source)?),
            [b'O', b'g', b'g', b'S', ..]
                if head
                    .get(28..)
                    .is_some_and(|packet| packet.starts_with(b"\x01vorbis")) =>
            {
                Self::Ogg(Ogg::open(source)?)
            }
            [b'R', b'I', b'F', b'F', _, _, _, _, b'W', b'A', b'V', b'E', ..] => {
                Self::Iff(Iff::open(source, Kind::Wav)?, Kind::Wav)
            }
            [
                b'F',
                b'O',
                b'R',
                b'M',
                _,
                _,
                _,
                _,
                b'A',
                b'I',
                b'F',
                b'F' | b'C',
                ..,
            ] => Self::Iff(Iff::open(source, Kind::Aiff)?, Kind::Aiff),
            [_, _, _, _, b'f', b't', b'y', b'p', ..] => Self::Mp4(Mp4::open(source)?),
            [b'I', b'D', b'3', ..] if behind_tag == b"fLaC" => {
                return Err(refused(
                    "it is FLAC with an ID3v2 tag before it, which players treat differently",
                ));
            }
            [b'I', b'D', b'3', ..] | [0xFF, ..] => Self::Mp3(Mp3::open(source)?),
            _ => {
                return Err(refused(
                    "tags can be written to MP3, FLAC, Ogg Vorbis, M4A, WAV and AIFF files; this is none of them",
                ));
            }
        })
    }

    fn format(&self) -> Format {
        match self {
            Self::Mp3(_) => Format::Mp3,
            Self::Flac(_) => Format::Flac,
            Self::Ogg(_) => Format::OggVorbis,
            Self::Mp4(_) => Format::Mp4,
            Self::Iff(_, Kind::Wav) => Format::Wav,
            Self::Iff(_, Kind::Aiff) => Format::Aiff,
        }
    }

    fn values(&self, field: Field) -> Result<Vec<String>> {
        match self {
            Self::Mp3(file) => file.values(field),
            Self::Flac(file) => file.values(field),
            Self::Ogg(file) => file.values(field),
            Self::Mp4(file) => file.values(field),
            Self::Iff(file, _) => file.values(field),
        }
    }

    fn lists(&self) -> bool {
        match self {
            Self::Mp3(file) => file.lists(),
            Self::Iff(file, _) => file.lists(),
            Self::Flac(_) | Self::Ogg(_) | Self::Mp4(_) => true,
        }
    }

    fn elsewhere(&self, source: &mut Source) -> Result<bool> {
        match self {
            Self::Mp3(_) => {
                let last = source.at_most(source.len().saturating_sub(128), 128)?;
                // ID3v1 numbers its genres; 255 is none.
                Ok(last.len() == 128 && last.starts_with(b"TAG") && last[127] < 192)
            }
            Self::Mp4(file) => file.elsewhere(),
            Self::Iff(file, _) => Ok(file.elsewhere),
            Self::Flac(_) | Self::Ogg(_) => Ok(false),
        }
    }

    /// The digest of everything in the file but a field and padding.
    fn rest(&self, source: &mut Source, field: Field) -> Result<[u8; 32]> {
        let mut digest = Sha256::new();
        match self {
            Self::Mp3(file) => file.feed_rest(source, field, &mut digest)?,
            Self::Flac(file) => file.feed_rest(source, field, &mut digest)?,
            Self::Ogg(file) => file.feed_rest(source, field, &mut digest)?,
            Self::Mp4(file) => file.feed_rest(source, field, &mut digest)?,
            Self::Iff(file, _) => file.feed_rest(source, field, &mut digest)?,
        }
        Ok(digest.finalize().into())
    }

    /// The file with other values in a field.
    fn with(&self, field: Field, values: &[String]) -> Result<Vec<Piece>> {
        match self {
            Self::Mp3(file) => file.with(field, values),
            Self::Flac(file) => file.with(field, values),
            Self::Mp4(file) => file.with(field, values),
            Self::Iff(file, _) => file.with(field, values),
            Self::Ogg(file) => file.with(field, values),
        }
    }
}

/// Runs a step of lofty, whose panics become a reason to leave the file alone. What it was working on is not used again.
fn guarded<T>(step: impl FnOnce() -> Result<T>) -> Result<T> {
    use std::panic::{AssertUnwindSafe, catch_unwind};
    catch_unwind(AssertUnwindSafe(step)).unwrap_or_else(|_| Err(refused("its tags break another reader")))
}

/// A file that is left alone, and why.
fn refused(message: impl Into<String>) -> Error {
    Error::Tag(message.into())
}
