//! What people see while it runs: figures on standard output, the rest on standard error.

use std::io::Write as _;
use std::time::Duration;

use balefire_loadtest_core::report::{Machine, Report, Run};
use balefire_loadtest_core::statistics::Summary;
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
        "{}: seed {}, plan {}, offered {:.0} events/s, achieved {:.0}",
        run.title, run.seed, run.plan, run.offered, run.achieved
    ));
    if let Some(lag) = &run.send_lag {
        summary(&mut out, "send lag of a frame", "", lag);
    }
    for stage in &run.stages {
        summary(&mut out, &stage.name, &stage.severity, &stage.corrected);
        if let Some(uncorrected) = &stage.uncorrected {
            summary(&mut out, "  uncorrected", &stage.severity, uncorrected);
        }
    }
    for process in &run.processes {
        out.line(&format!(
            "  {:<20} {:>7.1} µs CPU an event, {:>5.0} MiB, {:>6.0} bytes to disk an event, {} over TCP",
            process.name,
            process.cpu_us_per_event,
            process.rss_mib,
            process.disk_bytes_per_event,
            process
                .wire_bytes_per_event
                .map_or_else(|| "?".to_owned(), |bytes| format!("{bytes:.0}"))
        ));
    }
    for mark in &run.marks {
        out.line(&format!("  {:>8.2} s {}", mark.at_s, mark.what));
    }
    checks("  checks", &run.checks);
}

fn summary(out: &mut Out, name: &str, severity: &str, it: &Summary) {
    let rare = it
        .p999_ms
        .map_or_else(|| "–".to_owned(), |ms| format!("{ms:.2}"));
    out.line(&format!(
        "  {name:<48} {severity:<12} n {:>6}  p50 {:>8.2}  p90 {:>8.2}  p99 {:>8.2}  p99.9 {rare:>8}  max {:>8.2} ms",
        it.count, it.p50_ms, it.p90_ms, it.p99_ms, it.max_ms
    ));
}

/// Where and of what the figures are.
fn machine(machine: &Machine) {
    let mut out = Out::default();
    out.line(&format!(
        "commit {}; {}; configuration {}",
        machine.commit, machine.product, machine.configuration
    ));
    out.line(&format!(
        "{}; Linux {}; {}; {}; {}; generator: {}",
        machine.cpu,
        machine.kernel,
        machine.filesystem,
        machine.nats,
        machine.log,
        machine.generator
    ));
}

/// The end of it.
pub fn report(report: &Report) {
    machine(&report.machine);
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
            ("standstills", &run.standstills),
        ];
        for (name, lines) in lists {
            for line in lines.iter().take(20) {
                out.line(&format!("  {name}: {line}"));
            }
        }
    }
    for pair in &report.pairs {
        out.line(&format!(
            "pair: product p50 {:.2} p99 {:.2} ms of {}, into the log p50 {:.2} p99 {:.2} ms, bare p50 {:.2} p99 {:.2} ms of {} messages over {} streams",
            pair.product_p50_ms, pair.product_p99_ms, pair.escalations,
            pair.log_p50_ms, pair.log_p99_ms,
            pair.hop_p50_ms, pair.hop_p99_ms, pair.messages, pair.streams
        ));
    }
    if let Some((p50, p99)) = report.ratios() {
        out.line(&format!(
            "ratio to the bare broker: p50 {p50:.2} ×, p99 {p99:.2} ×"
        ));
    }
    if let Some((p50, p99)) = report.log_ratios() {
        out.line(&format!(
            "ratio of the way into the log alone: p50 {p50:.2} ×, p99 {p99:.2} ×"
        ));
    }
    if let Some(check) = &report.regression {
        checks("regression", std::slice::from_ref(check));
    }
    if let Some(rate) = report
        .search
        .iter()
        .filter(|step| step.held)
        .map(|step| step.rate)
        .max()
    {
        out.line(&format!(
            "highest rate at which the targets hold: {rate} events/s"
        ));
    }
    if report.stopped() {
        out.line("stopped by hand: this is what there was by then");
    }
    if !report.ended.is_empty() {
        out.line(&format!("ended early: {}", report.ended));
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
