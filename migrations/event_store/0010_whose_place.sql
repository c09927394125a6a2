-- A position or a version alone is no identity: a store that was put back gives them to other events. So what stands at the end of a
-- tenant's log is known by its event (id, and the instant in microseconds), and an append may say which event it was decided after.
alter table event_store.tenant_head add column event_id uuid, add column recorded_at bigint;

-- The function of 0007 with two arguments more: `a_seen` and `a_seen_at`, for each append the event that its writer saw at the
-- version that it expects, or null. Where another one is there now the verdict is 2. The events of an append come one after another
-- in the arrays named `e_`, in the order of the appends.
drop function event_store.append_batch(uuid[], text[], uuid[], bigint[], int[], uuid[], uuid[], text[], uuid[], uuid[], text[],
    int[], int[], uuid[], text[], smallint[], text[], int[], text[], bytea[], boolean[]);

create function event_store.append_batch(
    a_tenant uuid[], a_category text[], a_stream uuid[], a_expected bigint[], a_seen uuid[], a_seen_at bigint[],
    a_events int[], a_command uuid[], a_hash uuid[],
    a_actor text[], a_correlation uuid[], a_causation uuid[], a_traceparent text[],
    e_append int[], e_n int[], e_id uuid[], e_type text[], e_schema smallint[], e_data text[],
    c_append int[], c_kind text[], c_digest bytea[], c_take boolean[],
    out verdicts smallint[], out versions bigint[], out positions bigint[], out taken text[], out recorded_at bigint, out waited bigint
) language plpgsql volatile as $$
declare
    tenants uuid[];
    heads   bigint[];
    last    uuid[];
    instant timestamptz;
    done    int := 0;
    at      int;
    this    int;
begin
    if a_tenant[1] = all (a_tenant) then
        tenants := a_tenant[1:1];
    else
        tenants := array(select distinct t from unnest(a_tenant) t order by t);
    end if;
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
    if cardinality(c_append) > 0 then
        for this in
            select c from generate_subscripts(c_append, 1) c where c_take[c] and (
                select (k.category, k.stream_id) <> (a_category[c_append[c]], a_stream[c_append[c]]) from event_store.claim k
                where k.tenant_id = a_tenant[c_append[c]] and k.kind = c_kind[c] and k.digest = c_digest[c])
        loop
            taken[c_append[this]] := least(taken[c_append[this]], c_kind[this]);
        end loop;
    end if;

    select array_agg(case when known is not null then case when known = hash then 1 else 4 end
                          when expected >= 0 and expected <> version then 2
                          when seen <> last_id or seen_at <> (extract(epoch from last_at) * 1000000)::bigint then 2
                          when taken[i] is not null then 3
                          else 0 end),
           array_agg(version)
    into verdicts, versions
    from (
        select a.*,
            (select e.command_hash from event_store.event e where e.tenant_id = a.tenant and e.command_id = a.command
                order by e.version limit 1) as known,
            coalesce(newest.version, 0) as version, newest.event_id as last_id, newest.recorded_at as last_at
        from unnest(a_tenant, a_category, a_stream, a_expected, a_seen, a_seen_at, a_command, a_hash)
            with ordinality as a(tenant, category, stream, expected, seen, seen_at, command, hash, i)
        left join lateral (select e.version, e.event_id, e.recorded_at from event_store.event e where e.tenant_id = a.tenant
            and e.stream_id = a.stream and e.category = a.category order by e.version desc limit 1) newest on true
        order by i
    ) judged;

    positions := array_fill(null::bigint, array[cardinality(a_tenant)]);
    last := array_fill(null::uuid, array[cardinality(tenants)]);
    for i in 1 .. cardinality(a_tenant) loop
        done := done + a_events[i];
        if verdicts[i] = 0 then
            at := array_position(tenants, a_tenant[i]);
            heads[at] := heads[at] + a_events[i];
            last[at] := e_id[done];
            positions[i] := heads[at];
            versions[i] := versions[i] + a_events[i];
        end if;
    end loop;

    insert into event_store.event
    select a_tenant[i], positions[i] - a_events[i] + n, a_category[i], a_stream[i], versions[i] - a_events[i] + n, id, type, schema, data,
        a_actor[i], a_command[i], a_hash[i], a_correlation[i], a_causation[i], a_traceparent[i], instant
    from unnest(e_append, e_n, e_id, e_type, e_schema, e_data) as e(i, n, id, type, schema, data) where verdicts[i] = 0;
    if cardinality(c_append) > 0 then
        for this in select c from generate_subscripts(c_append, 1) c where not c_take[c] and verdicts[c_append[c]] = 0 loop
            delete from event_store.claim k
            where k.tenant_id = a_tenant[c_append[this]] and k.kind = c_kind[this] and k.digest = c_digest[this]
                and (k.category, k.stream_id) = (a_category[c_append[this]], a_stream[c_append[this]]);
        end loop;
        insert into event_store.claim
        select a_tenant[c_append[c]], c_kind[c], c_digest[c], a_category[c_append[c]], a_stream[c_append[c]]
        from generate_subscripts(c_append, 1) as c where c_take[c] and verdicts[c_append[c]] = 0 on conflict do nothing;
    end if;
    update event_store.tenant_head h
    set position = heads[array_position(tenants, h.tenant_id)], event_id = last[array_position(tenants, h.tenant_id)], recorded_at = append_batch.recorded_at
    where h.tenant_id = any (tenants) and h.position <> heads[array_position(tenants, h.tenant_id)];
end $$;

revoke all on function event_store.append_batch from public;
grant execute on function event_store.append_batch to tenure_command, tenure_projector;

-- The relay's cursor names its event, too.
alter table event_store.relay_cursor add column event_id uuid, add column recorded_at bigint;
