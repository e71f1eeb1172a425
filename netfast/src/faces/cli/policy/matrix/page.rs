//! A matrix as a page for browsers, in one file that loads nothing.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use crate::reconcile::judge::view::MatrixView;

const PAGE: &str = include_str!("page.html");
const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// The page. What users have named stands in it as JSON only, and the script shows it as text only.
pub(super) fn page(view: &MatrixView) -> Result<String> {
    let world = embedded(&serde_json::to_string(view).context("write JSON")?);
    // The world last: it is not searched for places to fill in.
    Ok(PAGE.replace("/*STYLE*/", STYLE).replace("/*SCRIPT*/", SCRIPT).replacen("/*WORLD*/", &world, 1))
}

/// JSON that ends no element and begins none, wherever it stands.
fn embedded(json: &str) -> String {
    let mut text = String::with_capacity(json.len());
    for c in json.chars() {
        if matches!(c, '<' | '>' | '&' | '\u{2028}' | '\u{2029}') {
            // Writing to a string cannot fail.
            let _ = write!(text, "\\u{:04x}", u32::from(c));
        } else {
            text.push(c);
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{judge, shop};
    use super::*;
    use crate::reconcile::judge::MatrixOptions;

    /// What stands between two texts.
    fn between<'a>(page: &'a str, start: &str, end: &str) -> &'a str {
        page.split_once(start).unwrap().1.split_once(end).unwrap().0
    }

    #[test]
    fn the_page_holds_the_world_and_loads_nothing() {
        let view = shop().matrix(&MatrixOptions::default()).unwrap();
        let page = page(&view).unwrap();
        let world = between(&page, "<script id=\"world\" type=\"application/json\">", "</script>");
        let world: serde_json::Value = serde_json::from_str(world).unwrap();
        assert_eq!(world, serde_json::to_value(&view).unwrap());
        for loading in ["src=", "href=", "@import", "fetch(", "XMLHttpRequest", "innerHTML", "/*"] {
            assert!(!page.contains(loading), "{loading}");
        }
        assert_eq!(page.matches("url(").count(), page.matches("url(#").count());
    }

    #[test]
    fn what_users_write_is_no_markup() {
        let evil = "</script><img onerror=alert(1)>&amp;\u{2028}/*SCRIPT*/";
        let yaml = "networks: {lab: {subnet: 10.77.0.0/24}}\nendpoints: {a: {}, b: {}}\n";
        let policy = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: p}\nspec: {podSelector: {}}\n";
        let mut view = judge(yaml, policy).matrix(&MatrixOptions::default()).unwrap();
        view.texts.push(evil.to_owned());
        let page = page(&view).unwrap();
        assert!(!page.contains("<img") && !page.contains('\u{2028}'));
        assert_eq!(page.matches("</script>").count(), 2);
        let world = between(&page, "type=\"application/json\">", "</script>");
        let world: serde_json::Value = serde_json::from_str(world).unwrap();
        assert_eq!(world["texts"].as_array().unwrap().last().unwrap(), evil);
    }
}
