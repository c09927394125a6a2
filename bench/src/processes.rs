//! What processes take of memory and processor, as Linux tells in `/proc`.

use std::{collections::BTreeMap, fs, time::Instant};

use anyhow::{Context as _, ensure};

/// The name of PostgreSQL's main process; all that it started counts with it.
pub const POSTGRES: &str = "postgres";

/// One process, or one with all that it started.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// How many there are.
    pub processes: usize,
    /// Bytes of memory that are mapped and present. Of several processes, what they share counts several times.
    pub rss: u64,
    /// The same, where what several processes share is divided among them.
    pub pss: u64,
    /// The most that was present since the start or [`forget_peaks`]. Of several processes, the sum of each one's.
    pub peak: u64,
    /// Seconds of processor since the start, of children that have ended too.
    pub cpu_s: f64,
}

/// Several at one moment.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// When.
    pub at: Instant,
    /// By name.
    pub usages: BTreeMap<String, Usage>,
}

impl Snapshot {
    /// Of these, now.
    pub fn take(pids: &BTreeMap<String, u32>) -> anyhow::Result<Self> {
        let at = Instant::now();
        let of = |(name, &pid): (&String, &u32)| Ok((name.clone(), usage(name, pid).with_context(|| format!("{name} ({pid})"))?));
        Ok(Self { at, usages: pids.iter().map(of).collect::<anyhow::Result<_>>()? })
    }
    /// How many cores each kept busy since an earlier moment.
    pub fn cores_since(&self, earlier: &Self) -> BTreeMap<String, f64> {
        let seconds = self.at.duration_since(earlier.at).as_secs_f64();
        let busy =
            |(name, usage): (&String, &Usage)| Some((name.clone(), (usage.cpu_s - earlier.usages.get(name)?.cpu_s).max(0.0) / seconds));
        self.usages.iter().filter_map(busy).collect()
    }
}

/// Whether this machine tells.
pub fn check() -> anyhow::Result<()> {
    ensure!(
        cfg!(target_os = "linux") && fs::metadata("/proc/self/smaps_rollup").is_ok(),
        "what each process takes is read from /proc/PID/smaps_rollup, which only Linux has (4.14 or newer); run this on Linux, in a container or a virtual machine"
    );
    Ok(())
}

/// PSS of PostgreSQL at this moment.
pub fn postgres_pss(pids: &BTreeMap<String, u32>) -> anyhow::Result<u64> {
    let pid = *pids.get(POSTGRES).context("PostgreSQL does not run")?;
    Ok(usage(POSTGRES, pid)?.pss)
}

/// Lets the peaks begin anew.
pub fn forget_peaks(pids: &BTreeMap<String, u32>) -> anyhow::Result<()> {
    for (name, &pid) in pids {
        for pid in family(name, pid)? {
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5"); // It may have ended since.
        }
    }
    Ok(())
}

fn usage(name: &str, pid: u32) -> anyhow::Result<Usage> {
    let mut sum = Usage::default();
    for member in family(name, pid)? {
        let of_family = if member == pid && name == POSTGRES { Children::Ended } else { Children::None };
        match one(member, of_family) {
            Ok(usage) => {
                sum.processes += 1;
                sum.rss += usage.rss;
                sum.pss += usage.pss;
                sum.peak += usage.peak;
                sum.cpu_s += usage.cpu_s;
            }
            // A backend may end at any moment; then its time is the main process's.
            Err(_) if member != pid => {}
            Err(error) => return Err(error).context("has it ended?"),
        }
    }
    Ok(sum)
}

/// Which children's time counts.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Children {
    None,
    Ended,
}

fn one(pid: u32, children: Children) -> anyhow::Result<Usage> {
    let read = |file: &str| {
        let path = format!("/proc/{pid}/{file}");
        fs::read_to_string(&path).with_context(|| format!("{path} can't be read; be the user that it runs as, or root"))
    };
    let (rollup, status) = (read("smaps_rollup")?, read("status")?);
    let kilobytes = |text: &str, field: &str| -> anyhow::Result<u64> {
        let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
        let number = line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Ok(number.with_context(|| format!("process {pid} tells no {field}"))? * 1024)
    };
    // User, system, and the same of children that have ended and were waited for: 14th to 17th.
    let stat = stat_fields(pid)?;
    let fields = if children == Children::Ended { 11..15 } else { 11..13 };
    let times = stat.get(fields).context("a short /proc/PID/stat")?;
    let ticks = times.iter().map(|field| field.parse::<u64>()).sum::<Result<u64, _>>()?;
    let cpu_s = ticks as f64 / rustix::param::clock_ticks_per_second() as f64;
    Ok(Usage { processes: 1, rss: kilobytes(&rollup, "Rss")?, pss: kilobytes(&rollup, "Pss")?, peak: kilobytes(&status, "VmHWM")?, cpu_s })
}

/// PostgreSQL's main process with all its backends; any other alone, because the supervisor's children are the others.
fn family(name: &str, pid: u32) -> anyhow::Result<Vec<u32>> {
    let mut family = vec![pid];
    if name == POSTGRES {
        for entry in fs::read_dir("/proc")?.flatten() {
            let Some(other) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else { continue };
            if stat_fields(other).is_ok_and(|fields| fields.get(1).is_some_and(|parent| *parent == pid.to_string())) {
                family.push(other);
            }
        }
    }
    Ok(family)
}

/// From the state on, the third: the name in parentheses before it may hold anything.
fn stat_fields(pid: u32) -> anyhow::Result<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(')').context("no name in /proc/PID/stat")?;
    Ok(fields.split_ascii_whitespace().map(ToOwned::to_owned).collect())
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn a_process_tells_what_it_takes() {
        let pids = BTreeMap::from([("own".to_owned(), std::process::id())]);
        let before = Snapshot::take(&pids).unwrap();
        let filled = std::hint::black_box(vec![1_u8; 64 << 20]);
        let after = Snapshot::take(&pids).unwrap();
        let (before, after) = (before.usages["own"], after.usages["own"]);
        assert!(after.rss >= before.rss + (48 << 20), "{before:?} {after:?}");
        assert!(after.pss <= after.rss && after.peak >= before.peak && after.cpu_s >= before.cpu_s);
        drop(filled);
    }

    #[test]
    fn what_has_ended_is_an_error() {
        let mut child = std::process::Command::new("true").spawn().unwrap();
        let pids = BTreeMap::from([("gone".to_owned(), child.id())]);
        child.wait().unwrap();
        assert!(Snapshot::take(&pids).is_err());
    }
}
