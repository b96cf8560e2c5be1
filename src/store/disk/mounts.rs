//! The file system that a directory is on: whether it may lie about locks and syncs, and whether it
//! is nearly full.

use std::fs;
use std::path::Path;

/// Kinds of file systems whose locks and syncs depend on a server or on another program.
const REMOTE: [&str; 9] =
    ["nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "fuse.sshfs"];

/// The kind of file system that a directory is on, if it is a remote one. Only Linux tells.
pub(super) fn remote(dir: &Path) -> Option<String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let kind = kind(&mounts, &dir.canonicalize().ok()?)?;
    REMOTE.contains(&kind).then(|| kind.to_owned())
}

/// Bytes that are to be left on a file system: with less, work that is under way may still end, and
/// none is begun. Of a small file system, a twentieth.
const RESERVE: u64 = 512 << 20;

/// Whether the file system of a directory is nearly full; false if it does not tell.
pub(super) fn is_nearly_full(dir: &Path) -> bool {
    let told = rustix::fs::statvfs(dir).ok();
    told.is_some_and(|told| is_short(told.f_bavail, told.f_blocks, told.f_frsize))
}

/// Whether so many free blocks of all blocks, of so many bytes, are too few.
fn is_short(free: u64, all: u64, bytes: u64) -> bool {
    free.saturating_mul(bytes) < RESERVE.min(all.saturating_mul(bytes) / 20)
}

/// The kind of the mount with the longest path that holds the directory; of several there, the last
/// covers the others. The format is that of proc(5).
fn kind<'m>(mounts: &'m str, dir: &Path) -> Option<&'m str> {
    let mount = |line: &'m str| {
        let (before, after) = line.split_once(" - ")?;
        let path = before.split(' ').nth(4)?.replace("\\040", " ");
        let length = dir.starts_with(&path).then_some(path.len())?;
        Some((length, after.split(' ').next()?))
    };
    let (_, kind) = mounts.lines().filter_map(mount).max_by_key(|&(length, _)| length)?;
    Some(kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /home rw,relatime - nfs4 server:/home rw,vers=4.2
41 40 254:1 / /home/my\\040disk rw - ext4 /dev/vdb rw
42 22 0:36 / /tmp rw - tmpfs tmpfs rw
43 22 0:37 / /tmp rw - cifs //server/tmp rw
";

    #[test]
    fn a_file_system_is_nearly_full_below_the_reserve_or_a_twentieth() {
        let terabyte = 1 << 28;
        assert!(!is_short(RESERVE / 4096, terabyte, 4096));
        assert!(is_short(RESERVE / 4096 - 1, terabyte, 4096));
        assert!(!is_short(50, 1000, 4096));
        assert!(is_short(49, 1000, 4096));
        assert!(!is_short(0, 0, 0), "one that tells nothing");
    }

    #[test]
    fn a_directory_is_on_the_nearest_mount_above_it() {
        for (dir, expected) in [
            ("/", "ext4"),
            ("/homes", "ext4"),
            ("/home/ada/data", "nfs4"),
            ("/home/my disk/data", "ext4"),
            ("/tmp/data", "cifs"),
        ] {
            assert_eq!(kind(MOUNTS, Path::new(dir)), Some(expected), "{dir}");
        }
        assert_eq!(kind("", Path::new("/")), None);
    }
}
