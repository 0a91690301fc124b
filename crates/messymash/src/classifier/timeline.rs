//! How the genre changes over a sound.

use serde::Serialize;

use super::{Predictions, WindowPredictions};

/// A stretch of sound of one genre.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Segment {
    /// Where it begins, seconds.
    pub start: f64,
    /// Where it ends, seconds.
    pub end: f64,
    /// The likeliest genre of its windows.
    pub label: String,
    /// Mean of its windows' scores for that genre.
    pub score: f32,
}

impl Predictions {
    /// How the genre changes over the sound: [`timeline`] of its windows.
    pub fn timeline(&self) -> Vec<Segment> {
        timeline(&self.windows)
    }
}

/// Windows one after the other with the same likeliest genre as one. Windows may overlap; segments do not.
pub fn timeline(windows: &[WindowPredictions]) -> Vec<Segment> {
    let mut segments: Vec<Segment> = Vec::new();
    // Of the last segment.
    let mut scores = 0;
    for window in windows {
        let Some(best) = window.predictions.first() else {
            continue;
        };
        match segments.last_mut() {
            Some(last) if last.label == best.label => {
                last.end = window.end;
                scores += 1;
                last.score += (best.score - last.score) / scores as f32;
            }
            last => {
                if let Some(last) = last {
                    last.end = last.end.min(window.start);
                }
                scores = 1;
                segments.push(Segment {
                    start: window.start,
                    end: window.end,
                    label: best.label.clone(),
                    score: best.score,
                });
            }
        }
    }
    segments
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Prediction;

    fn window(start: f64, end: f64, label: &str, score: f32) -> WindowPredictions {
        let label = label.into();
        WindowPredictions {
            start,
            end,
            predictions: vec![Prediction { label, score }],
        }
    }

    #[test]
    fn windows_of_one_genre_are_one_segment() {
        let windows = [
            window(0.0, 10.0, "jazz", 0.5),
            window(10.0, 20.0, "jazz", 1.0),
            window(18.0, 28.0, "rock", 0.25),
        ];
        let segment = |start, end, label: &str, score| Segment {
            start,
            end,
            label: label.into(),
            score,
        };
        assert_eq!(
            timeline(&windows),
            [
                segment(0.0, 18.0, "jazz", 0.75),
                segment(18.0, 28.0, "rock", 0.25)
            ]
        );
        assert!(timeline(&[]).is_empty());
    }
}
