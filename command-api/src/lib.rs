//! HTTP to command, decide, append.
