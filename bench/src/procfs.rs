//! Processor time and resident memory of a program and its child processes, from `/proc` of Linux.
//!
//! `measure` reads them before and after a load. Deliberately absent: other systems.

use std::{collections::HashMap, fs, time::Duration};

/// Processor time of a process and the process that started it.
#[derive(Debug, PartialEq, Eq)]
struct Stat {
    parent: u32,
    /// Time in the process's own code and in the kernel, in ticks of the clock.
    ticks: u64,
}

/// Parses a line of `/proc/PID/stat` (man page `proc_pid_stat`, fields 4, 14 and 15).
fn parse_stat(line: &str) -> Option<Stat> {
    // The second field is a name in parentheses, which may have spaces and parentheses itself.
    let (_, fields) = line.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace().skip(1);
    let parent = fields.next()?.parse().ok()?;
    let mut times = fields.skip(9).map(|field| field.parse::<u64>().ok());
    Some(Stat { parent, ticks: times.next()?? + times.next()?? })
}

/// Parses the resident memory in `/proc/PID/smaps_rollup`. Returns bytes.
fn parse_resident(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Rss:"))?;
    let kilobytes: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    Some(kilobytes << 10)
}

fn stat(process: u32) -> Option<Stat> {
    parse_stat(&fs::read_to_string(format!("/proc/{process}/stat")).ok()?)
}

/// Returns the ids of a process and of all processes below it.
pub(crate) fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    for process in entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(stat) = stat(process) {
            children.entry(stat.parent).or_default().push(process);
        }
    }
    below(root, &children)
}

fn below(root: u32, children: &HashMap<u32, Vec<u32>>) -> Vec<u32> {
    let mut found = vec![root];
    let mut at = 0;
    while let Some(process) = found.get(at) {
        found.extend(children.get(process).into_iter().flatten());
        at += 1;
    }
    found
}

/// Returns the processor time of these processes since their starts, to 10 ms on most systems. A process that has ended
/// counts nothing.
pub(crate) fn processor_time(processes: &[u32]) -> Duration {
    let ticks: u64 = processes.iter().filter_map(|&process| stat(process)).map(|stat| stat.ticks).sum();
    Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
}

/// Returns the resident memory of these processes, in bytes. A page that two of them share counts twice.
pub(crate) fn resident(processes: &[u32]) -> u64 {
    let of = |process: &u32| fs::read_to_string(format!("/proc/{process}/smaps_rollup")).ok();
    processes.iter().filter_map(|process| parse_resident(&of(process)?)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_stat_gives_parent_and_time() {
        let line = "42 (a) b (c)) S 7 42 42 0 -1 4194304 1 2 3 4 130 12 99 98 20 0 5 0 12345 1 2 3\n";
        assert_eq!(parse_stat(line), Some(Stat { parent: 7, ticks: 142 }));
        assert_eq!(parse_stat("42 (a) S 7 42"), None);
        assert_eq!(parse_stat("nothing"), None);
    }

    #[test]
    fn resident_memory_is_read_in_bytes() {
        let text = "5581-7ffd ---p 00000000 00:00 0  [rollup]\nRss:                1716 kB\nPss:  640 kB\n";
        assert_eq!(parse_resident(text), Some(1716 << 10));
        assert_eq!(parse_resident("Pss: 640 kB"), None);
    }

    #[test]
    fn a_tree_has_the_children_of_children() {
        let children = HashMap::from([(1, vec![2, 9]), (2, vec![3, 4]), (4, vec![5])]);
        assert_eq!(below(2, &children), [2, 3, 4, 5]);
        assert_eq!(below(7, &children), [7]);
    }

    #[test]
    fn this_process_has_memory() {
        assert!(resident(&[std::process::id()]) > 100_000);
    }
}
