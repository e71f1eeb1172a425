//! What the container is to resolve names with.

use std::fs;

use super::config::Said;
use super::failure::{Code, Failure, Result};
use super::result::Dns;

/// What the runtime wants, else what the configuration says, else what the plugin that gives addresses or a file says.
pub(super) fn dns(said: &Said, given: Dns) -> Result<Dns> {
    let runtime = said.runtime_config.dns.clone().map(Dns::from).unwrap_or_default();
    if let Some(dns) = [runtime, said.dns.clone(), given].into_iter().find(|dns| !dns.is_empty()) {
        return Ok(dns);
    }
    let Some(path) = &said.ipam.resolv_conf else { return Ok(Dns::default()) };
    let text = fs::read_to_string(path).map_err(|e| {
        Failure::new(Code::Io, format!("ipam.resolvConf: cannot read {}: {e}", path.display()))
    })?;
    Ok(parse(&text))
}

/// Reads the form of `resolv.conf`: of `domain` and `search` the last line counts.
fn parse(text: &str) -> Dns {
    let mut dns = Dns::default();
    for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
        let mut words = line.split_ascii_whitespace().map(str::to_owned);
        match words.next().as_deref() {
            Some("nameserver") => dns.nameservers.extend(words.next()),
            Some("domain") => dns.domain = words.next().unwrap_or_default(),
            Some("search") => dns.search = words.collect(),
            Some("options") => dns.options.extend(words),
            _ => {}
        }
    }
    dns
}

#[cfg(test)]
mod tests {
    use super::super::call::testing::call;
    use super::*;

    #[test]
    fn the_nearest_one_counts() {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(
            &file,
            "# a comment\nnameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch a b\noptions ndots:5\n",
        )
        .unwrap();
        let given = Dns { nameservers: vec!["192.0.2.3".to_owned()], ..Dns::default() };
        let of = |config: &str, given: Dns| dns(&call(&[], config).config.said, given).unwrap();
        let ipam = format!(r#","ipam": {{"resolvConf": "{}"}}"#, file.path().display());
        let dns = of(&ipam, Dns::default());
        assert_eq!(dns.nameservers, ["192.0.2.1", "192.0.2.2"]);
        assert_eq!(
            (dns.search, dns.options),
            (vec!["a".to_owned(), "b".to_owned()], vec!["ndots:5".to_owned()])
        );
        assert_eq!(of(&ipam, given.clone()), given);
        let conf = format!(r#"{ipam}, "dns": {{"nameservers": ["192.0.2.4"], "domain": "x"}}"#);
        assert_eq!(of(&conf, given.clone()).nameservers, ["192.0.2.4"]);
        let runtime =
            format!(r#"{conf}, "runtimeConfig": {{"dns": {{"Servers": ["192.0.2.5"], "Searches": ["y"]}}}}"#);
        assert_eq!((of(&runtime, given).search), ["y"]);
        let missing = call(&[], r#","ipam": {"resolvConf": "/nowhere/resolv.conf"}"#);
        assert_eq!(super::dns(&missing.config.said, Dns::default()).unwrap_err().code, 5);
    }
}
