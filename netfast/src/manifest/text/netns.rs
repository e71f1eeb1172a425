//! Network namespaces, by name or path.

use std::path::PathBuf;

use super::TextError;
use crate::manifest::yaml::show;

/// Reads the path of a namespace, or a name as `ip netns` has them.
pub fn parse(text: &str) -> Result<PathBuf, TextError> {
    if text.is_empty() || matches!(text, "." | "..") || text.contains('\0') {
        return Err(TextError::new(format!("{} is not a network namespace", show(text))));
    }
    if !text.contains('/') {
        return Ok(PathBuf::from("/run/netns").join(text));
    }
    if !text.starts_with('/') {
        let message = format!("{} is neither a name nor an absolute path", show(text));
        return Err(TextError::with_help(message, "begin it with /"));
    }
    // One is a link to the other; two endpoints must not meet in one namespace unnoticed.
    let text = text.strip_prefix("/var/run/").map_or_else(|| text.to_owned(), |rest| format!("/run/{rest}"));
    Ok(PathBuf::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_paths_under_run() {
        for (text, wanted) in [
            ("blue", "/run/netns/blue"),
            ("/var/run/netns/blue", "/run/netns/blue"),
            ("/proc/7/ns/net", "/proc/7/ns/net"),
        ] {
            assert_eq!(parse(text), Ok(PathBuf::from(wanted)), "{text}");
        }
        for bad in ["", ".", "..", "./blue", "netns/blue", "a\0b"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
