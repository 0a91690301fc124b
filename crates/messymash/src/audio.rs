//! [`Waveform`] and [`AudioStream`]: sound from a file or from bytes, as mono `f32` in [-1, 1].
//!
//! Decoding is symphonia's, resampling rubato's; this room joins them into one pull-based stream whose memory
//! does not grow with the length, and says in words what was odd about the sound. It knows nothing of features,
//! windows or models.
//!
//! ```text
//! Decoder (packets -> interleaved f32) -> Mixdown (mono, health) -> Resampler (optional) -> blocks
//! ```

mod ahead;
mod decoder;
mod magic;
mod mixdown;
mod pushed;
mod resampler;

use std::io::Cursor;
use std::path::Path;
use std::sync::Arc;

use self::ahead::Ahead;
use self::decoder::Decoder;
use self::mixdown::Mixdown;
pub(crate) use self::pushed::Pushed;
use self::resampler::Resampler;
use crate::{Error, Result};

/// The most samples that one [`AudioStream::next_block`] appends.
pub const MAX_BLOCK: usize = 1 << 16;

/// Something a listener should know about the sound; never a reason not to answer.
///
/// Codes that decoding gives: `truncated_file`, `damaged_frames`, `non_finite`, `clipped`, `silence`,
/// `phase_cancelled`. Other rooms add theirs (`short_clip`, ...).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Warning {
    /// A stable name for programs.
    pub code: String,
    /// A sentence for people.
    pub message: String,
}

impl Warning {
    /// A warning with a stable `code` and a sentence for people.
    pub fn new(code: impl Into<String>, message: impl Into<String>) -> Self {
        Self {
            code: code.into(),
            message: message.into(),
        }
    }
}

/// What a decoder accepts, an argument so that tests, fuzzers and servers run the same code.
///
/// Sound outside the rate or channel range is [`Error::InvalidAudio`] (such headers are damaged or hostile), more
/// than `max_seconds` of decoded sound is [`Error::TooLong`], found while decoding and not by the header's word.
#[derive(Debug, Clone, PartialEq)]
pub struct AudioLimits {
    /// Seconds of sound that may be decoded; `None` for no limit.
    pub max_seconds: Option<f64>,
    /// Accepted sample rates in Hz.
    pub sample_rates: std::ops::RangeInclusive<u32>,
    /// Accepted numbers of channels.
    pub channels: std::ops::RangeInclusive<u16>,
}

impl Default for AudioLimits {
    /// No limit of length, 1,000 to 768,000 Hz, 1 to 32 channels.
    fn default() -> Self {
        Self {
            max_seconds: None,
            sample_rates: 1_000..=768_000,
            channels: 1..=32,
        }
    }
}

impl AudioLimits {
    fn check_sample_rate(&self, sample_rate: u32) -> Result<()> {
        if sample_rate > 0 && self.sample_rates.contains(&sample_rate) {
            return Ok(());
        }
        Err(Error::InvalidAudio(format!(
            "The sound claims {sample_rate} samples a second; {} to {} can be used. The header is probably damaged.",
            self.sample_rates.start(),
            self.sample_rates.end()
        )))
    }

    fn check_channels(&self, channels: usize) -> Result<()> {
        if u16::try_from(channels).is_ok_and(|c| c > 0 && self.channels.contains(&c)) {
            return Ok(());
        }
        Err(Error::InvalidAudio(format!(
            "The sound claims {channels} channels; {} to {} can be used. The header is probably damaged.",
            self.channels.start(),
            self.channels.end()
        )))
    }

    fn check_frames(&self, frames: u64, sample_rate: u32) -> Result<()> {
        match self.max_seconds {
            Some(limit_seconds) if frames as f64 > limit_seconds * f64::from(sample_rate) => {
                Err(Error::TooLong { limit_seconds })
            }
            _ => Ok(()),
        }
    }
}

/// Mono sound in memory.
#[derive(Debug, Clone, PartialEq)]
pub struct Waveform {
    /// Amplitudes in [-1, 1]; after resampling, peaks near full scale may overshoot a little, as band-limited
    /// sound does.
    pub samples: Vec<f32>,
    /// Samples per second.
    pub sample_rate: u32,
    /// What was odd about the sound.
    pub warnings: Vec<Warning>,
}

impl Waveform {
    /// Samples of known rate (in Hz), without warnings.
    pub fn new(samples: Vec<f32>, sample_rate: u32) -> Self {
        Self {
            samples,
            sample_rate,
            warnings: Vec::new(),
        }
    }

    /// Decodes a whole sound file with the default [`AudioLimits`]; see [`AudioStream::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        AudioStream::open(path, &AudioLimits::default())?.into_waveform()
    }

    /// Decodes a whole sound file that is in memory, with the default [`AudioLimits`].
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>) -> Result<Self> {
        AudioStream::from_bytes(bytes, &AudioLimits::default())?.into_waveform()
    }

    /// The same sound at another rate (in Hz): band-limited, and without delay, so that sample 0 stays at time 0.
    ///
    /// `n` samples become `round(n * sample_rate / self.sample_rate)`; warnings are kept. Sample for sample the
    /// same as streaming through [`AudioStream::resampled`].
    ///
    /// # Errors
    /// [`Error::InvalidAudio`] if this waveform's own rate is outside 1,000 to 768,000 Hz, [`Error::Config`] if
    /// the wanted one is.
    pub fn resample(&self, sample_rate: u32) -> Result<Self> {
        let mut samples = Vec::new();
        match Resampler::between(self.sample_rate, sample_rate)? {
            None => samples.clone_from(&self.samples),
            Some(mut resampler) => {
                samples.reserve_exact(resampler.output_len(self.samples.len() as u64) as usize);
                for block in self.samples.chunks(MAX_BLOCK) {
                    resampler.push(block, &mut samples)?;
                }
                resampler.finish(&mut samples)?;
            }
        }
        Ok(Self {
            samples,
            sample_rate,
            warnings: self.warnings.clone(),
        })
    }

    /// The length in seconds.
    pub fn seconds(&self) -> f64 {
        self.samples.len() as f64 / f64::from(self.sample_rate)
    }

    /// Writes a 16-bit PCM mono WAV file, replaced whole; what exceeds full scale is clamped, NaN becomes 0.
    pub fn write_wav(&self, path: impl AsRef<Path>) -> Result<()> {
        let path = path.as_ref();
        let failed = |error: hound::Error| match error {
            hound::Error::IoError(source) => Error::Io {
                path: path.to_path_buf(),
                source,
            },
            other => Error::Io {
                path: path.to_path_buf(),
                source: std::io::Error::other(other.to_string()),
            },
        };
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: self.sample_rate,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut bytes = Cursor::new(Vec::with_capacity(44 + 2 * self.samples.len()));
        let mut writer = hound::WavWriter::new(&mut bytes, spec).map_err(failed)?;
        for &sample in &self.samples {
            // 2^15, the scale by which decoders read 16-bit samples back; the cast saturates and maps NaN to 0.
            writer
                .write_sample((sample * 32_768.0).round() as i16)
                .map_err(failed)?;
        }
        writer.finalize().map_err(failed)?;
        crate::atomic::write(path, bytes.get_ref())
    }
}

/// Where the samples of a stream come from.
enum Source {
    File(Box<Decoder>),
    /// The same on a thread of its own.
    Ahead(Ahead),
    Memory {
        samples: Arc<[f32]>,
        position: usize,
    },
}

/// Decodes and (optionally) resamples in blocks; memory does not grow with the length.
pub struct AudioStream {
    source: Source,
    limits: AudioLimits,
    mixdown: Mixdown,
    resampler: Option<Resampler>,
    source_rate: u32,
    sample_rate: u32,
    /// Frames taken from the source, and how many may be.
    frames: u64,
    most: Option<u64>,
    /// The source's frames as they came, reused from block to block.
    interleaved: Vec<f32>,
    /// Mono samples at the source's rate, reused from block to block.
    mono: Vec<f32>,
    /// Samples for the caller, from `given` on.
    ready: Vec<f32>,
    given: usize,
    ended: bool,
    warnings: Vec<Warning>,
    watch: Option<Box<Watch>>,
}

/// See [`AudioStream::watched`].
type Watch = dyn FnMut() -> Result<()> + Send;

impl AudioStream {
    /// Opens a sound file: WAV (PCM, float, ADPCM, A-law, mu-law), AIFF, CAF, MP3, FLAC, Ogg Vorbis, M4A (AAC,
    /// ALAC), recognised by its content; of a file with several tracks, the first one of sound.
    ///
    /// The first packet is decoded here, so that rate and header faults are known at once.
    ///
    /// # Errors
    /// [`Error::Io`] if the path cannot be read or is a folder, [`Error::UnsupportedMedia`] if the content is
    /// something else, [`Error::InvalidAudio`] if no sound can be had from it.
    pub fn open(path: impl AsRef<Path>, limits: &AudioLimits) -> Result<Self> {
        Ok(Self::from_decoder(Decoder::open(path.as_ref(), limits)?, limits))
    }

    /// Like [`AudioStream::open`], for a file that is in memory.
    pub fn from_bytes(bytes: impl Into<Arc<[u8]>>, limits: &AudioLimits) -> Result<Self> {
        Ok(Self::from_decoder(
            Decoder::from_bytes(bytes.into(), limits)?,
            limits,
        ))
    }

    /// A stream over samples that are in memory already (they are copied once); keeps the waveform's warnings.
    pub fn from_waveform(waveform: &Waveform, limits: &AudioLimits) -> Result<Self> {
        limits.check_sample_rate(waveform.sample_rate)?;
        let source = Source::Memory {
            samples: waveform.samples.as_slice().into(),
            position: 0,
        };
        let mut stream = Self::new(source, waveform.sample_rate, limits);
        stream.warnings.clone_from(&waveform.warnings);
        Ok(stream)
    }

    fn from_decoder(decoder: Decoder, limits: &AudioLimits) -> Self {
        let sample_rate = decoder.sample_rate();
        Self::new(Source::File(Box::new(decoder)), sample_rate, limits)
    }

    fn new(source: Source, sample_rate: u32, limits: &AudioLimits) -> Self {
        Self {
            source,
            limits: limits.clone(),
            mixdown: Mixdown::new(sample_rate),
            resampler: None,
            source_rate: sample_rate,
            sample_rate,
            frames: 0,
            most: None,
            interleaved: Vec::new(),
            mono: Vec::new(),
            ready: Vec::new(),
            given: 0,
            ended: false,
            warnings: Vec::new(),
            watch: None,
        }
    }

    /// Converts what follows to `sample_rate` in Hz (nothing to do if equal). Call before the first block.
    ///
    /// # Errors
    /// [`Error::Config`] if the rate is outside 1,000 to 768,000 Hz.
    pub fn resampled(mut self, sample_rate: u32) -> Result<Self> {
        self.resampler = Resampler::between(self.source_rate, sample_rate)?;
        self.sample_rate = sample_rate;
        Ok(self)
    }

    /// Decodes on a thread of its own, up to a second or two ahead of who listens, so that decoding and what is done with
    /// the sound take place at once. The samples and warnings are the same. Of no use where all cores are busy anyhow.
    pub fn ahead(mut self) -> Self {
        self.source = match self.source {
            Source::File(decoder) => match Ahead::new(decoder) {
                Ok(ahead) => Source::Ahead(ahead),
                Err(decoder) => Source::File(decoder),
            },
            other => other,
        };
        self
    }

    /// Ends the stream after `seconds`, as if the sound did: what follows is not decoded, counts against no limit, and no
    /// warning tells of it.
    pub fn first(mut self, seconds: f64) -> Self {
        self.most = Some((seconds * f64::from(self.source_rate)).ceil() as u64);
        self
    }

    /// Asks `watch` before every piece that is decoded whether to go on; what error it returns ends the stream. For work that
    /// must be stopped soon, even where a sound takes long that nobody hears.
    pub fn watched(mut self, watch: impl FnMut() -> Result<()> + Send + 'static) -> Self {
        self.watch = Some(Box::new(watch));
        self
    }

    /// The rate of the blocks in Hz.
    pub fn sample_rate(&self) -> u32 {
        self.sample_rate
    }

    /// Total length where the container states it (untrusted: for progress only).
    pub fn expected_seconds(&self) -> Option<f64> {
        match &self.source {
            Source::File(decoder) => decoder.expected_seconds(),
            Source::Ahead(ahead) => ahead.expected_seconds(),
            Source::Memory { samples, .. } => Some(samples.len() as f64 / f64::from(self.source_rate)),
        }
    }

    /// Appends the next block of mono samples, 1 to [`MAX_BLOCK`] of them, to `out`; false at the end.
    ///
    /// # Errors
    /// [`Error::TooLong`] past the limit, [`Error::Io`] if the file becomes unreadable, and at the end
    /// [`Error::InvalidAudio`] if more than 0.1 % of the samples were not numbers. The stream is over after an
    /// error.
    pub fn next_block(&mut self, out: &mut Vec<f32>) -> Result<bool> {
        while self.given == self.ready.len() {
            if self.ended {
                return Ok(false);
            }
            self.ready.clear();
            self.given = 0;
            if let Err(error) = self.fill() {
                self.ready.clear();
                self.ended = true;
                return Err(error);
            }
        }
        let end = self.ready.len().min(self.given + MAX_BLOCK);
        out.extend_from_slice(&self.ready[self.given..end]);
        self.given = end;
        Ok(true)
    }

    /// Seconds decoded so far (at the source's rate).
    pub fn seconds(&self) -> f64 {
        self.frames as f64 / f64::from(self.source_rate)
    }

    /// What was odd about the sound; complete once [`AudioStream::next_block`] has returned false.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    /// Decodes what is left into memory.
    pub fn into_waveform(mut self) -> Result<Waveform> {
        let mut samples = Vec::new();
        while self.next_block(&mut samples)? {}
        Ok(Waveform {
            samples,
            sample_rate: self.sample_rate,
            warnings: self.warnings,
        })
    }

    /// Takes one piece from the source through mixdown and resampler into `ready`; sets `ended` at the end.
    fn fill(&mut self) -> Result<()> {
        if let Some(watch) = &mut self.watch {
            watch()?;
        }
        self.mono.clear();
        let left = self
            .most
            .map_or(u64::MAX, |most| most.saturating_sub(self.frames));
        let channels = match &mut self.source {
            _ if left == 0 => None,
            Source::File(decoder) => decoder.next_frames(&mut self.interleaved)?,
            Source::Ahead(ahead) => ahead.next_frames(&mut self.interleaved)?,
            Source::Memory { samples, position } => {
                let end = samples.len().min(*position + MAX_BLOCK);
                self.interleaved.clear();
                self.interleaved.extend_from_slice(&samples[*position..end]);
                *position = end;
                (!self.interleaved.is_empty()).then_some(1)
            }
        };
        match channels {
            Some(channels) => {
                let frames = ((self.interleaved.len() / channels) as u64).min(left);
                self.interleaved.truncate(frames as usize * channels);
                self.frames += frames;
                self.limits.check_frames(self.frames, self.source_rate)?;
                self.mixdown.push(&mut self.interleaved, channels, &mut self.mono);
            }
            None => {
                self.ended = true;
                self.mixdown.finish(&mut self.mono);
                self.warnings.extend(match &self.source {
                    // What is wrong with a file is known at its end.
                    _ if left == 0 => Vec::new(),
                    Source::File(decoder) => decoder.warnings(),
                    Source::Ahead(ahead) => ahead.warnings(),
                    Source::Memory { .. } => Vec::new(),
                });
                // A waveform that was decoded before brings some of the same warnings with it.
                for warning in self.mixdown.warnings()? {
                    if self.warnings.iter().all(|w| w.code != warning.code) {
                        self.warnings.push(warning);
                    }
                }
            }
        }
        match &mut self.resampler {
            None => self.ready.extend_from_slice(&self.mono),
            Some(resampler) => {
                resampler.push(&self.mono, &mut self.ready)?;
                if self.ended {
                    resampler.finish(&mut self.ready)?;
                }
            }
        }
        Ok(())
    }
}
