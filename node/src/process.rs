//! What the system says about this process. It is read from Linux's `/proc`; elsewhere nothing is known.

use std::{fs, path::Path};

/// How many ticks Linux counts a second wherever it shows times to programs, whatever the kernel itself uses.
const TICKS_PER_SECOND: f64 = 100.0;

/// One moment of a process. What the system does not tell is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Usage {
    /// User and system time of all its threads.
    pub(crate) cpu_seconds: Option<f64>,
    pub(crate) resident_bytes: Option<u64>,
    pub(crate) virtual_bytes: Option<u64>,
    pub(crate) open_files: Option<u64>,
    /// `None` also where there is no limit.
    pub(crate) open_files_max: Option<u64>,
    /// Since 1970.
    pub(crate) started_seconds: Option<f64>,
}

impl Usage {
    /// Of this process, now.
    pub(crate) fn now() -> Self {
        let read = |path: &str| fs::read_to_string(Path::new("/proc").join(path)).unwrap_or_default();
        // Listing the directory opens one more.
        let open_files = fs::read_dir("/proc/self/fd").ok().map(|files| (files.count() as u64).saturating_sub(1));
        let texts = Texts {
            stat: &read("self/stat"),
            status: &read("self/status"),
            limits: &read("self/limits"),
            system: &read("stat"),
        };
        Self { open_files, ..texts.usage() }
    }
}

/// The files of `/proc` that are read: proc(5).
struct Texts<'a> {
    stat: &'a str,
    status: &'a str,
    limits: &'a str,
    /// `/proc/stat`.
    system: &'a str,
}

impl Texts<'_> {
    fn usage(&self) -> Usage {
        let ticks = |number| Some(self.field(number)? as f64 / TICKS_PER_SECOND);
        let booted = number(self.system, "btime").map(|seconds| seconds as f64);
        Usage {
            cpu_seconds: ticks(14).zip(ticks(15)).map(|(user, system)| user + system),
            resident_bytes: number(self.status, "VmRSS:").map(|kibibytes| kibibytes * 1024),
            virtual_bytes: number(self.status, "VmSize:").map(|kibibytes| kibibytes * 1024),
            open_files: None,
            open_files_max: number(self.limits, "Max open files"),
            started_seconds: booted.zip(ticks(22)).map(|(booted, after)| booted + after),
        }
    }

    /// A field of `stat` by its number in proc(5). The second, the program's name, may hold blanks and parentheses.
    fn field(&self, number: usize) -> Option<u64> {
        let (_, rest) = self.stat.rsplit_once(')')?;
        rest.split_whitespace().nth(number - 3)?.parse().ok()
    }
}

/// The number after `label` on the line that begins with it.
fn number(text: &str, label: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(label))?;
    rest.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read_as_their_manual_has_them() {
        let texts = Texts {
            stat: "17 (a (very) odd name) S 1 17 17 0 -1 4194560 1 0 0 0 250 125 0 0 20 0 9 0 4200 99 88",
            status: "Name:\tshop\nVmPeak:\t  9000 kB\nVmSize:\t  8000 kB\nVmRSS:\t    70 kB\n",
            limits: "Limit                     Soft Limit           Hard Limit           Units\n\
                     Max open files            1024                 524288               files\n",
            system: "cpu  1 2 3\nbtime 1700000000\nprocesses 3\n",
        };
        let usage = Usage {
            cpu_seconds: Some(3.75),
            resident_bytes: Some(70 * 1024),
            virtual_bytes: Some(8000 * 1024),
            open_files: None,
            open_files_max: Some(1024),
            started_seconds: Some(1_700_000_042.0),
        };
        assert_eq!(texts.usage(), usage);
    }

    #[test]
    fn what_the_system_does_not_tell_is_not_made_up() {
        let texts = Texts { stat: "", status: "", limits: "Max open files  unlimited  unlimited  files\n", system: "" };
        assert_eq!(texts.usage(), Usage::default());
    }
}
