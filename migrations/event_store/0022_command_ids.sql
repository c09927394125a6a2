-- With EventStoreDB, this table reserves a command's id for the stream that its events go to, so that a client that uses one
-- Idempotency-Key for two commands is told so. A row is kept for 30 days; the events of the command are kept for ever, in its stream.
create table event_store.command_id (
    tenant_id   uuid not null,
    command_id  uuid not null,
    category    text not null,
    stream_id   uuid not null,
    attempt     uuid not null, -- who reserved it last
    taken_from  uuid,          -- the attempt of another stream that had reserved it before
    shared      boolean not null default false, -- another attempt for the same stream may still be on its way
    reserved_at timestamptz not null,
    primary key (tenant_id, command_id)
);
-- Rows come in the order of time: a range of blocks says enough, and costs an insert nothing.
create index command_id_by_time on event_store.command_id using brin (reserved_at) with (pages_per_range = 16, autosummarize = on);

alter table event_store.command_id enable row level security;
alter table event_store.command_id force row level security;
create policy named_tenant on event_store.command_id
    using (array_position((select string_to_array(current_setting('tenure.tenants', true), ',')::uuid[]), tenant_id) is not null)
    with check (array_position((select string_to_array(current_setting('tenure.tenants', true), ',')::uuid[]), tenant_id) is not null);
-- The owner's functions see and remove old rows of every tenant; nobody else has a right to the table.
create policy old_seen on event_store.command_id for select using (reserved_at < now() - interval '30 days');
create policy old_removed on event_store.command_id for delete using (reserved_at < now() - interval '30 days');

-- Reserves each id for its stream, if nobody has, or the same stream, or the attempt named in `p_taken_from`. Gives the reservations that
-- stand then, in order. A batch names no id twice.
create function event_store.reserve_commands(p_tenant uuid[], p_command uuid[], p_category text[], p_stream uuid[], p_attempt uuid[], p_taken_from uuid[])
returns table (tenant_id uuid, category text, stream_id uuid, attempt uuid)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', array_to_string(array(select distinct t from unnest(p_tenant) t), ','));
    set local synchronous_commit = off;
    -- In one order, so that two batches don't wait for each other.
    insert into event_store.command_id as c (tenant_id, command_id, category, stream_id, attempt, taken_from, reserved_at)
    select r.tenant, r.command, r.category, r.stream, r.attempt, r.taken_from, statement_timestamp()
    from unnest(p_tenant, p_command, p_category, p_stream, p_attempt, p_taken_from) as r(tenant, command, category, stream, attempt, taken_from)
    order by r.tenant, r.command
    on conflict (tenant_id, command_id) do update
    set category = excluded.category, stream_id = excluded.stream_id, attempt = excluded.attempt, taken_from = excluded.taken_from,
        reserved_at = excluded.reserved_at,
        shared = (c.category, c.stream_id) = (excluded.category, excluded.stream_id)
            and (c.shared or c.attempt not in (excluded.attempt, coalesce(excluded.taken_from, excluded.attempt)))
    where (c.category, c.stream_id) = (excluded.category, excluded.stream_id) or c.attempt = excluded.taken_from;
    return query
    select c.tenant_id, c.category, c.stream_id, c.attempt
    from unnest(p_tenant, p_command) with ordinality as r(tenant, command, n)
    join event_store.command_id c on c.tenant_id = r.tenant and c.command_id = r.command
    order by r.n;
end $$;

create function event_store.reserved_command(p_tenant uuid, p_command uuid)
returns table (tenant_id uuid, category text, stream_id uuid, attempt uuid)
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return query
    select c.tenant_id, c.category, c.stream_id, c.attempt from event_store.command_id c
    where c.tenant_id = p_tenant and c.command_id = p_command;
end $$;

-- A refused command has not used its id, so the reservation is removed.
create function event_store.withdraw_command(p_tenant uuid, p_command uuid, p_attempt uuid)
returns void language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    set local synchronous_commit = off;
    delete from event_store.command_id c
    where c.tenant_id = p_tenant and c.command_id = p_command and c.attempt = p_attempt and not c.shared;
end $$;

-- Forgets at most so many of the reservations that are old; how many those were.
create function event_store.forget_commands(p_limit bigint)
returns bigint language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare forgotten bigint;
begin
    set local synchronous_commit = off;
    delete from event_store.command_id c using (
        select o.tenant_id, o.command_id from event_store.command_id o where o.reserved_at < now() - interval '30 days' limit p_limit
        for update skip locked) old
    where c.tenant_id = old.tenant_id and c.command_id = old.command_id;
    get diagnostics forgotten = row_count;
    return forgotten;
end $$;

revoke all on function event_store.reserve_commands, event_store.reserved_command, event_store.withdraw_command, event_store.forget_commands
    from public;
grant execute on function event_store.reserve_commands, event_store.reserved_command, event_store.withdraw_command, event_store.forget_commands
    to tenure_command;
