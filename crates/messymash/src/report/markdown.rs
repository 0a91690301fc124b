//! The report as Markdown.

use super::{Mistake, escape, line, mistakes::in_words};
use crate::evaluate::{Evaluation, Measures};

/// The report as Markdown.
pub(super) fn page(evaluation: &Evaluation, m: &Measures, mistakes: &[Mistake<'_>]) -> String {
    let mut text = format!(
        "# Evaluation: {}\n\nModel `{}`, {} sounds, {} songs.\n\n",
        cell(&evaluation.title),
        cell(&evaluation.model).replace('`', "'"),
        evaluation.items.len(),
        m.songs
    );
    text += "| figure | value | 95 % interval, jackknife over songs | bootstrap over songs |\n|---|---:|---|---|\n";
    for (name, i, b) in [
        ("macro F1", m.macro_f1, m.bootstrap.macro_f1),
        ("accuracy", m.accuracy, m.bootstrap.accuracy),
    ] {
        line(
            &mut text,
            format_args!(
                "| {name} | {:.4} | {:.4} to {:.4} | {:.4} to {:.4} |",
                i.value, i.low, i.high, b.low, b.high
            ),
        );
    }
    line(
        &mut text,
        format_args!("| log loss (nats) | {:.4} | | |", m.log_loss),
    );
    line(
        &mut text,
        format_args!("| calibration error (15 bins) | {:.4} | | |", m.calibration_error),
    );
    text += "\n## By genre\n\n| genre | precision | recall | F1 | support |\n|---|---:|---:|---:|---:|\n";
    for (label, g) in evaluation.labels.iter().zip(&m.genres) {
        line(
            &mut text,
            format_args!(
                "| {} | {:.3} | {:.3} | {:.3} | {} |",
                cell(label),
                g.precision,
                g.recall,
                g.f1,
                g.support
            ),
        );
    }
    text += "\n## Confusion (rows: true genre, columns: told)\n\n| |";
    evaluation
        .labels
        .iter()
        .for_each(|label| text += &format!(" {} |", cell(label)));
    text += "\n|---|";
    evaluation.labels.iter().for_each(|_| text += "---:|");
    text.push('\n');
    for (label, row) in evaluation.labels.iter().zip(&m.confusion.counts) {
        text += &format!("| **{}** |", cell(label));
        row.iter().for_each(|count| text += &format!(" {count} |"));
        text.push('\n');
    }
    for (title, first, bands) in [
        ("By noise", "music over noise", &m.by_snr),
        ("By number of noises", "noises", &m.by_noises),
    ] {
        if !bands.is_empty() {
            line(
                &mut text,
                format_args!(
                    "\n## {title}\n\n| {first} | sounds | accuracy | 95 % interval | macro F1 |\n|---|---:|---:|---|---:|"
                ),
            );
        }
        for band in bands {
            line(
                &mut text,
                format_args!(
                    "| {} | {} | {:.3} | {:.3} to {:.3} | {:.3} |",
                    band.name,
                    band.count,
                    band.accuracy,
                    band.interval.low,
                    band.interval.high,
                    band.macro_f1
                ),
            );
        }
    }
    if !mistakes.is_empty() {
        text += "\n## Worst mistakes\n\n| sound | true | told | score | made of |\n|---|---|---|---:|---|\n";
        for Mistake { item, .. } in mistakes {
            let told = item.predicted();
            line(
                &mut text,
                format_args!(
                    "| {} | {} | {} | {:.2} | {} |",
                    cell(&item.name),
                    cell(&evaluation.labels[item.truth]),
                    cell(&evaluation.labels[told]),
                    item.scores[told],
                    cell(&in_words(item).join("; "))
                ),
            );
        }
    }
    if !evaluation.failures.is_empty() {
        text += "\n## Could not be heard\n\n";
        evaluation
            .failures
            .iter()
            .for_each(|failure| text += &format!("- {}\n", cell(failure)));
    }
    text
}

/// Text that stays within its cell of a Markdown table and is no HTML.
fn cell(text: &str) -> String {
    escape(text).replace('|', "\\|")
}
