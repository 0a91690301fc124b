//! Sound that comes piece by piece and may never end: radio, microphones.

use std::borrow::Borrow;

use super::windows::{Cutter, Window};
use super::{
    Classifier, ClassifyOptions, Prediction, Predictions, ScoreFunction, WindowPredictions, Windows,
    short_clip,
};
use crate::ast::Workspace;
use crate::audio::Pushed;
use crate::{Result, Warning};

/// Hears sound as it is pushed, and tells what each window is as soon as its last sample is there.
///
/// The answers are those of [`Classifier::classify_stream`] for the same sound, options and windows, whatever the sizes of the pieces
/// pushed. `C` is what the model is held by: `&Classifier`, `Arc<Classifier>` (one model, many streams) or a `Classifier`.
///
/// **Memory** does not grow with the sound: less than three windows of it, and one sum for each label.
///
/// **Latency.** The first answer comes with the end of the first window
/// ([`window_seconds`](super::ModelInfo::window_seconds): 10.255 s for the usual models), the following ones every
/// [`hop`](Windows::All). To that comes what the resampler holds back, up to 0.15 s from 22.05 to 96 kHz, 0.25 s from 8 kHz (nothing at the
/// model's own), and of stereo in its first second up to that second, until it is known whether the channels cancel each other.
/// Then the model computes, on the thread that pushes and the rayon pool: do not push from the callback of a sound card, but from a
/// thread that reads what the callback wrote.
///
/// ```
/// use messymash::classifier::{ClassifyOptions, StreamClassifier, Windows};
/// use messymash::{Classifier, Waveform};
///
/// # fn main() -> messymash::Result<()> {
/// # std::env::set_current_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../..")).unwrap();
/// let classifier = Classifier::bundled()?;
/// let radio = Waveform::open("samples/mashup.flac")?; // stands for sound that comes in
/// let options = ClassifyOptions {
///     windows: Windows::All { hop: 2.0 },
///     ..ClassifyOptions::default()
/// };
/// let mut stream = StreamClassifier::new(&classifier, radio.sample_rate, 1, &options)?;
/// for piece in radio.samples.chunks(4096) {
///     for window in stream.push(piece)? {
///         println!("{:6.1} s: {}", window.end, window.predictions[0].label);
///     }
/// }
/// let all = stream.finish()?;
/// println!("altogether {}", all.predictions[0].label);
/// # Ok(())
/// # }
/// ```
pub struct StreamClassifier<C: Borrow<Classifier>> {
    classifier: C,
    sound: Pushed,
    cutter: Cutter,
    windows: Windows,
    function: ScoreFunction,
    /// Windows heard, and the sum of their scores by class index.
    heard: usize,
    sums: Vec<f64>,
    /// Sum of what the model's detector gives for each window: music, speech, noise.
    kinds: [f32; 3],
    room: Workspace,
}

impl<C: Borrow<Classifier>> StreamClassifier<C> {
    /// For sound of `sample_rate` Hz and `channels` channels. Of the options, `batch` is of no account: windows are heard one by one.
    ///
    /// # Errors
    /// [`Error::InvalidAudio`](crate::Error::InvalidAudio) for a rate or a number of channels outside the limits,
    /// [`Error::Config`](crate::Error::Config) for a hop out of range.
    pub fn new(classifier: C, sample_rate: u32, channels: u16, options: &ClassifyOptions) -> Result<Self> {
        let extractor = classifier.borrow().extractor();
        let sound = Pushed::new(sample_rate, channels, extractor.sampling_rate, &options.limits)?;
        let cutter = Cutter::new(extractor.window_samples(), extractor.sampling_rate, options)?;
        let function = classifier.borrow().function(options);
        let sums = vec![0.0; classifier.borrow().labels().len()];
        Ok(Self {
            classifier,
            sound,
            cutter,
            windows: options.windows,
            function,
            heard: 0,
            sums,
            kinds: [0.0; 3],
            room: Workspace::default(),
        })
    }

    /// Takes further samples, interleaved if there are several channels, any number of them that makes whole frames. Amplitudes lie in
    /// [-1, 1]; what exceeds them is clamped, what is no number is taken for silence. Gives back what the windows are that have become
    /// full: none, most of the time.
    ///
    /// # Errors
    /// [`Error::Config`](crate::Error::Config) for a part of a frame, [`Error::TooLong`](crate::Error::TooLong) past the limit.
    pub fn push(&mut self, samples: &[f32]) -> Result<Vec<WindowPredictions>> {
        let mut told = Vec::new();
        self.sound.begin(samples)?;
        while self.sound.next_block(&mut self.cutter.buffer)? {
            self.hear_full(&mut told)?;
        }
        Ok(told)
    }

    /// Seconds that were pushed so far.
    pub fn seconds(&self) -> f64 {
        self.sound.seconds()
    }

    /// All labels by falling score, the mean of all windows so far; none before the first.
    pub fn mean(&self) -> Vec<Prediction> {
        if self.heard == 0 {
            return Vec::new();
        }
        let mean = |sum: &f64| (sum / self.heard as f64) as f32;
        self.classifier
            .borrow()
            .ranked(self.sums.iter().map(mean).collect())
    }

    /// The sound is over: hears what is left of it, as [`ClassifyOptions::tail`] says, and tells what all of it is.
    /// [`Predictions::windows`] has only the windows that no [`StreamClassifier::push`] has told yet: mostly one.
    ///
    /// # Errors
    /// [`Error::TooShort`](crate::Error::TooShort) if there were less than 25 ms of it,
    /// [`Error::InvalidAudio`](crate::Error::InvalidAudio) if more than 0.1 % of the samples were no numbers.
    pub fn finish(mut self) -> Result<Predictions> {
        let mut windows = Vec::new();
        self.sound.end(&mut self.cutter.buffer)?;
        self.hear_full(&mut windows)?;
        if (self.windows != Windows::First || self.heard == 0)
            && let Some(last) = self.cutter.last()
        {
            self.hear(last, &mut windows)?;
        }
        let seconds = self.seconds();
        let mut warnings: Vec<Warning> = self.sound.warnings()?;
        warnings.extend(short_clip(seconds));
        let predictions = self.mean();
        let classifier = self.classifier.borrow();
        let count = self.heard.max(1) as f32;
        let kinds = classifier.detector().map(|_| self.kinds.map(|sum| sum / count));
        Ok(Predictions {
            seconds: classifier.heard_of(seconds, self.windows),
            verdict: classifier.verdict((&predictions, self.function), kinds, &warnings),
            predictions,
            windows,
            warnings,
        })
    }

    fn hear_full(&mut self, told: &mut Vec<WindowPredictions>) -> Result<()> {
        loop {
            if self.windows == Windows::First && self.heard > 0 {
                self.cutter.buffer.clear(); // nothing of it is needed any more
                return Ok(());
            }
            self.cutter.forget();
            let Some(window) = self.cutter.next_full() else {
                return Ok(());
            };
            self.hear(window, told)?;
        }
    }

    fn hear(&mut self, window: Window, told: &mut Vec<WindowPredictions>) -> Result<()> {
        let classifier = self.classifier.borrow();
        let batch = classifier.batch(&[window], self.cutter.heard)?;
        let mut heard = Vec::new();
        classifier.hear(&batch, &mut self.room, &mut heard)?;
        for window in &heard {
            if let Some(detector) = classifier.detector() {
                let kinds = detector.probabilities(std::iter::once(&window.pooled[..]));
                self.kinds.iter_mut().zip(kinds).for_each(|(sum, p)| *sum += p);
            }
        }
        let before = told.len();
        told.extend(
            heard
                .iter()
                .map(|window| classifier.scored(window, self.function)),
        );
        for prediction in told[before..].iter().flat_map(|window| &window.predictions) {
            let index = classifier
                .labels()
                .iter()
                .position(|label| *label == prediction.label);
            if let Some(sum) = index.and_then(|index| self.sums.get_mut(index)) {
                *sum += f64::from(prediction.score);
            }
        }
        self.heard += 1;
        Ok(())
    }
}
