//! A disk is full, and later has room again.

use std::{
    path::{Path, PathBuf},
    process::Command,
    sync::Arc,
    time::{Duration, Instant},
};

use sqlx::Executor as _;

use super::{seeded, survive_in};
use crate::servers::{System, after_this_process, eventually, own_system_prepared, skipped};

/// A file system of its own, in memory, under a server's files.
struct Disk(PathBuf);

impl Disk {
    /// None where this user may not mount.
    fn mount(at: &Path) -> Option<Self> {
        std::fs::create_dir_all(at).unwrap();
        let mounted = run("mount", &["-t", "tmpfs", "-o", "size=4g", "tmpfs", at.to_str()?]);
        if !mounted {
            skipped(&format!("a full disk is not tested: no file system can be mounted at {}; run as root", at.display()));
        }
        mounted.then(|| {
            after_this_process(r#"umount -l "$1" 2>/dev/null"#, &[at.as_ref()]);
            Self(at.to_owned())
        })
    }
    /// Takes all room but this much.
    fn fill(&self, but: u64) {
        let disk = rustix::fs::statvfs(&self.0).unwrap();
        let used = (disk.f_blocks - disk.f_bfree) * disk.f_frsize;
        self.resize(&(used + but).to_string());
    }
    fn free(&self) {
        self.resize("4g");
    }
    fn resize(&self, size: &str) {
        assert!(run("mount", &["-o", &format!("remount,size={size}"), self.0.to_str().unwrap()]), "no other size for the disk");
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        run("umount", &["-l", self.0.to_str().unwrap()]);
    }
}

fn run(program: &str, arguments: &[&str]) -> bool {
    Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
}

async fn system_on(folder: &str) -> Option<(Disk, System)> {
    let mut disk = None;
    // Where it can't be mounted, nothing is started.
    let probe = std::env::temp_dir().join(format!("tenure-mount-{}-{folder}", std::process::id()));
    let may = Disk::mount(&probe).map(drop);
    let _ = std::fs::remove_dir(&probe);
    may?;
    let system = own_system_prepared(|home| disk = Disk::mount(&home.join(folder))).await;
    Some((disk?, system))
}

/// I1, I6: clients are told to come back, nothing that was acknowledged is lost, and it goes on by itself.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_postgres() {
    let Some((disk, system)) = system_on("pg").await else { return };
    let full = async |system: &System, _: &mut fastrand::Rng| {
        let pool = system.pool().await;
        disk.fill(1 << 20);
        // The log needs a new file soon, and finds no room for it.
        let started = Instant::now();
        while pool.execute("select pg_switch_wal(), pg_logical_emit_message(false, 'x', repeat('x', 100000))").await.is_ok() {
            assert!(started.elapsed() < Duration::from_secs(10), "PostgreSQL does not mind a full disk");
        }
        tokio::time::sleep(Duration::from_secs(2)).await;
        disk.free();
    };
    let failed = survive_in(Arc::new(system), "full disk, postgres", &mut seeded("full disk, postgres"), 1, full).await;
    assert!(failed.iter().any(|failure| failure.contains("503")), "nobody was told to come back: {failed:?}");
}

/// I6: neither commands nor read models need NATS. The relay does: NATS keeps a stream closed that it could not write to,
/// until it is started again, however much room there is. The supervisor does that, once there is room.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_under_nats() {
    let Some((disk, system)) = system_on("nats").await else { return };
    let system = Arc::new(system);
    let mut strikes = 0;
    let full = async |system: &System, _: &mut fastrand::Rng| {
        disk.fill(64 << 10);
        strikes += 1;
        if strikes == 1 {
            // Started on a full disk, it would take none of it for JetStream, and keep to that.
            system.signal("nats-server", "KILL").await;
            eventually("the supervisor says that NATS waits for room", async || nats_waits_for_room(system)).await;
        } else {
            tokio::time::sleep(Duration::from_secs(3)).await;
        }
        disk.free();
    };
    let failed = survive_in(Arc::clone(&system), "full disk, nats", &mut seeded("full disk, nats"), 2, full).await;
    assert!(failed.is_empty(), "commands failed for want of NATS: {failed:?}");
    all_is_relayed(&system).await;
}

/// Whether `tenure status` says so.
fn nats_waits_for_room(system: &System) -> bool {
    let status = system.tenure(&["status"]);
    let mut processes = status["processes"].as_array().unwrap().iter();
    let nats = processes.find(|process| process["name"] == "nats-server").unwrap();
    nats["waits"].as_str().is_some_and(|why| why.contains("room")) && nats["pid"].is_null()
}

/// Waits until the relay has published all that the store holds.
async fn all_is_relayed(system: &System) {
    let (pool, started) = (system.pool().await, Instant::now());
    let behind = "select count(*) from event_store.tenant_head h left join event_store.relay_cursor c using (tenant_id) where h.position > coalesce(c.position, 0)";
    while sqlx::query_scalar::<_, i64>(behind).fetch_one(&pool).await.unwrap() > 0 {
        assert!(
            started.elapsed() < Duration::from_mins(2),
            "the relay does not publish what waits; logs are in {}",
            system.home.join("log").display()
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    pool.close().await;
}
