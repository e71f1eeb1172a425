//! Which cases are run.

use std::str::FromStr;

/// Selects cases by their ids: by a part of it or, where it holds `*`, `?` or `[`, by a glob for all of it.
#[derive(Clone, Debug)]
pub enum Pattern {
    /// A part of the id.
    Part(String),
    /// The whole id.
    Glob(glob::Pattern),
}

/// What is no pattern.
#[derive(Debug, thiserror::Error)]
#[error("not a glob: {0}")]
pub struct PatternError(#[from] glob::PatternError);

impl FromStr for Pattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        if text.contains(['*', '?', '[']) {
            Ok(Self::Glob(glob::Pattern::new(text)?))
        } else {
            Ok(Self::Part(text.to_owned()))
        }
    }
}

impl Pattern {
    /// Whether it selects the case of that id.
    pub fn selects(&self, id: &str) -> bool {
        match self {
            Self::Part(part) => id.contains(part.as_str()),
            Self::Glob(glob) => glob.matches(id),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_and_globs_select() {
        let selects = |pattern: &str, id: &str| pattern.parse::<Pattern>().unwrap().selects(id);
        for (pattern, id, wanted) in [
            ("dns", "web-dns-1", true),
            ("dns", "web", false),
            ("web-*", "web-dns-1", true),
            ("dns-*", "web-dns-1", false),
            ("web-?", "web-1", true),
            ("web-[12]", "web-3", false),
        ] {
            assert_eq!(selects(pattern, id), wanted, "{pattern} {id}");
        }
        assert!("web-[".parse::<Pattern>().is_err());
    }
}
