//! Commands written as one text.

use super::TextError;

/// Splits a command as a shell would: at spaces, but for quotes and backslashes. Nothing is expanded.
pub fn split(text: &str) -> Result<Vec<String>, TextError> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '\'' => quoted_single(&mut chars, word.get_or_insert_default())?,
            '"' => quoted_double(&mut chars, word.get_or_insert_default())?,
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c) => word.get_or_insert_default().push(c),
                None => return Err(TextError::new("the command ends with a backslash")),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    check(&words)?;
    Ok(words)
}

/// Checks a command that is split already.
pub fn check(words: &[String]) -> Result<(), TextError> {
    match words.first() {
        None => Err(TextError::new("the command is empty")),
        Some(program) if program.is_empty() => Err(TextError::new("the command's program is empty")),
        Some(_) if words.iter().any(|word| word.contains('\0')) => {
            Err(TextError::new("the command holds a zero byte"))
        }
        Some(_) => Ok(()),
    }
}

fn quoted_single(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), TextError> {
    for c in chars {
        if c == '\'' {
            return Ok(());
        }
        word.push(c);
    }
    Err(TextError::new("the command has a ' that is never closed"))
}

fn quoted_double(chars: &mut std::str::Chars<'_>, word: &mut String) -> Result<(), TextError> {
    while let Some(c) = chars.next() {
        match c {
            '"' => return Ok(()),
            '\\' => match chars.next() {
                Some('\n') => {}
                Some(c @ ('"' | '\\' | '$' | '`')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => break,
            },
            c => word.push(c),
        }
    }
    Err(TextError::new("the command has a \" that is never closed"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_split_like_a_shell_does() {
        for (text, wanted) in [
            ("httpd -f", vec!["httpd", "-f"]),
            ("  a   b  ", vec!["a", "b"]),
            ("sh -c 'echo \"$x\"; exit'", vec!["sh", "-c", "echo \"$x\"; exit"]),
            (r#"echo "a \"b\" \n" c\ d ''"#, vec!["echo", "a \"b\" \\n", "c d", ""]),
            ("a'b'\"c\"d", vec!["abcd"]),
        ] {
            assert_eq!(split(text).unwrap(), wanted, "{text}");
        }
        for bad in ["", "  ", "'a", "\"a", "a\\", "'' a", "\"\\"] {
            assert!(split(bad).is_err(), "{bad}");
        }
    }
}
