use super::*;

/// Writes files into a directory of their own and loads `netfast.yaml`. The directory's name is cut off messages.
fn load_files(files: &[(&str, &str)], extra: &[&str]) -> Result<Loaded, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(dir.path().join(name), text).unwrap();
    }
    let extra: Vec<PathBuf> = extra.iter().map(|name| dir.path().join(name)).collect();
    let prefix = format!("{}/", dir.path().display());
    load(&dir.path().join("netfast.yaml"), &extra)
        .map_err(|error| error.to_string().replace(&prefix, "").lines().map(str::to_owned).collect())
}

const ALLOW: &str = "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {name: allow}\n";

#[test]
fn the_quickstart_is_right() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/quickstart");
    let loaded = load(&examples.join("netfast.yaml"), &[]).unwrap();
    assert_eq!(loaded.warnings, []);
    assert_eq!(loaded.files, [examples.join("netfast.yaml"), examples.join("policy.yaml")]);
    let names: Vec<_> = loaded.world.endpoints.keys().map(ToString::to_string).collect();
    assert_eq!(names, ["client", "db", "stranger", "web"]);
    assert_eq!(loaded.world.policies[0].name.as_str(), "web-allow-clients");
}

#[test]
fn missing_files_say_who_wanted_them() {
    assert_eq!(
        load_files(&[], &[]).unwrap_err(),
        ["netfast.yaml: cannot read: No such file or directory (check the name and the directory)"]
    );
    assert_eq!(
        load_files(&[("netfast.yaml", "policies:\n- a.yaml\n")], &["b.yaml"]).unwrap_err(),
        [
            "a.yaml: cannot read: No such file or directory (it is named at netfast.yaml:2)",
            "b.yaml: cannot read: No such file or directory (check the name and the directory)",
        ]
    );
}

#[test]
fn a_directory_means_the_manifests_in_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    std::fs::write(path("netfast.yaml"), "policies: [policies, policies/b.yaml]\n").unwrap();
    std::fs::create_dir(path("policies")).unwrap();
    let prefix = format!("{}/", dir.path().display());
    let load = || load(&path("netfast.yaml"), &[path("policies")]);
    assert_eq!(
        load().unwrap_err().to_string().replace(&prefix, ""),
        "policies: this directory holds no file ending in .yaml, .yml or .json (it is named at netfast.yaml:1)\n\
         policies: this directory holds no file ending in .yaml, .yml or .json\n\
         policies/b.yaml: cannot read: No such file or directory (it is named at netfast.yaml:1)"
    );
    for (file, policy) in [("b.yaml", "b"), ("a.yaml", "a"), ("README", "c")] {
        std::fs::write(path("policies").join(file), ALLOW.replace("allow", policy)).unwrap();
    }
    let loaded = load().unwrap();
    let names: Vec<_> = loaded.world.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    let found = ["netfast.yaml", "policies", "policies/a.yaml", "policies/b.yaml"].map(path);
    assert_eq!(sources(&path("netfast.yaml"), &[]), found.into());
    std::fs::write(path("netfast.yaml"), "policies: [gone.yaml]\nnetworks: 7\n").unwrap();
    assert_eq!(sources(&path("netfast.yaml"), &[]), ["gone.yaml", "netfast.yaml"].map(path).into());
}

#[test]
fn complaints_about_all_files_come_in_their_order() {
    let files = [
        (
            "netfast.yaml",
            "networks: {lab: {subnet: 10.0.0.1/24}}\npolicies: [b.yaml, a.yaml]\nendpoint: {}\n",
        ),
        ("a.yaml", "kind: Foo\n"),
        ("b.yaml", ""),
        ("c.yaml", "a: b\n\tc: d\n"),
    ];
    assert_eq!(
        load_files(&files, &["c.yaml"]).unwrap_err(),
        [
            "netfast.yaml:1:26: networks.lab.subnet: 10.0.0.1/24 has bits set beyond its prefix (write 10.0.0.0/24)",
            "netfast.yaml:3:1: endpoint: unknown field (did you mean endpoints?)",
            "b.yaml:1:1: there is no policy in this file (no policy allows everything; for that, leave the file out)",
            "a.yaml:1:7: kind: objects of kind \"Foo\" are not read (only NetworkPolicy, ClusterNetworkPolicy, Namespace, List are; move it \
             to another file)",
            "c.yaml:2:1: a tab; YAML indents with spaces",
        ]
    );
}

#[test]
fn a_policy_of_two_files_is_refused_but_one_file_named_twice_is_not() {
    let files = [("netfast.yaml", "policies: [a.yaml, ./a.yaml]\n"), ("a.yaml", ALLOW), ("b.yaml", ALLOW)];
    let loaded = load_files(&files, &["a.yaml"]).unwrap();
    assert_eq!((loaded.world.policies.len(), loaded.files.len()), (1, 2));
    assert_eq!(
        load_files(&files, &["b.yaml"]).unwrap_err(),
        [
            "b.yaml:3:18: policy default/allow is there twice: here and at a.yaml:3 (give one of them another name)"
        ]
    );
}

#[test]
fn namespaces_have_their_labels_from_one_place() {
    let namespace = "apiVersion: v1\nkind: Namespace\nmetadata: {name: shop, labels: {team: a}}\n";
    let network = "networks: {lab: {subnet: 10.0.0.0/24}}\nendpoints: {shop/web: {}}\n";
    let with = |labels: &str| {
        let text = format!("{network}namespaces: {{shop: {{labels: {labels}}}}}\n");
        load_files(&[("netfast.yaml", &text), ("n.yaml", namespace)], &["n.yaml"])
    };
    let loaded = load_files(&[("netfast.yaml", network), ("n.yaml", namespace)], &["n.yaml"]).unwrap();
    assert_eq!(loaded.world.namespace_labels(&"shop".parse().unwrap())["team"], "a");
    assert!(with("{team: a}").is_ok());
    assert_eq!(
        with("{team: b}").unwrap_err(),
        ["netfast.yaml:3:14: namespace shop has other labels at n.yaml:3 (put all its labels in one place)"]
    );
}

#[test]
fn a_policy_for_nobody_is_warned_of() {
    let warnings =
        load_files(&[("netfast.yaml", "uplinks: []\n"), ("a.yaml", ALLOW)], &["a.yaml"]).unwrap().warnings;
    let messages: Vec<_> = warnings.iter().map(|w| w.message.as_str()).collect();
    assert_eq!(messages, ["policy default/allow concerns nobody: no endpoint is in namespace default"]);
}

#[test]
fn policies_are_read_without_a_topology() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("p.yaml");
    std::fs::write(&file, format!("{ALLOW}---\napiVersion: v1\nkind: Namespace\nmetadata: {{name: a}}\n"))
        .unwrap();
    let loaded = load_policies(&[file.clone(), file]).unwrap();
    assert_eq!((loaded.policies.len(), loaded.namespaces.len(), loaded.warnings.len()), (1, 1, 0));
}

#[test]
fn a_large_file_is_read() {
    use std::fmt::Write;
    let mut text = "networks:\n".to_owned();
    for n in 0..20 {
        writeln!(text, "  net{n}: {{subnet: 10.{n}.0.0/16, subnet6: \"fd00:{n}::/64\"}}").unwrap();
    }
    text += "endpoints:\n";
    for n in 0..2_000 {
        let (net, port) = (n % 20, 10_000 + n);
        writeln!(
            text,
            "  e{n}:\n    network: net{net}\n    labels: {{app: a{net}}}\n    publish: [\"{port}:80\"]"
        )
        .unwrap();
    }
    let mut policies = String::new();
    for n in 0..500 {
        writeln!(
            policies,
            "---\napiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: {{name: p{n}}}"
        )
        .unwrap();
        writeln!(policies, "spec: {{ingress: [{{from: [{{ipBlock: {{cidr: 192.0.2.0/24}}}}]}}]}}").unwrap();
    }
    let loaded = load_files(&[("netfast.yaml", &text), ("p.yaml", &policies)], &["p.yaml"]).unwrap();
    assert_eq!((loaded.world.endpoints.len(), loaded.world.policies.len()), (2_000, 500));
}
