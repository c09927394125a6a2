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
    name=$1 api=$2 token=$3 log="$home/contract-$2-$1.log"; shift 3
    SCHEMATHESIS_HOOKS=$PWD/deploy/ndjson.py "$tools/bin/schemathesis" run "$(field "$api")/openapi.json" --url "$(field "$api")" --no-color \
        -H "Authorization: Bearer $token" -H "Tenure-Min-Position: 0" --checks not_a_server_error,no_line_is_a_server_error \
        "$@" --phases examples,coverage,fuzzing -n "${CASES:-10}" --seed 1 --workers 1 >"$log" 2>&1 || { cat "$log"; return 1; }
    echo "$api as $name:$(grep -E ' generated, ' "$log")"
}

# As somebody who may do everything in a tenant, as one who may do little, and as an operator; each a subject of their own, whose
# revocations are nobody else's.
as_one() {
    fresh_token() { "$bin/tenure" --home "$home" token --tenant "$1" --role "$2" --subject "$2"; }
    token=$(fresh_token "$@")
    for api in command_api query_api; do
        try_out "$2 of $1" "$api" "$token" --exclude-path /v1/auth/revocation ${ONLY:+--include-tag "$ONLY"}
    done
    # Ends the token; what comes after it is answered 401.
    [ -n "${ONLY:-}" ] || try_out "$2 of $1, revocation" command_api "$(fresh_token "$@")" --include-path /v1/auth/revocation
}

# Beside each other: each waits for its answers most of the time.
tried=
for who in "acme owner" "acme employee" "platform operator"; do
    # shellcheck disable=SC2086
    as_one $who &
    tried="$tried $!"
done
failed=0
for one in $tried; do wait "$one" || failed=1; done
exit $failed
