//! What the policies of files do that is surely not meant, with the lines of the files.

use std::collections::BTreeMap;
use std::path::Path;

use super::diagnostic::{Diagnostic, excerpt};
use super::file;
use crate::model::World;
use crate::model::lint::{self, Known};

/// Looks at the policies of a world that were read from files.
pub fn lint(world: &World, known: Known) -> Vec<Diagnostic> {
    let mut texts = BTreeMap::new();
    lint::lint(world, known).into_iter().map(|finding| place(finding.into(), &mut texts)).collect()
}

/// Adds the line that a complaint is about.
pub(super) fn with_excerpt(diagnostic: Diagnostic) -> Diagnostic {
    place(diagnostic, &mut BTreeMap::new())
}

/// A file that cannot be read again, as standard input, shows no line.
fn place(mut diagnostic: Diagnostic, texts: &mut BTreeMap<String, String>) -> Diagnostic {
    if !texts.contains_key(&diagnostic.file) {
        let text = file::read(Path::new(&diagnostic.file)).unwrap_or_default();
        texts.insert(diagnostic.file.clone(), text);
    }
    let index = usize::try_from(diagnostic.line).ok().and_then(|line| line.checked_sub(1));
    let line = texts.get(&diagnostic.file).zip(index).and_then(|(text, index)| text.lines().nth(index));
    if let Some(line) = line {
        let indent = line.chars().take_while(|c| c.is_whitespace()).count();
        diagnostic.column = u32::try_from(indent + 1).unwrap_or(1);
        diagnostic.excerpt = excerpt(line);
    }
    diagnostic
}
