//! Tables, JSON, bars, numbers with units.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets::UTF8_HORIZONTAL_ONLY};
use indicatif::{ProgressBar, ProgressStyle};
use perceiver::hub::Progress;
use perceiver::internals::gpu::Denied;
use perceiver::{Error, Result};
use serde::Serialize;

use crate::hints;

/// Writes text to standard output. A reader that went away (`| head`) is no error.
pub(crate) fn text(text: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    let written = out
        .write_all(text.as_bytes())
        .and_then(|()| out.write_all(b"\n"))
        .and_then(|()| out.flush());
    match written {
        Err(e) if e.kind() != std::io::ErrorKind::BrokenPipe => {
            Err(Error::io("write", "standard output", e))
        }
        _ => Ok(()),
    }
}

/// Writes a value as JSON.
pub(crate) fn json(value: &impl Serialize) -> Result<()> {
    let document = serde_json::to_string_pretty(value)
        .map_err(|e| Error::io("write", "standard output", std::io::Error::other(e)))?;
    text(&document)
}

/// A path in a JSON document, where one that is not UTF-8 has its odd bytes replaced.
pub(crate) fn path(path: &std::path::Path) -> String {
    path.display().to_string()
}

/// Writes rows as comma-separated values.
pub(crate) fn csv<R: IntoIterator<Item = String>>(rows: impl IntoIterator<Item = R>) -> Result<()> {
    let mut writer = csv::Writer::from_writer(Vec::new());
    for row in rows {
        writer.write_record(row).map_err(failed)?;
    }
    let bytes = writer.into_inner().map_err(failed)?;
    // `text` ends the last line.
    let lines = String::from_utf8_lossy(&bytes);
    match lines.strip_suffix('\n') {
        Some(lines) => text(lines),
        None => Ok(()),
    }
}

/// An error of writing a result.
fn failed(error: impl std::fmt::Display) -> Error {
    let source = std::io::Error::other(error.to_string());
    Error::io("write", "standard output", source)
}

/// Says on standard error what went wrong, and which option may help.
pub(crate) fn error(error: &Error) {
    let hint = hints::of(error).map_or_else(String::new, |hint| format!(" ({hint})"));
    // Nobody is left to tell if this fails too.
    // One write, since standard error has no buffer.
    let _ = std::io::stderr().write_all(format!("error: {error}{hint}\n").as_bytes());
}

/// A table with a heading.
pub(crate) fn table(heading: &[&str], rows: Vec<Vec<String>>) -> Result<()> {
    let mut table = Table::new();
    table.load_preset(UTF8_HORIZONTAL_ONLY);
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading.to_vec());
    for row in rows {
        table.add_row(row);
    }
    text(&table.to_string())
}

/// A bar over floating-point operations, drawn only where somebody sees it.
pub(crate) struct Bar(ProgressBar);

impl Bar {
    pub(crate) fn new(what: &'static str) -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(1)
        } else {
            ProgressBar::hidden()
        };
        let style =
            ProgressStyle::with_template("{msg} {bar:30} {percent:>3} % {elapsed} left {eta}");
        if let Ok(style) = style {
            bar.set_style(style);
        }
        bar.set_message(what);
        Bar(bar)
    }

    /// The callback that the library takes.
    pub(crate) fn progress(&self) -> impl FnMut(u64, u64) + '_ {
        |done, total| {
            self.0.set_length(total.max(1));
            self.0.set_position(done);
        }
    }

    /// The callback for one of several runs, of which there may be an unknown number.
    pub(crate) fn progress_of(
        &self,
        what: &'static str,
        index: usize,
        count: Option<usize>,
    ) -> impl FnMut(u64, u64) + '_ {
        let of = count.map_or_else(String::new, |n| format!(" of {n}"));
        self.0.set_message(format!("{what} {}{of}", index + 1));
        move |done, total| {
            let before = count.map_or(0, |_| index as u64);
            let runs = count.map_or(1, |n| n as u64);
            self.0.set_length(total.saturating_mul(runs).max(1));
            self.0.set_position(total.saturating_mul(before).saturating_add(done));
        }
    }

    /// The callback for the items `part` of `count`, which may take many operations each.
    pub(crate) fn progress_of_items(
        &self,
        what: &'static str,
        part: std::ops::Range<usize>,
        count: usize,
    ) -> impl FnMut(u64, u64) + '_ {
        const STEPS: u64 = 1 << 16;
        self.0.set_message(format!("{what} {} of {count}", part.end));
        move |done, total| {
            let share = done as f64 / total.max(1) as f64;
            let within = (part.len() as f64 * STEPS as f64 * share) as u64;
            self.0.set_length((count as u64 * STEPS).max(1));
            self.0.set_position(part.start as u64 * STEPS + within);
        }
    }

    /// Does what writes to the terminal without the bar in its way.
    pub(crate) fn aside<R>(&self, work: impl FnOnce() -> R) -> R {
        self.0.suspend(work)
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// A bar over the bytes of a download, drawn only where somebody sees it.
pub(crate) struct Download(ProgressBar);

impl Download {
    pub(crate) fn new() -> Self {
        let bar = if std::io::stderr().is_terminal() {
            ProgressBar::new(1)
        } else {
            ProgressBar::hidden()
        };
        let style = ProgressStyle::with_template(
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {binary_bytes_per_sec} left {eta}",
        );
        if let Ok(style) = style {
            bar.set_style(style);
        }
        Download(bar)
    }

    /// The callback that the library takes.
    pub(crate) fn progress(&self) -> impl FnMut(Progress<'_>) + '_ {
        |progress| {
            if self.0.message() != progress.file {
                self.0.set_message(progress.file.to_owned());
            }
            self.0.set_length(progress.total.max(1));
            self.0.set_position(progress.done);
        }
    }
}

impl Drop for Download {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// Bytes with a unit.
pub(crate) fn bytes(n: u64) -> String {
    let n = n as f64;
    match n {
        n if n >= 1024.0 * 1024.0 * 1024.0 => format!("{:.2} GiB", n / 1024f64.powi(3)),
        n if n >= 1024.0 * 1024.0 => format!("{:.1} MiB", n / 1024f64.powi(2)),
        n if n >= 1024.0 => format!("{:.1} KiB", n / 1024.0),
        n => format!("{n} B"),
    }
}

/// Operations with a unit.
pub(crate) fn flops(n: u64) -> String {
    let n = n as f64;
    match n {
        n if n >= 1e9 => format!("{:.2} GFLOP", n / 1e9),
        n if n >= 1e6 => format!("{:.2} MFLOP", n / 1e6),
        n => format!("{n} FLOP"),
    }
}

/// A time with a unit.
pub(crate) fn seconds(seconds: f64) -> String {
    match seconds {
        s if s >= 1.0 => format!("{s:.2} s"),
        s if s >= 1e-3 => format!("{:.2} ms", 1e3 * s),
        s => format!("{:.1} µs", 1e6 * s),
    }
}

/// Variants that were found to be wrong on a device.
pub(crate) fn denied(list: &[Denied]) -> Result<()> {
    for denied in list {
        text(&format!(
            "wrong here, and not used: {}/{} ({})",
            denied.kernel, denied.variant, denied.why
        ))?;
    }
    Ok(())
}
