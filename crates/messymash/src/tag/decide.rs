//! From scores to what is written.

use crate::classifier::Prediction;
use crate::verdict::{NotMusic, Verdict};
use crate::{Error, Result};

/// When a genre is sure enough to be written, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct Rules {
    /// The likeliest genre is told from this score on, in [0, 1], whatever the verdict; `None`: from 0.5 on, unless the verdict is
    /// [`Verdict::NotSure`].
    pub min_score: Option<f32>,
    /// Further genres are told from this score on, in [0, 1].
    pub further_score: f32,
    /// The most genres of a file, at least 1.
    pub count: usize,
    /// What is told where no genre is sure enough; `None`: nothing.
    pub fallback: Option<String>,
    /// Joins several genres to one value; `None`: they are several values.
    pub separator: Option<String>,
    /// Labels of the model and what is to be written for them.
    pub names: Vec<(String, String)>,
}

/// From what score on a genre is told where nobody has said.
const MIN_SCORE: f32 = 0.5;

impl Default for Rules {
    /// One genre, from a score of 0.5 on unless the model says that it is not sure, by the model's own name; nothing else.
    fn default() -> Self {
        Self {
            min_score: None,
            further_score: 0.25,
            count: 1,
            fallback: None,
            separator: None,
            names: Vec::new(),
        }
    }
}

impl Rules {
    /// Checks the rules for a model with these labels.
    ///
    /// # Errors
    /// [`Error::Config`] for scores outside [0, 1], no genre at all, names of labels that the model does not have, and empty texts
    /// or control characters in what would be written.
    pub fn check(&self, labels: &[String]) -> Result<()> {
        let wrong = |message: String| Err(Error::Config(message));
        for score in self.min_score.into_iter().chain([self.further_score]) {
            if !(0.0..=1.0).contains(&score) {
                return wrong(format!("a score is from 0 to 1; {score} is not"));
            }
        }
        if self.count == 0 {
            return wrong("a file needs room for one genre at least".into());
        }
        if let Some((label, _)) = self.names.iter().find(|(label, _)| !labels.contains(label)) {
            let known = labels.join(", ");
            return wrong(format!("the model does not know {label:?}; it tells {known}"));
        }
        let names = self.names.iter().map(|(_, name)| name);
        let texts = labels
            .iter()
            .chain(&self.fallback)
            .chain(&self.separator)
            .chain(names);
        match texts
            .into_iter()
            .find(|text| text.is_empty() || text.chars().any(char::is_control))
        {
            Some(text) => wrong(format!(
                "{text:?} cannot be written to a tag: it must be text without control characters"
            )),
            None => Ok(()),
        }
    }
}

/// What is to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// The file's genres.
    Genres(Vec<String>),
    /// No genre is sure enough, but something is to be written all the same.
    Fallback(Vec<String>),
    /// No genre is sure enough.
    Nothing,
    /// It has no genre.
    NotMusic(NotMusic),
}

impl Decision {
    /// What is to be written; nothing: the file is left alone.
    pub fn values(&self) -> &[String] {
        match self {
            Decision::Genres(values) | Decision::Fallback(values) => values,
            Decision::Nothing | Decision::NotMusic(_) => &[],
        }
    }
}

/// Decides by all labels' scores, the highest first ([`Predictions::predictions`](crate::Predictions::predictions)), and the
/// verdict on them, where there is one. What is no music gets nothing, whatever the rules.
pub fn decide(predictions: &[Prediction], verdict: Option<Verdict>, rules: &Rules) -> Decision {
    if let Some(Verdict::NotMusic(other)) = verdict {
        return Decision::NotMusic(other);
    }
    let unsure = rules.min_score.is_none() && verdict == Some(Verdict::NotSure);
    let least = rules.min_score.unwrap_or(MIN_SCORE);
    if unsure || predictions.first().is_none_or(|first| first.score < least) {
        return match &rules.fallback {
            Some(fallback) => Decision::Fallback(vec![fallback.clone()]),
            None => Decision::Nothing,
        };
    }
    let told = predictions
        .iter()
        .enumerate()
        .take_while(|(place, prediction)| *place == 0 || prediction.score >= rules.further_score)
        .take(rules.count.max(1));
    let mut values: Vec<String> = Vec::new();
    for (_, prediction) in told {
        let name = rules.names.iter().find(|(label, _)| *label == prediction.label);
        let name = name.map_or(&prediction.label, |(_, name)| name);
        // Two labels may have been given one name.
        if !values.contains(name) {
            values.push(name.clone());
        }
    }
    Decision::Genres(match &rules.separator {
        Some(separator) => vec![values.join(separator)],
        None => values,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(rules: &Rules) -> Decision {
        judged(None, rules)
    }

    fn judged(verdict: Option<Verdict>, rules: &Rules) -> Decision {
        let scores = [("hiphop", 0.5), ("pop", 0.3), ("rock", 0.2)];
        let predictions = scores.map(|(label, score)| Prediction {
            label: label.into(),
            score,
        });
        decide(&predictions, verdict, rules)
    }

    #[test]
    fn thresholds_count_and_names_decide() {
        let genres = |values: &[&str]| Decision::Genres(values.iter().map(|v| (*v).to_string()).collect());
        let rules = Rules::default();
        assert_eq!(told(&rules), genres(&["hiphop"]));
        let three = Rules {
            count: 3,
            ..rules.clone()
        };
        assert_eq!(told(&three), genres(&["hiphop", "pop"]));
        let joined = Rules {
            separator: Some("; ".into()),
            names: vec![("hiphop".into(), "Hip-Hop".into())],
            ..three.clone()
        };
        assert_eq!(told(&joined), genres(&["Hip-Hop; pop"]));
        let same = Rules {
            names: vec![("hiphop".into(), "Urban".into()), ("pop".into(), "Urban".into())],
            ..three
        };
        assert_eq!(told(&same), genres(&["Urban"]));
        let strict = Rules {
            min_score: Some(0.51),
            ..rules
        };
        assert_eq!(told(&strict), Decision::Nothing);
        let fallback = Rules {
            fallback: Some("Unknown".into()),
            ..strict
        };
        assert_eq!(told(&fallback), Decision::Fallback(vec!["Unknown".into()]));
        assert_eq!(decide(&[], None, &Rules::default()), Decision::Nothing);
    }

    #[test]
    fn verdicts_decide_before_scores_unless_a_score_was_asked_for() {
        let rules = Rules {
            fallback: Some("Unknown".into()),
            ..Rules::default()
        };
        let asked = Rules {
            min_score: Some(0.5),
            ..rules.clone()
        };
        let genres = Decision::Genres(vec!["hiphop".into()]);
        let fallback = Decision::Fallback(vec!["Unknown".into()]);
        assert_eq!(judged(Some(Verdict::Sure), &rules), genres);
        assert_eq!(judged(Some(Verdict::NotSure), &rules), fallback);
        assert_eq!(
            judged(Some(Verdict::NotSure), &Rules::default()),
            Decision::Nothing
        );
        assert_eq!(judged(Some(Verdict::NotSure), &asked), genres);
        for other in [NotMusic::Silence, NotMusic::Speech, NotMusic::Noise] {
            for rules in [&rules, &asked] {
                let decision = judged(Some(Verdict::NotMusic(other)), rules);
                assert_eq!(decision, Decision::NotMusic(other));
                assert!(decision.values().is_empty());
            }
        }
    }
}
