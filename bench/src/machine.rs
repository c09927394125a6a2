//! What the figures were measured on.

use std::fs;

use serde::Serialize;

/// A machine, as far as it tells.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The operating system and the processor's architecture.
    pub system: String,
    /// Cores that this process may use.
    pub cores: usize,
    /// The processor's name.
    pub processor: Option<String>,
    /// Main memory.
    pub memory_mb: Option<u64>,
    /// Of this program, and so of those beside it.
    pub build: &'static str,
}

impl Machine {
    /// This one.
    pub fn this() -> Self {
        let field = |path: &str, name: &str| {
            let text = fs::read_to_string(path).ok()?;
            let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_prefix(':'));
            line.map(|line| line.trim().to_owned())
        };
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default(); // Linux only.
        let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.strip_suffix("kB")?.trim().parse::<u64>().ok());
        Self {
            system: format!("{} {} {}", std::env::consts::OS, kernel.trim(), std::env::consts::ARCH),
            cores: crate::cores(),
            processor: field("/proc/cpuinfo", "model name"),
            memory_mb: memory.map(|kilobytes| kilobytes / 1024),
            build: if cfg!(debug_assertions) { "debug" } else { "release" },
        }
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { system, cores, processor, memory_mb, build } = self;
        let memory = memory_mb.map_or_else(|| "memory unknown".into(), |mb| format!("{:.0} GB", mb as f64 / 1024.0));
        write!(f, "{system}, {cores} cores {}, {memory}; {build} build", processor.as_deref().unwrap_or_default())?;
        if *build == "debug" { write!(f, " (its figures say nothing)") } else { Ok(()) }
    }
}
