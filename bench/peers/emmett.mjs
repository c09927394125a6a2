// How fast emmett's PostgreSQL event store appends: writers in a closed loop, an event per append, streams of ten events of
// their own. Prints one line of JSON. `node emmett.mjs SOCKET-OR-HOST PORT USER DATABASE WRITERS SECONDS BYTES`
import { getPostgreSQLEventStore } from '@event-driven-io/emmett-postgresql';
import { randomUUID } from 'node:crypto';
import pg from 'pg';

const [host, port, user, database, writers, seconds, bytes] = process.argv.slice(2);
const url = `postgresql://${user}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`;
const pool = new pg.Pool({ host, port: Number(port), user, database, max: Number(writers) });
const store = getPostgreSQLEventStore(url, { connectionOptions: { connectionString: url, pool } });
await store.schema.migrate();

const reason = 'x'.repeat(Number(bytes) - 13);
const times = [];
const started = performance.now();
const end = started + Number(seconds) * 1000;

const writer = async () => {
  let stream;
  let version = 0n;
  for (let n = 0; performance.now() < end; n++) {
    if (n % 10 === 0) {
      stream = `employee-${randomUUID()}`;
      version = 0n;
    }
    const sent = performance.now();
    const expectedStreamVersion = version === 0n ? 'STREAM_DOES_NOT_EXIST' : version;
    const appended = await store.appendToStream(stream, [{ type: 'CompensationChanged', data: { reason } }], { expectedStreamVersion });
    version = appended.nextExpectedStreamVersion;
    times.push(performance.now() - sent);
  }
};

await Promise.all(Array.from({ length: Number(writers) }, writer));
const rate = (times.length / (performance.now() - started)) * 1000;
times.sort((a, b) => a - b);
const ms = (quantile) => Number(times[Math.floor((times.length - 1) * quantile)].toFixed(3));
console.log(JSON.stringify({ peer: 'emmett', writers: Number(writers), appends_per_second: Math.round(rate), p50_ms: ms(0.5), p99_ms: ms(0.99) }));
await store.close();
await pool.end();
