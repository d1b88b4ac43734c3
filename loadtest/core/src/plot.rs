//! Lines in a frame, as SVG.

use std::fmt::Write as _;

use crate::page::escape;
use crate::report::Mark;

const WIDTH: f64 = 980.0;
const HEIGHT: f64 = 280.0;
const LEFT: f64 = 70.0;
const BOTTOM: f64 = 40.0;
const TOP: f64 = 24.0;
const RIGHT: f64 = 340.0;
const COLOURS: [&str; 8] = [
    "#0b5cad", "#c2410c", "#176b37", "#7c3aed", "#b3261e", "#0f766e", "#8a5a00", "#475569",
];
/// Smallest value of a logarithmic axis.
const LEAST: f64 = 0.01;
const TICKS: u32 = 4;

/// One line.
#[derive(Debug, Clone)]
pub struct Line {
    /// For the legend.
    pub name: String,
    /// x and y.
    pub points: Vec<(f64, f64)>,
}

/// A frame.
#[derive(Debug, Clone, Copy)]
pub struct Plot {
    /// Above.
    pub title: &'static str,
    /// Below.
    pub x: &'static str,
    /// Whether y is.
    pub logarithmic: bool,
}

struct Scale {
    x_max: f64,
    y_min: f64,
    y_max: f64,
}

impl Plot {
    fn height(&self, y: f64) -> f64 {
        if self.logarithmic {
            y.max(LEAST).log10()
        } else {
            y
        }
    }

    fn scale(&self, lines: &[Line]) -> Option<Scale> {
        let points = || lines.iter().flat_map(|line| &line.points);
        let x_max = points().map(|(x, _)| *x).fold(0.0, f64::max);
        let heights = || points().map(|(_, y)| self.height(*y));
        let highest = heights().fold(f64::NEG_INFINITY, f64::max);
        let lowest = heights().fold(f64::INFINITY, f64::min);
        let (y_min, y_max) = if self.logarithmic {
            (lowest.floor(), highest.ceil().max(lowest.floor() + 1.0))
        } else {
            (0.0, highest.max(1.0))
        };
        (x_max > 0.0 && highest.is_finite()).then_some(Scale {
            x_max,
            y_min,
            y_max,
        })
    }

    /// Stretches between marks of the upright axis: where it is logarithmic, the powers of ten.
    fn ticks(&self, scale: &Scale) -> u32 {
        let decades = |ticks: &u32| f64::from(*ticks) >= scale.y_max - scale.y_min;
        let powers = self.logarithmic.then(|| (1..=12).find(decades)).flatten();
        powers.unwrap_or(TICKS)
    }

    /// Appends the picture; nothing without at least two different x.
    pub fn draw(&self, out: &mut String, lines: &[Line]) {
        self.draw_marked(out, lines, &[]);
    }

    /// The same with upright lines where something was done.
    pub fn draw_marked(&self, out: &mut String, lines: &[Line], marks: &[Mark]) {
        let Some(scale) = self.scale(lines) else {
            return;
        };
        let at_x = |x: f64| LEFT + x / scale.x_max * (WIDTH - LEFT - RIGHT);
        let at_height = |height: f64| {
            let share = (height - scale.y_min) / (scale.y_max - scale.y_min);
            HEIGHT - BOTTOM - share * (HEIGHT - BOTTOM - TOP)
        };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" role=\"img\" font-size=\"12\"><title>{0}</title><text x=\"{LEFT}\" y=\"14\" font-weight=\"600\">{0}</text><text x=\"{LEFT}\" y=\"{1}\">{2}</text>",
            escape(self.title),
            HEIGHT - 6.0,
            escape(self.x)
        );
        let ticks = self.ticks(&scale);
        for tick in 0..=ticks {
            let share = f64::from(tick) / f64::from(ticks);
            let height = scale.y_min + share * (scale.y_max - scale.y_min);
            let value = if self.logarithmic {
                10f64.powf(height)
            } else {
                height
            };
            let (y, x) = (at_height(height), at_x(share * scale.x_max));
            let _ = write!(
                out,
                "<line x1=\"{LEFT}\" x2=\"{0:.1}\" y1=\"{y:.1}\" y2=\"{y:.1}\" stroke=\"#d8dde3\"/><text x=\"{1}\" y=\"{2:.1}\" text-anchor=\"end\">{5}</text><text x=\"{x:.1}\" y=\"{3}\" text-anchor=\"middle\">{4:.1}</text>",
                WIDTH - RIGHT,
                LEFT - 6.0,
                y + 4.0,
                HEIGHT - BOTTOM + 15.0,
                share * scale.x_max,
                label(value)
            );
        }
        for ((line, colour), row) in lines.iter().zip(COLOURS.iter().cycle()).zip(0u32..) {
            let points = line
                .points
                .iter()
                .fold(String::new(), |mut points, (x, y)| {
                    let _ = write!(points, "{:.1},{:.1} ", at_x(*x), at_height(self.height(*y)));
                    points
                });
            let _ = write!(
                out,
                "<polyline points=\"{points}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.6\"/><text x=\"{}\" y=\"{}\" fill=\"{colour}\">{}</text>",
                WIDTH - RIGHT + 8.0,
                TOP + 12.0 + f64::from(row) * 16.0,
                escape(&line.name)
            );
        }
        for mark in marks {
            let x = at_x(mark.at_s.min(scale.x_max));
            let _ = write!(
                out,
                "<line class=\"mark\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{}\" stroke=\"#b3261e\" stroke-dasharray=\"4 3\"/><text x=\"{:.1}\" y=\"{}\" fill=\"#b3261e\">{}</text>",
                HEIGHT - BOTTOM,
                x + 3.0,
                TOP + 10.0,
                escape(&mark.what)
            );
        }
        out.push_str("</svg>");
    }
}

/// Two digits behind the point at most.
fn label(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLOT: Plot = Plot {
        title: "t",
        x: "x",
        logarithmic: true,
    };

    fn line(points: Vec<(f64, f64)>) -> Line {
        Line {
            name: "a & b".into(),
            points,
        }
    }

    #[test]
    fn every_number_is_finite_even_at_zero() {
        let mut out = String::new();
        PLOT.draw(&mut out, &[line(vec![(0.0, 0.0), (1.0, 5.0)])]);
        assert!(out.contains("<polyline") && out.contains("a &amp; b"));
        assert!(!out.contains("NaN") && !out.contains("inf"));
    }

    #[test]
    fn what_was_done_stands_where_it_was_done() {
        let mut out = String::new();
        let mark = Mark {
            at_s: 5.0,
            what: "kill <-9>".into(),
        };
        PLOT.draw_marked(&mut out, &[line(vec![(0.0, 1.0), (10.0, 5.0)])], &[mark]);
        let half = LEFT + (WIDTH - LEFT - RIGHT) / 2.0;
        assert!(out.contains(&format!("class=\"mark\" x1=\"{half:.1}\"")));
        assert!(out.contains("kill &lt;-9&gt;"));
    }

    #[test]
    fn a_point_alone_is_no_plot() {
        let mut out = String::new();
        PLOT.draw(&mut out, &[line(vec![(0.0, 1.0)])]);
        PLOT.draw(&mut out, &[]);
        assert!(out.is_empty());
    }
}
