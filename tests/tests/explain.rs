//! What `policy explain`, `matrix` and `ls` say, compared with what packets do.

#![expect(clippy::unwrap_used, reason = "a test panics where it fails, in its helpers too")]

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use netfast_tests::{HOST_V4, Lab, Ns, OUTSIDE_V4, OUTSIDE_V6, require_root};
use serde_json::{Value, json};

const SECOND: Duration = Duration::from_secs(1);
/// How long a packet that is to be dropped is waited for.
const SHORT: Duration = Duration::from_millis(150);

const MANIFEST: &str = "
networks:
  lab: {subnet: 10.77.0.0/24, subnet6: 'fd77::/64'}
  other: {subnet: 10.78.0.0/24, subnet6: 'fd78::/64'}
namespaces:
  shop: {labels: {team: blue}}
endpoints:
  web: {network: lab, labels: {app: web}, ports: ['http=80/tcp', 'dns=53/udp'], publish: ['8080:80', '8081:81']}
  api: {network: lab, labels: {app: api}, ip: 10.77.0.20, ip6: 'fd77::20'}
  db: {network: lab, namespace: shop, labels: {app: db}, ports: ['sql=81/tcp']}
  far: {network: other, labels: {app: api}}
policies: [web.yaml, db.yaml]
";

const WEB: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: web}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress:
  - from:
    - ipBlock: {cidr: 10.77.0.0/24, except: [10.77.0.16/28]}
    - ipBlock: {cidr: 'fd77::/64'}
    ports: [{port: http}, {port: dns, protocol: UDP}]
  - from:
    - ipBlock: {cidr: 192.0.2.0/24}
    ports: [{port: 80}]
";

const DB: &str = "apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: db, namespace: shop}
spec:
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - from:
    - namespaceSelector: {matchLabels: {kubernetes.io/metadata.name: default}}
      podSelector: {matchLabels: {app: api}}
    ports: [{port: 80, endPort: 81}]
  egress:
  - to:
    - namespaceSelector: {}
      podSelector: {matchLabels: {app: web}}
    ports: [{port: http}]
  - to:
    - ipBlock: {cidr: '2001:db8::/32'}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: api}
spec:
  podSelector: {matchLabels: {app: api}}
  policyTypes: [Egress]
  egress:
  - ports: [{port: 81}, {port: 53, protocol: UDP}]
  - to:
    - namespaceSelector: {matchLabels: {team: blue}}
";

const ENDPOINTS: [&str; 4] = ["web", "api", "shop/db", "far"];
const TCP: [u16; 2] = [80, 81];

struct World {
    lab: Lab,
    endpoints: Vec<(&'static str, Ns, [IpAddr; 2])>,
    _servers: Vec<Box<dyn Send>>,
}

/// Everybody serves every port that is asked for.
fn world() -> World {
    let lab = Lab::new().unwrap();
    lab.file("web.yaml", WEB).unwrap();
    lab.file("db.yaml", DB).unwrap();
    lab.up(MANIFEST).unwrap();
    let endpoints: Vec<_> = ENDPOINTS
        .iter()
        .map(|name| (*name, lab.endpoint_ns(name).unwrap(), lab.addresses(name).unwrap()))
        .collect();
    let mut servers: Vec<Box<dyn Send>> = Vec::new();
    let outside = [OUTSIDE_V4, OUTSIDE_V6].map(|addr| addr.parse::<IpAddr>().unwrap());
    for (ns, addresses) in endpoints.iter().map(|(_, ns, own)| (ns, own)).chain([(&lab.outside, &outside)]) {
        for port in TCP {
            servers.push(Box::new(ns.tcp_serve(&format!("[::]:{port}")).unwrap()));
        }
        for address in addresses {
            servers.push(Box::new(ns.udp_serve(&SocketAddr::new(*address, 53).to_string()).unwrap()));
        }
    }
    World { lab, endpoints, _servers: servers }
}

/// The exit code and the answer.
fn explain(lab: &Lab, args: &[&str]) -> (Option<i32>, Value) {
    let args = [&["policy", "explain", "-o", "json"], args].concat();
    let done = lab.netfast(&args).unwrap();
    let answer = serde_json::from_str(&done.stdout).unwrap_or_else(|_| json!(done.stderr));
    (done.status.code(), answer)
}

/// Whether something gets there. What is to get there has longer for it.
fn reaches(from: &Ns, to: IpAddr, service: &str, is_expected: bool) -> bool {
    let timeout = if is_expected { SECOND } else { SHORT };
    let server = |port| SocketAddr::new(to, port).to_string();
    match service {
        "80/tcp" => from.tcp_ask(&server(80), timeout).is_ok(),
        "81/tcp" => from.tcp_ask(&server(81), timeout).is_ok(),
        "53/udp" => from.udp_ask(&server(53), timeout).is_ok(),
        _ => from.ping(&to.to_string(), timeout).is_ok(),
    }
}

#[test]
fn every_answer_is_what_packets_do() {
    require_root!();
    let world = world();
    let outside = [OUTSIDE_V4, OUTSIDE_V6].map(|addr| addr.parse::<IpAddr>().unwrap());
    let mut asked = 0;
    let mut wrong = Vec::new();
    for (from, ns, _) in &world.endpoints {
        let receivers =
            world.endpoints.iter().map(|(name, _, own)| (*name, *own)).chain([("outside", outside)]);
        for (to, addresses) in receivers.filter(|(to, _)| to != from) {
            for service in ["80/tcp", "81/tcp", "53/udp", "icmp"] {
                for address in addresses {
                    let target = if to == "outside" { address.to_string() } else { to.to_owned() };
                    let family = if address.is_ipv4() { "-4" } else { "-6" };
                    let what = if service == "icmp" { ["--protocol", "icmp"] } else { ["--port", service] };
                    let args = [&["--from", from, "--to", &target, family], &what[..]].concat();
                    let (code, answer) = explain(&world.lab, &args);
                    assert_eq!(answer["allowed"], json!(code == Some(0)), "{answer}");
                    let arrived = reaches(ns, address, service, answer["reachable"] == true);
                    asked += 1;
                    if answer["reachable"] != json!(arrived) {
                        wrong.push(format!("{args:?}: {arrived}, but {answer:#}"));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(asked, 4 * 4 * 4 * 2);
}

#[test]
fn the_matrix_is_what_packets_do() {
    require_root!();
    let world = world();
    let ports = "80,81,53/udp";
    let outside = ["--outside", OUTSIDE_V4, "--outside", OUTSIDE_V6];
    let args = [&["policy", "matrix", "--port", ports], &outside[..]].concat();
    let matrix = world.lab.netfast_json(&args).unwrap();
    let address = |name: &str, family: usize| match world.endpoints.iter().find(|(own, ..)| *own == name) {
        Some((.., addresses)) => addresses[family],
        None => name.parse().unwrap(),
    };
    let mut asked = 0;
    for cell in matrix["cells"].as_array().unwrap() {
        let (from, to) = (cell["from"].as_str().unwrap(), cell["to"].as_str().unwrap());
        let sender = world.endpoints.iter().find(|(name, ..)| *name == from);
        let Some((_, ns, _)) = sender.filter(|_| from != to && to != "host") else { continue };
        for answer in cell["answers"].as_array().unwrap() {
            for family in answer["families"].as_array().unwrap() {
                let to = address(to, usize::from(family == 6));
                let arrived =
                    reaches(ns, to, answer["service"].as_str().unwrap(), answer["reachable"] == true);
                assert_eq!(answer["reachable"], json!(arrived), "{from} -> {to}: {answer}");
                asked += 1;
            }
        }
    }
    // Each to the three others and to the outside, by both families.
    assert_eq!(asked, 4 * 4 * 3 * 2);
}

#[test]
fn the_outside_comes_by_published_ports() {
    require_root!();
    let world = world();
    for (port, gets_in) in [("8080", true), ("8081", false)] {
        let (code, answer) = explain(&world.lab, &["--from", OUTSIDE_V4, "--to", HOST_V4, "--port", port]);
        let arrived = world.lab.outside.tcp_ask(&format!("{HOST_V4}:{port}"), SHORT).is_ok();
        assert_eq!((code, arrived), (Some(i32::from(!gets_in)), gets_in), "{answer:#}");
        assert_eq!(answer["families"][0]["receiver"], "web");
    }
    let (_, answer) = explain(&world.lab, &["--from", OUTSIDE_V4, "--to", "web", "--port", "http"]);
    assert_eq!((&answer["allowed"], &answer["reachable"]), (&json!(true), &json!(true)), "{answer:#}");
    // The own host is always let in.
    let (code, _) = explain(&world.lab, &["--from", "host", "--to", "db", "--port", "443"]);
    assert_eq!(code, Some(0));
    assert!(
        world.lab.host.tcp_ask(&SocketAddr::new(world.endpoints[2].2[0], 80).to_string(), SECOND).is_ok()
    );
}

#[test]
fn a_denial_says_why_and_files_need_no_instance() {
    require_root!();
    let world = world();
    let args = ["policy", "explain", "--from", "web", "--to", "db", "--port", "sql", "-4"];
    let done = world.lab.netfast(&args).unwrap();
    let file = |name: &str| world.lab.dir().join(name).display().to_string();
    let wanted = format!(
        "             shop/db in {}:8 allows this port, but not this peer: it has app=web, not app=api\n",
        file("db.yaml")
    );
    assert_eq!(done.status.code(), Some(1), "{done:?}");
    assert!(done.stdout.contains(&wanted), "{}", done.stdout);
    let far =
        world.lab.netfast(&["policy", "explain", "--from", "api", "--to", "far", "--port", "81"]).unwrap();
    assert!(far.stdout.contains("the ends are in networks lab and other"), "{}", far.stdout);
    assert_eq!(far.status.code(), Some(0));

    world.lab.down().unwrap();
    let done = world.lab.netfast(&args).unwrap();
    assert_eq!(done.status.code(), Some(2), "{done:?}");
    assert!(done.stderr.contains("nothing is up"), "{}", done.stderr);
    let manifest = file("netfast.yaml");
    let of_files = world.lab.netfast(&[&args[..], &["-f", &manifest]].concat()).unwrap();
    assert_eq!(of_files.status.code(), Some(1), "{of_files:?}");
    assert!(of_files.stdout.contains(&wanted), "{}", of_files.stdout);
}

#[test]
fn rules_count_what_they_allow() {
    require_root!();
    let world = world();
    let (.., [v4, v6]) = &world.endpoints[0];
    let (_, db, _) = &world.endpoints[2];
    let (_, api, _) = &world.endpoints[1];
    for server in [v4, v6].map(|address| SocketAddr::new(*address, 80).to_string()) {
        db.tcp_ask(&server, SECOND).unwrap();
    }
    for address in [v4, v6] {
        db.ping(&address.to_string(), SHORT).unwrap_err();
        api.ping(&address.to_string(), SHORT).unwrap_err();
    }
    let list = || world.lab.netfast_json(&["policy", "ls"]).unwrap();
    let policy = |list: &Value, name: &str| -> Value {
        list.as_array().unwrap().iter().find(|policy| policy["policy"] == name).unwrap().clone()
    };
    let now = list();
    assert_eq!(policy(&now, "default/web")["endpoints"], json!(["web"]));
    assert_eq!(policy(&now, "default/web")["ingress"]["rules"][0]["flows"], 2, "{now:#}");
    assert_eq!(policy(&now, "default/web")["ingress"]["rules"][1]["flows"], 0);
    assert_eq!(policy(&now, "default/web")["egress"], Value::Null);
    assert_eq!(policy(&now, "shop/db")["egress"]["rules"][0]["flows"], 2, "{now:#}");
    assert_eq!(policy(&now, "shop/db")["egress"]["denied"], 2, "{now:#}");
    assert_eq!(policy(&now, "default/api")["egress"]["denied"], 2, "{now:#}");
    let text = world.lab.netfast_ok(&["policy", "ls", "--rules"]).unwrap();
    let line =
        text.lines().find(|line| line.contains("10.77.0.0/24 except 10.77.0.16/28, fd77::/64")).unwrap();
    assert!(line.contains(" http/tcp, dns/udp ") && line.ends_with(" 2"), "{text}");

    // A rule that stays keeps its count, one that goes is forgotten.
    world.lab.file("web.yaml", &WEB.replace("ports: [{port: 80}]", "ports: [{port: 82}]")).unwrap();
    world.lab.up(MANIFEST).unwrap();
    assert_eq!(policy(&list(), "default/web")["ingress"]["rules"][0]["flows"], 2);
    let used = || {
        let status = world.lab.netfast_json(&["status"]).unwrap();
        let map = status["maps"].as_array().unwrap().iter().find(|map| map["name"] == "NF_RULE_HIT").cloned();
        map.unwrap()["used"].as_u64().unwrap()
    };
    let before = used();
    world.lab.file("web.yaml", &WEB.replace("{port: http}", "{port: 82}")).unwrap();
    world.lab.up(MANIFEST).unwrap();
    assert_eq!(policy(&list(), "default/web")["ingress"]["rules"][0]["flows"], 0);
    assert_eq!(used(), before - 1);
}

/// A browser without a window, if there is one.
fn browser() -> Option<&'static str> {
    let is_there = |name: &&str| {
        std::env::var_os("PATH")
            .is_some_and(|paths| std::env::split_paths(&paths).any(|dir| dir.join(name).is_file()))
    };
    ["chromium", "chromium-browser", "google-chrome"].into_iter().find(is_there)
}

#[test]
fn the_page_draws_itself_in_a_browser() {
    require_root!();
    let Some(browser) = browser() else {
        eprintln!("skipped: there is no browser (install chromium)");
        return;
    };
    let lab = Lab::new().unwrap();
    lab.file("web.yaml", WEB).unwrap();
    lab.file("db.yaml", DB).unwrap();
    let manifest = lab.file("netfast.yaml", MANIFEST).unwrap();
    let page = lab.dir().join("page.html").display().to_string();
    lab.netfast_ok(&["policy", "matrix", "-f", &manifest, "--html", &page]).unwrap();
    // What a user would do: move to a cell by keyboard, and keep it.
    let drive = "<script>
        const from = [...document.querySelectorAll('td.cell')].find((cell) => cell.dataset.from === 'api' && cell.dataset.to === 'web');
        from.focus();
        for (const key of ['ArrowRight', 'Enter'])
            document.activeElement.dispatchEvent(new KeyboardEvent('keydown', {key, bubbles: true}));
        </script></body>";
    let text = std::fs::read_to_string(&page).unwrap().replace("</body>", drive);
    lab.file("page.html", &text).unwrap();
    // In the lab's namespace nothing can be loaded from anywhere.
    let profile = format!("--user-data-dir={}", lab.dir().join("profile").display());
    let url = format!("file://{page}");
    let args = [
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        &profile,
        "--virtual-time-budget=3000",
        "--dump-dom",
        &url,
    ];
    let done = lab.host.finish(browser, &args, 60 * SECOND).unwrap();
    let dom = &done.stdout;
    // Four endpoints, the host and the outside.
    assert_eq!(dom.matches("role=\"gridcell\"").count(), 36, "{done:?}");
    assert!(dom.contains("<svg") && dom.contains("marker-end"), "{dom}");
    let panel = dom.split_once("<aside").unwrap().1.split_once("</aside>").unwrap().0;
    assert!(panel.contains("kept") && panel.contains("api \u{2192} shop/db"), "{panel}");
    assert!(panel.contains("allowed by shop/db in "), "{panel}");
    assert!(panel.contains("allowed by default/api in "), "{panel}");
}
