//! A report as one HTML page that needs nothing else.

use std::fmt::Write as _;

use crate::plot::{Line, Plot};
use crate::report::{Report, Run, Verdict};
use crate::statistics::Summary;
use crate::timeline;
use crate::verdict::Check;

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem;color:#1b1f24}\
table{border-collapse:collapse;margin:.6rem 0 1.2rem}td,th{padding:.2rem .7rem;border-bottom:1px solid #d8dde3;text-align:left}\
td.n{text-align:right;font-variant-numeric:tabular-nums}.ok{color:#176b37}.no{color:#b3261e;font-weight:600}\
.verdict{display:inline-block;padding:.1rem .8rem;border-radius:.3rem;color:#fff}\
.PASSED{background:#176b37}.FAILED{background:#b3261e}.INVALID{background:#8a5a00}\
svg{max-width:100%;height:auto}li{font-family:ui-monospace,monospace;font-size:13px}";
/// Of each list so many lines are shown; the JSON has more.
const SHOWN_MAX: usize = 50;

/// What must not be read as HTML.
#[must_use]
pub fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            other => out.push(other),
        }
    }
    out
}

/// The page.
#[must_use]
pub fn page(report: &Report) -> String {
    let mut out = String::new();
    let verdict = report.verdict();
    // Writing to a String cannot fail.
    let _ = write!(
        out,
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Balefire load test: {0}</title><style>{STYLE}</style>\
         <h1>Balefire load test <span class=\"verdict {0}\">{0}</span></h1>",
        verdict.word()
    );
    if verdict == Verdict::Invalid {
        out.push_str("<p class=\"no\">The instrument did not prove itself on this machine: no figure of this page counts.</p>");
    }
    if report.stopped() {
        out.push_str("<p class=\"no\">Stopped by hand: this is what there was by then.</p>");
    }
    if !report.ended.is_empty() {
        let _ = write!(
            out,
            "<p class=\"no\">Ended early: {}</p>",
            escape(&report.ended)
        );
    }
    machine(&mut out, report);
    out.push_str("<h2>Calibration</h2>");
    checks(&mut out, &report.calibration);
    pairs(&mut out, report);
    search(&mut out, report);
    for one in &report.runs {
        run(&mut out, one);
    }
    out.push_str("</html>\n");
    out
}

fn machine(out: &mut String, report: &Report) {
    let machine = &report.machine;
    let rows = [
        ("commit", &machine.commit),
        ("product", &machine.product),
        ("configuration", &machine.configuration),
        ("CPU", &machine.cpu),
        ("kernel", &machine.kernel),
        ("file system", &machine.filesystem),
        ("NATS", &machine.nats),
        ("log", &machine.log),
        ("generator", &machine.generator),
    ];
    out.push_str("<table>");
    for (name, value) in rows {
        let _ = write!(out, "<tr><th>{name}</th><td>{}</td></tr>", escape(value));
    }
    out.push_str("</table>");
}

fn checks(out: &mut String, checks: &[Check]) {
    out.push_str("<table>");
    for check in checks {
        let (class, word) = if check.passed {
            ("ok", "holds")
        } else {
            ("no", "does not hold")
        };
        let _ = write!(
            out,
            "<tr><td class=\"{class}\">{word}</td><td>{}</td><td>{}</td></tr>",
            escape(&check.name),
            escape(&check.detail)
        );
    }
    if checks.is_empty() {
        out.push_str("<tr><td class=\"no\">not asked</td></tr>");
    }
    out.push_str("</table>");
}

fn pairs(out: &mut String, report: &Report) {
    let Some((p50, p99)) = report.ratios() else {
        return;
    };
    let _ = write!(
        out,
        "<h2>Against the bare broker</h2><p>Median of {} pairs: p50 {p50:.2} ×, p99 {p99:.2} × what the same messages cost published and consumed bare.</p>\
         <table><tr><th>pair</th><th>escalations</th><th>p50 ms</th><th>p99 ms</th><th>into the log p50 ms</th><th>p99 ms</th><th>messages</th><th>streams</th><th>bare p50 ms</th><th>bare p99 ms</th><th>load</th></tr>",
        report.pairs.len()
    );
    for (number, pair) in report.pairs.iter().enumerate() {
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.2}</td><td class=\"n\">{}</td><td class=\"n\">{}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.2}</td><td class=\"n\">{}</td></tr>",
            number + 1,
            pair.escalations,
            pair.product_p50_ms,
            pair.product_p99_ms,
            pair.log_p50_ms,
            pair.log_p99_ms,
            pair.messages,
            pair.streams,
            pair.hop_p50_ms,
            pair.hop_p99_ms,
            load(pair.load),
        );
    }
    out.push_str("</table>");
    checks(out, report.regression.as_slice());
}

fn search(out: &mut String, report: &Report) {
    if report.search.is_empty() {
        return;
    }
    out.push_str("<h2>The highest rate</h2><table><tr><th>events/s</th><th></th><th></th></tr>");
    for step in &report.search {
        let (class, word) = if step.held {
            ("ok", "holds")
        } else {
            ("no", "does not hold")
        };
        let _ = write!(
            out,
            "<tr><td class=\"n\">{}</td><td class=\"{class}\">{word}</td><td>{}</td></tr>",
            step.rate,
            escape(&step.detail)
        );
    }
    out.push_str("</table>");
}

fn load(load: Option<f64>) -> String {
    load.map_or_else(|| "?".to_owned(), |load| format!("{load:.2}"))
}

fn run(out: &mut String, run: &Run) {
    let _ = write!(
        out,
        "<h2>{}</h2><p>Seed {}, plan {}. Offered {:.0} events/s, achieved {:.0}. Load average before: {}.</p>",
        escape(&run.title),
        run.seed,
        escape(&run.plan),
        run.offered,
        run.achieved,
        load(run.load)
    );
    checks(out, &run.checks);
    stages(out, run);
    let curves = run.stages.iter().map(|stage| Line {
        name: format!("{} ({})", stage.name, stage.severity),
        points: stage
            .curve
            .iter()
            .map(|(p, ms)| (-(1.0 - p / 100.0).log10(), *ms))
            .collect(),
    });
    Plot {
        title: "latency by percentile, ms",
        x: "0: least, 1: p90, 2: p99, 3: p99.9",
        logarithmic: true,
    }
    .draw(out, &curves.collect::<Vec<_>>());
    timeline::draw(out, run);
    processes(out, run);
    let lists = [
        ("Missing", &run.missing),
        ("Delivered again", &run.again),
        ("Dead-lettered", &run.dead_lettered),
        ("Unexpected", &run.unexpected),
        ("Open dead letters", &run.dead_letters),
        ("Standstills", &run.standstills),
    ];
    for (name, lines) in lists {
        list(out, name, lines);
    }
}

fn list(out: &mut String, name: &str, lines: &[String]) {
    if lines.is_empty() {
        return;
    }
    let _ = write!(out, "<h3>{name}: {}</h3><ul>", lines.len());
    for line in lines.iter().take(SHOWN_MAX) {
        let _ = write!(out, "<li>{}</li>", escape(line));
    }
    out.push_str("</ul>");
}

fn row(out: &mut String, name: &str, severity: &str, summary: &Summary) {
    let rare = summary
        .p999_ms
        .map_or_else(|| "–".to_owned(), |ms| format!("{ms:.2}"));
    let _ = write!(
        out,
        "<tr><td>{}</td><td>{}</td><td class=\"n\">{}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.2}</td><td class=\"n\">{:.2}</td><td class=\"n\">{rare}</td><td class=\"n\">{:.2}</td></tr>",
        escape(name),
        escape(severity),
        summary.count,
        summary.p50_ms,
        summary.p90_ms,
        summary.p99_ms,
        summary.max_ms
    );
}

fn stages(out: &mut String, run: &Run) {
    out.push_str("<table><tr><th>milliseconds</th><th>severity</th><th>count</th><th>p50</th><th>p90</th><th>p99</th><th>p99.9</th><th>max</th></tr>");
    for stage in &run.stages {
        row(out, &stage.name, &stage.severity, &stage.corrected);
        if let Some(uncorrected) = &stage.uncorrected {
            let name = format!("{}, as a generator that waits would say", stage.name);
            row(out, &name, &stage.severity, uncorrected);
        }
    }
    if let Some(lag) = &run.send_lag {
        row(out, "send lag of a frame", "", lag);
    }
    out.push_str("</table>");
}

fn processes(out: &mut String, run: &Run) {
    if run.processes.is_empty() {
        return;
    }
    out.push_str("<table><tr><th>process</th><th>CPU µs an event</th><th>RSS MiB</th><th>disk bytes an event</th><th>TCP bytes an event</th></tr>");
    for process in &run.processes {
        let _ = write!(
            out,
            "<tr><td>{}</td><td class=\"n\">{:.1}</td><td class=\"n\">{:.0}</td><td class=\"n\">{:.0}</td><td class=\"n\">{}</td></tr>",
            escape(&process.name),
            process.cpu_us_per_event,
            process.rss_mib,
            process.disk_bytes_per_event,
            process
                .wire_bytes_per_event
                .map_or_else(|| "?".to_owned(), |bytes| format!("{bytes:.0}"))
        );
    }
    let _ = write!(
        out,
        "</table><p>{:.0} bytes an event in the generator's frames.</p>",
        run.wire_bytes_per_event
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_is_read_as_html() {
        let mut report = Report::default();
        report.machine.commit = "<script>&\"".into();
        let page = page(&report);
        assert!(page.contains("&lt;script&gt;&amp;&quot;"));
        assert!(!page.contains("<script"));
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let page = page(&Report::default());
        for outside in ["http:", "https:", "src=", "href=", "url("] {
            assert!(!page.contains(outside), "{outside}");
        }
        assert!(page.contains("FAILED"));
    }
}
