//! Settings under `/proc/sys/net`, which shows every thread those of its own namespace.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::{Error, Netns};

/// A per-device setting: `net.ipv4.conf.DEVICE.KEY` or its IPv6 twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DeviceSetting<'a> {
    /// The family.
    pub family: Family,
    /// The setting's name, `forwarding` for one.
    pub key: &'static str,
    /// The value it shall have.
    pub value: &'a str,
}

/// Address family of a setting.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

impl DeviceSetting<'static> {
    /// An IPv4 setting.
    pub const fn v4(key: &'static str, value: &'static str) -> Self {
        Self { family: Family::V4, key, value }
    }

    /// An IPv6 setting.
    pub const fn v6(key: &'static str, value: &'static str) -> Self {
        Self { family: Family::V6, key, value }
    }
}

/// Brings settings of one device to the values wanted. What has its value already is not written, so that a read-only
/// `/proc/sys` with the right values will do.
///
/// IPv6 settings of a device without IPv6 (switched off at boot, or an MTU below 1280) are passed over: there is
/// nothing to set.
pub fn set_device(netns: &Netns, device: &str, settings: &[DeviceSetting<'_>]) -> Result<(), Error> {
    check_device_name(device)?;
    netns.run(|| settings.iter().try_for_each(|setting| set_one(device, setting)))?
}

/// Reads a setting by its path under `/proc/sys/net`, without the newline.
pub fn read(netns: &Netns, key: &str) -> Result<String, Error> {
    let path = Path::new("/proc/sys/net").join(key);
    let text = netns.run(|| fs::read_to_string(&path))?;
    text.map(|text| text.trim_end().to_owned()).map_err(|e| Error::system("read", path.display(), e))
}

fn set_one(device: &str, setting: &DeviceSetting<'_>) -> Result<(), Error> {
    let family = match setting.family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    // As a path a dot in a device name needs no care, as it would in `sysctl`'s notation.
    let path: PathBuf = ["/proc/sys/net", family, "conf", device, setting.key].iter().collect();
    match fs::read_to_string(&path) {
        Ok(text) if text.trim_end() == setting.value => return Ok(()),
        Ok(_) => {}
        Err(e) if e.kind() == io::ErrorKind::NotFound && setting.family == Family::V6 => return Ok(()),
        Err(e) => return Err(Error::system("read", path.display(), e)),
    }
    fs::write(&path, setting.value).map_err(|e| Error::system("write", path.display(), e))
}

/// Refuses names that are not those of one device: `all` and `default` would set others too, a slash leads elsewhere.
/// The rest are the kernel's own rules.
pub(super) fn check_device_name(name: &str) -> Result<(), Error> {
    let length = (1..=15).contains(&name.len());
    let other = matches!(name, "." | ".." | "all" | "default");
    let bytes = !name.bytes().any(|b| b == b'/' || b == b':' || b == 0 || b.is_ascii_whitespace());
    if length && !other && bytes { Ok(()) } else { Err(Error::DeviceName(name.to_owned())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_single_devices_have_settings() {
        for good in ["eth0", "eth0.10", "nf-a_b", "veth0123456789a"] {
            assert!(check_device_name(good).is_ok(), "{good}");
        }
        for bad in ["", "all", "default", ".", "..", "a/b", "../x", "a b", "a:1", "veth0123456789ab"] {
            assert!(check_device_name(bad).is_err(), "{bad}");
        }
    }
}
