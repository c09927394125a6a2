-- The one statement that writes: a batch of appends in one transaction, each judged on its own (group commit).
--
-- Verdicts: 0 written, 1 a replay of a command that is there, 2 wrong version, 3 claim taken, 4 command id used for
-- another command. The caller sees to it that no two appends of a batch share a stream, a command or a claim.
-- The heads' row locks, taken in tenant order, make a tenant's writers wait for each other; every check stands in a
-- statement after them and so sees what the one before committed (read committed).
--
-- Arrays named `a_` have an element per append, `e_` one per event, `c_` one per claim. The answer has an element per
-- append: its verdict, its stream's version afterwards, the position of its last event, the claim that is taken; and, in
-- microseconds, the instant of all of them and how long the heads' locks were waited for. What the statements hand to
-- each other are arrays too, read by subscript: joining them would cost more than writing.
create or replace function event_store.append_batch(
    a_tenant uuid[], a_category text[], a_stream uuid[], a_expected bigint[], a_events int[], a_command uuid[], a_hash uuid[],
    a_actor text[], a_correlation uuid[], a_causation uuid[], a_traceparent text[],
    e_append int[], e_n int[], e_id uuid[], e_type text[], e_schema smallint[], e_data text[],
    c_append int[], c_kind text[], c_digest bytea[], c_take boolean[],
    out verdicts smallint[], out versions bigint[], out positions bigint[], out taken text[], out recorded_at bigint, out waited bigint
) language plpgsql volatile as $$
declare
    tenants uuid[] := array(select distinct t from unnest(a_tenant) t order by t);
    heads   bigint[];
    instant timestamptz;
    at      int;
    this    int;
begin
    execute format('set local tenure.tenants = %L', array_to_string(tenants, ','));
    heads := array(select h.position from event_store.tenant_head h where h.tenant_id = any (tenants) order by h.tenant_id for update);
    if cardinality(heads) < cardinality(tenants) then
        insert into event_store.tenant_head (tenant_id, position) select t, 0 from unnest(tenants) t order by t on conflict do nothing;
        heads := array(select h.position from event_store.tenant_head h where h.tenant_id = any (tenants) order by h.tenant_id for update);
    end if;
    instant := clock_timestamp();
    recorded_at := (extract(epoch from instant) * 1000000)::bigint;
    waited := (extract(epoch from instant - statement_timestamp()) * 1000000)::bigint;

    taken := array_fill(null::text, array[cardinality(a_tenant)]);
    for this in
        select c from generate_subscripts(c_append, 1) c where c_take[c] and (
            select (k.category, k.stream_id) <> (a_category[c_append[c]], a_stream[c_append[c]]) from event_store.claim k
            where k.tenant_id = a_tenant[c_append[c]] and k.kind = c_kind[c] and k.digest = c_digest[c])
    loop
        taken[c_append[this]] := least(taken[c_append[this]], c_kind[this]);
    end loop;

    select array_agg(case when known is not null then case when known = hash then 1 else 4 end
                          when expected >= 0 and expected <> version then 2
                          when taken[i] is not null then 3
                          else 0 end order by i),
           array_agg(version order by i)
    into verdicts, versions
    from (
        select a.*,
            (select e.command_hash from event_store.event e where e.tenant_id = a.tenant and e.command_id = a.command limit 1) as known,
            coalesce((select e.version from event_store.event e where e.tenant_id = a.tenant and e.stream_id = a.stream
                and e.category = a.category order by e.version desc limit 1), 0) as version
        from unnest(a_tenant, a_category, a_stream, a_expected, a_command, a_hash) with ordinality as a(tenant, category, stream, expected, command, hash, i)
        offset 0
    ) judged;

    positions := array_fill(null::bigint, array[cardinality(a_tenant)]);
    for i in 1 .. cardinality(a_tenant) loop
        if verdicts[i] = 0 then
            at := array_position(tenants, a_tenant[i]);
            heads[at] := heads[at] + a_events[i];
            positions[i] := heads[at];
        end if;
    end loop;

    insert into event_store.event
    select a_tenant[i], positions[i] - a_events[i] + n, a_category[i], a_stream[i], versions[i] + n, id, type, schema, data,
        a_actor[i], a_command[i], a_hash[i], a_correlation[i], a_causation[i], a_traceparent[i], instant
    from unnest(e_append, e_n, e_id, e_type, e_schema, e_data) as e(i, n, id, type, schema, data) where verdicts[i] = 0;
    for this in select c from generate_subscripts(c_append, 1) c where not c_take[c] and verdicts[c_append[c]] = 0 loop
        delete from event_store.claim k
        where k.tenant_id = a_tenant[c_append[this]] and k.kind = c_kind[this] and k.digest = c_digest[this]
            and (k.category, k.stream_id) = (a_category[c_append[this]], a_stream[c_append[this]]);
    end loop;
    if cardinality(c_append) > 0 then
        insert into event_store.claim
        select a_tenant[c_append[c]], c_kind[c], c_digest[c], a_category[c_append[c]], a_stream[c_append[c]]
        from generate_subscripts(c_append, 1) as c where c_take[c] and verdicts[c_append[c]] = 0 on conflict do nothing;
    end if;
    update event_store.tenant_head h set position = t.position from unnest(tenants, heads) as t(tenant, position)
    where h.tenant_id = t.tenant and h.position <> t.position;
    versions := array(select case verdict when 0 then version + events else version end
        from unnest(verdicts, versions, a_events) as t(verdict, version, events));
end $$;
