//! The parts of the HTML pages.

use super::plots::{self, Colour};
use super::{Mistake, escape, line, matrix, mistakes};
use crate::evaluate::{Band, Evaluation, Interval, Measures};

/// Style of the pages.
const STYLE: &str = include_str!("../report.css");

/// A whole page that needs nothing else. `body` is HTML, `title` is not.
pub(super) fn page(title: &str, body: &str) -> String {
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>{title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n</body>\n</html>\n",
        title = escape(title)
    )
}

/// Large numbers: value, name, note.
pub(super) fn figures(figures: &[(String, &str, String)]) -> String {
    let mut text = String::from("<section class=\"figures\">\n");
    for (value, name, note) in figures {
        line(
            &mut text,
            format_args!(
                "<div><b>{}</b><span>{}</span><small>{}</small></div>",
                escape(value),
                escape(name),
                escape(note)
            ),
        );
    }
    text + "</section>\n"
}

/// A plot with its heading.
pub(super) fn figure(heading: &str, legend: &[(&str, Colour)], svg: &str) -> String {
    let keys: String = legend
        .iter()
        .map(|(name, colour)| {
            format!(
                " <small class=\"key {}\">{}</small>",
                colour.class(),
                escape(name)
            )
        })
        .collect();
    format!(
        "<figure>\n<figcaption>{}{keys}</figcaption>\n{svg}</figure>\n",
        escape(heading)
    )
}

/// Everything about an evaluation, from its figures to its mistakes.
pub(super) fn evaluation(evaluation: &Evaluation, m: &Measures, worst: &[Mistake<'_>]) -> String {
    let interval = |name, i: Interval| {
        let value = format!("{:.3}", i.value);
        (value, name, format!("{:.3} to {:.3}", i.low, i.high))
    };
    let plain = |name, value: f64, note: &str| (format!("{value:.3}"), name, note.to_string());
    let mut page = figures(&[
        interval("macro F1", m.macro_f1),
        interval("accuracy", m.accuracy),
        plain("log loss", m.log_loss, "nats"),
        plain("calibration error", m.calibration_error, "15 bins"),
    ]);
    let (f1, accuracy) = (m.bootstrap.macro_f1, m.bootstrap.accuracy);
    line(
        &mut page,
        format_args!(
            "<p class=\"note\">Intervals are 95 % and allow for sounds that share songs (jackknife over songs). Those of a bootstrap over songs: macro F1 {:.3} to {:.3}, accuracy {:.3} to {:.3}.</p>",
            f1.low, f1.high, accuracy.low, accuracy.high
        ),
    );
    page += "<h2>What is taken for what</h2>\n<div class=\"picture\">\n";
    page += &matrix::svg(evaluation, m, matrix::Standing::InPage);
    page += "</div>\n<p class=\"note\">Rows are true genres, columns what was told; colours are shares of a row.</p>\n";
    page += "<h2>By genre</h2>\n";
    page += &genres(evaluation, m);
    page += "<h2>Under noise</h2>\n<div class=\"plots\">\n";
    let by = [
        ("Accuracy by loudness of the noise", "music over noise", &m.by_snr),
        ("Accuracy by number of noises", "noises", &m.by_noises),
    ];
    for (heading, axis, bands) in by.iter().filter(|(_, _, bands)| !bands.is_empty()) {
        page += &figure(heading, &[], &plots::bands(heading, axis, bands));
    }
    page += "</div>\n<div class=\"plots\">\n";
    for (_, axis, bands) in by.iter().filter(|(_, _, bands)| !bands.is_empty()) {
        page += &bands_table(axis, bands);
    }
    page += "</div>\n<p class=\"note\">Lines are 95 % intervals, rough ones where there are few sounds.</p>\n<h2>Is the confidence deserved?</h2>\n<div class=\"plots\">\n";
    page += &figure("Reliability", &[], &plots::reliability(m));
    page += "</div>\n<p class=\"note\">Each dot is the answers of one confidence, larger ones are more answers: on the diagonal, \
             as many are right as the model says; the line to it is the error. ECE is the mean of that error over all \
             answers (15 bins).</p>\n";
    if !worst.is_empty() {
        page += "<h2>Worst mistakes</h2>\n<p class=\"note\">The wrong answers that were told with most confidence. Pictures are log-mel \
                 spectrograms, time to the right and pitch upwards.</p>\n";
        page += &mistakes::html(evaluation, worst);
    }
    if !evaluation.failures.is_empty() {
        page += "<h2>Could not be heard</h2>\n<ul>\n";
        for failure in &evaluation.failures {
            line(&mut page, format_args!("<li>{}</li>", escape(failure)));
        }
        page += "</ul>\n";
    }
    page
}

/// A table of genres with a bar for each one's F1.
fn genres(evaluation: &Evaluation, m: &Measures) -> String {
    let mut table = String::from(
        "<div class=\"scroll\"><table>\n<thead><tr><th>genre</th><th>F1</th><th></th><th>precision</th><th>recall</th>\
         <th>sounds</th></tr></thead>\n<tbody>\n",
    );
    for (label, g) in evaluation.labels.iter().zip(&m.genres) {
        line(
            &mut table,
            format_args!(
                "<tr><th>{}</th><td>{:.3}</td>{}<td>{:.3}</td><td>{:.3}</td><td>{}</td></tr>",
                escape(label),
                g.f1,
                bar(g.f1),
                g.precision,
                g.recall,
                g.support
            ),
        );
    }
    table + "</tbody></table></div>\n"
}

/// A table of bands.
fn bands_table(first: &str, bands: &[Band]) -> String {
    let mut table = format!(
        "<div class=\"scroll\"><table>\n<thead><tr><th>{first}</th><th>accuracy</th><th>macro F1</th><th>sounds</th></tr>\
         </thead>\n<tbody>\n"
    );
    for band in bands {
        line(
            &mut table,
            format_args!(
                "<tr><th>{}</th><td>{:.3}</td><td>{:.3}</td><td>{}</td></tr>",
                escape(&band.name),
                band.accuracy,
                band.macro_f1,
                band.count
            ),
        );
    }
    table + "</tbody></table></div>\n"
}

/// A cell with a bar of a share.
fn bar(share: f64) -> String {
    format!(
        "<td class=\"wide\"><span class=\"bar\" style=\"width:{:.1}%\"></span></td>",
        100.0 * share
    )
}
