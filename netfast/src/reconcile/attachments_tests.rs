use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use nix::mount::{MsFlags, mount};

use super::*;
use crate::kernel::testing::{cpu_time, isolated};
use crate::kernel::{Bpffs, Datapath};
use crate::model::{self, Endpoint, Protocol};
use crate::net::Netns;
use crate::reconcile::instance::{Options, Repair};
use crate::store::{PathsOptions, fault};

/// Tells a copy of this test program what to do, where, and to which container.
const ROLE: &str = "NETFAST_TEST_ATTACHMENT";

/// An instance in a namespace of its own, with containers that are namespaces.
struct Lab {
    dir: PathBuf,
    cgroup: PathBuf,
}

impl Lab {
    fn new(dir: &Path) -> Self {
        let cgroups = dir.join("cgroups");
        std::fs::create_dir(&cgroups).unwrap();
        mount(Some("test"), &cgroups, Some("cgroup2"), MsFlags::empty(), None::<&str>).unwrap();
        let number = dir.file_name().unwrap().to_str().unwrap().trim_start_matches('.').to_owned();
        let cgroup = cgroups.join(format!("netfast-{number}"));
        std::fs::create_dir(&cgroup).unwrap();
        Netlink::open(&Netns::current().unwrap()).unwrap().set_up(1).unwrap();
        Self { dir: dir.to_owned(), cgroup }
    }

    fn at(dir: &Path, cgroup: &Path) -> Self {
        Self { dir: dir.to_owned(), cgroup: cgroup.to_owned() }
    }

    fn options(&self) -> Options {
        let paths = PathsOptions {
            state_dir: Some(self.dir.join("state")),
            run_dir: Some(self.dir.join("run")),
            bpffs: Some(self.dir.join("bpf")),
            cgroup: Some(self.cgroup.clone()),
        };
        Options { paths, ..Options::default() }
    }

    fn open(&self) -> Instance {
        Instance::open(&self.options()).unwrap()
    }

    fn netns(&self, container: &str) -> PathBuf {
        self.dir.join("containers").join(container)
    }

    /// What a runtime asks for a container, whose namespace is there from now on.
    fn attachment(&self, container: &str) -> Attachment {
        let netns = self.netns(container);
        if !netns.exists() {
            Netns::create(&netns).unwrap();
        }
        let id = EndpointId { namespace: name("default"), name: name(container) };
        let endpoint = Endpoint {
            attachment: model::Attachment::Path(netns),
            labels: [("app".to_owned(), "web".to_owned())].into(),
            aliases: vec![name(&format!("{container}-alias"))],
            ..Endpoint::new(id, name("cni"))
        };
        Attachment { key: key(container), endpoint, network: network() }
    }

    fn attach(&self, container: &str) -> AttachmentView {
        self.open().attach(self.attachment(container)).unwrap()
    }

    /// A copy of this program that attaches or detaches a container, and dies at a fault point.
    fn copy(&self, role: &str, container: &str, fault: &str) -> std::process::Output {
        let work = [role, self.dir.to_str().unwrap(), self.cgroup.to_str().unwrap(), container].join("|");
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "reconcile::attachments::tests::in_another_process", "--nocapture"]);
        command.env(ROLE, work).env(fault::VARIABLE, fault).output().unwrap()
    }

    /// How many points a copy passes that does it all.
    fn points(&self, role: &str, container: &str) -> u64 {
        let output = self.copy(role, container, "count");
        assert!(output.status.success(), "{output:?}");
        let said = String::from_utf8(output.stderr).unwrap();
        said.split("fault: ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
    }

    /// Everything that an endpoint has part in, counted.
    fn count(&self) -> Vec<(&'static str, usize)> {
        let files = |directory: &str| std::fs::read_dir(self.dir.join(directory)).unwrap().count();
        let datapath = Datapath::open(&Bpffs::at(self.dir.join("bpf"))).unwrap().unwrap();
        let netlink = Netlink::open(&Netns::current().unwrap()).unwrap();
        let hosts = std::fs::read_to_string(self.dir.join("run/hosts/cni")).unwrap();
        let in_force = (datapath.maps.config.get(0).unwrap().generation & 1) as usize;
        vec![
            ("devices", netlink.links().unwrap().len()),
            ("attached programs", datapath.attached().unwrap().len()),
            ("endpoint rows", datapath.maps.endpoints.rows().unwrap().len()),
            ("address rows", datapath.maps.addresses.rows().unwrap().len()),
            ("published rows", datapath.maps.published[in_force].rows().unwrap().len()),
            ("lists of sources", datapath.maps.sources.to_map().unwrap().len()),
            ("records", files("run/endpoints")),
            ("attachments", files("run/attachments")),
            ("names", hosts.lines().count()),
        ]
    }

    /// The kernel holds what it would hold if all had been made at once.
    fn assert_is_whole(&self) {
        let repair = Instance::repair(&self.options()).unwrap();
        assert_eq!(repair, Some(Repair::default()));
    }
}

impl Drop for Lab {
    fn drop(&mut self) {
        if std::env::var_os(ROLE).is_none() {
            drop(Instance::open(&self.options()).and_then(Instance::down));
            drop(std::fs::remove_dir(&self.cgroup));
        }
    }
}

fn name(text: &str) -> Name {
    text.parse().unwrap()
}

fn key(container: &str) -> AttachmentKey {
    AttachmentKey { network: name("cni"), container: container.to_owned(), ifname: "eth0".to_owned() }
}

fn network() -> Network {
    Network {
        subnet: Some("10.88.0.0/16".parse().unwrap()),
        subnet6: Some("fd88::/64".parse().unwrap()),
        ..Network::new(name("cni"))
    }
}

fn published(port: u16) -> Publish {
    let port = model::PortRange { first: port, last: port };
    let from = vec!["192.0.2.0/24".parse().unwrap()];
    Publish {
        host_ip: None,
        host: Some(port),
        container: port,
        protocol: Protocol::Tcp,
        from,
        bindable: true,
    }
}

/// Not a test of its own: what the copies do.
#[test]
fn in_another_process() {
    let Ok(work) = std::env::var(ROLE) else { return };
    let words: Vec<_> = work.split('|').collect();
    let [role, dir, cgroup, container] = words.as_slice() else { panic!("{work}") };
    let lab = Lab::at(Path::new(dir), Path::new(cgroup));
    if *role == "attach" {
        let mut attachment = lab.attachment(container);
        attachment.endpoint.publish = vec![published(8080)];
        lab.open().attach(attachment).unwrap();
    } else {
        assert!(lab.open().detach(&key(container)).unwrap());
    }
}

#[test]
fn containers_come_and_go() {
    isolated(|dir| {
        let lab = Lab::new(dir);
        let first = lab.attach("a");
        assert_eq!(first.addresses[0].to_string(), "10.88.0.2/16");
        assert_eq!(first.gateways, ["10.88.0.1", "fd88::1"].map(|ip| ip.parse::<IpAddr>().unwrap()));
        let before = lab.count();
        let second = lab.attach("b");
        assert_eq!(second.addresses[1].to_string(), "fd88::3/64");
        assert!(second.host_mac.is_some() && second.default_route);
        assert_eq!(lab.open().attachment(&key("b")).unwrap(), Some(second));
        lab.assert_is_whole();
        let again = lab.open().attach(lab.attachment("b")).unwrap_err().to_string();
        assert!(again.contains("has an interface eth0 in network cni already"), "{again}");
        let hosts = std::fs::read_to_string(dir.join("run/hosts/cni")).unwrap();
        assert!(hosts.contains("10.88.0.3\tb b.default b-alias\n"), "{hosts}");
        assert_eq!(lab.open().attachments().unwrap().len(), 2);
        // They are the runtime's to ask for, and not kept over a reboot.
        let definitions = std::fs::read_to_string(dir.join("state/definitions.json")).unwrap();
        assert!(!definitions.contains("10.88") && !definitions.contains("\"a\""), "{definitions}");
        assert_eq!(lab.open().definitions().unwrap().world.endpoints.len(), 2);
        // A command may change what policies see of one.
        let label = |labels: &mut model::Labels| drop(labels.insert("tier".to_owned(), "1".to_owned()));
        let (id, labels) = lab.open().label_endpoint("b", label).unwrap();
        assert_eq!((id.name.as_str(), labels.len()), ("b", 2));
        assert_eq!(lab.open().definitions().unwrap().world.endpoints[&id].labels, labels);
        assert_eq!(std::fs::read_dir(dir.join("state/amendments")).unwrap().count(), 0);
        lab.assert_is_whole();
        // A change of everything keeps them.
        lab.open()
            .change(|definitions| {
                definitions.deny.insert("192.0.2.0/24".parse()?);
                Ok(())
            })
            .unwrap();
        assert_eq!(lab.open().attachments().unwrap().len(), 2);
        assert_eq!(lab.open().definitions().unwrap().world.endpoints[&id].labels, labels);
        assert!(lab.open().detach(&key("b")).unwrap());
        assert!(!lab.open().detach(&key("b")).unwrap());
        lab.assert_is_whole();
        assert_eq!(lab.count(), before);
        // With the namespace gone, too. An address that has become free is not given again at once.
        lab.attach("c");
        Netns::remove(&lab.netns("c")).unwrap();
        assert!(lab.open().detach(&key("c")).unwrap());
        assert_eq!(lab.count(), before);
        assert_eq!(lab.attach("d").addresses[0].to_string(), "10.88.0.5/16");
        lab.open().down().unwrap();
        assert!(!dir.join("run/attachments").exists());
    });
}

#[test]
fn an_attachment_killed_anywhere_leaves_nothing() {
    isolated(|dir| {
        let lab = Lab::new(dir);
        lab.attach("a");
        let before = lab.count();
        let points = lab.points("attach", "b");
        lab.assert_is_whole();
        assert!(lab.open().detach(&key("b")).unwrap());
        assert_eq!(lab.count(), before);
        assert!(points > 20, "{points}");
        for point in 1..=points {
            let output = lab.copy("attach", "b", &point.to_string());
            assert_eq!(output.status.signal(), Some(9), "at point {point}: {output:?}");
            lab.open().detach(&key("b")).unwrap();
            assert_eq!(lab.count(), before, "killed at point {point}, {output:?}");
        }
        // And where nobody comes to detach it, the next one does.
        for point in (1..=points).step_by(7) {
            lab.copy("attach", "b", &point.to_string());
            lab.attach("c");
            lab.assert_is_whole();
            lab.open().detach(&key("c")).unwrap();
            lab.open().detach(&key("b")).unwrap();
            assert_eq!(lab.count(), before, "killed at point {point}");
        }
    });
}

#[test]
fn a_detachment_killed_anywhere_can_be_repeated() {
    isolated(|dir| {
        let lab = Lab::new(dir);
        lab.attach("a");
        let before = lab.count();
        let attach = || assert!(lab.copy("attach", "b", "count").status.success());
        attach();
        let points = lab.points("detach", "b");
        assert_eq!(lab.count(), before);
        assert!(points > 10, "{points}");
        for point in 1..=points {
            attach();
            let output = lab.copy("detach", "b", &point.to_string());
            assert_eq!(output.status.signal(), Some(9), "at point {point}: {output:?}");
            lab.open().detach(&key("b")).unwrap();
            assert_eq!(lab.count(), before, "killed at point {point}, {output:?}");
            lab.assert_is_whole();
        }
    });
}

#[test]
fn many_come_and_go_at_once() {
    isolated(|dir| {
        let lab = Lab::new(dir);
        lab.attach("a");
        let before = lab.count();
        let containers: Vec<_> = (0..50).map(|number| format!("c{number}")).collect();
        let attachments: Vec<_> = containers.iter().map(|container| lab.attachment(container)).collect();
        std::thread::scope(|scope| {
            for attachment in attachments {
                scope.spawn(|| lab.open().attach(attachment).unwrap());
            }
        });
        lab.assert_is_whole();
        let addresses: std::collections::BTreeSet<_> =
            lab.open().attachments().unwrap().into_iter().map(|view| view.addresses[0]).collect();
        assert_eq!(addresses.len(), 51);
        std::thread::scope(|scope| {
            for container in &containers {
                scope.spawn(|| assert!(lab.open().detach(&key(container)).unwrap()));
            }
        });
        lab.assert_is_whole();
        assert_eq!(lab.count(), before);
    });
}

#[test]
fn a_port_has_one_owner() {
    isolated(|dir| {
        let lab = Lab::new(dir);
        let publishing = |container: &str, ifname: &str| {
            let mut attachment = lab.attachment(container);
            attachment.key.ifname = ifname.to_owned();
            attachment.endpoint.id.name = name(&format!("{container}-{ifname}"));
            attachment.endpoint.publish = vec![published(8080)];
            attachment
        };
        let first = lab.open().attach(publishing("a", "eth0")).unwrap();
        assert_eq!(first.publish.len(), 1);
        // The same container tells of it once more with its second interface; another one may not have it.
        let second = lab.open().attach(publishing("a", "eth1")).unwrap();
        assert_eq!((second.publish.len(), second.container_ifname.as_str()), (0, "eth1"));
        let error = lab.open().attach(publishing("b", "eth0")).unwrap_err().to_string();
        assert!(error.contains("host port 8080/tcp is published by endpoint a-eth0 already"), "{error}");
        lab.assert_is_whole();
        assert!(lab.open().detach(&key("a")).unwrap());
        assert_eq!(lab.open().attach(publishing("b", "eth0")).unwrap().publish.len(), 1);
        lab.assert_is_whole();
    });
}

#[test]
fn names_and_networks_are_sorted_out() {
    isolated(|dir| {
        let lab = Lab::new(dir);
        let called = |container: &str| {
            let mut attachment = lab.attachment(container);
            attachment.endpoint.id.name = name("pod");
            attachment
        };
        assert_eq!(lab.open().attach(called("0123456789ab")).unwrap().endpoint.to_string(), "pod");
        assert_eq!(lab.open().attach(called("ba9876543210")).unwrap().endpoint.to_string(), "pod-ba987654");
        // Somebody uses it; and when nobody does, it is what is asked for.
        let other = |container: &str| {
            let mut attachment = lab.attachment(container);
            attachment.network.subnet = Some("10.99.0.0/16".parse().unwrap());
            attachment
        };
        let error = lab.open().attach(other("c")).unwrap_err().to_string();
        assert!(error.contains("network cni is defined differently"), "{error}");
        for container in ["0123456789ab", "ba9876543210"] {
            assert!(lab.open().detach(&key(container)).unwrap());
        }
        assert_eq!(lab.open().attach(other("c")).unwrap().addresses[0].to_string(), "10.99.0.2/16");
        lab.assert_is_whole();
    });
}

/// How often this thread has read so far, and how many bytes it has read and written. `None`: the kernel does not count. Writes
/// are not counted: one of a setting under `/proc/sys/net` begins anew as often as somebody else holds the kernel's lock.
fn reads_and_bytes() -> Option<[u64; 2]> {
    let counts = std::fs::read_to_string("/proc/thread-self/io").ok()?;
    let of = |what: &str| -> Option<u64> {
        counts.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(": ")?.parse().ok())
    };
    Some([of("syscr")?, of("rchar")? + of("wchar")?])
}

#[test]
fn an_attachment_reads_of_each_other_a_line_and_no_file() {
    isolated(|dir| {
        const OTHERS: u64 = 24;
        let lab = Lab::new(dir);
        lab.attach("first");
        let cost = |container: &str| {
            let attachment = lab.attachment(container);
            let before = reads_and_bytes()?;
            lab.open().attach(attachment).unwrap();
            let after = reads_and_bytes()?;
            assert!(lab.open().detach(&key(container)).unwrap());
            Some([0, 1].map(|what| after[what] - before[what]))
        };
        cost("probe1");
        let Some([few_reads, few_bytes]) = cost("probe2") else {
            eprintln!("skipped: the kernel does not count");
            return;
        };
        for number in 0..OTHERS {
            lab.attach(&format!("other{number}"));
        }
        let [many_reads, many_bytes] = cost("probe3").unwrap();
        println!(
            "beside 1: {few_reads} reads, {few_bytes} bytes; beside {}: {many_reads}, {many_bytes}",
            OTHERS + 1
        );
        // Large files are read in several calls.
        assert!(many_reads <= few_reads + OTHERS / 4, "{few_reads} and {many_reads} reads");
        // What the ledger says of one is read once and written once; it says where its namespace is.
        let each = 300 + 2 * lab.dir.as_os_str().len() as u64;
        assert!(many_bytes <= few_bytes + OTHERS * each, "{few_bytes} and {many_bytes} bytes");
    });
}

/// `NETFAST_TEST_ALL=1 cargo test --release -p netfast what_an_attachment_takes -- --nocapture` prints the numbers with 900
/// others.
#[test]
fn what_an_attachment_takes() {
    isolated(|dir| {
        let is_full = std::env::var_os("NETFAST_TEST_ALL").is_some();
        let rounds = if is_full { 21 } else { 3 };
        let lab = Lab::new(dir);
        lab.attach("first");
        let tell = |when: &str| {
            let (mut attached, mut detached) = (Vec::new(), Vec::new());
            let mut computed = Vec::new();
            for round in 0..rounds {
                let attachment = lab.attachment(&format!("timed{round}"));
                let key = attachment.key.clone();
                let (start, cpu) = (Instant::now(), cpu_time());
                lab.open().attach(attachment).unwrap();
                attached.push(start.elapsed());
                computed.push(cpu_time().saturating_sub(cpu));
                let start = Instant::now();
                lab.open().detach(&key).unwrap();
                detached.push(start.elapsed());
            }
            attached.sort_unstable();
            detached.sort_unstable();
            computed.sort_unstable();
            let middle = attached.len() / 2;
            println!(
                "{when}: attached in {:?} (at least {:?}) and {:?} of CPU time, detached in {:?} (at least {:?})",
                attached[middle], attached[0], computed[middle], detached[middle], detached[0]
            );
        };
        tell("beside one");
        let others = if is_full { 899 } else { 5 };
        for number in 0..others {
            lab.attach(&format!("other{number}"));
        }
        tell(&format!("beside {}", others + 1));
        lab.assert_is_whole();
    });
}
