-- The one statement that writes: a batch of appends in one transaction, each judged on its own (group commit).
--
-- Verdicts: 0 written, 1 a replay of a command that is there, 2 wrong version, 3 claim taken, 4 command id used for
-- another command. The caller sees to it that no two appends of a batch share a stream, a command or a claim.
-- The heads' row locks, taken in tenant order, make a tenant's writers wait for each other; every check stands in a
-- statement after them and so sees what the one before committed (read committed).
create or replace function event_store.append_batch(
    a_tenant uuid[], a_category text[], a_stream uuid[], a_expected bigint[], a_events int[], a_command uuid[], a_hash uuid[],
    a_actor text[], a_correlation uuid[], a_causation uuid[], a_traceparent text[],
    e_append int[], e_n int[], e_id uuid[], e_type text[], e_schema smallint[], e_data text[],
    c_append int[], c_kind text[], c_digest bytea[], c_take boolean[]
) returns table (append int, verdict smallint, version bigint, "position" bigint, recorded_at bigint, taken text)
language plpgsql volatile as $$
#variable_conflict use_column
declare
    tenants uuid[] := array(select distinct t from unnest(a_tenant) t);
    locked  int;
    instant timestamptz;
begin
    execute format('set local tenure.tenants = %L', array_to_string(tenants, ','));
    select count(*) into locked from (select 1 from event_store.tenant_head h where h.tenant_id = any (tenants) order by h.tenant_id for update) l;
    if locked < cardinality(tenants) then
        insert into event_store.tenant_head (tenant_id, position) select t, 0 from unnest(tenants) t order by t on conflict do nothing;
        perform 1 from event_store.tenant_head h where h.tenant_id = any (tenants) order by h.tenant_id for update;
    end if;
    instant := clock_timestamp();
    return query
    with a as (
        select * from unnest(a_tenant, a_category, a_stream, a_expected, a_events, a_command, a_hash, a_actor, a_correlation, a_causation, a_traceparent)
            with ordinality as t(tenant, category, stream, expected, events, command, hash, actor, correlation, causation, traceparent, i)
    ), c as (
        select a.tenant, a.category, a.stream, x.* from unnest(c_append, c_kind, c_digest, c_take) as x(i, kind, digest, take) join a using (i)
    ), judged as (
        select a.*, now_at.v as at, r.v as replay_version, r.p as replay_position, r.t as replay_at, taken.kind as taken,
            case when r.h is not null then case when r.h = a.hash then 1 else 4 end
                 when a.expected >= 0 and a.expected <> now_at.v then 2
                 when taken.kind is not null then 3
                 else 0 end as verdict
        from a
        left join lateral (
            select max(e.version) v, max(e.position) p, min(e.recorded_at) t, (array_agg(e.command_hash))[1] h
            from event_store.event e where e.tenant_id = a.tenant and e.command_id = a.command
        ) r on true
        left join lateral (
            select coalesce((select e.version from event_store.event e
                where e.tenant_id = a.tenant and e.stream_id = a.stream and e.category = a.category order by e.version desc limit 1), 0) v
        ) now_at on true
        left join lateral (
            select min(c.kind) kind from c join event_store.claim k on k.tenant_id = c.tenant and k.kind = c.kind and k.digest = c.digest
            where c.i = a.i and c.take and (k.category, k.stream_id) <> (a.category, a.stream)
        ) taken on true
    ), placed as (
        select j.*, h.position + sum(case when verdict = 0 then events else 0 end) over (partition by tenant order by i) as last
        from judged j join event_store.tenant_head h on h.tenant_id = j.tenant
    ), written as (
        insert into event_store.event
        select p.tenant, p.last - p.events + e.n, p.category, p.stream, p.at + e.n, e.id, e.type, e.schema, e.data,
            p.actor, p.command, p.hash, p.correlation, p.causation, p.traceparent, instant
        from unnest(e_append, e_n, e_id, e_type, e_schema, e_data) as e(i, n, id, type, schema, data)
        join placed p on p.i = e.i and p.verdict = 0
        order by 1, 2
    ), moved as (
        update event_store.tenant_head h set position = m.last
        from (select tenant, max(last) as last from placed where verdict = 0 group by tenant) m where h.tenant_id = m.tenant
    ), released as (
        delete from event_store.claim k using c join placed p on p.i = c.i and p.verdict = 0
        where not c.take and k.tenant_id = c.tenant and k.kind = c.kind and k.digest = c.digest and (k.category, k.stream_id) = (c.category, c.stream)
    ), taken as (
        insert into event_store.claim select c.tenant, c.kind, c.digest, c.category, c.stream from c join placed p on p.i = c.i and p.verdict = 0
        where c.take on conflict do nothing
    )
    select p.i::int, p.verdict::smallint,
        case p.verdict when 0 then p.at + p.events when 1 then p.replay_version else p.at end,
        case p.verdict when 0 then p.last when 1 then p.replay_position end::bigint,
        (extract(epoch from case p.verdict when 0 then instant else p.replay_at end) * 1000000)::bigint,
        p.taken
    from placed p order by p.i;
end $$;
