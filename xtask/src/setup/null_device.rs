//! `/dev/null` as the device it has to be.
//!
//! A program that runs as root and replaces the file it writes (`git config --file /dev/null` does) leaves a plain
//! file there. From then on, what one program throws away is what the next one reads: the first symptom is that
//! rustc finds pieces of its own messages in an empty crate.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::Path;

use anyhow::{Context as _, Result};
use nix::sys::stat::makedev;

use crate::workspace::as_root;
use crate::{output, stage};

const PLACE: &str = "/dev/null";

/// Linux: Documentation/admin-guide/devices.txt, "1 char".
const NUMBER: (u32, u32) = (1, 3);

pub(crate) fn ensure() -> Result<bool> {
    ensure_at(Path::new(PLACE))
}

fn ensure_at(place: &Path) -> Result<bool> {
    let Some(instead) = what_is_instead(place)? else { return Ok(false) };
    output::heading(&format!(
        "put the null device back at {} (there is {instead}, and compilers read what others threw away)",
        place.display()
    ));
    // One that is whole takes the place at once: other programs look at it all the time.
    let (place, beside) = (place.display(), format!("{}.new", place.display()));
    let (major, minor) = NUMBER;
    let replace = format!(
        "rm -f '{beside}' && mknod -m 666 '{beside}' c {major} {minor} && mv -fT '{beside}' '{place}' || \
         {{ rm -f '{beside}'; exit 1; }}"
    );
    stage::status(as_root("sh").args(["-c", &replace])).with_context(|| {
        format!("put the null device back at {place} (as root: rm {place}; mknod -m 666 {place} c {major} {minor})")
    })?;
    Ok(true)
}

/// What stands where the null device should; `None` if that is it.
fn what_is_instead(place: &Path) -> Result<Option<String>> {
    let there = match fs::metadata(place) {
        Ok(there) => there,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Some("nothing".to_owned())),
        Err(e) => return Err(e).with_context(|| format!("look at {}", place.display())),
    };
    let (major, minor) = NUMBER;
    Ok(if there.file_type().is_char_device() && there.rdev() == makedev(major.into(), minor.into()) {
        None
    } else if there.is_file() {
        Some(format!("a plain file of {} bytes", there.len()))
    } else {
        Some("something else".to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_the_null_device_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("null");
        assert_eq!(what_is_instead(&place).unwrap().as_deref(), Some("nothing"));
        fs::write(&place, "error[E0554]").unwrap();
        assert_eq!(what_is_instead(&place).unwrap().as_deref(), Some("a plain file of 12 bytes"));
        assert_eq!(what_is_instead(dir.path()).unwrap().as_deref(), Some("something else"));
        assert_eq!(what_is_instead(Path::new("/dev/zero")).unwrap().as_deref(), Some("something else"));
    }

    #[test]
    fn a_file_makes_room_for_the_device() {
        if !netfast_tests::is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("null");
        fs::write(&place, "error[E0554]").unwrap();
        assert!(ensure_at(&place).unwrap());
        assert_eq!(what_is_instead(&place).unwrap(), None);
        assert_eq!(fs::metadata(&place).unwrap().mode() & 0o777, 0o666);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing is left beside it");
        assert!(!ensure_at(&place).unwrap(), "a second time there is nothing to do");
    }

    #[test]
    fn a_place_that_cannot_be_written_is_told_with_what_to_do() {
        // Others would be asked for their password.
        if !netfast_tests::is_root() {
            return;
        }
        let error = ensure_at(Path::new("/proc/none/null")).unwrap_err();
        assert!(format!("{error:#}").contains("mknod -m 666 /proc/none/null c 1 3"), "{error:#}");
    }
}
