//! Reads files.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use super::diagnostic::Diagnostic;

/// What the files of manifests end in. Others in a directory are none: a README, an editor's copies.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// Nobody writes more by hand; it bounds time and memory.
const MAX_BYTES: u64 = 8 << 20;

/// Reads a text file of bounded size, without the byte order mark some editors put first.
pub(super) fn read(path: &Path) -> Result<String, Diagnostic> {
    let name = path.display().to_string();
    let cannot = |error: std::io::Error| {
        let help = match error.kind() {
            std::io::ErrorKind::NotFound => Some("check the name and the directory".to_owned()),
            _ => None,
        };
        Diagnostic::of_file(&name, format!("cannot read: {}", reason(&error)), help)
    };
    let file = File::open(path).map_err(cannot)?;
    if file.metadata().map_err(cannot)?.is_dir() {
        let help = Some("name the files in it".to_owned());
        return Err(Diagnostic::of_file(&name, "cannot read: it is a directory", help));
    }
    let mut bytes = Vec::new();
    file.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(cannot)?;
    decode(bytes).map_err(|message| Diagnostic::of_file(&name, format!("cannot read: {message}"), None))
}

/// The manifests in a directory, in the order of their names. Hidden files are none of them.
pub(super) fn manifests_in(directory: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory)?.collect::<Result<Vec<_>, _>>()?;
    let paths = entries.into_iter().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths.filter(|path| is_manifest(path) && !path.is_dir()).collect();
    files.sort();
    Ok(files)
}

fn is_manifest(path: &Path) -> bool {
    let is_hidden = path.file_name().is_none_or(|name| name.as_encoded_bytes().starts_with(b"."));
    let extension = path.extension().and_then(|extension| extension.to_str());
    !is_hidden && extension.is_some_and(|extension| EXTENSIONS.contains(&extension))
}

fn decode(bytes: Vec<u8>) -> Result<String, String> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(format!("it is larger than {} MiB", MAX_BYTES >> 20));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid].split(|byte| *byte == b'\n').count();
        format!("line {line} is not UTF-8 text")
    })?;
    Ok(text.strip_prefix('\u{feff}').map(ToOwned::to_owned).unwrap_or(text))
}

/// The text of an error of the system, without its number.
fn reason(error: &std::io::Error) -> String {
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
        assert_eq!(decode("\u{feff}a: 1\r\n".into()), Ok("a: 1\r\n".to_owned()));
        let large = vec![b' '; usize::try_from(MAX_BYTES).unwrap() + 1];
        assert_eq!(decode(large), Err("it is larger than 8 MiB".to_owned()));
    }

    #[test]
    fn the_manifests_of_a_directory_are_in_order() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.yml", "a.yaml", "c.json", "README.md", ".a.yaml.swp", ".hidden.yaml", "a.yaml~"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("d.yaml")).unwrap();
        std::os::unix::fs::symlink("a.yaml", dir.path().join("e.yaml")).unwrap();
        let names = manifests_in(dir.path()).unwrap();
        let names: Vec<_> = names.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.yaml", "b.yml", "c.json", "e.yaml"]);
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
        assert_eq!(read(dir.path()).unwrap_err().message, "cannot read: it is a directory");
    }
}
