//! The worst mistakes, each with what there was to see and how it was made, in words.

use std::collections::BTreeSet;
use std::path::Path;

use super::{Spectrogram, escape, line};
use crate::evaluate::{Evaluation, Judged};
use crate::features::FeatureExtractor;
use crate::remix::{Loudness, Noise, Part, Remix, Remixer};
use crate::{Error, Result};

/// Mistakes that are listed.
const WORST: usize = 12;

/// A wrong answer.
#[derive(Debug)]
pub struct Mistake<'a> {
    /// The answer.
    pub item: &'a Judged,
    /// What there was to see, or why that cannot be shown.
    pub spectrogram: Result<Spectrogram>,
}

/// The twelve wrong answers that were told with most confidence, the worst first.
///
/// Mashups are made again by `remixer` to be shown, files are read again; without either there is no picture, and the mistake
/// says why. `extractor` is that of the model.
pub fn mistakes<'a>(
    evaluation: &'a Evaluation,
    extractor: &FeatureExtractor,
    remixer: Option<&Remixer>,
) -> Vec<Mistake<'a>> {
    let show = |item: &Judged| match (&item.remix, remixer, &item.file) {
        (Some(remix), Some(remixer), _) => Spectrogram::new(&remixer.render(remix)?.samples, extractor),
        (_, _, Some(file)) => Spectrogram::of_file(Path::new(file), extractor),
        _ => Err(Error::Config("the sound is not at hand".into())),
    };
    worst(evaluation, &show)
}

/// The same mistakes, where there is a reason that none can be shown.
pub(super) fn unseen<'a>(evaluation: &'a Evaluation, reason: &str) -> Vec<Mistake<'a>> {
    worst(evaluation, &|_| Err(Error::Config(reason.into())))
}

fn worst<'a>(evaluation: &'a Evaluation, show: &dyn Fn(&Judged) -> Result<Spectrogram>) -> Vec<Mistake<'a>> {
    let worst = evaluation.worst_mistakes(WORST).into_iter();
    worst
        .map(|item| Mistake {
            item,
            spectrogram: show(item),
        })
        .collect()
}

/// Cards of mistakes.
pub(super) fn html(evaluation: &Evaluation, mistakes: &[Mistake<'_>]) -> String {
    let reasons: BTreeSet<String> = mistakes
        .iter()
        .filter_map(|mistake| mistake.spectrogram.as_ref().err())
        .map(Error::to_string)
        .collect();
    let mut page = String::new();
    for reason in &reasons {
        line(
            &mut page,
            format_args!("<p class=\"note\">Not all can be shown: {}</p>", escape(reason)),
        );
    }
    page += "<div class=\"cards\">\n";
    for Mistake { item, spectrogram } in mistakes {
        let [truth, told] = [item.truth, item.predicted()];
        line(
            &mut page,
            format_args!(
                "<article>\n<h3>{} taken for {}</h3>\n<p class=\"note\">{}: {} got {:.2}, {} got {:.2}</p>",
                escape(&evaluation.labels[truth]),
                escape(&evaluation.labels[told]),
                escape(&item.name),
                escape(&evaluation.labels[told]),
                item.scores[told],
                escape(&evaluation.labels[truth]),
                item.scores[truth]
            ),
        );
        if let Ok(Spectrogram { picture, seconds }) = spectrogram {
            line(
                &mut page,
                format_args!(
                    "<img src=\"{}\" width=\"{}\" height=\"{}\" alt=\"Log-mel spectrogram of {}\">\n\
                     <div class=\"time\"><span>0 s</span><span>{seconds:.1} s</span></div>",
                    picture.data_uri(),
                    picture.width,
                    picture.height,
                    escape(&item.name)
                ),
            );
        }
        page += "<ul>\n";
        for words in in_words(item) {
            line(&mut page, format_args!("<li>{}</li>", escape(&words)));
        }
        page += "</ul>\n</article>\n";
    }
    page += "</div>\n";
    page
}

/// What a sound is made of, in words, part by part.
pub(super) fn in_words(item: &Judged) -> Vec<String> {
    let Some(remix) = &item.remix else {
        return item
            .file
            .clone()
            .map_or_else(|| item.songs.clone(), |file| vec![file]);
    };
    let parts = remix.parts.iter().map(|part| part_in_words(remix, part));
    let noises = remix.noises.iter().map(|noise| noise_in_words(remix, noise));
    let all = match (remix.noises.len(), remix.snr_db) {
        (0, _) | (_, None) => "no noise".into(),
        (1, Some(db)) => format!("music {} the noise over the whole mashup", decibels(db)),
        (_, Some(db)) => format!("music {} all noise together over the whole mashup", decibels(db)),
    };
    parts.chain(noises).chain([all]).collect()
}

fn part_in_words(remix: &Remix, part: &Part) -> String {
    let start = part.start as f64 / f64::from(remix.sample_rate);
    let mut words = format!("{} of {} from {}", part.stem.name(), part.song, clock(start));
    if part.gain != 1.0 {
        words += &format!(", gain {:.2}", part.gain);
    }
    if part.tempo != 1.0 {
        words += &format!(", tempo × {:.2}", part.tempo);
    }
    if part.looped {
        words += ", repeated";
    }
    words
}

fn noise_in_words(remix: &Remix, noise: &Noise) -> String {
    let [at, length] = [noise.at, noise.length].map(|samples| samples as f64 / f64::from(remix.sample_rate));
    let loudness = match noise.loudness {
        Loudness::SnrDb(db) => format!("music {} it", decibels(db)),
        Loudness::Amplitude(amplitude) => format!("amplitude {amplitude:.2} where the music's peak is 1"),
    };
    let mut words = format!(
        "noise {} from {} for {length:.1} s, {loudness}",
        noise.id,
        clock(at)
    );
    if noise.tempo != 1.0 {
        words += &format!(", tempo × {:.2}", noise.tempo);
    }
    words
}

/// `12.3 dB above`, `0.5 dB below`.
fn decibels(db: f64) -> String {
    let side = if db < 0.0 { "below" } else { "above" };
    format!("{:.1} dB {side}", db.abs())
}

/// `0:07.5`
fn clock(seconds: f64) -> String {
    let tenths = (10.0 * seconds).round() as u64;
    format!("{}:{:02}.{}", tenths / 600, tenths / 10 % 60, tenths % 10)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::Stem;

    #[test]
    fn a_recipe_reads_as_words() {
        let part = Part {
            stem: Stem::Drums,
            song: "rock/a".into(),
            start: 16_000 * 72,
            looped: false,
            gain: 1.0,
            tempo: 1.0,
        };
        let changed = Part {
            stem: Stem::Bass,
            gain: 0.5,
            tempo: 1.125,
            looped: true,
            ..part.clone()
        };
        let noise = Noise {
            id: "esc/rain".into(),
            at: 8_000,
            start: 0,
            length: 16_000,
            tempo: 0.5,
            loudness: Loudness::SnrDb(-3.0),
        };
        let loud = Noise {
            loudness: Loudness::Amplitude(0.25),
            tempo: 1.0,
            ..noise.clone()
        };
        let remix = Remix {
            genre: "rock".into(),
            seed: 1,
            epoch: 0,
            index: 0,
            sample_rate: 16_000,
            samples: 160_000,
            parts: vec![part, changed],
            noises: vec![noise, loud],
            level: None,
            snr_db: Some(7.26),
        };
        let words = in_words(&Judged::mashup(0, 0, vec![1.0], remix));
        assert_eq!(
            words,
            [
                "drums of rock/a from 1:12.0",
                "bass of rock/a from 1:12.0, gain 0.50, tempo × 1.12, repeated",
                "noise esc/rain from 0:00.5 for 1.0 s, music 3.0 dB below it, tempo × 0.50",
                "noise esc/rain from 0:00.5 for 1.0 s, amplitude 0.25 where the music's peak is 1",
                "music 7.3 dB above all noise together over the whole mashup",
            ]
        );
    }
}
