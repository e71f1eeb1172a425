//! Addresses of a namespace: all, and those that count without a look at every device.

use super::super::{Address, BridgeSpec, Netlink};
use super::{namespace, need_root};

/// Makes a device that is up and has these addresses.
fn device(netlink: &Netlink, number: u8, addresses: &[&str]) -> u32 {
    let addresses = addresses.iter().map(|address| address.parse().unwrap()).collect();
    let name = format!("device{number}");
    netlink
        .create_bridge(&BridgeSpec {
            alias: name.clone(),
            name,
            mac: [2, 0, 0, 0, 0, number],
            mtu: 1500,
            addresses,
        })
        .unwrap()
}

/// As lists of both kinds are to be compared: devices in order, each one's addresses in the kernel's.
fn sorted(mut addresses: Vec<Address>) -> Vec<Address> {
    addresses.sort_by_key(|address| address.ifindex);
    addresses
}

#[test]
fn few_devices_are_asked_for_what_all_of_them_would_tell() {
    need_root!();
    let netns = namespace();
    netns
        .run(|| {
            let netlink = Netlink::open(&netns).unwrap();
            let all = || sorted(netlink.addresses().unwrap());
            let beside = |known: &[u32]| sorted(netlink.addresses_beside(known.iter().copied()).unwrap());
            assert_eq!(beside(&[]), all(), "of lo");
            for number in 0..8 {
                device(&netlink, number, &[]);
            }
            device(&netlink, 10, &["10.9.0.1/24", "10.9.0.2/24", "10.8.0.1/16"]);
            device(&netlink, 11, &["fd01::1/64", "fd01::2/80"]);
            device(&netlink, 12, &["10.7.0.1/32", "fd02::1/128"]);
            let global = |addresses: Vec<Address>| -> Vec<_> {
                addresses.into_iter().filter(|address| !address.ip.to_string().starts_with("fe80")).collect()
            };
            assert_eq!(global(beside(&[])), global(all()));
            let down = device(&netlink, 13, &["10.6.0.1/24"]);
            netlink.set_down(down).unwrap();
            assert_eq!(global(beside(&[])), global(all()));
            assert_eq!(global(beside(&[down, 12_345])), global(all()), "one of them is gone");
            for number in 20..40 {
                device(&netlink, number, &[&format!("10.5.{number}.1/24")]);
            }
            assert_eq!(global(beside(&[])), global(all()));
        })
        .unwrap();
}
