//! Settings under `/proc/sys/net`, which shows every thread those of its own namespace.

use std::fs::{self, File};
use std::io::{self, Write as _};
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

/// Brings settings of one device to the values wanted. A read-only `/proc/sys` with the right values will do. It is written
/// without a look at what is there: to open a file of that name takes the longer the more namespaces have one, 0.3 ms among 900
/// (they are in one chain of the kernel's cache; Linux 6.18).
///
/// IPv6 settings of a device without IPv6 (switched off at boot, or an MTU below 1280) are passed over: there is
/// nothing to set.
pub fn set_device(netns: &Netns, device: &str, settings: &[DeviceSetting<'_>]) -> Result<(), Error> {
    check_device_name(device)?;
    netns.visit(|| settings.iter().try_for_each(|setting| set_one(device, setting)))?
}

/// Reads a setting by its path under `/proc/sys/net`, without the newline.
pub fn read(netns: &Netns, key: &str) -> Result<String, Error> {
    let path = Path::new("/proc/sys/net").join(key);
    let text = netns.visit(|| fs::read_to_string(&path))?;
    text.map(|text| text.trim_end().to_owned()).map_err(|e| Error::system("read", path.display(), e))
}

fn set_one(device: &str, setting: &DeviceSetting<'_>) -> Result<(), Error> {
    let family = match setting.family {
        Family::V4 => "ipv4",
        Family::V6 => "ipv6",
    };
    // As a path a dot in a device name needs no care, as it would in `sysctl`'s notation.
    let path: PathBuf = ["/proc/sys/net", family, "conf", device, setting.key].iter().collect();
    let written =
        File::options().write(true).open(&path).and_then(|mut file| file.write_all(setting.value.as_bytes()));
    match written {
        Ok(()) => Ok(()),
        Err(e) if e.kind() == io::ErrorKind::NotFound && setting.family == Family::V6 => Ok(()),
        Err(_) if fs::read_to_string(&path).is_ok_and(|text| text.trim_end() == setting.value) => Ok(()),
        Err(e) => Err(Error::system("write", path.display(), e)),
    }
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
