//! One answer of several models'.

use crate::dataset::GENRES;
use crate::{Error, Result};

/// A model of an [`Ensemble`].
#[derive(Debug, Clone, PartialEq)]
pub struct Member {
    /// What to call it in messages.
    pub name: String,
    /// Its labels, in any order.
    pub labels: Vec<String>,
    /// How much its answer counts against the others', above 0. Only ratios matter.
    pub weight: f64,
}

/// Models of the same labels, whose probabilities are averaged by their weights.
#[derive(Debug, Clone, PartialEq)]
pub struct Ensemble {
    labels: Vec<String>,
    /// They sum to 1.
    weights: Vec<f64>,
}

impl Ensemble {
    /// Checks that the models fit together, and that the competition knows what they say.
    ///
    /// # Errors
    /// [`Error::Config`] that names the model: no model, a weight that is not above 0, a label given twice, a label that is
    /// none of [`GENRES`], or other labels than the first model's.
    pub fn new(members: &[Member]) -> Result<Self> {
        let mut sets: Vec<Vec<String>> = Vec::new();
        for member in members {
            if !(member.weight.is_finite() && member.weight > 0.0) {
                return Err(Error::Config(format!(
                    "the weight of {} is {}; it must be a number above 0",
                    member.name, member.weight
                )));
            }
            let mut labels = member.labels.clone();
            labels.sort();
            let unknown = lacking(&labels, &GENRES);
            if !unknown.is_empty() {
                return Err(Error::Config(format!(
                    "{} tells what is no genre of the competition: {}. They are {}; put their names into id2label of its \
                     config.json, in the order that it was trained with",
                    member.name,
                    unknown.join(", "),
                    GENRES.join(", ")
                )));
            }
            if let Some(pair) = labels.windows(2).find(|pair| pair[0] == pair[1]) {
                let (name, label) = (&member.name, &pair[0]);
                return Err(Error::Config(format!("{name} has the label {label} twice")));
            }
            sets.push(labels);
        }
        let Some(labels) = sets.first().cloned() else {
            return Err(Error::Config("no model was given".into()));
        };
        if let Some((member, set)) = members.iter().zip(&sets).find(|(_, set)| **set != labels) {
            let (only_first, only_this) = (lacking(&labels, set), lacking(set, &labels));
            let list = |labels: Vec<&str>| match labels.is_empty() {
                true => "nothing".into(),
                false => labels.join(", "),
            };
            return Err(Error::Config(format!(
                "{} and {} cannot be averaged, since their labels differ: only the former knows {}, only the latter {}",
                members[0].name,
                member.name,
                list(only_first),
                list(only_this)
            )));
        }
        let sum: f64 = members.iter().map(|member| member.weight).sum();
        let weights: Vec<f64> = members.iter().map(|member| member.weight / sum).collect();
        // Weights near the largest number add up to infinity.
        if weights.iter().any(|&weight| weight == 0.0 || !weight.is_finite()) {
            return Err(Error::Config(
                "the weights differ too much to be averaged, or are too large; only their ratios matter"
                    .into(),
            ));
        }
        Ok(Self { labels, weights })
    }

    /// The labels, sorted: the order of all scores here.
    pub fn labels(&self) -> &[String] {
        &self.labels
    }

    /// The genres of the competition that no model tells.
    pub fn untold(&self) -> Vec<&'static str> {
        lacking(&GENRES, &self.labels)
    }

    /// The weighted mean of the models' scores of one sound: `scores` has a slice for each model, in the order they were
    /// given, each in the order of [`Ensemble::labels`].
    ///
    /// # Panics
    /// If there are more or fewer slices than models, or scores than labels.
    pub fn mean(&self, scores: &[&[f32]]) -> Vec<f64> {
        assert_eq!(scores.len(), self.weights.len(), "one slice a model");
        assert!(
            scores.iter().all(|s| s.len() == self.labels.len()),
            "one score a label"
        );
        (0..self.labels.len())
            .map(|label| {
                let weighted = scores.iter().zip(&self.weights);
                weighted
                    .map(|(scores, weight)| weight * f64::from(scores[label]))
                    .sum()
            })
            .collect()
    }

    /// The likeliest label and its score; of equal ones the first by name.
    pub fn likeliest<'a>(&'a self, mean: &[f64]) -> Option<(&'a str, f64)> {
        let labelled = self.labels.iter().map(String::as_str).zip(mean.iter().copied());
        labelled.reduce(|best, next| if next.1 > best.1 { next } else { best })
    }
}

/// What is in `these` and not in `others`.
fn lacking<'a>(these: &'a [impl AsRef<str>], others: &[impl AsRef<str>]) -> Vec<&'a str> {
    let known = |name: &str| others.iter().any(|other| other.as_ref() == name);
    these
        .iter()
        .map(AsRef::as_ref)
        .filter(|name| !known(name))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(name: &str, labels: &[&str], weight: f64) -> Member {
        let labels = labels.iter().map(|label| label.to_string()).collect();
        Member {
            name: name.into(),
            labels,
            weight,
        }
    }

    fn refused(members: &[Member]) -> String {
        Ensemble::new(members).unwrap_err().to_string()
    }

    #[test]
    fn models_are_averaged_by_weight_whatever_the_order_of_their_labels() {
        let members = [
            member("a", &["rock", "blues"], 1.0),
            member("b", &["blues", "rock"], 3.0),
        ];
        let ensemble = Ensemble::new(&members).unwrap();
        assert_eq!(ensemble.labels(), ["blues", "rock"]);
        let mean = ensemble.mean(&[&[0.1, 0.9], &[0.7, 0.3]]);
        assert!(
            (mean[0] - 0.55).abs() < 1e-6 && (mean[1] - 0.45).abs() < 1e-6,
            "{mean:?}"
        );
        assert_eq!(ensemble.likeliest(&mean).unwrap().0, "blues");
        assert_eq!(ensemble.likeliest(&[0.5, 0.5]).unwrap().0, "blues");
        assert_eq!(ensemble.untold().len(), 8);
    }

    #[test]
    fn what_does_not_fit_is_named() {
        let message = refused(&[
            member("a", &["rock", "blues"], 1.0),
            member("b", &["blues", "jazz"], 1.0),
        ]);
        assert!(
            message.contains("a and b") && message.contains("knows rock") && message.contains("latter jazz")
        );
        let message = refused(&[member("a", &["rock"], 1.0), member("b", &["blues", "rock"], 1.0)]);
        assert!(
            message.contains("knows nothing, only the latter blues"),
            "{message}"
        );
        assert!(
            refused(&[member("a", &["LABEL_0", "rock"], 1.0)])
                .contains("a tells what is no genre of the competition: LABEL_0.")
        );
        assert!(refused(&[member("a", &["rock", "rock"], 1.0)]).contains("rock twice"));
        for weight in [0.0, -1.0, f64::NAN, f64::INFINITY] {
            assert!(refused(&[member("a", &["rock"], weight)]).contains("the weight of a"));
        }
        assert!(
            refused(&[member("a", &["rock"], f64::MAX), member("b", &["rock"], f64::MAX)]).contains("ratios")
        );
        assert!(refused(&[]).contains("no model"));
    }
}
