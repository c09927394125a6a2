//! `tenure up` and `tenure down`: what a newcomer meets first.

use std::path::Path;

use crate::servers::{eventually, own_system};

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_killed_comes_back() {
    let system = own_system().await;
    for name in [
        "tenure-relay",
        "tenure-projector",
        "tenure-worker",
        "tenure-query-api",
        "tenure-command-api",
        "tenure-console",
        "nats-server",
        "postgres",
    ] {
        let before = system.pid(name);
        system.signal(name, "KILL").await;
        eventually("it is started again", async || system.pid(name).is_some_and(|pid| Some(pid) != before)).await;
    }
    system.ready().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_up_says_the_same_and_a_killed_supervisor_leaves_nothing_in_the_way() {
    let system = own_system().await;
    let up = ["up", "--detach", "--no-demo"];
    let (first, second) = (system.tenure(&up), system.tenure(&up));
    for same in ["pids", "command_api", "query_api", "console", "database_url_file"] {
        assert_eq!(first[same], second[same]);
    }
    // Output ends in logs: the superuser's URL stands in a file that its owner alone reads.
    let password = std::fs::read_to_string(system.home.join("secrets/postgres-superuser")).unwrap();
    assert!(!first.to_string().contains(&password) && !first.to_string().contains("postgres://"), "{first}");
    let file = std::fs::metadata(first["database_url_file"].as_str().unwrap()).unwrap();
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&file.permissions()) & 0o777, 0o600);
    let supervisor = first["supervisor"].to_string();
    assert!(std::process::Command::new("kill").args(["-KILL", &supervisor]).status().unwrap().success());
    eventually("the supervisor is gone", async || !Path::new("/proc").join(&supervisor).exists()).await;
    let third = system.tenure(&up);
    assert_ne!(first["supervisor"], third["supervisor"]);
    assert_eq!(first["query_api"], third["query_api"], "ports are kept");
    system.ready().await;
    for (name, pid) in first["pids"].as_object().unwrap() {
        let pid = u32::try_from(pid.as_u64().unwrap()).unwrap();
        assert!(tenure::process::Identity::of(pid).is_none(), "{name} of the killed run still runs");
    }
    assert_eq!(system.tenure(&["down"])["stopped"], true);
    assert_eq!(system.tenure(&["down"])["stopped"], false, "stopping twice is harmless");
    assert!(system.home.join("config.toml").exists(), "the data stays");
    system.tenure(&["down", "--wipe"]);
    assert!(!system.home.exists());
}
