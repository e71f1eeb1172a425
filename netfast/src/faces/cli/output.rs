//! The only place that prints. A reader that has gone away is no error: what was asked for has been done.

use std::fmt::Write as _;
use std::io::{self, Write};

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::options::Format;

/// Prints text that ends with its own newline.
pub(super) fn text(text: &str) -> Result<()> {
    write_to(&mut io::stdout().lock(), text).context("write to standard output")
}

/// Prints part of a stream; `false`: nobody reads it any more.
pub(super) fn stream(bytes: &[u8]) -> Result<bool> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Ok(()) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        Err(error) => Err(error).context("write to standard output"),
    }
}

/// Prints a line.
pub(super) fn line(line: &str) -> Result<()> {
    text(&format!("{line}\n"))
}

/// Prints a value in the form asked for; `table` is called only where that is for people.
pub(super) fn show<T: Serialize + ?Sized>(
    format: Format,
    value: &T,
    table: impl FnOnce() -> String,
) -> Result<()> {
    match format {
        Format::Table => text(&table()),
        Format::Json => text(&json(value)?),
    }
}

/// Prints lines on standard error. If that fails, there is nobody to tell.
pub(super) fn complain(lines: &str) {
    drop(write_to(&mut io::stderr().lock(), &format!("{lines}\n")));
}

/// Puts a line on a terminal in the place of the one before it, which did not end. The cursor stays in it.
pub(super) fn replace_line(line: &str) {
    drop(write_to(&mut io::stderr().lock(), &format!("\r\x1b[2K{line}")));
}

/// JSON that ends with a newline.
pub(super) fn json<T: Serialize + ?Sized>(value: &T) -> Result<String> {
    let mut text = serde_json::to_string_pretty(value).context("write JSON")?;
    // Writing to a string cannot fail.
    let _ = writeln!(text);
    Ok(text)
}

fn write_to(stream: &mut impl Write, text: &str) -> io::Result<()> {
    match stream.write_all(text.as_bytes()).and_then(|()| stream.flush()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        result => result,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_closed_pipe_is_no_error() {
        let (reader, mut writer) = io::pipe().unwrap();
        drop(reader);
        write_to(&mut writer, "text\n").unwrap();
        let mut full = std::fs::File::create("/dev/full").unwrap();
        assert_eq!(write_to(&mut full, "text\n").unwrap_err().kind(), io::ErrorKind::StorageFull);
    }
}
