//! Reads files.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use super::diagnostic::Diagnostic;

/// Nobody writes more by hand; it bounds time and memory.
const MAX_BYTES: u64 = 8 << 20;

/// What stands for standard input where a file is named.
const STDIN: &str = "-";

/// What a file is called in complaints.
pub(super) fn name(path: &Path) -> String {
    if path == Path::new(STDIN) { "<stdin>".to_owned() } else { path.display().to_string() }
}

/// Reads a text file of bounded size, or standard input, without the byte order mark some editors put first.
pub(super) fn read(path: &Path) -> Result<String, Diagnostic> {
    let name = name(path);
    let cannot = |error: std::io::Error| {
        let help = match error.kind() {
            ErrorKind::NotFound => Some("check the name and the directory".to_owned()),
            ErrorKind::IsADirectory => Some("name the files in it".to_owned()),
            _ => None,
        };
        Diagnostic::unreadable(&name, format!("cannot read: {}", reason(&error)), help)
    };
    let source: Box<dyn Read> = if path == Path::new(STDIN) {
        Box::new(std::io::stdin().lock())
    } else {
        Box::new(File::open(path).map_err(cannot)?)
    };
    let mut bytes = Vec::new();
    source.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    decode(bytes).map_err(|message| Diagnostic::unreadable(&name, format!("cannot read: {message}"), None))
}

fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        return Err("it is UTF-16 text; save it as UTF-8".to_owned());
    }
    let line = |before: &[u8]| before.split(|byte| *byte == b'\n').count();
    if let Some(zero) = bytes.iter().position(|byte| *byte == 0) {
        return Err(format!("line {} holds a zero byte: this is no text", line(&bytes[..zero])));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        format!("line {} is not UTF-8 text", line(&error.as_bytes()[..valid]))
    })?;
    Ok(text.strip_prefix('\u{feff}').map(ToOwned::to_owned).unwrap_or(text))
}

/// The text of an error of the system, without its number.
pub(super) fn reason(error: &std::io::Error) -> String {
    let text = error.to_string();
    match text.split_once(" (os error") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_text_is_refused() {
        assert_eq!(decode(b"a\n\xff".to_vec()), Err("line 2 is not UTF-8 text".to_owned()));
        assert_eq!(decode(b"a\nb\n\0".to_vec()), Err("line 3 holds a zero byte: this is no text".to_owned()));
        assert_eq!(decode(b"\xff\xfea\0".to_vec()), Err("it is UTF-16 text; save it as UTF-8".to_owned()));
        assert_eq!(decode("\u{feff}a: 1\r\n".into()), Ok("a: 1\r\n".to_owned()));
        let large = vec![b' '; usize::try_from(MAX_BYTES).unwrap() + 1];
        assert_eq!(decode(large), Err("it is larger than 8 MiB".to_owned()));
    }

    #[test]
    fn missing_files_and_directories_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("netfast.yaml");
        let error = read(&path).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{}: cannot read: No such file or directory (check the name and the directory)",
                path.display()
            )
        );
        assert_eq!(read(dir.path()).unwrap_err().message, "cannot read: Is a directory");
    }
}
