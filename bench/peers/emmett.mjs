// How fast emmett's PostgreSQL event store appends, how soon what was appended is in a read model, and how fast it makes one from
// all that there is: what the other peers' program measures, in the same way, in one process of Node.js. Prints one line of JSON.
// `node emmett.mjs '{"measure": "append", "host": …}'`; the keys stand below.
import { dumbo, SQL } from '@event-driven-io/dumbo';
import { projections } from '@event-driven-io/emmett';
import {
  getPostgreSQLEventStore,
  postgreSQLEventStoreConsumer,
  postgreSQLRawSQLProjection,
  rebuildPostgreSQLProjections,
} from '@event-driven-io/emmett-postgresql';
import { randomUUID } from 'node:crypto';
import { setTimeout as sleep } from 'node:timers/promises';
import pg from 'pg';

const { measure, inline, host, port, user, database, writers, seconds, bytes, rate, events } = JSON.parse(process.argv[2]);
const url = `postgresql://${user}@localhost:${port}/${database}?host=${encodeURIComponent(host)}`;
const pool = new pg.Pool({ host, port: Number(port), user, database, max: writers });

// Each stream's events, and the reason that the last one gave.
const pay = postgreSQLRawSQLProjection({
  name: 'pay',
  canHandle: ['CompensationChanged'],
  evolve: ({ data, metadata }) => SQL`insert into read_model values (${metadata.streamName}, 1, ${data.reason})
    on conflict (stream) do update set changes = read_model.changes + 1, reason = excluded.reason`,
});
await pool.query('create table read_model (stream text primary key, changes bigint not null, reason text not null)');
const kept = inline ? { projections: projections.inline([pay]) } : {};
const store = getPostgreSQLEventStore(url, { ...kept, connectionOptions: { connectionString: url, pool } });
await store.schema.migrate();

const reason = 'x'.repeat(bytes - 13);

// One that appends one event after the other, in streams of ten.
const writer = () => {
  const own = { stream: undefined, version: 0n, count: 0 };
  own.append = async () => {
    if (own.count % 10 === 0) Object.assign(own, { stream: `employee-${randomUUID()}`, version: 0n });
    const expectedStreamVersion = own.version === 0n ? 'STREAM_DOES_NOT_EXIST' : own.version;
    const appended = await store.appendToStream(own.stream, [{ type: 'CompensationChanged', data: { reason } }], { expectedStreamVersion });
    own.version = appended.nextExpectedStreamVersion;
    own.count += 1;
  };
  return own;
};
const all = (work, count = writers) => Promise.all(Array.from({ length: count }, (_, nth) => work(writer(), nth)));

const quantiles = (times) => {
  times.sort((a, b) => a - b);
  return (quantile) => Number(times[Math.floor((times.length - 1) * quantile)].toFixed(3));
};

const append = async () => {
  const times = [];
  const started = performance.now();
  await all(async (own) => {
    while (performance.now() < started + seconds * 1000) {
      const sent = performance.now();
      await own.append();
      times.push(performance.now() - sent);
    }
  });
  const appends_per_second = Math.round((times.length / (performance.now() - started)) * 1000);
  const ms = quantiles(times);
  return { writers, appends_per_second, p50_ms: ms(0.5), p99_ms: ms(0.99) };
};

const visible = async () => {
  const follower = postgreSQLEventStoreConsumer({ connectionString: url, pool: dumbo({ connectionString: url }) });
  if (!inline) {
    follower.projector({ projection: pay });
    follower.start();
    await sleep(1000);
  }
  const warmUp = 1000;
  const began = performance.now();
  let pending = [];
  let writing = true;
  const figures = { acknowledged: [], visible: [], sent: [] };
  const look = async () => {
    while (writing || pending.length > 0) {
      const looked = pending;
      pending = [];
      const { rows } = looked.length
        ? await pool.query('select stream, changes from read_model where stream = any($1)', [looked.map((append) => append.stream)])
        : { rows: [] };
      const there = new Map(rows.map((row) => [row.stream, BigInt(row.changes)]));
      const now = performance.now();
      for (const append of looked) {
        if ((there.get(append.stream) ?? 0n) < append.version) {
          if (now - append.due > 20_000) throw new Error('that rate is not sustained: an event was not visible after 20 s');
          pending.push(append);
        } else if (append.due >= began + warmUp) {
          figures.acknowledged.push(append.acknowledged - append.due);
          figures.visible.push(now - append.acknowledged);
          figures.sent.push(now - append.due);
        }
      }
      await sleep(1);
    }
  };
  const write = async (own, nth) => {
    for (let n = nth; ; n += writers) {
      const due = began + (n / rate) * 1000;
      if (due >= began + warmUp + seconds * 1000) return;
      await sleep(Math.max(0, due - performance.now()));
      await own.append();
      pending.push({ stream: own.stream, version: own.version, due, acknowledged: performance.now() });
    }
  };
  await Promise.all([all(write).finally(() => (writing = false)), look()]);
  const times = (of) => ((ms) => ({ p50: ms(0.5), p99: ms(0.99), max: ms(1) }))(quantiles(of));
  const appends = figures.sent.length;
  return { rate, appends, acknowledged_ms: times(figures.acknowledged), visible_ms: times(figures.visible), sent_to_visible_ms: times(figures.sent) };
};

const catchUp = async () => {
  // One after the other: it reads in the order of transactions and goes on after the last position, which skips events where
  // those that overlapped have their positions in another order. (Of 6,400 by 64 writers, a quarter.)
  await all(async (own) => {
    for (let n = 0; n < events; n++) await own.append();
  }, 1);
  const began = performance.now();
  // By default it reads 100 and rests for 50 ms.
  const pulling = { batchSize: 1000, pullingFrequencyInMs: 1 };
  await rebuildPostgreSQLProjections({ connectionString: url, projection: pay, pulling }).start();
  const took = (performance.now() - began) / 1000;
  const { rows } = await pool.query('select coalesce(sum(changes), 0)::int as there from read_model');
  if (rows[0].there !== events) throw new Error(`${rows[0].there} events in the read model of ${events}`);
  return { events, seconds: took, events_per_second: Math.round(events / took) };
};

console.log(JSON.stringify(await { append, visible, 'catch-up': catchUp }[measure]()));
// A consumer that waits between two looks would hold the process for as long.
process.exit(0);
