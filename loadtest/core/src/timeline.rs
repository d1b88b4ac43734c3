//! A run over time: throughput, lag, latency, how the targets were kept; with what was done to the
//! product meanwhile.

use crate::plot::{Line, Plot};
use crate::report::{Run, Second};
use crate::statistics::real;

fn line(run: &Run, name: &str, value: fn(&Second) -> f64) -> Line {
    Line {
        name: name.to_owned(),
        points: run
            .seconds
            .iter()
            .zip(0u32..)
            .map(|(second, at)| (f64::from(at), value(second)))
            .collect(),
    }
}

/// Appends the pictures of a run.
pub fn draw(out: &mut String, run: &Run) {
    let throughput = [
        line(run, "planned", |second| real(second.planned)),
        line(run, "sent", |second| real(second.sent)),
        line(run, "acknowledged", |second| real(second.acknowledged)),
        line(run, "escalations delivered", |second| {
            real(second.delivered)
        }),
    ];
    let late = [
        line(run, "largest send lag", |second| second.lag_max_ms),
        line(run, "largest latency by intended second", |second| {
            second.latency_max_ms
        }),
    ];
    let kept = run.attainment.iter().map(|one| Line {
        name: one.name.clone(),
        points: one.points.clone(),
    });
    let kept: Vec<_> = kept.collect();
    let pictures = [
        ("throughput, a second", false, &throughput[..]),
        ("lag and latency over time, ms", true, &late[..]),
        (
            "targets kept, % of what was due in each second",
            false,
            &kept[..],
        ),
    ];
    for (title, logarithmic, lines) in pictures {
        let plot = Plot {
            title,
            x: "seconds",
            logarithmic,
        };
        plot.draw_marked(out, lines, &run.marks);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::{Attainment, Mark};

    #[test]
    fn every_picture_shows_what_was_done() {
        let run = Run {
            seconds: vec![Second::default(); 9],
            marks: vec![Mark {
                at_s: 4.0,
                what: "rule-engine killed".into(),
            }],
            attainment: vec![Attainment {
                name: "ours p99".into(),
                points: vec![(0.0, 100.0), (8.0, 50.0)],
            }],
            ..Run::default()
        };
        let mut out = String::new();
        draw(&mut out, &run);
        assert_eq!(out.matches("rule-engine killed").count(), 3);
        assert!(out.contains("ours p99"));
    }
}
