//! netfast as one plugin more in somebody else's list. The rest of the text stays as it is, to the letter.
//!
//! Keys are matched without regard to case, as runtimes written in Go do.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

use super::PLUGIN;

/// Versions that the plugin speaks.
const VERSIONS: [&str; 4] = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"];

/// Somebody else's list.
struct List<'a> {
    version: Option<String>,
    /// As they stand in the text.
    plugins: Vec<&'a RawValue>,
}

/// A plugin, as far as it concerns us.
struct Plugin {
    kind: String,
    capabilities: Value,
}

/// A JSON object, with its values as they stand in the text.
struct Object<'a>(BTreeMap<String, &'a RawValue>);

impl<'a> Object<'a> {
    fn parse(text: &'a str) -> serde_json::Result<Self> {
        serde_json::from_str(text).map(Self)
    }

    /// The value of a key. Where that is there in several spellings, the right one counts.
    fn get<T: Deserialize<'a>>(&self, key: &str) -> serde_json::Result<Option<T>> {
        let alike =
            || self.0.iter().find(|(other, _)| other.eq_ignore_ascii_case(key)).map(|(_, value)| value);
        let value = self.0.get(key).or_else(alike);
        value.map(|value| serde_json::from_str(value.get())).transpose()
    }
}

/// Whether a list has netfast as a plugin.
pub(super) fn has_netfast(text: &str) -> Result<bool> {
    Ok(plugins(&parse(text)?)?.iter().any(|plugin| plugin.kind == PLUGIN))
}

/// Whether a configuration, be it a list or a single plugin's, calls netfast.
pub(super) fn calls_netfast(text: &str) -> bool {
    has_netfast(text).unwrap_or_else(|_| plugin(text).is_ok_and(|plugin| plugin.kind == PLUGIN))
}

/// Whether a plugin of the list maps ports.
pub(super) fn maps_ports(text: &str) -> Result<bool> {
    let declares = |plugin: &Plugin| plugin.capabilities["portMappings"] == true;
    Ok(plugins(&parse(text)?)?.iter().any(declares))
}

/// The list with `plugin` at its end.
pub(super) fn append(text: &str, plugin: &str) -> Result<String> {
    let list = parse(text)?;
    let version = list.version.as_deref().unwrap_or("none");
    ensure!(
        VERSIONS.contains(&version),
        "cniVersion is {version}, and netfast speaks {} (raise it, if the other plugins allow that)",
        VERSIONS.join(", ")
    );
    let previous = list.plugins.last().context("it has no plugins to chain after")?;
    let (start, end) = span(text, previous);
    // As the last one stands: on a line of its own, or not.
    let before = &text[..start];
    let space = &before[before.trim_end().len()..];
    let space = if space.is_empty() { " " } else { space };
    Ok(format!("{},{space}{plugin}{}", &text[..end], &text[end..]))
}

/// The list without netfast; `None`: it has none, or nothing else.
pub(super) fn take_out(text: &str) -> Result<Option<String>> {
    let list = parse(text)?;
    let position = plugins(&list)?.iter().position(|plugin| plugin.kind == PLUGIN);
    let Some(position) = position else { return Ok(None) };
    let (start, end) = span(text, list.plugins[position]);
    // With the comma that separates it from a neighbour.
    let cut = match (position.checked_sub(1), list.plugins.get(position + 1)) {
        (Some(previous), _) => span(text, list.plugins[previous]).1..end,
        (None, Some(next)) => start..span(text, next).0,
        (None, None) => return Ok(None),
    };
    Ok(Some(format!("{}{}", &text[..cut.start], &text[cut.end..])))
}

/// The list that has the plugin of a single configuration alone.
pub(super) fn list_of(single: &str) -> Result<String> {
    let value = |key: &str| {
        let value = Object::parse(single).and_then(|object| object.get::<String>(key));
        let value = value.context("it is no configuration of a plugin")?;
        let value = value.with_context(|| format!("it is no configuration of a plugin: it has no {key}"))?;
        anyhow::Ok(Value::from(value))
    };
    let (version, name) = (value("cniVersion")?, value("name")?);
    let single = single.trim();
    Ok(format!(
        "{{\n  \"cniVersion\": {version},\n  \"name\": {name},\n  \"plugins\": [\n{single}\n  ]\n}}\n"
    ))
}

fn parse(text: &str) -> Result<List<'_>> {
    const WHAT: &str = "it is no list of plugins";
    let object = Object::parse(text).context(WHAT)?;
    let plugins = object.get("plugins").context(WHAT)?;
    Ok(List {
        version: object.get("cniVersion").context(WHAT)?,
        plugins: plugins.with_context(|| format!("{WHAT}: it has no key plugins"))?,
    })
}

fn plugins(list: &List<'_>) -> Result<Vec<Plugin>> {
    list.plugins.iter().map(|text| plugin(text.get())).collect()
}

fn plugin(text: &str) -> Result<Plugin> {
    const WHAT: &str = "it has a plugin without type";
    let object = Object::parse(text).context(WHAT)?;
    Ok(Plugin {
        kind: object.get("type").context(WHAT)?.context(WHAT)?,
        capabilities: object.get("capabilities").context(WHAT)?.unwrap_or_default(),
    })
}

/// Where a value stands in the text it was read from.
fn span(text: &str, value: &RawValue) -> (usize, usize) {
    let start = value.get().as_ptr().addr() - text.as_ptr().addr();
    (start, start + value.get().len())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = r#"{
  "cniVersion": "0.4.0",
  "name": "podman", "x": 1.50,
  "plugins": [
    {"type": "bridge", "ipam": {"b": 1, "a": 2}},
    {
      "type": "portmap", "capabilities": {"portMappings": true}
    }
  ]
}
"#;

    #[test]
    fn everything_else_stays_to_the_letter() {
        let with = append(LIST, r#"{"type":"netfast"}"#).unwrap();
        let wanted = LIST.replace("    }\n  ]", "    },\n    {\"type\":\"netfast\"}\n  ]");
        assert_eq!(with, wanted);
        assert!(has_netfast(&with).unwrap() && !has_netfast(LIST).unwrap());
        assert_eq!(take_out(&with).unwrap().unwrap(), LIST);
        assert_eq!(take_out(LIST).unwrap(), None);
        let first = r#"{"plugins": [{"type": "netfast"}, {"type": "tuning"}]}"#;
        assert_eq!(take_out(first).unwrap().unwrap(), r#"{"plugins": [{"type": "tuning"}]}"#);
        assert_eq!(take_out(r#"{"plugins": [{"type": "netfast"}]}"#).unwrap(), None);
        let line = r#"{"cniVersion":"1.0.0","plugins":[{"type":"ptp"}]}"#;
        let with = append(line, "{}").unwrap();
        assert_eq!(with, r#"{"cniVersion":"1.0.0","plugins":[{"type":"ptp"}, {}]}"#);
    }

    #[test]
    fn keys_in_other_spellings() {
        let list = r#"{"CniVersion": "1.0.0", "Name": "n", "Plugins": [{"Type": "bridge"}]}"#;
        let with = append(list, r#"{"type":"netfast"}"#).unwrap();
        assert_eq!(with, list.replace("}]", "}, {\"type\":\"netfast\"}]"));
        assert!(has_netfast(&with).unwrap());
        assert_eq!(take_out(&with).unwrap().unwrap(), list);
        assert!(
            maps_ports(r#"{"PLUGINS": [{"type": "p", "Capabilities": {"portMappings": true}}]}"#).unwrap()
        );
        assert!(list_of(r#"{"CNIVersion": "1.0.0", "Name": "n", "Type": "ptp"}"#).is_ok());
        // The right spelling counts.
        assert!(has_netfast(r#"{"Plugins": [], "plugins": [{"Type": "x", "type": "netfast"}]}"#).unwrap());
        for (text, calls) in [
            (r#"{"Plugins": [{"type": "netfast"}]}"#, true),
            (r#"{"Type": "netfast"}"#, true),
            (r#"{"plugins": [{"type": "bridge"}], "type": "netfast"}"#, false),
            ("{", false),
        ] {
            assert_eq!(calls_netfast(text), calls, "{text}");
        }
    }

    #[test]
    fn what_else_maps_ports() {
        assert!(maps_ports(LIST).unwrap());
        assert!(!maps_ports(r#"{"plugins": [{"type": "bridge"}]}"#).unwrap());
    }

    #[test]
    fn a_single_configuration_becomes_a_list() {
        let single = "{\"cniVersion\": \"0.4.0\", \"name\": \"a\\\"b\", \"type\": \"ptp\"}\n";
        let list = list_of(single).unwrap();
        let value: Value = serde_json::from_str(&list).unwrap();
        assert_eq!((&value["cniVersion"], &value["name"]), (&"0.4.0".into(), &"a\"b".into()));
        assert_eq!(value["plugins"][0], serde_json::from_str::<Value>(single).unwrap());
        assert!(append(&list, "{}").is_ok());
    }

    #[test]
    fn what_cannot_be_chained_after() {
        for (text, wanted) in [
            (r#"{"cniVersion": "0.2.0", "plugins": [{"type": "ptp"}]}"#, "cniVersion is 0.2.0, and"),
            (r#"{"plugins": [{"type": "ptp"}]}"#, "cniVersion is none, and"),
            (r#"{"cniVersion": "1.0.0", "plugins": []}"#, "it has no plugins to chain after"),
            (r#"{"cniVersion": "1.0.0", "type": "ptp"}"#, "it is no list of plugins"),
            ("[", "it is no list of plugins"),
        ] {
            let error = append(text, "{}").unwrap_err().to_string();
            assert!(error.starts_with(wanted), "{text}: {error}");
        }
    }
}
