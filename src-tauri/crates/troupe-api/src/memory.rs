//! What the system says: memory, disk, and this process's open connections.
//!
//! Read from `/proc` and, on any Unix, the file system; elsewhere the answer is "not told", never a guess.

use std::path::Path;

/// Bytes of a megabyte.
pub(crate) const MB: f64 = 1024. * 1024.;

/// Memory that this process holds, in megabytes.
pub(crate) fn resident_mb() -> Option<f64> {
    Some(kilobytes(&read("/proc/self/status")?, "VmRSS:")? * 1024. / MB)
}

/// Memory that could still be taken without swapping, in megabytes.
pub(crate) fn available_mb() -> Option<f64> {
    Some(kilobytes(&read("/proc/meminfo")?, "MemAvailable:")? * 1024. / MB)
}

/// All memory of this machine with its swap, in megabytes.
pub(crate) fn total_mb() -> Option<f64> {
    let text = read("/proc/meminfo")?;
    let swap = kilobytes(&text, "SwapTotal:").unwrap_or_default();
    Some((kilobytes(&text, "MemTotal:")? + swap) * 1024. / MB)
}

/// Bytes of disk that this user may still fill where `path` is.
#[cfg(unix)]
pub(crate) fn free_disk(path: &Path) -> Option<f64> {
    let disk = rustix::fs::statvfs(path).ok()?;
    Some(disk.f_bavail as f64 * disk.f_frsize as f64)
}

/// Bytes of disk that this user may still fill where `path` is.
#[cfg(not(unix))]
pub(crate) fn free_disk(_: &Path) -> Option<f64> {
    None
}

/// Size of files in megabytes; those that cannot be read count as nothing.
pub(crate) fn files_mb(files: &[std::path::PathBuf]) -> f64 {
    files.iter().filter_map(|f| Some(std::fs::metadata(f).ok()?.len() as f64)).sum::<f64>() / MB
}

/// TCP connections of this process that are open and lead off this machine.
pub(crate) fn num_connections() -> Option<u32> {
    let own = socket_inodes(Path::new("/proc/self/fd"))?;
    let tables = [read("/proc/self/net/tcp")?, read("/proc/self/net/tcp6").unwrap_or_default()];
    let open = tables.iter().flat_map(|table| established(table)).filter(|id| own.contains(id));
    Some(open.count() as u32)
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn kilobytes(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

fn socket_inodes(fds: &Path) -> Option<Vec<u64>> {
    let inode = |entry: std::io::Result<std::fs::DirEntry>| {
        let target = std::fs::read_link(entry.ok()?.path()).ok()?;
        target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    };
    Some(std::fs::read_dir(fds).ok()?.filter_map(inode).collect())
}

/// Remote addresses that stay on this machine, as `/proc` writes them: 127.0.0.1, ::1 and
/// ::ffff:127.0.0.1 (32-bit groups in little-endian order).
const LOOPBACK: [&str; 3] =
    ["0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F"];

/// Inodes of the established connections (state 01) of a `/proc/net/tcp` table that lead elsewhere.
fn established(table: &str) -> Vec<u64> {
    let inode = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let remote = fields.get(2)?.split(':').next()?;
        let leads_away = *fields.get(3)? == "01" && !LOOPBACK.contains(&remote);
        leads_away.then(|| fields.get(9)?.parse().ok()).flatten()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tables_are_read_by_column() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   \
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000  1000        0 11 1 0 100\n   \
             1: 0100007F:A2C4 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 22 1 0 20\n   \
             2: 0A00A8C0:A2C4 0200A8C0:01BB 01 00000000:00000000 00:00000000 00000000  1000        0 33 1 0 20\n";
        assert_eq!(established(table), [33]);
        assert_eq!(kilobytes("VmPeak: 9 kB\nVmRSS:\t  2048 kB\n", "VmRSS:"), Some(2048.));
        assert_eq!(kilobytes("", "VmRSS:"), None);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_system_tells() {
        assert!(resident_mb().is_some_and(|mb| mb > 1.));
        assert!(available_mb().is_some_and(|mb| mb > 1.));
        assert!(total_mb() > available_mb());
        assert!(free_disk(&std::env::temp_dir()).is_some_and(|bytes| bytes > 1e6));
        assert_eq!(free_disk(Path::new("/no/such/place")), None);
        assert_eq!(num_connections(), Some(0), "tests open no connection to elsewhere");
    }
}
