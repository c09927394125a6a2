//! What is printed: steps and progress on standard error, results on standard output.

use std::{io::IsTerminal as _, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};

/// The steps of something that takes a while: one moving line on a terminal, a line each elsewhere, nothing with `--json`.
#[derive(Debug)]
pub struct Steps {
    bar: Option<ProgressBar>,
    quiet: bool,
    current: String,
}

impl Steps {
    /// None begun.
    pub fn new(json: bool) -> Self {
        let terminal = std::io::stderr().is_terminal();
        let bar = (terminal && !json).then(|| {
            let bar = ProgressBar::new_spinner();
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        Self { bar, quiet: json, current: String::new() }
    }
    /// Another step begins.
    pub fn begin(&mut self, what: &str) {
        if self.current == what {
            return;
        }
        what.clone_into(&mut self.current);
        match &self.bar {
            Some(bar) => bar.set_message(what.to_owned()),
            None if self.quiet => {}
            None => eprintln!("{what}"),
        }
    }
    /// Something to know, which stays on the screen.
    pub fn note(&self, text: &str) {
        match &self.bar {
            Some(bar) => bar.println(text),
            None => eprintln!("{text}"),
        }
    }
    /// No more steps.
    pub fn end(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// A bar for countable work, with rate and time left.
pub fn bar(length: u64, json: bool) -> ProgressBar {
    if json {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template("{elapsed_precise} {wide_bar} {human_pos}/{human_len} {per_sec} {eta} left {msg}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
