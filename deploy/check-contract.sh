#!/bin/sh
# Sends what the OpenAPI documents allow, and what they don't, to every route of a private system (schemathesis): no answer
# may be a server error. `CASES=200 deploy/check-contract.sh` tries harder. Skipped loudly where there is no Python.
set -eu
cd "$(dirname "$0")/.."
bin=${CARGO_TARGET_DIR:-target}/${FOLDER:-debug}
tools=$PWD/.tenure-tools/schemathesis
version=4.32.5

skip() { echo "SKIPPED: the OpenAPI contracts are not tried out; $*" >&2; exit 0; }

if ! [ -x "$tools/bin/schemathesis" ]; then
    command -v python3 >/dev/null || skip "install python3 with its venv module"
    python3 -m venv "$tools" >/dev/null 2>&1 || skip "python3 can't make a virtual environment; install python3-venv"
    "$tools/bin/pip" install -q "schemathesis==$version" || { rm -rf "$tools"; skip "schemathesis can't be installed"; }
fi

home=$(mktemp -d "${TMPDIR:-/tmp}/tenure-contract.XXXXXX")
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

system=$(env -u DATABASE_URL -u NATS_URL -u EVENTSTORE_URL "$bin/tenure" --home "$home" --json up --detach --no-demo --until-exit-of $$)
field() { echo "$system" | sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/"; }
"$bin/tenure" --home "$home" tenant create --slug acme --name Acme >/dev/null

# A position that is ahead of everything is answered 503 with how far the read model is, which is meant.
try_out() {
    api=$1 token=$2; shift 2
    SCHEMATHESIS_HOOKS=$PWD/deploy/ndjson.py "$tools/bin/schemathesis" run "$(field "$api")/openapi.json" --url "$(field "$api")" --no-color \
        -H "Authorization: Bearer $token" -H "Tenure-Min-Position: 0" --checks not_a_server_error,no_line_is_a_server_error \
        "$@" --phases examples,coverage,fuzzing -n "${CASES:-10}" --seed 1 --workers 1 \
        >"$home/contract.log" 2>&1 || { cat "$home/contract.log"; exit 1; }
    grep -E ' generated, ' "$home/contract.log"
}

# As somebody who may do everything in a tenant, as one who may do little, and as an operator; each a subject of their own, whose
# revocations are nobody else's.
for who in "acme owner" "acme employee" "platform operator"; do
    fresh_token() { "$bin/tenure" --home "$home" token --tenant "${who% *}" --role "${who#* }" --subject "${who#* }"; }
    token=$(fresh_token)
    for api in command_api query_api; do
        echo "== $api as ${who#* } of ${who% *}"
        try_out "$api" "$token" --exclude-path /v1/auth/revocation
    done
    # Ends the token; what comes after it is answered 401.
    echo "== revocation as ${who#* } of ${who% *}"
    try_out command_api "$(fresh_token)" --include-path /v1/auth/revocation
done
