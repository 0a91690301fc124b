//! An [`Evaluation`] as people read it: Markdown, one self-contained HTML page, and the confusion matrix as a picture.
//!
//! The page asks nothing of any other address. Names of files and labels are untrusted and escaped.

use std::fmt::Write;

use crate::evaluate::{Band, Evaluation, Interval, Judged, Measures};

/// Mistakes that are listed.
const WORST: usize = 12;

/// Style of the page.
const STYLE: &str = include_str!("report.css");

/// The report as Markdown.
pub fn markdown(evaluation: &Evaluation, m: &Measures) -> String {
    let mut text = format!(
        "# Evaluation: {}\n\nModel `{}`, {} sounds, {} songs.\n\n",
        cell(&evaluation.title),
        cell(&evaluation.model).replace('`', "'"),
        evaluation.items.len(),
        m.songs
    );
    text += "| figure | value | 95 % interval (allows for shared songs) |\n|---|---:|---|\n";
    for (name, i) in [("macro F1", m.macro_f1), ("accuracy", m.accuracy)] {
        line(
            &mut text,
            format_args!("| {name} | {:.4} | {:.4} to {:.4} |", i.value, i.low, i.high),
        );
    }
    line(
        &mut text,
        format_args!("| log loss (nats) | {:.4} | |", m.log_loss),
    );
    line(
        &mut text,
        format_args!("| calibration error (15 bins) | {:.4} | |", m.calibration_error),
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
                    "\n## {title}\n\n| {first} | sounds | accuracy | macro F1 |\n|---|---:|---:|---:|"
                ),
            );
        }
        for band in bands {
            line(
                &mut text,
                format_args!(
                    "| {} | {} | {:.3} | {:.3} |",
                    band.name, band.count, band.accuracy, band.macro_f1
                ),
            );
        }
    }
    let worst = evaluation.worst_mistakes(WORST);
    if !worst.is_empty() {
        text += "\n## Worst mistakes\n\n| sound | true | told | score | songs |\n|---|---|---|---:|---|\n";
        for item in worst {
            let [name, truth, told, score, songs] = mistake(evaluation, item).map(|text| cell(&text));
            line(
                &mut text,
                format_args!("| {name} | {truth} | {told} | {score} | {songs} |"),
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

/// The report as one HTML page that needs nothing else.
pub fn html(evaluation: &Evaluation, m: &Measures) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>Evaluation: {title}</title>\n\
         <style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n<h1>{title}</h1>\n<p>Model <code>{model}</code>, \
         {sounds} sounds, {songs} songs.</p>\n",
        title = escape(&evaluation.title),
        model = escape(&evaluation.model),
        sounds = evaluation.items.len(),
        songs = m.songs
    );
    page += "<section class=\"figures\">\n";
    let with_interval = |i: Interval| {
        (
            format!("{:.3}", i.value),
            format!("{:.3} to {:.3}", i.low, i.high),
        )
    };
    let plain = |value: f64, note: &str| (format!("{value:.3}"), note.to_string());
    for (name, (value, note)) in [
        ("macro F1", with_interval(m.macro_f1)),
        ("accuracy", with_interval(m.accuracy)),
        ("log loss", plain(m.log_loss, "nats")),
        ("calibration error", plain(m.calibration_error, "15 bins")),
    ] {
        line(
            &mut page,
            format_args!("<div><b>{value}</b><span>{name}</span><small>{note}</small></div>"),
        );
    }
    page += "</section>\n<p class=\"note\">Intervals are 95 % and allow for sounds that share songs.</p>\n";
    page += "<h2>What is taken for what</h2>\n<div class=\"picture\">\n";
    page += &matrix(evaluation, m, Standing::InPage);
    page += "</div>\n<h2>By genre</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>genre</th><th>F1</th><th></th>\
             <th>precision</th><th>recall</th><th>sounds</th></tr></thead>\n<tbody>\n";
    for (label, g) in evaluation.labels.iter().zip(&m.genres) {
        line(
            &mut page,
            format_args!(
                "<tr><th>{}</th><td>{:.3}</td><td class=\"wide\"><span class=\"bar\" style=\"width:{:.1}%\"></span></td>\
                 <td>{:.3}</td><td>{:.3}</td><td>{}</td></tr>",
                escape(label),
                g.f1,
                100.0 * g.f1,
                g.precision,
                g.recall,
                g.support
            ),
        );
    }
    page += "</tbody></table></div>\n<h2>Under noise</h2>\n";
    for (first, bands) in [
        ("music over noise", &m.by_snr),
        ("number of noises", &m.by_noises),
    ] {
        page += &bands_table(first, bands);
    }
    page += "<h2>Is the confidence deserved?</h2>\n<div class=\"picture small\">\n";
    page += &reliability(m);
    page += "</div>\n<p class=\"note\">Each dot is the answers of one confidence: on the diagonal, as many are right as the \
             model says. Larger dots are more answers.</p>\n";
    let worst = evaluation.worst_mistakes(WORST);
    if !worst.is_empty() {
        page += "<h2>Worst mistakes</h2>\n<div class=\"scroll\"><table>\n<thead><tr><th>sound</th><th class=\"left\">true</th><th class=\"left\">told</th>\
                 <th>score</th><th class=\"left\">songs</th></tr></thead>\n<tbody>\n";
        for item in worst {
            let [name, truth, told, score, songs] = mistake(evaluation, item).map(|text| escape(&text));
            line(
                &mut page,
                format_args!(
                    "<tr><th>{name}</th><td class=\"left\">{truth}</td><td class=\"left\">{told}</td><td>{score}</td>\
                     <td class=\"left\">{songs}</td></tr>"
                ),
            );
        }
        page += "</tbody></table></div>\n";
    }
    if !evaluation.failures.is_empty() {
        page += "<h2>Could not be heard</h2>\n<ul>\n";
        evaluation
            .failures
            .iter()
            .for_each(|f| page += &format!("<li>{}</li>\n", escape(f)));
        page += "</ul>\n";
    }
    page += "</main>\n</body>\n</html>\n";
    page
}

/// A table of bands; nothing where there are none.
fn bands_table(first: &str, bands: &[Band]) -> String {
    if bands.is_empty() {
        return String::new();
    }
    let mut table = format!(
        "<div class=\"scroll\"><table>\n<thead><tr><th>{first}</th><th>accuracy</th><th></th><th>macro F1</th>\
         <th>sounds</th></tr></thead>\n<tbody>\n"
    );
    for band in bands {
        line(
            &mut table,
            format_args!(
                "<tr><th>{}</th><td>{:.3}</td><td class=\"wide\"><span class=\"bar\" style=\"width:{:.1}%\"></span></td>\
                 <td>{:.3}</td><td>{}</td></tr>",
                band.name,
                band.accuracy,
                100.0 * band.accuracy,
                band.macro_f1,
                band.count
            ),
        );
    }
    table + "</tbody></table></div>\n"
}

/// The confusion matrix as an SVG file of its own.
pub fn confusion_svg(evaluation: &Evaluation, m: &Measures) -> String {
    matrix(evaluation, m, Standing::Alone)
}

/// Where a picture stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// In the page, whose style says which colours go with light and dark.
    InPage,
    /// In a file of its own, on white.
    Alone,
}

/// Side of a cell, and room for labels, in SVG units.
const CELL: usize = 56;
const MARGIN: usize = 96;

fn matrix(evaluation: &Evaluation, m: &Measures, standing: Standing) -> String {
    let side = MARGIN + CELL * evaluation.labels.len();
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side} {side}\" role=\"img\" \
         aria-label=\"Confusion matrix: rows are true genres, columns are what was told\" font-family=\"sans-serif\">\n"
    );
    if standing == Standing::Alone {
        svg += "<rect width=\"100%\" height=\"100%\" fill=\"#fff\"/>\n";
    }
    let ink = if standing == Standing::Alone {
        "#222"
    } else {
        "currentColor"
    };
    let small = format!("font-size=\"13\" fill=\"{ink}\"");
    for (n, label) in evaluation.labels.iter().enumerate() {
        let centre = MARGIN + n * CELL + CELL / 2;
        let label = escape(label);
        line(
            &mut svg,
            format_args!(
                "<text x=\"{}\" y=\"{}\" {small} text-anchor=\"end\">{label}</text>",
                MARGIN - 8,
                centre + 5
            ),
        );
        line(
            &mut svg,
            format_args!(
                "<text transform=\"translate({} {}) rotate(-40)\" {small}>{label}</text>",
                centre - 8,
                MARGIN - 8
            ),
        );
    }
    for (row, counts) in m.confusion.counts.iter().enumerate() {
        let all: f64 = counts.iter().sum();
        for (column, count) in counts.iter().enumerate() {
            let share = if all > 0.0 { count / all } else { 0.0 };
            let (x, y) = (MARGIN + column * CELL, MARGIN + row * CELL);
            // Right answers in blue, wrong ones in orange: both are told apart by people who see few colours.
            let colour = if row == column { "#1f6fb5" } else { "#d9660a" };
            line(
                &mut svg,
                format_args!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{size}\" height=\"{size}\" rx=\"4\" fill=\"{colour}\" \
                     fill-opacity=\"{opacity:.3}\"/>",
                    size = CELL - 2,
                    opacity = 0.05 + 0.95 * share
                ),
            );
            if *count > 0.0 {
                let fill = if share > 0.45 { "#fff" } else { ink };
                line(
                    &mut svg,
                    format_args!(
                        "<text x=\"{}\" y=\"{}\" font-size=\"15\" fill=\"{fill}\" text-anchor=\"middle\">{count}</text>",
                        x + CELL / 2 - 1,
                        y + CELL / 2 + 5
                    ),
                );
            }
        }
    }
    svg += "</svg>\n";
    svg
}

fn reliability(m: &Measures) -> String {
    let largest = m.calibration.iter().map(|bin| bin.count).max().unwrap_or(1) as f64;
    let mut svg = String::from(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"-44 -12 370 350\" role=\"img\" \
         aria-label=\"Accuracy against confidence\" font-family=\"sans-serif\" font-size=\"12\" fill=\"currentColor\">\n\
         <path d=\"M0 0V300H300\" fill=\"none\" stroke=\"currentColor\"/>\n\
         <path d=\"M0 300L300 0\" stroke=\"currentColor\" stroke-opacity=\".35\" stroke-dasharray=\"4 4\"/>\n\
         <text x=\"150\" y=\"334\" text-anchor=\"middle\">confidence</text>\n\
         <text transform=\"translate(-32 150) rotate(-90)\" text-anchor=\"middle\">share that is right</text>\n",
    );
    for tenth in [0, 5, 10] {
        let (at, label) = (30 * tenth, f64::from(tenth) / 10.0);
        line(
            &mut svg,
            format_args!("<text x=\"{at}\" y=\"316\" text-anchor=\"middle\">{label}</text>"),
        );
        line(
            &mut svg,
            format_args!(
                "<text x=\"-6\" y=\"{}\" text-anchor=\"end\">{label}</text>",
                304 - at
            ),
        );
    }
    for bin in &m.calibration {
        line(
            &mut svg,
            format_args!(
                "<circle cx=\"{:.1}\" cy=\"{:.1}\" r=\"{:.1}\" fill=\"#1f6fb5\" fill-opacity=\".8\"><title>{} \
                 answers</title></circle>",
                300.0 * bin.confidence,
                300.0 - 300.0 * bin.accuracy,
                3.0 + 9.0 * (bin.count as f64 / largest).sqrt(),
                bin.count
            ),
        );
    }
    svg += "</svg>\n";
    svg
}

/// Name, true genre, told genre, score and songs of a mistake.
fn mistake(evaluation: &Evaluation, item: &Judged) -> [String; 5] {
    let told = item.predicted();
    [
        item.name.clone(),
        evaluation.labels[item.truth].clone(),
        evaluation.labels[told].clone(),
        format!("{:.2}", item.scores[told]),
        item.songs.join(", "),
    ]
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

/// Text that stays within its cell of a Markdown table and is no HTML.
fn cell(text: &str) -> String {
    escape(text).replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let page = html(&evaluation(), &evaluation().measure().unwrap());
        let elsewhere = page.replace("http://www.w3.org/2000/svg", "");
        for forbidden in ["http", "<script", "src=", "url(", "@import", "<b>not"] {
            assert!(!elsewhere.contains(forbidden), "{forbidden}");
        }
        assert!(page.contains("a &amp; b") && page.contains("ja&quot;zz") && page.contains("0.800"));
        for tag in ["table", "svg", "section", "div", "tr", "td", "main"] {
            let (opened, closed) = (
                page.matches(&format!("<{tag}")).count(),
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
        let text = markdown(&evaluation(), &evaluation().measure().unwrap());
        assert!(text.contains("| accuracy | 0.8000 |"), "{text}");
        assert!(text.contains("| rock | 0.800 | 0.800 | 0.800 | 20 |"), "{text}");
        assert!(text.contains("&lt;script&gt;0\\|") && !text.contains("<script"));
        assert!(text.contains("| two | 10 | 0.800 |"), "{text}");
        assert!(text.contains("## Could not be heard"));
    }
}
