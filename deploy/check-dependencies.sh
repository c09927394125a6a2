#!/bin/sh
# Licences, duplicates, sources and known vulnerabilities, by cargo-deny where it is installed.
set -eu
cd "$(dirname "$0")/.."
if ! cargo deny --version >/dev/null 2>&1; then
    echo "SKIPPED: cargo-deny is not installed, so licences and advisories were not checked (cargo install --locked cargo-deny)" >&2
    exit 0
fi
cargo deny --log-level error check licenses bans sources
# The database of advisories has to be fetched; without a network that is no fault of this project.
if cargo deny --log-level error fetch db >/dev/null 2>&1; then
    cargo deny --log-level error check --disable-fetch advisories
else
    echo "SKIPPED: the database of advisories can't be fetched, so known vulnerabilities were not looked up" >&2
fi
