//! The confusion matrix as a picture: SVG with names and counts, or plain pixels.

use super::{escape, line};
use crate::Result;
use crate::evaluate::{Evaluation, Measures};
use crate::metrics::Confusion;
use crate::picture::{Colour, Picture, palette};

/// Where a picture stands.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// In the page, whose style says which colours go with light and dark.
    InPage,
    /// In a file of its own, on white.
    Alone,
}

/// Side of a cell, and room for labels, in SVG units.
const CELL: usize = 44;
const MARGIN: usize = 88;

/// Right answers in blue, wrong ones in orange: both are told apart by people who see few colours.
const RIGHT: Colour = [0x1F, 0x6F, 0xB5];
const WRONG: Colour = [0xC2, 0x57, 0x0C];

/// Side of a cell of plain pixels, with a gap.
const PIXELS: usize = 24;

/// Shades of plain pixels.
const SHADES: usize = 64;

pub(super) fn svg(evaluation: &Evaluation, m: &Measures, standing: Standing) -> String {
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
    let small = format!("font-size=\"15\" fill=\"{ink}\"");
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
                "<text transform=\"translate({} {}) rotate(-50)\" {small}>{label}</text>",
                centre - 2,
                MARGIN - 6
            ),
        );
    }
    for (row, counts) in m.confusion.counts.iter().enumerate() {
        for (column, (count, share)) in counts.iter().zip(shares(counts)).enumerate() {
            let (x, y) = (MARGIN + column * CELL, MARGIN + row * CELL);
            let [r, g, b] = if row == column { RIGHT } else { WRONG };
            line(
                &mut svg,
                format_args!(
                    "<rect x=\"{x}\" y=\"{y}\" width=\"{size}\" height=\"{size}\" rx=\"4\" fill=\"#{r:02x}{g:02x}{b:02x}\" \
                     fill-opacity=\"{opacity:.3}\"/>",
                    size = CELL - 2,
                    opacity = 0.05 + 0.95 * share
                ),
            );
            if *count > 0.0 {
                let fill = if share > 0.8 { "#fff" } else { ink };
                line(
                    &mut svg,
                    format_args!(
                        "<text x=\"{}\" y=\"{}\" font-size=\"16\" fill=\"{fill}\" text-anchor=\"middle\">{count}</text>",
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

/// The matrix without words, rows and columns in the order of the labels.
pub(super) fn picture(confusion: &Confusion) -> Result<Picture> {
    let white: Colour = [0xFF; 3];
    let colours = [palette(&[white, RIGHT], SHADES), palette(&[white, WRONG], SHADES)].concat();
    let side = PIXELS * confusion.counts.len();
    let mut pixels = vec![0; side * side];
    for (row, counts) in confusion.counts.iter().enumerate() {
        for (column, share) in shares(counts).enumerate() {
            let shade = 2 + (share * (SHADES - 3) as f64).round() as usize;
            let colour = if row == column { shade } else { SHADES + shade };
            for y in 0..PIXELS - 1 {
                let first = (row * PIXELS + y) * side + column * PIXELS;
                pixels[first..first + PIXELS - 1].fill(colour as u8);
            }
        }
    }
    Picture::of_palette(&colours, &pixels, side)
}

/// Each count as a share of its row.
fn shares(counts: &[f64]) -> impl Iterator<Item = f64> {
    let all: f64 = counts.iter().sum();
    counts
        .iter()
        .map(move |count| if all > 0.0 { count / all } else { 0.0 })
}
