//! Windows: a sound cut into the pieces that a model hears one at a time.

use super::{ClassifyOptions, Tail, Windows};
use crate::Result;
use crate::audio::AudioStream;

/// A last window is heard only if it brings this much new sound, in seconds; less tells nothing that the mean would show.
const LEAST_NEW_SECONDS: f64 = 0.5;

/// Samples of one frame.
pub(super) const LEAST_SAMPLES: usize = 400;

/// What is decoded beyond the first window where only that is heard, in seconds: its samples are those of the whole sound only
/// if mixing down (which decides about a second at once) and resampling have seen what follows.
pub(super) const BEYOND_FIRST_SECONDS: f64 = 2.0;

/// A piece of sound at the model's rate.
pub(super) struct Window {
    /// As many as a window has, or fewer if the model is to pad.
    pub(super) samples: Vec<f32>,
    /// First sample's place in the sound.
    pub(super) start: usize,
    /// Place after the last sample that is of the sound.
    pub(super) end: usize,
}

/// Sound as it comes, of which no more is kept than the next window and the last one need.
pub(super) struct Cutter {
    /// Sound is appended here.
    pub(super) buffer: Vec<f32>,
    buffer_start: usize,
    /// Where the next window begins.
    next_start: usize,
    /// Up to where the sound has been heard.
    pub(super) heard: usize,
    window: usize,
    hop: usize,
    least_new: usize,
    tail: Tail,
}

impl Cutter {
    /// For windows of `window` samples of sound at `rate`.
    pub(super) fn new(window: usize, rate: u32, options: &ClassifyOptions) -> Result<Self> {
        options.check()?;
        let rate = f64::from(rate);
        Ok(Self {
            buffer: Vec::new(),
            buffer_start: 0,
            next_start: 0,
            heard: 0,
            window,
            hop: match options.windows {
                Windows::First => window,
                Windows::All { hop } => (hop * rate).round() as usize,
            },
            least_new: (LEAST_NEW_SECONDS * rate) as usize,
            tail: match options.windows {
                Windows::First => Tail::Pad,
                Windows::All { .. } => options.tail,
            },
        })
    }

    /// Whether the next window is there.
    pub(super) fn is_full(&self) -> bool {
        self.total() >= self.next_start + self.window
    }

    /// Forgets what no window needs any more: one window before the next one is kept, since where the sound ends, the last
    /// window reaches back.
    pub(super) fn forget(&mut self) {
        let needed_from = self.next_start.min(self.total().saturating_sub(self.window));
        if needed_from > self.buffer_start + self.window {
            self.buffer.drain(..needed_from - self.buffer_start);
            self.buffer_start = needed_from;
        }
    }

    /// The next window, if it is there.
    pub(super) fn next_full(&mut self) -> Option<Window> {
        let (start, end) = (self.next_start, self.next_start + self.window);
        if !self.is_full() {
            return None;
        }
        let samples = self.piece(start, end);
        self.heard = end;
        self.next_start += self.hop;
        Some(Window { samples, start, end })
    }

    /// The last window, when no more sound will come; `None` if too little is left for one.
    pub(super) fn last(&mut self) -> Option<Window> {
        let total = self.total();
        if self.heard > 0 && total < self.heard + self.least_new {
            return None;
        }
        let start = match self.tail {
            Tail::Shift => total.saturating_sub(self.window),
            // With a hop beyond the window's length the next window may lie behind the end.
            Tail::Repeat | Tail::Pad if self.heard > 0 && total < self.next_start + LEAST_SAMPLES => {
                return None;
            }
            Tail::Repeat | Tail::Pad => self.next_start,
        };
        self.heard = total;
        let mut samples = self.piece(start, total);
        // Less than one frame is the extractor's error to report, and nothing to repeat.
        if self.tail != Tail::Pad && (LEAST_SAMPLES..self.window).contains(&samples.len()) {
            samples = samples.iter().copied().cycle().take(self.window).collect();
        }
        Some(Window {
            samples,
            start,
            end: total,
        })
    }

    fn total(&self) -> usize {
        self.buffer_start + self.buffer.len()
    }

    fn piece(&self, start: usize, end: usize) -> Vec<f32> {
        self.buffer[start - self.buffer_start..end - self.buffer_start].to_vec()
    }
}

/// Cuts a stream into windows.
pub(super) struct WindowSource {
    pub(super) stream: AudioStream,
    cutter: Cutter,
    windows: Windows,
    done: bool,
}

impl WindowSource {
    pub(super) fn new(stream: AudioStream, window: usize, options: &ClassifyOptions) -> Result<Self> {
        Ok(Self {
            cutter: Cutter::new(window, stream.sample_rate(), options)?,
            stream,
            windows: options.windows,
            done: false,
        })
    }

    /// Up to where the sound has been heard, in samples.
    pub(super) fn heard(&self) -> usize {
        self.cutter.heard
    }

    pub(super) fn next_batch(&mut self, most: usize) -> Result<Vec<Window>> {
        let mut batch = Vec::new();
        while batch.len() < most && !self.done {
            batch.extend(self.next_window()?);
        }
        Ok(batch)
    }

    /// The next window; `None` and `done` at the end.
    fn next_window(&mut self) -> Result<Option<Window>> {
        let mut more = true;
        while more && !self.cutter.is_full() {
            more = self.stream.next_block(&mut self.cutter.buffer)?;
            self.cutter.forget();
        }
        if let Some(window) = self.cutter.next_full() {
            if self.windows == Windows::First {
                // What is odd about a sound is known at the stream's end, which is near.
                self.drain_rest()?;
            }
            return Ok(Some(window));
        }
        self.done = true;
        Ok(self.cutter.last())
    }

    fn drain_rest(&mut self) -> Result<()> {
        self.done = true;
        let buffer = &mut self.cutter.buffer;
        buffer.clear();
        while self.stream.next_block(buffer)? {
            buffer.clear();
        }
        Ok(())
    }
}
