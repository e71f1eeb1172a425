//! Settings of devices.

use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};

use super::super::Netns;
use super::super::netns::on_fresh_thread;
use super::super::sysctl::{DeviceSetting, read, set_device};
use super::need_root;

#[test]
fn read_only_settings_with_the_right_values_will_do() {
    need_root!();
    let test = || {
        unshare(CloneFlags::CLONE_NEWNET | CloneFlags::CLONE_NEWNS).unwrap();
        let netns = Netns::current().unwrap();
        let set = |value| set_device(&netns, "lo", &[DeviceSetting::v6("accept_ra", value)]);
        set("0").unwrap();

        let (none, settings) = (None::<&str>, Some("/proc/sys"));
        mount(none, "/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none).unwrap();
        mount(settings, "/proc/sys", none, MsFlags::MS_BIND, none).unwrap();
        let read_only = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, "/proc/sys", none, read_only, none).unwrap();

        set("0").unwrap();
        let error = set("2").unwrap_err().to_string();
        assert!(error.contains("/proc/sys/net/ipv6/conf/lo/accept_ra"), "{error}");
        assert_eq!(read(&netns, "ipv6/conf/lo/accept_ra").unwrap(), "0");
        // Of a device that has no settings of IPv6 none are wanted.
        set_device(&netns, "gone", &[DeviceSetting::v6("accept_ra", "0")]).unwrap();
        set_device(&netns, "gone", &[DeviceSetting::v4("forwarding", "1")]).unwrap_err();
    };
    on_fresh_thread(test).unwrap();
}
