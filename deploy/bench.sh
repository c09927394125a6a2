#!/bin/sh
# Builds for speed and measures, against peers and limits in the same run. Everything it starts is private, lives in a
# temporary folder, and is gone at the end. `deploy/bench.sh append hot` runs only those; all of them take two and a half hours
# and 20 GB.
# With BENCH_FSYNC_MS=2 every flush of PostgreSQL and of UmaDB takes two milliseconds, as on a slower disk.
set -eu
cd "$(dirname "$0")/.."
benches=${*:-hot append full peers commands queries rebuild projection visible users tenants resources}
bin=${CARGO_TARGET_DIR:-target}/release

# Hundreds of clients and their servers have two ends of each connection.
ulimit -n "$(ulimit -H -n)" 2>/dev/null || true

echo "building for speed" >&2
cargo build --release --workspace --quiet

for dir in $(echo "$PATH" | tr ':' ' ') /usr/lib/postgresql/*/bin /usr/pgsql-*/bin /opt/homebrew/opt/postgresql@*/bin /usr/local/opt/postgresql@*/bin; do
    if [ -x "$dir/initdb" ] && [ -x "$dir/postgres" ] && [ -x "$dir/pg_ctl" ]; then pg=$dir; fi
done
[ -n "${pg:-}" ] || { echo "PostgreSQL was not found; run \`make tools\`" >&2; exit 1; }

# In /var/tmp, because /tmp is memory on some systems, and nothing is durable there.
work=$(mktemp -d "${TENURE_BENCH_DIR:-/var/tmp}/tenure-bench.XXXXXX")
export TMPDIR="$work"
as_postgres() { (cd "$work" && "$@"); }
if [ "$(id -u)" = 0 ]; then
    # PostgreSQL never runs as root.
    user=postgres; id "$user" >/dev/null 2>&1 || user=nobody
    as_postgres() { (cd "$work" && setpriv --reuid="$user" --regid="$(id -g "$user")" --clear-groups "$@"); }
    chown "$user" "$work"
fi
clean_up() {
    status=$?
    trap - EXIT
    if [ -f "$work/data/postmaster.pid" ]; then as_postgres "$pg/pg_ctl" -D "$work/data" -m immediate -w stop >/dev/null || true; fi
    if [ -d "$work/home" ]; then "$bin/tenure" --home "$work/home" down --wipe >/dev/null 2>&1 || true; fi
    rm -rf "$work"
    exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

slow=
if [ -n "${BENCH_FSYNC_MS:-}" ]; then
    cc -O2 -shared -fPIC -o "$work/slow_fsync.so" bench/slow_fsync.c -ldl
    slow="env LD_PRELOAD=$work/slow_fsync.so SLOW_FSYNC_US=$((BENCH_FSYNC_MS * 1000))"
fi

# The settings are those of `tenure up`, with an eighth of the machine's memory; whoever may enter the folder is let in.
buffers=$(awk '/^MemTotal/ {m = int($2 / 8192); print (m < 256 ? 256 : (m > 4096 ? 4096 : m))}' /proc/meminfo 2>/dev/null || true)
as_postgres "$pg/initdb" -D "$work/data" -U postgres -A trust -E UTF8 --locale=C >/dev/null
export MALLOC_TRIM_THRESHOLD_=8388608 MALLOC_MMAP_THRESHOLD_=4194304 MALLOC_TOP_PAD_=1048576
# shellcheck disable=SC2086
as_postgres $slow "$pg/pg_ctl" -D "$work/data" -l "$work/log" -w -o "-c listen_addresses='' -c unix_socket_directories=$work \
    -c max_connections=400 -c shared_buffers=${buffers:-256}MB -c max_files_per_process=10000 -c max_wal_size=4GB \
    -c checkpoint_timeout=15min -c jit=off" start >/dev/null
url=postgres://postgres@$(echo "$work" | sed 's,/,%2F,g')/postgres

# A server that has worked for a while has the files of its write-ahead log; a new one stops for some 50 ms to make each 16 MB.
as_postgres "$pg/psql" -q -h "$work" -U postgres -c "create table wal (t text); alter table wal alter t set storage plain" \
    -c "insert into wal select repeat('x', 8000) from generate_series(1, 600000)" -c "drop table wal" -c checkpoint

cpu=$(sed -n 's/^model name[^:]*: //p' /proc/cpuinfo 2>/dev/null | head -n 1)
memory=$(awk '/^MemTotal/ {printf "%.0f GB", $2 / 1048576}' /proc/meminfo 2>/dev/null || true)
# shellcheck disable=SC2086
synced=$(as_postgres $slow "$pg/pg_test_fsync" --secs-per-test=1 --filename="$work/data/fsync" 2>/dev/null | awk '$1 == "fdatasync" {print $2; exit}')
echo
echo "machine     $(uname -sm), $(getconf _NPROCESSORS_ONLN) cores ${cpu:-}, ${memory:-memory unknown}"
echo "disk        ${synced:-?} fdatasync/s of 8 kB in $(dirname "$work")${slow:+, slowed on purpose}"
echo "versions    $("$pg/postgres" --version); $(rustc --version); commit $(git rev-parse --short HEAD 2>/dev/null || echo unknown)"
echo "load        $(uptime | sed 's/.*load/load/')"

field() { sed -E "s/.*\"$1\":\"([^\"]*)\".*/\1/"; }
# A whole system with processes and servers of its own.
up() { env -u DATABASE_URL -u NATS_URL -u EVENTSTORE_URL "$bin/tenure" --home "$work/home" --json up --detach --no-demo --until-exit-of $$; }
down() { "$bin/tenure" --home "$work/home" down --wipe >/dev/null; }

for bench in $benches; do
    printf '\n== %s\n' "$bench"
    case $bench in
        hot) "$bin/hot" ;;
        append) "$bin/append" --database-url "$url" --rounds 3 --seconds 2 --pgbench "$pg/pgbench" ;;
        full) "$bin/append" --database-url "$url" --prefill "${BENCH_PREFILL:-5000000}" --tenants 1,50 --writers 1,64 --events-per-command 1 --rounds 5 --seconds 2 ;;
        peers) PATH="$pg:$PATH" SLOW_FSYNC="$slow" bench/peers/run --database-url "$url" ;;
        commands) "$bin/commands" --database-url "$url" ;;
        queries) "$bin/queries" --database-url "$url" ;;
        rebuild) "$bin/rebuild" --database-url "$url" ;;
        projection) "$bin/projection" --database-url "$url" ;;
        visible)
            # One tenant with all the load: its own limit is not what is asked for.
            system=$(export TENURE_TENANT_REQUESTS_PER_SECOND=1000000 TENURE_TENANT_CONCURRENT_REQUESTS=1000000; up)
            for how in "--rate 100" "--rate 500" "--rate 1000" --find-highest; do
                slug=bench-$(echo "$how" | tr -cd '[:alnum:]')
                "$bin/tenure" --home "$work/home" tenant create --slug "$slug" --name Bench >/dev/null
                # shellcheck disable=SC2086
                "$bin/visible" --command-api "$(echo "$system" | field command_api)" --query-api "$(echo "$system" | field query_api)" \
                    --token "$("$bin/tenure" --home "$work/home" token --tenant "$slug")" $how ||
                    echo "that is more than this machine sustains; the other measurements go on" >&2
            done
            down
            ;;
        users)
            up >/dev/null
            "$bin/users" --home "$work/home" --tenure "$bin/tenure" --seconds "${BENCH_SECONDS:-600}"
            down
            ;;
        tenants)
            up >/dev/null
            "$bin/users" --home "$work/home" --tenure "$bin/tenure" --tenants 10,1000 --users 100 --pause 0 --seconds 10 --rounds 5
            down
            ;;
        resources) "$bin/resources" ;;
        *) echo "the benches are hot, append, full, peers, commands, queries, rebuild, projection, visible, users, tenants and resources" >&2; exit 1 ;;
    esac
done
