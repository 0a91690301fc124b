//! Decoder: the packets of a sound file, decoded one by one to interleaved `f32`, whatever is wrong with the file.

use std::fs::File;
use std::io::{self, Cursor, ErrorKind, Read, Seek, SeekFrom};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use symphonia::core::codecs::audio::well_known as codec;
use symphonia::core::codecs::audio::{AudioCodecParameters, AudioDecoder, AudioDecoderOptions};
use symphonia::core::errors::Error as Fault;
use symphonia::core::formats::probe::Hint;
use symphonia::core::formats::well_known as format_id;
use symphonia::core::formats::{FormatOptions, FormatReader, Track, TrackType};
use symphonia::core::io::{MediaSource, MediaSourceStream, ReadOnlySource};
use symphonia::core::meta::MetadataOptions;

use super::magic::{self, Wav};
use super::{AudioLimits, Warning};
use crate::{Error, Result};

/// Packets of the sound track in a row that may give no sound before the rest is given up: a header can promise
/// billions of empty packets in a few bytes.
const MAX_BARREN: u32 = 10_000;
/// The same for packets of other tracks; half an hour of video at 60 pictures a second.
const MAX_FOREIGN: u32 = 100_000;
/// Faults of the container in a row after which the rest is given up; most repeat for ever.
const MAX_FAULTS: u32 = 16;
/// A file that gives less than this part of the length it states was cut off.
const WHOLE: f64 = 0.9;

/// One sound track of a file.
pub(super) struct Decoder {
    format: Box<dyn FormatReader>,
    decoder: Box<dyn AudioDecoder>,
    track_id: u32,
    sample_rate: u32,
    limits: AudioLimits,
    /// For errors of the disk; `None` for bytes.
    path: Option<PathBuf>,
    /// Length by the container's word.
    expected_frames: Option<u64>,
    /// Whether `expected_frames` was written by who knew it, rather than guessed.
    length_is_stated: bool,
    /// The first packet, which `open` decoded: its frames and their channels.
    first: Option<(Vec<f32>, usize)>,
    frames: u64,
    damaged: u64,
    cut: Cut,
    ended: bool,
}

/// Why the sound ended before its time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    No,
    FileEnds,
    Unreadable,
    RateChanges,
}

impl Decoder {
    pub(super) fn open(path: &Path, limits: &AudioLimits) -> Result<Self> {
        let mut file = File::open(path).map_err(Error::io(path))?;
        let metadata = file.metadata().map_err(Error::io(path))?;
        if metadata.is_dir() {
            return Err(Error::io(path)(ErrorKind::IsADirectory.into()));
        }
        let mut head = Vec::with_capacity(magic::HEAD);
        file.by_ref()
            .take(magic::HEAD as u64)
            .read_to_end(&mut head)
            .map_err(Error::io(path))?;
        if metadata.is_file() {
            file.seek(SeekFrom::Start(0)).map_err(Error::io(path))?;
            return Self::new(Box::new(file), &head, Some(metadata.len()), Some(path), limits);
        }
        // A pipe cannot go back: what was looked at is put in front again.
        let source = ReadOnlySource::new(Cursor::new(head.clone()).chain(file));
        Self::new(Box::new(source), &head, None, Some(path), limits)
    }

    pub(super) fn from_bytes(bytes: Arc<[u8]>, limits: &AudioLimits) -> Result<Self> {
        let head = bytes[..bytes.len().min(magic::HEAD)].to_vec();
        let len = bytes.len() as u64;
        Self::new(Box::new(Cursor::new(bytes)), &head, Some(len), None, limits)
    }

    fn new(
        source: Box<dyn MediaSource>,
        head: &[u8],
        len: Option<u64>,
        path: Option<&Path>,
        limits: &AudioLimits,
    ) -> Result<Self> {
        if head.is_empty() {
            return Err(Error::InvalidAudio("The file is empty.".into()));
        }
        if let Some(name) = magic::foreign(head) {
            // What has a remedy of its own is a kind of sound, or says itself why it is none.
            let end = if name.contains([';', ',']) {
                "."
            } else {
                ", not audio."
            };
            return Err(Error::UnsupportedMedia(format!(
                "This is {name}{end} {}",
                magic::DECODABLE
            )));
        }
        let wav = magic::wav(head, len);
        let stream = MediaSourceStream::new(source, Default::default());
        let format = guarded(|| {
            let (options, metadata) = (FormatOptions::default(), MetadataOptions::default());
            symphonia::default::get_probe().probe(&Hint::new(), stream, options, metadata)
        })
        .map_err(|fault| header_error(fault, wav, len, path))?;
        let track = format
            .first_track_known_codec(TrackType::Audio)
            .or_else(|| format.first_track(TrackType::Audio))
            .ok_or_else(|| Error::UnsupportedMedia("There is no sound track in the file.".into()))?;
        let parameters = audio_parameters(track)
            .ok_or_else(|| Error::UnsupportedMedia("There is no sound track in the file.".into()))?;
        if let Some(rate) = parameters.sample_rate {
            limits.check_sample_rate(rate)?;
        }
        if let Some(channels) = &parameters.channels {
            limits.check_channels(channels.count())?;
        }
        let decoder = make_decoder(parameters)?;
        let length_is_stated = match format.format_info().format {
            // Without an encoder's tag the length of an MP3 is guessed from the first frames' bit rate.
            format_id::FORMAT_ID_MP1 | format_id::FORMAT_ID_MP2 | format_id::FORMAT_ID_MP3 => {
                track.delay.is_some()
            }
            format_id::FORMAT_ID_ADTS => false,
            _ => wav != Some(Wav::Piped),
        };
        let (track_id, expected_frames) = (track.id, expected_frames(track, parameters.sample_rate));
        let mut this = Self {
            decoder,
            track_id,
            sample_rate: 0,
            limits: limits.clone(),
            path: path.map(Path::to_path_buf),
            expected_frames,
            length_is_stated,
            first: None,
            frames: 0,
            damaged: 0,
            cut: Cut::No,
            ended: false,
            format,
        };
        let mut frames = Vec::new();
        match this.next_frames(&mut frames)? {
            Some(channels) => this.first = Some((frames, channels)),
            None => return Err(this.nothing(wav, len)),
        }
        // A pipe's placeholder for the length is no news to anyone.
        if wav == Some(Wav::Piped) {
            this.expected_frames = None;
        }
        Ok(this)
    }

    pub(super) fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    pub(super) fn expected_seconds(&self) -> Option<f64> {
        self.expected_frames
            .map(|frames| frames as f64 / f64::from(self.sample_rate))
    }

    /// Replaces `interleaved` by the frames of the next packet that has some and returns their number of channels;
    /// `None` at the end.
    pub(super) fn next_frames(&mut self, interleaved: &mut Vec<f32>) -> Result<Option<usize>> {
        if let Some((frames, channels)) = self.first.take() {
            *interleaved = frames;
            return Ok(Some(channels));
        }
        interleaved.clear();
        let (mut barren, mut foreign, mut faults) = (0, 0, 0);
        while !self.ended {
            let packet = match guarded(|| self.format.next_packet()) {
                Ok(Some(packet)) => packet,
                Ok(None) => {
                    self.ended = true;
                    break;
                }
                Err(Fault::ResetRequired) => {
                    self.restart()?;
                    continue;
                }
                Err(fault) => {
                    faults += 1;
                    self.container_fault(fault, faults)?;
                    continue;
                }
            };
            if packet.track_id != self.track_id {
                foreign += 1;
                if foreign > MAX_FOREIGN {
                    self.stop(Cut::Unreadable);
                }
                continue;
            }
            faults = 0;
            barren += 1;
            if barren > MAX_BARREN {
                // Silence that the container itself trims away is no damage.
                self.stop(if self.damaged > 0 {
                    Cut::Unreadable
                } else {
                    Cut::No
                });
                continue;
            }
            match guarded(|| self.decoder.decode(&packet)) {
                Ok(buffer) if buffer.frames() == 0 => {}
                Ok(buffer) => {
                    let (rate, channels) = (buffer.spec().rate(), buffer.spec().channels().count());
                    if self.sample_rate == 0 {
                        self.limits.check_sample_rate(rate)?;
                        self.limits.check_channels(channels)?;
                        self.sample_rate = rate;
                    }
                    if rate != self.sample_rate || self.limits.check_channels(channels).is_err() {
                        self.damaged += 1;
                        continue;
                    }
                    buffer.copy_to_vec_interleaved(interleaved);
                    self.frames += buffer.frames() as u64;
                    return Ok(Some(channels));
                }
                Err(Fault::DecodeError(_) | Fault::IoError(_)) => self.damaged += 1,
                Err(Fault::ResetRequired) => self.restart()?,
                Err(Fault::Unsupported(what)) if self.frames == 0 => return Err(unsupported(what)),
                Err(_) => self.stop(Cut::Unreadable),
            }
        }
        Ok(None)
    }

    /// What was wrong with the file; complete at its end.
    pub(super) fn warnings(&self) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let seconds = self.frames as f64 / f64::from(self.sample_rate.max(1));
        let expected = self
            .expected_seconds()
            .filter(|&e| self.length_is_stated && e > seconds);
        let short = expected.is_some_and(|expected| seconds < WHOLE * expected);
        let message = match (self.cut, expected) {
            // The decoder only says that bytes are missing; a pipe's header always claims too many.
            (Cut::FileEnds, _) if !self.length_is_stated => None,
            (Cut::FileEnds, Some(expected)) => Some(format!(
                "The file ends early: {seconds:.2} of {expected:.2} s could be read."
            )),
            (Cut::FileEnds, None) => Some(format!("The file ends early, after {seconds:.2} s.")),
            (Cut::Unreadable, _) => Some(format!(
                "The file is damaged after {seconds:.2} s; what follows could not be read."
            )),
            (Cut::RateChanges, _) => Some(format!(
                "The file changes its sample rate after {seconds:.2} s; only the sound before that was used."
            )),
            (Cut::No, Some(expected)) if short => Some(format!(
                "The file ends early: {seconds:.2} of {expected:.2} s could be read."
            )),
            (Cut::No, _) => None,
        };
        warnings.extend(message.map(|message| Warning::new("truncated_file", message)));
        match self.damaged {
            0 => {}
            1 => warnings.push(Warning::new(
                "damaged_frames",
                "A damaged piece of the sound was skipped.",
            )),
            n => warnings.push(Warning::new(
                "damaged_frames",
                format!("{n} damaged pieces of the sound were skipped."),
            )),
        }
        warnings
    }

    fn stop(&mut self, cut: Cut) {
        self.ended = true;
        self.cut = cut;
    }

    /// The container could not give a packet: ends the sound, or lets the caller try again.
    fn container_fault(&mut self, fault: Fault, faults: u32) -> Result<()> {
        match fault {
            Fault::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => self.stop(Cut::FileEnds),
            Fault::IoError(source) if source.raw_os_error().is_some() => return Err(self.io(source)),
            Fault::DecodeError(_) if faults < MAX_FAULTS => self.damaged += 1,
            Fault::Unsupported(what) if self.frames == 0 => return Err(unsupported(what)),
            _ => self.stop(Cut::Unreadable),
        }
        Ok(())
    }

    /// A chained stream begins: goes on with its first sound track if that has the same rate.
    fn restart(&mut self) -> Result<()> {
        // Each restart costs a header's worth of bytes, so there is no endless chain.
        let Some(track) = self.format.first_track_known_codec(TrackType::Audio) else {
            self.stop(Cut::Unreadable);
            return Ok(());
        };
        let id = track.id;
        match audio_parameters(track) {
            Some(p) if self.frames > 0 && p.sample_rate.is_some_and(|rate| rate != self.sample_rate) => {
                self.stop(Cut::RateChanges);
            }
            Some(p) => match make_decoder(p) {
                Ok(decoder) => {
                    self.decoder = decoder;
                    self.track_id = id;
                    // The stated length was the first link's.
                    self.expected_frames = None;
                }
                Err(_) => self.stop(Cut::Unreadable),
            },
            None => self.stop(Cut::Unreadable),
        }
        Ok(())
    }

    fn io(&self, source: io::Error) -> Error {
        match &self.path {
            Some(path) => Error::Io {
                path: path.clone(),
                source,
            },
            None => Error::InvalidAudio(format!("The sound could not be read: {source}")),
        }
    }

    /// Why a file without a single frame is refused.
    fn nothing(&self, wav: Option<Wav>, len: Option<u64>) -> Error {
        if let Some(error) = wav.and_then(|wav| wav_error(wav, len)) {
            return error;
        }
        Error::InvalidAudio(match (self.damaged, self.cut) {
            (0, Cut::No) => "There is no sound in the file: it has a header and nothing after it.".into(),
            (0, Cut::FileEnds) => format!("The file ends before its sound begins{}.", in_brackets(len)),
            _ => "The sound in the file is damaged; nothing of it could be decoded.".into(),
        })
    }
}

fn audio_parameters(track: &Track) -> Option<&AudioCodecParameters> {
    track
        .codec_params
        .as_ref()
        .and_then(|parameters| parameters.audio())
}

/// The length by the container's word, in frames.
fn expected_frames(track: &Track, sample_rate: Option<u32>) -> Option<u64> {
    let by_duration = || {
        let seconds = track.time_base?.calc_duration(track.duration?)?.as_secs_f64();
        Some((seconds * f64::from(sample_rate?)).round() as u64)
    };
    track.num_frames.or_else(by_duration)
}

fn make_decoder(parameters: &AudioCodecParameters) -> Result<Box<dyn AudioDecoder>> {
    let options = AudioDecoderOptions::default();
    guarded(|| symphonia::default::get_codecs().make_audio_decoder(parameters, &options))
        .map_err(|fault| match fault {
            Fault::Unsupported(what) => match codec_name(parameters) {
                Some(name) => Error::UnsupportedMedia(format!(
                    "The sound is coded as {name}, which cannot be decoded; convert it to FLAC or WAV first. {}",
                    magic::DECODABLE
                )),
                None => unsupported(what),
            },
            other => Error::InvalidAudio(format!("The description of the sound in the file is damaged ({other}).")),
        })
}

/// Runs a step of symphonia, whose panics become faults of the file.
///
/// Headers reach unchecked arithmetic in it (a WAV file of 65,535 channels panics where overflow is checked); what
/// it was working on is not used again after such a fault.
fn guarded<T>(step: impl FnOnce() -> std::result::Result<T, Fault>) -> std::result::Result<T, Fault> {
    catch_unwind(AssertUnwindSafe(step)).unwrap_or(Err(Fault::LimitError("it breaks the decoder")))
}

fn codec_name(parameters: &AudioCodecParameters) -> Option<&'static str> {
    Some(match parameters.codec {
        codec::CODEC_ID_OPUS => "Opus",
        codec::CODEC_ID_SPEEX => "Speex",
        codec::CODEC_ID_AC3 | codec::CODEC_ID_EAC3 => "Dolby Digital",
        codec::CODEC_ID_DCA => "DTS",
        codec::CODEC_ID_WMA => "Windows Media Audio",
        codec::CODEC_ID_WAVPACK => "WavPack",
        codec::CODEC_ID_MONKEYS_AUDIO => "Monkey's Audio",
        _ => return None,
    })
}

fn unsupported(what: &str) -> Error {
    Error::UnsupportedMedia(format!(
        "The sound in the file is coded in a way that cannot be decoded ({what}); convert it to FLAC or WAV first. {}",
        magic::DECODABLE
    ))
}

/// Why no container could be opened.
fn header_error(fault: Fault, wav: Option<Wav>, len: Option<u64>, path: Option<&Path>) -> Error {
    if let Some(error) = wav.and_then(|wav| wav_error(wav, len)) {
        return error;
    }
    match fault {
        Fault::IoError(e) if e.kind() == ErrorKind::UnexpectedEof => Error::InvalidAudio(format!(
            "The file ends inside its header{}; it was probably cut off.",
            in_brackets(len)
        )),
        Fault::IoError(source) if source.raw_os_error().is_some() => match path {
            Some(path) => Error::Io {
                path: path.to_path_buf(),
                source,
            },
            None => Error::InvalidAudio(format!("The sound could not be read: {source}")),
        },
        Fault::Unsupported(_) if wav.is_none() => Error::UnsupportedMedia(format!(
            "No sound was found at the start of the file. {}",
            magic::DECODABLE
        )),
        Fault::Unsupported(what) => unsupported(what),
        other => Error::InvalidAudio(format!("The file's header is damaged ({other}).")),
    }
}

/// What the chunks of a WAV file without sound say.
fn wav_error(wav: Wav, len: Option<u64>) -> Option<Error> {
    match wav {
        Wav::Unfinished => Some(Error::InvalidAudio(
            "The header says that there is no sound in the file; the recorder was probably interrupted before it could finish it.".into(),
        )),
        Wav::NoData => Some(Error::InvalidAudio(format!(
            "The file ends inside its header{}; it was probably cut off.",
            in_brackets(len)
        ))),
        Wav::Piped | Wav::Plain => None,
    }
}

fn in_brackets(len: Option<u64>) -> String {
    len.map(|len| format!(" ({len} bytes)")).unwrap_or_default()
}
