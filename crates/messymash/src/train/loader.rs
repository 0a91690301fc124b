//! Examples for the loop: mashup -> features -> masks, each from (seed, epoch, index) alone.

use std::sync::Arc;

use super::TrainConfig;
use crate::checkpoint::Checkpoint;
use crate::dataset::{MessyMashup, Split};
use crate::features::FeatureExtractor;
use crate::random::Random;
use crate::remix::{Remix, Remixer, StemCache};
use crate::{Error, Result};

/// Separates the random numbers of masks and dropped patches from those of the mashup.
const AUGMENT: u64 = 0x4155_474D;

/// What a loader thread makes: one batch.
#[derive(Debug)]
pub(super) struct Examples {
    /// `[batch_size, max_length, num_mel_bins]`.
    pub(super) input_values: Vec<f32>,
    /// A class a mashup.
    pub(super) targets: Vec<usize>,
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
    patches: usize,
}

/// The two sides of a split.
#[derive(Debug)]
pub(super) struct Loaders<'a> {
    /// Shared with the loader threads.
    pub(super) training: Arc<Loader<'a>>,
    /// The mashups that judge; made of training songs where the split keeps none from training.
    pub(super) validation: Loader<'a>,
}

impl<'a> Loaders<'a> {
    /// Everything about settings, model, data and split that could stop a training later is found here.
    pub(super) fn new(
        config: &'a TrainConfig,
        model: &Checkpoint,
        data: &MessyMashup,
        split: &Split,
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
                patches: model.ast.config().grid().patches(),
            })
        };
        let (judged, folds) = split.judged();
        Ok(Self {
            training: Arc::new(loader(&split.train, &split.train_folds)?),
            validation: loader(judged, folds)?,
        })
    }
}

impl Loader<'_> {
    /// Recipe, features and class of a mashup, without masks.
    pub(super) fn mashup(&self, seed: u64, epoch: u64, index: u64) -> Result<(Remix, Vec<f32>, usize)> {
        let (remix, waveform) = self.remixer.make(seed, epoch, index)?;
        let class = self.labels.iter().position(|label| *label == remix.genre);
        let class =
            class.ok_or_else(|| Error::Config(format!("the model has no label '{}'", remix.genre)))?;
        let features = self.extractor.extract(&waveform.samples)?;
        Ok((remix, features, class))
    }

    /// The batch of one step, with masks and dropped patches.
    pub(super) fn batch(&self, step: u64) -> Result<Examples> {
        let per_epoch = self.config.steps_per_epoch();
        let (epoch, first) = (step / per_epoch, step % per_epoch * self.config.batch_size as u64);
        let kept = ((self.patches as f64 * (1.0 - self.config.patchout)).round() as usize).max(1);
        let mut batch = Examples {
            input_values: Vec::new(),
            targets: Vec::new(),
            keep: Vec::new(),
        };
        for index in first..first + self.config.batch_size as u64 {
            let (_, mut features, class) = self.mashup(self.config.seed, epoch, index)?;
            let mut random = Random::new(&[self.config.seed, epoch, index, AUGMENT]);
            let mask_seed = random.next_u64();
            // 0 is the mean of normalised features.
            self.config
                .specaugment
                .apply(&mut features, self.extractor.num_mel_bins, 0.0, mask_seed);
            batch.input_values.append(&mut features);
            batch.targets.push(class);
            let mut numbers: Vec<usize> = (0..self.patches).collect();
            if kept < self.patches {
                random.shuffle(&mut numbers);
                numbers.truncate(kept);
                numbers.sort_unstable();
            }
            batch.keep.append(&mut numbers);
        }
        Ok(batch)
    }
}
