//! Plots as SVG within a page, whose style gives the colours of light and dark. A plot is 420 units wide, so that its letters
//! can be read on a phone as well, where it has the width of the screen.

use std::fmt::Display;

use super::{escape, line};
use crate::evaluate::{Band, Measures};

/// Width of a plot, and the room around its area, in SVG units.
const WIDTH: f64 = 420.0;
const LEFT: f64 = 54.0;
const RIGHT: f64 = 12.0;
const TOP: f64 = 12.0;
const BOTTOM: f64 = 54.0;

/// Most points of a curve: more could not be told apart.
const MOST_POINTS: usize = 180;

/// Fewer points than these are drawn as dots too.
const FEW_POINTS: usize = 40;

/// The colours of the page's style.
#[derive(Debug, Clone, Copy)]
pub(super) enum Colour {
    First,
    Second,
}

impl Colour {
    /// The style's name of it.
    pub(super) fn class(self) -> &'static str {
        match self {
            Colour::First => "first",
            Colour::Second => "second",
        }
    }
}

/// Where a curve passes; a mean over some steps with the lowest and the highest of them.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Point {
    x: f64,
    y: f64,
    low: f64,
    high: f64,
}

/// What an axis shows.
pub(super) struct Axis<'a> {
    pub(super) name: &'a str,
    pub(super) low: f64,
    pub(super) high: f64,
}

/// A plot under construction.
struct Plot {
    svg: String,
    x: [f64; 2],
    y: [f64; 2],
    height: f64,
    /// Lines of text under the area.
    lines: usize,
}

impl Plot {
    /// An area of `height` units with a vertical axis.
    fn new(title: &str, height: f64, x: [f64; 2], y: &Axis<'_>) -> Self {
        let total = height + TOP + BOTTOM;
        let svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {total}\" role=\"img\" aria-label=\"{}\">\n",
            escape(title)
        );
        let mut plot = Self {
            svg,
            x: spread(x),
            y: spread([y.low, y.high]),
            height,
            lines: 0,
        };
        let steps = ticks(plot.y, 7);
        for &at in &steps {
            let y = plot.y(at);
            plot.put(format_args!(
                "<path class=\"grid\" d=\"M{LEFT} {y:.1}H{}\"/><text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                number(at, &steps)
            ));
        }
        let middle = TOP + height / 2.0;
        plot.put(format_args!(
            "<text class=\"name\" transform=\"translate(12 {middle:.1}) rotate(-90)\" text-anchor=\"middle\">{}</text>",
            escape(y.name)
        ));
        plot
    }

    fn x(&self, x: f64) -> f64 {
        LEFT + (x - self.x[0]) / (self.x[1] - self.x[0]) * (WIDTH - LEFT - RIGHT)
    }

    fn y(&self, y: f64) -> f64 {
        TOP + self.height - (y - self.y[0]) / (self.y[1] - self.y[0]) * self.height
    }

    fn put(&mut self, what: std::fmt::Arguments<'_>) {
        line(&mut self.svg, what);
    }

    /// Numbers on the horizontal axis.
    fn numbers(&mut self) {
        let steps = ticks(self.x, 6);
        for &at in &steps {
            self.under(at, &[number(at, &steps)]);
        }
    }

    /// Lines of text under the area.
    fn under(&mut self, at: f64, lines: &[impl Display]) {
        self.lines = self.lines.max(lines.len());
        for (n, text) in lines.iter().enumerate() {
            let (x, y) = (self.x(at), TOP + self.height + 15.0 + 13.0 * n as f64);
            self.put(format_args!(
                "<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"middle\">{text}</text>"
            ));
        }
    }

    fn curve(&mut self, points: &[Point], colour: Colour) {
        let class = colour.class();
        let along = |at: &mut dyn Iterator<Item = (f64, f64)>| -> String {
            at.map(|(x, y)| format!(" {:.1} {:.1}", self.x(x), self.y(y)))
                .collect()
        };
        let above = along(&mut points.iter().map(|point| (point.x, point.high)));
        let below = along(&mut points.iter().rev().map(|point| (point.x, point.low)));
        let middle = along(&mut points.iter().map(|point| (point.x, point.y)));
        if points.iter().any(|point| point.low < point.high) {
            self.put(format_args!(
                "<polygon class=\"{class}\" points=\"{above}{below}\"/>"
            ));
        }
        self.put(format_args!("<polyline class=\"{class}\" points=\"{middle}\"/>"));
        if points.len() <= FEW_POINTS {
            for point in points {
                self.dot((point.x, point.y), 3.0, colour, "");
            }
        }
    }

    fn dot(&mut self, (x, y): (f64, f64), radius: f64, colour: Colour, title: &str) {
        let (x, y, class) = (self.x(x), self.y(y), colour.class());
        self.put(format_args!(
            "<circle class=\"{class}\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"{radius:.1}\"><title>{}</title></circle>",
            escape(title)
        ));
    }

    /// A vertical line.
    fn upright(&mut self, x: f64, [low, high]: [f64; 2], colour: Colour) {
        let (x, low, high, class) = (self.x(x), self.y(low), self.y(high), colour.class());
        self.put(format_args!(
            "<path class=\"upright {class}\" d=\"M{x:.1} {low:.1}V{high:.1}\"/>"
        ));
    }

    fn finish(mut self, name: &str) -> String {
        let height = self.height;
        let (x, y) = (
            LEFT + (WIDTH - LEFT - RIGHT) / 2.0,
            TOP + self.height + 22.0 + 13.0 * self.lines as f64,
        );
        self.put(format_args!(
            "<path class=\"frame\" d=\"M{LEFT} {TOP}v{height}H{}\"/><text class=\"name\" x=\"{x}\" y=\"{y}\" \
             text-anchor=\"middle\">{}</text>\n</svg>",
            WIDTH - RIGHT,
            escape(name)
        ));
        self.svg
    }
}

/// Where a vertical axis begins.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum From {
    Zero,
    /// A little below the lowest point.
    Lowest,
}

/// Curves over steps; `axis` says what they show. Empty where there is no point.
pub(super) fn curves(title: &str, axis: (&str, From), curves: &[(Vec<(f64, f64)>, Colour)]) -> String {
    let thinned: Vec<(Vec<Point>, Colour)> = curves
        .iter()
        .map(|(points, colour)| (thin(points), *colour))
        .filter(|(points, _)| !points.is_empty())
        .collect();
    let all = || thinned.iter().flat_map(|(points, _)| points);
    let fold = |of: fn(&Point) -> f64, better: fn(f64, f64) -> f64, from| all().map(of).fold(from, better);
    if all().next().is_none() {
        return String::new();
    }
    let (low, high) = (
        fold(|point| point.low, f64::min, f64::INFINITY),
        fold(|point| point.high, f64::max, f64::NEG_INFINITY),
    );
    let low = if axis.1 == From::Zero { low.min(0.0) } else { low };
    let room = 0.04 * (high - low);
    let y = Axis {
        name: axis.0,
        low: if axis.1 == From::Zero { low } else { low - room },
        high: high + room,
    };
    let x = [0.0, fold(|point| point.x, f64::max, 0.0)];
    let mut plot = Plot::new(title, 180.0, x, &y);
    plot.numbers();
    for (points, colour) in &thinned {
        plot.curve(points, *colour);
    }
    plot.finish("step")
}

/// A small curve within [0, 1], without words.
pub(super) fn small_curve(points: &[(f64, f64)]) -> String {
    let points = thin(points);
    let last = points.iter().map(|point| point.x).fold(1.0, f64::max);
    let at = |point: &Point| (2.0 + 156.0 * point.x / last, 54.0 - 50.0 * point.y);
    let along: String = points
        .iter()
        .map(|point| format!(" {:.1} {:.1}", at(point).0, at(point).1))
        .collect();
    let end = points.last().map_or(String::new(), |point| {
        let (x, y) = at(point);
        format!("<circle class=\"first\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3\"/>")
    });
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 164 58\" aria-hidden=\"true\">\
         <path class=\"grid\" d=\"M2 4H158M2 29H158M2 54H158\"/><polyline class=\"first\" points=\"{along}\"/>{end}</svg>\n"
    )
}

/// Accuracy by band, with 95 % intervals.
pub(super) fn bands(title: &str, x_name: &str, bands: &[Band]) -> String {
    let y = Axis {
        name: "accuracy",
        low: 0.0,
        high: 1.0,
    };
    let mut plot = Plot::new(title, 180.0, [-0.5, bands.len() as f64 - 0.5], &y);
    for (n, band) in bands.iter().enumerate() {
        let x = n as f64;
        plot.under(x, &two_lines(&band.name));
        plot.upright(x, [band.interval.low, band.interval.high], Colour::First);
        let told = format!("{:.3}, {} sounds", band.accuracy, band.count);
        plot.dot((x, band.accuracy), 5.0, Colour::First, &told);
    }
    plot.finish(x_name)
}

/// Accuracy against confidence.
pub(super) fn reliability(m: &Measures) -> String {
    let y = Axis {
        name: "share that is right",
        low: 0.0,
        high: 1.0,
    };
    let largest = m.calibration.iter().map(|bin| bin.count).max().unwrap_or(1) as f64;
    let mut plot = Plot::new("Accuracy against confidence", 320.0, [0.0, 1.0], &y);
    plot.numbers();
    let (x, y) = ([plot.x(0.0), plot.x(1.0)], [plot.y(0.0), plot.y(1.0)]);
    plot.put(format_args!(
        "<path class=\"ideal\" d=\"M{} {}L{} {}\"/>",
        x[0], y[0], x[1], y[1]
    ));
    for bin in &m.calibration {
        plot.upright(bin.confidence, [bin.accuracy, bin.confidence], Colour::Second);
    }
    for bin in &m.calibration {
        let told = format!(
            "confidence {:.3}, right {:.3}, {} answers",
            bin.confidence, bin.accuracy, bin.count
        );
        let radius = 3.0 + 9.0 * (bin.count as f64 / largest).sqrt();
        plot.dot((bin.confidence, bin.accuracy), radius, Colour::First, &told);
    }
    let (x, y) = (x[1] - 6.0, y[0] - 10.0);
    plot.put(format_args!(
        "<text class=\"name\" x=\"{x}\" y=\"{y}\" text-anchor=\"end\">ECE {:.3}</text>",
        m.calibration_error
    ));
    plot.finish("confidence")
}

/// At most so many points that they can be told apart, each the mean of its neighbours. What is no number is left out.
fn thin(points: &[(f64, f64)]) -> Vec<Point> {
    let finite: Vec<_> = points
        .iter()
        .filter(|(x, y)| x.is_finite() && y.is_finite())
        .collect();
    let together = finite.len().div_ceil(MOST_POINTS).max(1);
    let mean = |some: &[&(f64, f64)]| {
        let n = some.len() as f64;
        let ys = || some.iter().map(|(_, y)| *y);
        Point {
            x: some.iter().map(|(x, _)| x).sum::<f64>() / n,
            y: ys().sum::<f64>() / n,
            low: ys().fold(f64::INFINITY, f64::min),
            high: ys().fold(f64::NEG_INFINITY, f64::max),
        }
    };
    finite.chunks(together).map(mean).collect()
}

/// The same span, or one around it where it has no width.
fn spread([low, high]: [f64; 2]) -> [f64; 2] {
    if high > low {
        [low, high]
    } else {
        let around = if low == 0.0 { 1.0 } else { low.abs() / 2.0 };
        [low - around, low + around]
    }
}

/// Round numbers within a span, about `wanted` of them.
fn ticks([low, high]: [f64; 2], wanted: usize) -> Vec<f64> {
    let rough = (high - low) / wanted as f64;
    let decade = 10f64.powf(rough.log10().floor());
    let fits = |step: &f64| step * decade >= rough * 0.999;
    let step = decade * [1.0, 2.0, 5.0].into_iter().find(fits).unwrap_or(10.0);
    let first = (low / step - 1e-9).ceil();
    (0..=2 * wanted)
        .map(|n| (first + n as f64) * step)
        .take_while(|at| *at <= high + 1e-9 * step)
        .collect()
}

/// A tick with the digits that tell it from its neighbours.
fn number(at: f64, ticks: &[f64]) -> String {
    let step = ticks.get(1).map_or(at.abs(), |second| second - ticks[0]);
    let largest = ticks.iter().fold(0.0f64, |largest, at| largest.max(at.abs()));
    if at == 0.0 || step == 0.0 {
        return "0".into();
    }
    let digits = -(step.log10() + 1e-9).floor();
    if largest >= 1e-2 {
        format!("{at:.*}", digits.max(0.0) as usize)
    } else {
        // As few digits behind the first as the step needs.
        let behind = (digits + (at.abs().log10() + 1e-9).floor()).max(0.0) as usize;
        format!("{at:.behind$e}").replace(".0e", "e")
    }
}

/// A name in two lines of about the same length, where it has a space.
fn two_lines(name: &str) -> Vec<String> {
    let spaces = name.match_indices(' ').map(|(at, _)| at);
    let middle = spaces.min_by_key(|at| at.abs_diff(name.len() / 2));
    match middle {
        Some(at) => vec![escape(&name[..at]), escape(&name[at + 1..])],
        None => vec![escape(name)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_have_round_numbers_within_them() {
        let shown = |low, high| {
            let ticks = ticks([low, high], 5);
            ticks.iter().map(|at| number(*at, &ticks)).collect::<Vec<_>>()
        };
        assert_eq!(shown(0.0, 1.0), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(shown(1.83, 2.61), ["2.0", "2.2", "2.4", "2.6"]);
        assert_eq!(shown(0.0, 960.0), ["0", "200", "400", "600", "800"]);
        assert_eq!(shown(0.0, 5e-4), ["0", "1e-4", "2e-4", "3e-4", "4e-4", "5e-4"]);
        assert_eq!(shown(0.0, 1.2e-3), ["0", "5e-4", "1e-3"]);
    }

    #[test]
    fn a_thousand_steps_become_few_points_that_keep_their_extremes() {
        let steps: Vec<(f64, f64)> = (0..1000).map(|n| (n as f64, f64::from(n % 10))).collect();
        let points = thin(&steps);
        assert!(points.len() <= MOST_POINTS && points.len() > MOST_POINTS / 2);
        assert!(
            points
                .iter()
                .all(|point| point.low <= point.y && point.y <= point.high)
        );
        assert_eq!(points.iter().map(|point| point.high).fold(0.0, f64::max), 9.0);
        assert_eq!(thin(&[(1.0, f64::NAN), (2.0, 3.0)]).len(), 1);
    }

    #[test]
    fn curves_of_nothing_one_point_and_equal_points_can_be_drawn() {
        assert_eq!(
            curves("t", ("loss", From::Lowest), &[(Vec::new(), Colour::First)]),
            ""
        );
        for points in [vec![(1.0, 2.0)], vec![(1.0, 0.0), (2.0, 0.0)]] {
            let svg = curves("t", ("loss", From::Lowest), &[(points.clone(), Colour::First)]);
            assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
            assert_eq!(svg.matches("<circle").count(), points.len());
        }
        assert_eq!(two_lines("5 dB and less"), ["5 dB", "and less"]);
        assert_eq!(two_lines("none"), ["none"]);
    }
}
