//! Examples for the loop: mashup -> mixup -> shorten -> features -> bandwidth -> masks, every choice from (seed, epoch, index) alone.

use std::borrow::Cow;
use std::sync::Arc;

use messymash_kernels::cross_entropy::smoothed;

use super::TrainConfig;
use super::teacher::{Teacher, TeacherKind};
use crate::checkpoint::Checkpoint;
use crate::dataset::{MessyMashup, Split};
use crate::features::FeatureExtractor;
use crate::metrics::argmax;
use crate::random::Random;
use crate::remix::{Remix, Remixer, StemCache};
use crate::{Error, Result};

/// Separates the random numbers of masks and dropped patches from those of the mashup.
const AUGMENT: u64 = 0x4155_474D;

/// As [`AUGMENT`], for what is mixed into a mashup.
const MIXUP: u64 = 0x4D49_5855;

/// As [`AUGMENT`], for the frequency at which a mashup ends.
const BANDWIDTH: u64 = 0x4241_4E44;

/// As [`AUGMENT`], for the time at which a mashup ends.
const SHORTEN: u64 = 0x5348_4F52;

/// What a loader thread makes: one batch.
#[derive(Debug)]
pub(super) struct Examples {
    /// `[batch_size, max_length, num_mel_bins]`.
    pub(super) input_values: Vec<f32>,
    /// The wanted probability of each label, or with a teacher the wanted outputs: `[batch_size, labels]`.
    pub(super) targets: Vec<f32>,
    /// Patches that are kept, as many for each mashup: `[batch_size, kept]`.
    pub(super) keep: Vec<usize>,
}

/// What makes examples; shared by the loader threads.
#[derive(Debug)]
pub(super) struct Loader<'a> {
    config: &'a TrainConfig,
    remixer: Remixer,
    extractor: FeatureExtractor,
    labels: Vec<String>,
    teacher: Option<Arc<Teacher>>,
    patches: usize,
}

/// The two sides of a split.
#[derive(Debug)]
pub(super) struct Loaders<'a> {
    /// Shared with the loader threads.
    pub(super) training: Arc<Loader<'a>>,
    /// The mashups that judge; made of training songs where the split keeps none from training.
    pub(super) validation: Loader<'a>,
    /// Whom the model learns from, if not from the genres.
    pub(super) teacher: Option<Arc<Teacher>>,
}

impl<'a> Loaders<'a> {
    /// Everything about settings, model, data and split that could stop a training later is found here.
    pub(super) fn new(
        config: &'a TrainConfig,
        model: &Checkpoint,
        teacher: Option<Arc<Teacher>>,
        (data, split): (&MessyMashup, &Split),
    ) -> Result<Self> {
        let extractor = &model.extractor;
        if extractor.sampling_rate != config.remix.sample_rate {
            return Err(Error::Config(format!(
                "remix.sample_rate is {}, but the model hears {} Hz",
                config.remix.sample_rate, extractor.sampling_rate
            )));
        }
        // Settings of the extractor that cannot be are told by using it.
        extractor.extract(&vec![0.0; extractor.window_samples()])?;
        let cache = Arc::new(StemCache::new(config.cache_mebibytes, config.remix.sample_rate));
        let loader = |songs: &[String], folds: &[u32]| -> Result<Loader<'a>> {
            Ok(Loader {
                config,
                remixer: Remixer::with_cache(data, songs, folds, config.remix.clone(), Arc::clone(&cache))?,
                extractor: extractor.clone(),
                labels: model.ast.config().labels(),
                teacher: teacher.clone(),
                patches: model.ast.config().grid().patches(),
            })
        };
        let (judged, folds) = split.judged();
        if let Some(teacher) = &teacher {
            teacher.check(&split.train)?;
            teacher.check(judged)?;
        }
        Ok(Self {
            training: Arc::new(loader(&split.train, &split.train_folds)?),
            validation: loader(judged, folds)?,
            teacher: teacher.clone(),
        })
    }
}

impl Loaders<'_> {
    /// The teacher, if its numbers are what the outputs are to equal.
    pub(super) fn values(&self) -> Option<&Arc<Teacher>> {
        self.teacher
            .as_ref()
            .filter(|teacher| teacher.kind == TeacherKind::Values)
    }
}

impl Loader<'_> {
    /// Recipe and features of a mashup, as made.
    pub(super) fn mashup(&self, seed: u64, epoch: u64, index: u64) -> Result<(Remix, Vec<f32>)> {
        let (remix, waveform) = self.remixer.make(seed, epoch, index)?;
        Ok((remix, self.extractor.extract(&waveform.samples)?))
    }

    /// The class of a mashup.
    pub(super) fn class(&self, remix: &Remix) -> Result<usize> {
        let heard = self
            .teacher
            .as_ref()
            .and_then(|teacher| teacher.probabilities(remix));
        if let Some(heard) = heard {
            return Ok(argmax(&heard));
        }
        let class = self.labels.iter().position(|label| *label == remix.genre);
        class.ok_or_else(|| Error::Config(format!("the model has no label '{}'", remix.genre)))
    }

    /// What the outputs are to be for a mashup.
    fn target(&self, remix: &Remix) -> Result<Vec<f32>> {
        if let Some(teacher) = &self.teacher {
            match teacher.kind {
                TeacherKind::Values => return Ok(teacher.target(remix)?.to_vec()),
                TeacherKind::Probabilities => {
                    if let Some(heard) = teacher.probabilities(remix) {
                        return Ok(heard);
                    }
                }
            }
        }
        let smoothing = self.config.label_smoothing as f32;
        Ok(smoothed(&[self.class(remix)?], self.labels.len(), smoothing))
    }

    /// The batch of one step: mashups, some mixed with others of the batch, cut in time and in frequency, masked, patches dropped.
    pub(super) fn batch(&self, step: u64) -> Result<Examples> {
        let per_epoch = self.config.steps_per_epoch();
        let size = self.config.batch_size;
        let (epoch, first) = (step / per_epoch, step % per_epoch * size as u64);
        let mut batch = Examples {
            input_values: Vec::new(),
            targets: Vec::new(),
            keep: Vec::new(),
        };
        let sounds: Vec<(Vec<f32>, Vec<f32>)> = (first..first + size as u64)
            .map(|index| {
                let (remix, waveform) = self.remixer.make(self.config.seed, epoch, index)?;
                Ok((waveform.samples, self.target(&remix)?))
            })
            .collect::<Result<_>>()?;
        for (n, index) in (first..).take(size).enumerate() {
            let random = |purpose| Random::new(&[self.config.seed, epoch, index, purpose]);
            let (sound, target) = self.mixed(&sounds, n, &mut random(MIXUP));
            let rate = self.config.remix.sample_rate;
            let kept = self.config.shorten.draw(&mut random(SHORTEN), sound.len(), rate);
            let sound = &sound[..kept];
            let mut features = self.extractor.extract(sound)?;
            if let Some(hertz) = self.config.bandwidth.draw(&mut random(BANDWIDTH)) {
                self.extractor.low_pass(&mut features, sound.len(), hertz);
            }
            let mut random = random(AUGMENT);
            let mask_seed = random.next_u64();
            // 0 is the mean of normalised features.
            self.config
                .specaugment
                .apply(&mut features, self.extractor.num_mel_bins, 0.0, mask_seed);
            batch.input_values.append(&mut features);
            batch.targets.extend_from_slice(&target);
            batch.keep.append(&mut self.kept_patches(&mut random));
        }
        Ok(batch)
    }

    /// Sound `n` and its target, if so drawn with another of the batch mixed in.
    fn mixed<'s>(
        &self,
        sounds: &'s [(Vec<f32>, Vec<f32>)],
        n: usize,
        random: &mut Random,
    ) -> (Cow<'s, [f32]>, Cow<'s, [f32]>) {
        let (sound, target) = &sounds[n];
        let Some((other, share)) = self.config.mixup.draw(random, n, sounds.len()) else {
            return (Cow::Borrowed(sound), Cow::Borrowed(target));
        };
        let blend = |a: &[f32], b: &[f32]| -> Vec<f32> {
            let pairs = a.iter().zip(b);
            pairs.map(|(a, b)| share * a + (1.0 - share) * b).collect()
        };
        let (other, other_target) = &sounds[other];
        (
            Cow::Owned(blend(sound, other)),
            Cow::Owned(blend(target, other_target)),
        )
    }

    /// The patches that a mashup keeps, sorted.
    fn kept_patches(&self, random: &mut Random) -> Vec<usize> {
        let kept = ((self.patches as f64 * (1.0 - self.config.patchout)).round() as usize).max(1);
        let mut numbers: Vec<usize> = (0..self.patches).collect();
        if kept < self.patches {
            random.shuffle(&mut numbers);
            numbers.truncate(kept);
            numbers.sort_unstable();
        }
        numbers
    }
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;
    use crate::dataset::{NoiseClip, Song};
    use crate::remix::RemixOptions;
    use crate::specaugment::SpecAugment;
    use crate::train::{Bandwidth, Mixup, Shorten};

    fn config() -> TrainConfig {
        TrainConfig {
            batch_size: 4,
            mashups_per_epoch: 8,
            remix: RemixOptions {
                seconds: 0.26,
                ..RemixOptions::default()
            },
            specaugment: SpecAugment {
                frequency_masks: 0,
                time_masks: 0,
                ..SpecAugment::default()
            },
            ..TrainConfig::default()
        }
    }

    /// A loader over two genres of one song each, in memory.
    fn loader(config: &TrainConfig) -> Loader<'_> {
        let cache = Arc::new(StemCache::new(64, 16_000));
        let sound = |name: &str, seed: u64| {
            let mut random = Random::new(&[seed]);
            let path = PathBuf::from(name);
            cache.insert(&path, (0..16_000).map(|_| 0.1 * random.normal() as f32).collect());
            path
        };
        let song = |genre: usize, id: &str| Song {
            id: id.into(),
            genre,
            stems: std::array::from_fn(|stem| {
                Some(sound(&format!("{id}{stem}"), (10 * genre + stem) as u64))
            }),
        };
        let songs = vec![song(0, "a/1"), song(1, "b/1")];
        let noise = NoiseClip {
            id: "n".into(),
            path: sound("n", 99),
            fold: 1,
        };
        let data = MessyMashup {
            missing: Vec::new(),
            faults: Vec::new(),
            genres: vec!["a".into(), "b".into()],
            songs,
            noises: vec![noise],
            mashups: Vec::new(),
            ignored: Vec::new(),
        };
        let songs = ["a/1".to_string(), "b/1".to_string()];
        Loader {
            config,
            remixer: Remixer::with_cache(&data, &songs, &[1], config.remix.clone(), Arc::clone(&cache))
                .unwrap(),
            extractor: FeatureExtractor::new(32, 24).unwrap(),
            labels: data.genres,
            teacher: None,
            patches: 8,
        }
    }

    #[test]
    fn a_mixed_example_is_the_blend_of_two_and_says_so() {
        let config = TrainConfig {
            mixup: Mixup {
                probability: 0.7,
                alpha: 1.0,
            },
            ..config()
        };
        let loader = loader(&config);
        let input = 24 * 32;
        let (mut mixed, mut left_alone) = (0, 0);
        for step in 0..4 {
            let batch = loader.batch(step).unwrap();
            let (epoch, first) = (step / 2, step % 2 * 4);
            for n in 0..4 {
                let index = first + n as u64;
                let sound = |index: u64| {
                    let (remix, waveform) = loader.remixer.make(config.seed, epoch, index).unwrap();
                    (waveform.samples, loader.class(&remix).unwrap())
                };
                let (first_sound, class) = sound(index);
                // Nothing but (seed, epoch, index) says with which other one, and how much.
                let mut random = Random::new(&[config.seed, epoch, index, MIXUP]);
                let (other, share) = config.mixup.draw(&mut random, n, 4).unwrap_or((n, 1.0));
                let (second, second_class) = sound(first + other as u64);
                let blend: Vec<f32> = first_sound
                    .iter()
                    .zip(&second)
                    .map(|(a, b)| share * a + (1.0 - share) * b)
                    .collect();
                assert_eq!(
                    batch.input_values[n * input..][..input],
                    loader.extractor.extract(&blend).unwrap()
                );
                let target = &batch.targets[2 * n..][..2];
                let wanted = |label: usize| {
                    let of = |class: usize| if class == label { 0.95 } else { 0.05 };
                    share * of(class) + (1.0 - share) * of(second_class)
                };
                for (label, got) in target.iter().enumerate() {
                    assert!((got - wanted(label)).abs() < 1e-6, "{target:?}");
                }
                *(if other == n { &mut left_alone } else { &mut mixed }) += 1;
            }
        }
        assert!(mixed > 4 && left_alone > 1, "{mixed} mixed, {left_alone} not");
    }

    #[test]
    fn a_shortened_example_is_its_beginning_and_padding() {
        let config = TrainConfig {
            shorten: Shorten {
                probability: 0.5,
                seconds: [0.1, 0.2],
            },
            ..config()
        };
        let loader = loader(&config);
        let (mut short, mut whole) = (0, 0);
        for (step, example) in (0..4).flat_map(|step| (0..4).map(move |n| (step, n))) {
            let batch = loader.batch(step).unwrap();
            let (epoch, index) = (step / 2, step % 2 * 4 + example);
            let (_, sound) = loader.remixer.make(config.seed, epoch, index).unwrap();
            let mut random = Random::new(&[config.seed, epoch, index, SHORTEN]);
            let kept = config.shorten.draw(&mut random, sound.samples.len(), 16_000);
            let wanted = loader.extractor.extract(&sound.samples[..kept]).unwrap();
            assert_eq!(
                batch.input_values[example as usize * 24 * 32..][..24 * 32],
                wanted
            );
            let last_row = &wanted[23 * 32..];
            if kept == sound.samples.len() {
                whole += 1;
            } else {
                assert!((1_600..=3_200).contains(&kept), "{kept}");
                assert!(last_row.iter().all(|value| *value == last_row[0]));
                short += 1;
            }
        }
        assert!(short > 3 && whole > 3, "{short} short, {whole} whole");
    }

    #[test]
    fn a_cut_example_is_silent_above_and_untouched_below() {
        let config = TrainConfig {
            bandwidth: Bandwidth {
                probability: 1.0,
                hertz: [3000.0, 7000.0],
            },
            ..config()
        };
        let loader = loader(&config);
        let batch = loader.batch(0).unwrap();
        for n in 0..4 {
            let mut random = Random::new(&[config.seed, 0, n as u64, BANDWIDTH]);
            let hertz = config.bandwidth.draw(&mut random).unwrap();
            assert!((3000.0..7000.0).contains(&hertz));
            let (_, whole) = loader.mashup(config.seed, 0, n as u64).unwrap();
            let mut wanted = whole.clone();
            loader
                .extractor
                .low_pass(&mut wanted, config.remix.samples(), hertz);
            assert_ne!(wanted, whole);
            assert_eq!(batch.input_values[n * 24 * 32..][..24 * 32], wanted);
        }
    }
}
