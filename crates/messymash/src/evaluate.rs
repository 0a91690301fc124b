//! Evaluation: a classifier's answers on labelled sounds, as one record that every report is made from.
#![allow(missing_docs, unused)]
use crate::Result;

/// One judged sound. `truth` indexes labels; `scores` has one per label; `songs` are the songs it was made from (the unit of the bootstrap).
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Judged { pub name: String, pub truth: usize, pub scores: Vec<f32>, pub songs: Vec<String>, pub snr_db: Option<f64> }

#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Evaluation { pub title: String, pub model: String, pub labels: Vec<String>, pub items: Vec<Judged> /* + derived figures: see metrics */ }
