//! An [`Evaluation`] and a training run as people read them: Markdown, self-contained HTML pages, and the confusion matrix as a
//! picture.
//!
//! A page asks nothing of any other address and runs no script. Names of files and labels are untrusted and escaped.

mod html;
mod markdown;
mod matrix;
mod mistakes;
mod plots;
mod spectrogram;
mod training;

use std::fmt::Write;

pub use self::mistakes::{Mistake, mistakes};
pub use self::spectrogram::Spectrogram;
pub use self::training::run_html;
use crate::Result;
use crate::evaluate::{Evaluation, Measures};
use crate::metrics::Confusion;
use crate::picture::Picture;

/// The report as Markdown.
pub fn markdown(evaluation: &Evaluation, m: &Measures, mistakes: &[Mistake<'_>]) -> String {
    markdown::page(evaluation, m, mistakes)
}

/// The report as one HTML page that needs nothing else.
pub fn html(evaluation: &Evaluation, m: &Measures, mistakes: &[Mistake<'_>]) -> String {
    let mut body = format!(
        "<h1>{}</h1>\n<p>Model <code>{}</code>, {} sounds, {} songs.</p>\n",
        escape(&evaluation.title),
        escape(&evaluation.model),
        evaluation.items.len(),
        m.songs
    );
    body += &html::evaluation(evaluation, m, mistakes);
    html::page(&format!("Evaluation: {}", evaluation.title), &body)
}

/// The confusion matrix as an SVG file of its own.
pub fn confusion_svg(evaluation: &Evaluation, m: &Measures) -> String {
    matrix::svg(evaluation, m, matrix::Standing::Alone)
}

/// A confusion matrix as plain pixels: rows are true classes, columns what was told; right answers in blue, wrong ones in
/// orange, darker for a larger share of the row.
///
/// # Errors
/// [`Error::Config`](crate::Error::Config) if there is no class.
pub fn confusion_picture(confusion: &Confusion) -> Result<Picture> {
    matrix::picture(confusion)
}

/// Appends a line. Writing to a string cannot fail.
fn line(text: &mut String, what: std::fmt::Arguments<'_>) {
    let _ = writeln!(text, "{what}");
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
        .replace('\'', "&#39;")
        .replace(|c: char| c.is_control(), " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::Judged;
    use crate::features::FeatureExtractor;

    fn evaluation() -> Evaluation {
        let items = (0..40).map(|i| {
            let truth = i % 2;
            let told = if i % 5 == 0 { 1 - truth } else { truth };
            let mut scores = vec![0.2; 2];
            scores[told] = 0.8;
            let songs = vec![format!("song {}", i % 7)];
            let snr_db = (i % 3 == 0).then_some(i as f64);
            Judged {
                name: format!("<script>{i}|"),
                truth,
                scores,
                songs,
                snr_db,
                noises: Some(i % 4),
                remix: None,
                file: None,
            }
        });
        Evaluation {
            title: "a & b".into(),
            model: "m".into(),
            labels: vec!["ja\"zz".into(), "rock".into()],
            items: items.collect(),
            failures: vec!["x.wav: <b>not</b> sound".into()],
        }
    }

    #[test]
    fn the_page_asks_nothing_of_others_and_runs_nothing() {
        let evaluation = evaluation();
        let mut mistakes = mistakes(&evaluation, &FeatureExtractor::new(16, 24).unwrap(), None);
        assert_eq!(mistakes.len(), 8);
        let extractor = FeatureExtractor::new(16, 24).unwrap();
        mistakes[0].spectrogram = Spectrogram::new(&[0.1; 8000], &extractor);
        let measures = evaluation.measure().unwrap();
        let page = html(&evaluation, &measures, &mistakes);
        let (f1, accuracy) = (measures.bootstrap.macro_f1, measures.bootstrap.accuracy);
        let note = format!(
            "macro F1 {:.3} to {:.3}, accuracy {:.3} to {:.3}.",
            f1.low, f1.high, accuracy.low, accuracy.high
        );
        assert!(page.contains(&note) && f1.low != accuracy.low, "{note}");
        assert!(
            page.contains("the sound is not at hand") && page.contains("<img src=\"data:image/png;base64,")
        );
        let page = page.replace("src=\"data:image/png", "");
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        for forbidden in ["http", "<script", "src=", "url(", "@import", "<b>not"] {
            assert!(!elsewhere.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("a &amp; b") && page.contains("ja&quot;zz") && page.contains("0.800"));
        for tag in [
            "table", "svg", "section", "div", "tr", "td", "main", "figure", "article", "ul", "li", "text",
            "h2", "p",
        ] {
            let (opened, closed) = (
                page.matches(&format!("<{tag}>")).count() + page.matches(&format!("<{tag} ")).count(),
                page.matches(&format!("</{tag}>")).count(),
            );
            assert_eq!(opened, closed, "{tag}");
        }
    }

    #[test]
    fn the_matrix_shows_every_count_and_stands_alone() {
        let svg = confusion_svg(&evaluation(), &evaluation().measure().unwrap());
        assert!(svg.starts_with("<svg xmlns=") && svg.ends_with("</svg>\n"));
        assert_eq!(svg.matches(">16</text>").count(), 2);
        assert_eq!(svg.matches(">4</text>").count(), 2);
    }

    #[test]
    fn markdown_has_the_figures_and_keeps_its_tables() {
        let evaluation = evaluation();
        let mistakes = mistakes(&evaluation, &FeatureExtractor::new(16, 24).unwrap(), None);
        let text = markdown(&evaluation, &evaluation.measure().unwrap(), &mistakes);
        let Measures {
            accuracy, bootstrap, ..
        } = evaluation.measure().unwrap();
        let (low, high, sampled) = (accuracy.low, accuracy.high, bootstrap.accuracy);
        let row = format!(
            "| accuracy | 0.8000 | {low:.4} to {high:.4} | {:.4} to {:.4} |",
            sampled.low, sampled.high
        );
        assert!(text.contains(&row), "{row}\n{text}");
        assert!(text.contains("| rock | 0.800 | 0.800 | 0.800 | 20 |"), "{text}");
        assert!(text.contains("&lt;script&gt;0\\|") && !text.contains("<script"));
        assert!(text.contains("| two | 10 | 0.800 |"), "{text}");
        assert!(text.contains("## Could not be heard"));
    }
}
