//! What people see while it runs: figures on standard output, the rest on standard error.

use std::io::Write as _;
use std::time::Duration;

use balefire_loadtest_core::report::{Report, Run};
use balefire_loadtest_core::verdict::Check;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::task::JoinHandle;

/// Lines on standard output. A reader that went away ends nothing.
#[derive(Debug, Default)]
pub struct Out(());

impl Out {
    /// One line of text.
    pub fn line(&mut self, text: &str) {
        let _closed = writeln!(std::io::stdout(), "{text}");
    }

    /// One line of JSON.
    pub fn json(&mut self, value: &serde_json::Value) {
        self.line(&value.to_string());
    }
}

/// A line on standard error.
pub fn note(text: &str) {
    let _closed = writeln!(std::io::stderr(), "{text}");
}

/// A list of checks.
pub fn checks(title: &str, checks: &[Check]) {
    let mut out = Out::default();
    out.line(&format!("{title}:"));
    for check in checks {
        let word = if check.passed { "ok  " } else { "FAIL" };
        out.line(&format!("  {word} {}: {}", check.name, check.detail));
    }
}

/// One run.
pub fn run(run: &Run) {
    let mut out = Out::default();
    out.line(&format!(
        "{}: offered {:.0} events/s, achieved {:.0}",
        run.title, run.offered, run.achieved
    ));
    for stage in &run.stages {
        let it = &stage.corrected;
        out.line(&format!(
            "  {:<40} {:<12} n {:>6}  p50 {:>8.2}  p90 {:>8.2}  p99 {:>8.2}  max {:>8.2} ms",
            stage.name, stage.severity, it.count, it.p50_ms, it.p90_ms, it.p99_ms, it.max_ms
        ));
    }
    for process in &run.processes {
        out.line(&format!(
            "  {:<20} {:>7.1} µs CPU an event, {:>5.0} MiB, {:>6.0} bytes to disk an event",
            process.name, process.cpu_us_per_event, process.rss_mib, process.disk_bytes_per_event
        ));
    }
    checks("  checks", &run.checks);
}

/// The end of it.
pub fn report(report: &Report) {
    let mut out = Out::default();
    for run in &report.runs {
        for check in run.checks.iter().filter(|check| !check.passed) {
            out.line(&format!(
                "FAIL {}: {}: {}",
                run.title, check.name, check.detail
            ));
        }
        let lists = [
            ("missing", &run.missing),
            ("again", &run.again),
            ("dead-lettered", &run.dead_lettered),
            ("unexpected", &run.unexpected),
        ];
        for (name, lines) in lists {
            for line in lines.iter().take(20) {
                out.line(&format!("  {name}: {line}"));
            }
        }
    }
    for pair in &report.pairs {
        out.line(&format!(
            "pair: product p50 {:.2} p99 {:.2} ms of {}, bare p50 {:.2} p99 {:.2} ms of {} messages over {} streams",
            pair.product_p50_ms, pair.product_p99_ms, pair.escalations,
            pair.hop_p50_ms, pair.hop_p99_ms, pair.messages, pair.streams
        ));
    }
    if let Some((p50, p99)) = report.ratios() {
        out.line(&format!(
            "ratio to the bare broker: p50 {p50:.2} ×, p99 {p99:.2} ×"
        ));
    }
    if let Some(check) = &report.regression {
        checks("regression", std::slice::from_ref(check));
    }
    out.line(report.verdict().word());
}

/// A bar that follows the time of a run; hidden where standard error is no terminal.
pub fn bar(name: &str, seconds: u32) -> JoinHandle<()> {
    let bar = ProgressBar::new(u64::from(seconds));
    // The template is fixed and good.
    if let Ok(style) = ProgressStyle::with_template("{msg:12} {bar:40} {pos}/{len} s") {
        bar.set_style(style);
    }
    bar.set_message(name.to_owned());
    tokio::spawn(async move {
        for _ in 0..seconds {
            tokio::time::sleep(Duration::from_secs(1)).await;
            bar.inc(1);
        }
        bar.finish_and_clear();
    })
}
