//! Keys and values of labels, by the rules of Kubernetes.

use super::TextError;
use crate::model::Name;

/// Reads `key=value`.
pub fn parse_label(text: &str) -> Result<(String, String), TextError> {
    let Some((key, value)) = text.split_once('=') else {
        return Err(TextError::with_help(format!("{text:?} is not a label"), "write key=value"));
    };
    check_key(key)?;
    check_value(value)?;
    Ok((key.to_owned(), value.to_owned()))
}

/// Checks a key: a name, with the name of a domain and a `/` before it where one likes.
pub(crate) fn check_key(key: &str) -> Result<(), TextError> {
    let name = match key.split_once('/') {
        Some((domain, name)) => {
            if domain.parse::<Name>().is_err() {
                let message = format!("the label key {key:?} has no domain before its `/`");
                return Err(TextError::with_help(message, "write it like example.com/key"));
            }
            name
        }
        None => key,
    };
    if name.is_empty() {
        return Err(TextError::new("a label key may not be empty"));
    }
    check("key", name)
}

/// Checks a value; it may be empty.
pub(crate) fn check_value(value: &str) -> Result<(), TextError> {
    if value.is_empty() { Ok(()) } else { check("value", value) }
}

fn check(what: &str, text: &str) -> Result<(), TextError> {
    if text.chars().count() > 63 {
        let length = text.chars().count();
        return Err(TextError::new(format!(
            "a label {what} has at most 63 characters, this one has {length}"
        )));
    }
    let alphanumeric = |c: char| c.is_ascii_alphanumeric();
    if text.starts_with(alphanumeric)
        && text.ends_with(alphanumeric)
        && text.chars().all(|c| alphanumeric(c) || matches!(c, '-' | '_' | '.'))
    {
        return Ok(());
    }
    Err(TextError::with_help(
        format!("{text:?} is not a label {what}"),
        "use letters, digits, '-', '_' and '.', starting and ending with a letter or digit",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_read_and_checked() {
        let pair = |k: &str, v: &str| Ok((k.to_owned(), v.to_owned()));
        assert_eq!(parse_label("app=web"), pair("app", "web"));
        assert_eq!(parse_label("app="), pair("app", ""));
        assert_eq!(parse_label("app.kubernetes.io/name=Web_1.2"), pair("app.kubernetes.io/name", "Web_1.2"));
        let long = format!("{}=a", "k".repeat(64));
        for bad in ["app", "=web", "/a=b", "a/=b", "A.B/c=d", "a b=c", "app=-x", "app=a=b", "a/b/c=d", &long]
        {
            assert!(parse_label(bad).is_err(), "{bad}");
        }
    }
}
