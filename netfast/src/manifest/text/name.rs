//! Names.

use super::TextError;
use crate::model::Name;

/// Reads a name; where it is not one, says what comes nearest.
pub fn parse(text: &str) -> Result<Name, TextError> {
    text.parse::<Name>().map_err(|error| {
        let help = nearest(text).map(|name| format!("write {name}"));
        // A name that is far too long is not repeated.
        let message =
            if text.chars().count() > 260 { "this is no name".to_owned() } else { error.to_string() };
        TextError { message, help }
    })
}

/// The name that comes nearest to a text.
fn nearest(text: &str) -> Option<Name> {
    let nearest: String = text
        .to_lowercase()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    nearest.trim_matches(['-', '.']).parse().ok()
}

/// Reads a name that is one label of a host name: no dots, at most 63 characters.
pub fn parse_label(text: &str) -> Result<Name, TextError> {
    if text.contains('.') {
        let message = format!("{text:?} has dots, which are not for this kind of name");
        let help = nearest(&text.replace('.', "-")).map(|name| format!("write {name}"));
        return Err(TextError { message, help });
    }
    if text.len() > 63 {
        return Err(TextError::new(format!("this name has at most 63 characters, not {}", text.len())));
    }
    parse(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_name_brings_the_nearest_right_one() {
        for (text, help) in [("Web", "write web"), ("my_app", "write my-app"), ("-a-", "write a")] {
            assert_eq!(parse(text).unwrap_err().help.as_deref(), Some(help), "{text}");
        }
        assert_eq!(parse("").unwrap_err().to_string(), "a name may not be empty");
        assert_eq!(parse_label("a.b").unwrap_err().help.as_deref(), Some("write a-b"));
        assert_eq!(parse_label("My.Space").unwrap_err().help.as_deref(), Some("write my-space"));
        assert!(parse_label(&"a".repeat(64)).is_err());
        assert!(parse_label(&"a".repeat(63)).is_ok());
    }
}
