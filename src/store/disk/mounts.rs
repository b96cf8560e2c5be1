//! Which file system a directory is on, to warn of those that lie about locks and syncs.

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
