-- A command that was answered without an event, because it was refused or changed nothing, is closed: no append of it is taken any
-- more (verdict 5). Both the closing and the append hold the lock of the tenant's head, so one of them comes first and the other
-- finds it, whichever processes they are in (I7). A row of another epoch closes nothing.
create table event_store.answered_command (
    tenant_id   uuid        not null,
    command_id  uuid        not null,
    epoch       text        not null,
    answered_at timestamptz not null default now(),
    constraint answered_command_id primary key (tenant_id, command_id)
);
alter table event_store.answered_command enable row level security;
alter table event_store.answered_command force row level security;
create policy named_tenant on event_store.answered_command
    using (array_position((select string_to_array(current_setting('tenure.tenants', true), ',')::uuid[]), tenant_id) is not null)
    with check (array_position((select string_to_array(current_setting('tenure.tenants', true), ',')::uuid[]), tenant_id) is not null);
grant select, insert, delete on event_store.answered_command to tenure_command;
grant update (epoch, answered_at) on event_store.answered_command to tenure_command;

-- Closes a command. False if it has appended events, which are its answer; then the caller rolls back. Runs in the transaction that
-- remembers the answer. The lock of the head comes last, so that appends wait for the look and the commit alone.
create function event_store.answer_command(p_tenant uuid, p_command uuid) returns boolean language plpgsql volatile as $$
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    insert into event_store.answered_command as c (tenant_id, command_id, epoch)
    values (p_tenant, p_command, (select tag from platform.epoch))
    on conflict (tenant_id, command_id) do update set epoch = excluded.epoch, answered_at = now() where c.epoch <> excluded.epoch;
    insert into event_store.tenant_head (tenant_id, position) values (p_tenant, 0) on conflict do nothing;
    perform from event_store.tenant_head h where h.tenant_id = p_tenant for update;
    return not exists (select from event_store.event e where e.tenant_id = p_tenant and e.command_id = p_command);
end $$;
-- Forgets what was answered so many days ago.
create function event_store.forget_answered(p_tenant uuid, p_days int) returns bigint language plpgsql volatile as $$
declare forgotten bigint;
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    delete from event_store.answered_command c where c.tenant_id = p_tenant and c.answered_at < now() - make_interval(days => p_days);
    get diagnostics forgotten = row_count;
    return forgotten;
end $$;
revoke all on function event_store.answer_command, event_store.forget_answered from public;
grant execute on function event_store.answer_command, event_store.forget_answered to tenure_command;

-- The function of 0010 with one verdict more.
create or replace function event_store.append_batch(
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
                          when answered then 5
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
            exists (select from event_store.answered_command c where c.tenant_id = a.tenant and c.command_id = a.command
                and c.epoch = (select tag from platform.epoch)) as answered,
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
