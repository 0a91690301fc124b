//! Magic: what the first bytes of a file that is not decodable say about it.
//!
//! Only for better sentences and for facts that the decoder does not report; formats that can be decoded are
//! recognised by the decoder itself.

/// How many bytes from the start of a file are looked at: a MOD's signature is at 1,080.
pub(super) const HEAD: usize = 4_096;

/// What every refusal of a foreign format ends with.
pub(super) const DECODABLE: &str = "WAV, AIFF, CAF, MP3, FLAC, Ogg Vorbis and M4A (AAC, ALAC) can be read.";

/// Signatures at a place in the file, and what they stand for, with its article.
const FOREIGN: &[(usize, &[u8], &str)] = &[
    (0, b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (0, b"\xff\xd8\xff", "a JPEG image"),
    (0, b"GIF8", "a GIF image"),
    (8, b"WEBP", "a WebP image"),
    (0, b"%PDF", "a PDF document"),
    (0, b"PK\x03\x04", "a ZIP archive"),
    (0, b"PK\x05\x06", "an empty ZIP archive"),
    (0, b"Rar!\x1a\x07", "a RAR archive"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive"),
    (0, b"\x1f\x8b", "a gzip archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x7fELF", "a program"),
    (
        0,
        b"\x00\x05\x16\x07",
        "a macOS resource file (._name), which only accompanies the real one",
    ),
    (
        0,
        b"MThd",
        "a MIDI file, which holds notes and no sound; render it to WAV first",
    ),
    (
        8,
        b"RMID",
        "a MIDI file, which holds notes and no sound; render it to WAV first",
    ),
    (
        0,
        b"#EXTM3U",
        "an M3U playlist, which only names sound files; give those",
    ),
    (
        0,
        b"[playlist]",
        "a PLS playlist, which only names sound files; give those",
    ),
    (
        0,
        b"RF64",
        "an RF64 (WAV above 4 GB) file; convert it to FLAC first",
    ),
    (
        0,
        b"BW64",
        "a BW64 (WAV above 4 GB) file; convert it to FLAC first",
    ),
    (
        0,
        b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb",
        "a Sony Wave64 file; convert it to FLAC first",
    ),
    (0, b".snd", "a Sun/NeXT AU file; convert it to WAV or FLAC first"),
    (8, b"AVI ", "an AVI video; extract its sound to WAV or FLAC first"),
    (
        0,
        b"\x30\x26\xb2\x75\x8e\x66\xcf\x11",
        "a Windows Media (WMA/ASF) file; convert it to FLAC first",
    ),
    (0, b"wvpk", "a WavPack file; convert it to FLAC first"),
    (0, b"MAC ", "a Monkey's Audio file; convert it to FLAC first"),
    (0, b"MPCK", "a Musepack file; convert it to FLAC first"),
    (0, b"MP+", "a Musepack file; convert it to FLAC first"),
    (0, b"TTA1", "a True Audio file; convert it to FLAC first"),
    (0, b"DSD ", "a DSD file; convert it to FLAC first"),
    (0, b"FRM8", "a DSDIFF file; convert it to FLAC first"),
    (0, b"#!AMR", "an AMR voice recording; convert it to WAV first"),
    (0, b".RMF", "a RealMedia file; convert it to WAV first"),
    (0, b"FLV\x01", "a Flash video; extract its sound to WAV first"),
    (
        0,
        b"Extended Module:",
        "a tracker module, which holds notes and instruments; render it to WAV first",
    ),
    (
        0,
        b"IMPM",
        "a tracker module, which holds notes and instruments; render it to WAV first",
    ),
    (
        44,
        b"SCRM",
        "a tracker module, which holds notes and instruments; render it to WAV first",
    ),
    (
        1_080,
        b"M.K.",
        "a tracker module, which holds notes and instruments; render it to WAV first",
    ),
    (28, b"OpusHead", "Opus sound; convert it to FLAC or WAV first"),
    (28, b"Speex   ", "Speex speech; convert it to FLAC or WAV first"),
];

/// What a file that starts with `head` is, with its article, if it is known and certainly not decodable.
pub(super) fn foreign(head: &[u8]) -> Option<&'static str> {
    let known = FOREIGN
        .iter()
        .find(|(place, signature, _)| head.get(*place..).is_some_and(|rest| rest.starts_with(signature)));
    known.map(|&(_, _, name)| name).or_else(|| text(head))
}

/// What kind of text this is, if it is text.
fn text(head: &[u8]) -> Option<&'static str> {
    // The head may end inside a character.
    let valid = match std::str::from_utf8(head) {
        Ok(all) => all,
        Err(e) if e.error_len().is_none() => std::str::from_utf8(&head[..e.valid_up_to()]).ok()?,
        Err(_) => return None,
    };
    if valid.is_empty()
        || valid
            .chars()
            .any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t' | '\x0c'))
    {
        return None;
    }
    let start: String = valid
        .trim_start_matches('\u{feff}')
        .trim_start()
        .chars()
        .take(16)
        .collect();
    let start = start.to_ascii_lowercase();
    Some(match start {
        s if s.starts_with("<!doctype html") || s.starts_with("<html") => {
            "a web page (HTML); the download probably failed"
        }
        s if s.starts_with("<?xml") => "an XML document",
        s if s.starts_with("file \"") || s.starts_with("rem ") && valid.contains("TRACK ") => {
            "a cue sheet, which only names sound files; give those"
        }
        s if s.starts_with('{') => "a JSON document",
        _ => "a text file",
    })
}

/// What the decoder does not tell about a WAV file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wav {
    /// Written to a pipe by ffmpeg (RIFF size 2^32 - 1) or sox (just below 2^31), which could not know the length:
    /// that the file is shorter than it claims means nothing.
    Piped,
    /// The sound's size is 0, as recorders write it before they know better.
    Unfinished,
    /// The file ends before its sound begins.
    NoData,
    /// None of these, as far as the head shows.
    Plain,
}

/// Looks at the chunks of a WAV file; `None` for other files. `len` is the whole file's length where known.
pub(super) fn wav(head: &[u8], len: Option<u64>) -> Option<Wav> {
    if !head.starts_with(b"RIFF") || (head.len() >= 12 && &head[8..12] != b"WAVE") {
        return None;
    }
    let word = |at: usize| {
        let bytes = head.get(at..at.checked_add(4)?)?;
        bytes.try_into().ok().map(u32::from_le_bytes)
    };
    let riff = word(4);
    let mut at = 12;
    while let (Some(tag), Some(size)) = (head.get(at..at + 4), word(at + 4)) {
        if tag == b"data" {
            // sox rounds 2^31 - 1 down to whole blocks of 4,096 bytes and adds its header to the RIFF size.
            let piped = riff.is_some_and(|r| r == u32::MAX || (0x7fff_f000..=0x7fff_ffff).contains(&r));
            return Some(match (piped, size) {
                (true, _) | (_, u32::MAX) => Wav::Piped,
                (_, 0) => Wav::Unfinished,
                _ => Wav::Plain,
            });
        }
        at = at
            .saturating_add(8)
            .saturating_add(size as usize)
            .saturating_add(size as usize & 1);
    }
    let whole = len.is_some_and(|len| len <= head.len() as u64 || at as u64 >= len);
    Some(if whole { Wav::NoData } else { Wav::Plain })
}
