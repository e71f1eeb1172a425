//! Which files are meant.

use std::path::{Path, PathBuf};

use super::diagnostic::Diagnostic;
use super::file;

/// The endings of files that are read where a directory is named.
const ENDINGS: [&str; 3] = ["yaml", "yml", "json"];

/// The files that a path stands for: itself, or those in the directory it names, by name. Directories in that one and
/// hidden files are left alone.
///
/// # Errors
/// When a directory cannot be read, or holds no such file.
pub fn expand(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    if !path.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let files = in_directory(path)?;
    if files.is_empty() {
        let message = "this directory holds no file ending in .yaml, .yml or .json";
        return Err(Diagnostic::unreadable(file::name(path), message, None));
    }
    Ok(files)
}

/// The manifests in a directory, by name.
///
/// # Errors
/// When it cannot be read.
pub fn in_directory(path: &Path) -> Result<Vec<PathBuf>, Diagnostic> {
    let cannot = |error: std::io::Error| {
        Diagnostic::unreadable(file::name(path), format!("cannot read: {}", file::reason(&error)), None)
    };
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(cannot)? {
        let found = entry.map_err(cannot)?.path();
        let is_hidden = found.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        let ending = found.extension().and_then(|ending| ending.to_str()).unwrap_or_default();
        if !is_hidden && ENDINGS.contains(&ending) && !found.is_dir() {
            files.push(found);
        }
    }
    files.sort();
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_stands_for_its_manifests() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(
            expand(dir.path()).unwrap_err().message,
            "this directory holds no file ending in .yaml, .yml or .json"
        );
        for name in ["b.yml", "a.yaml", "c.json", ".hidden.yaml", "README.md", "d.yaml~"] {
            std::fs::write(dir.path().join(name), "").unwrap();
        }
        std::fs::create_dir(dir.path().join("more.yaml")).unwrap();
        let files = expand(dir.path()).unwrap();
        let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap().to_str().unwrap()).collect();
        assert_eq!(names, ["a.yaml", "b.yml", "c.json"]);
        assert_eq!(expand(&files[0]).unwrap(), files[..1]);
        assert_eq!(expand(Path::new("absent")).unwrap(), [PathBuf::from("absent")]);
    }
}
