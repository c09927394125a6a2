//! Rows to JSON: every read, as of any day.
