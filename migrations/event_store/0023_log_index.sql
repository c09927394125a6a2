-- EventStoreDB keeps no log per tenant, only `$all` with the events of all tenants. These tables say where each tenant's events stand in
-- it. The relay follows `$all` and writes them; readers of a tenant's log look the places up. The relay makes lost rows anew.
-- With the store in PostgreSQL these tables stay empty.

-- An event of a tenant's log, without the event.
create table event_store.log_entry (
    tenant_id uuid   not null,
    stream_id uuid,            -- null where this build can't read the stream's name: the category is then what follows the namespace
    position  bigint not null, -- the commit position in `$all`
    n         bigint not null, -- 1, 2, 3, … within the tenant's log
    revision  bigint not null, -- within its stream
    ordinal   bigint not null, -- 1, 2, 3, … within all of `$all`
    category  text   not null,
    constraint log_entry_place primary key (tenant_id, position)
);

-- The last entry of each tenant, and the event there.
create table event_store.log_head (
    tenant_id   uuid   not null primary key,
    position    bigint not null,
    n           bigint not null,
    event_id    uuid,
    recorded_at bigint         -- microseconds since 1970, as all times here
) with (fillfactor = 50);

-- The one row says up to which record of `$all` the entries are complete. A record need not be an event of a tenant, and may be
-- removed by the server (statistics); the last event of a tenant at or before it (`event_…`) may not.
create table event_store.log_progress (
    only_row          boolean not null primary key default true check (only_row),
    generation        bigint  not null, -- grows whenever the index is begun anew
    position          bigint  not null default 0,
    ordinal           bigint  not null default 0,
    record_id         uuid,
    recorded_at       bigint,
    event_position    bigint  not null default 0,
    event_id          uuid,
    event_recorded_at bigint
) with (fillfactor = 50);
insert into event_store.log_progress (generation) values (1);

alter table event_store.log_entry enable row level security;
alter table event_store.log_entry force row level security;
create policy named_tenant on event_store.log_entry
    using (array_position((select string_to_array(current_setting('tenure.tenants', true), ',')::uuid[]), tenant_id) is not null)
    with check (array_position((select string_to_array(current_setting('tenure.tenants', true), ',')::uuid[]), tenant_id) is not null);

-- Entries of a tenant from a position up to one that the caller knows to be indexed. Where the index was begun anew since, or lost its
-- last moments in a crash, nothing is answered: a hole would look like the end.
create function event_store.read_log_index(p_tenant uuid, p_generation bigint, p_from bigint, p_until bigint, p_limit bigint)
returns table ("position" bigint, revision bigint, ordinal bigint, category text, stream_id uuid, tenant_id uuid)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    if not exists (select from event_store.log_progress p where p.generation = p_generation and p.position >= p_until) then
        raise exception 'the index of the logs was begun anew' using errcode = 'serialization_failure';
    end if;
    return query
    select e.position, e.revision, e.ordinal, e.category, e.stream_id, e.tenant_id
    from event_store.log_entry e where e.tenant_id = p_tenant and e.position >= p_from and e.position <= p_until
    order by e.position limit p_limit;
end $$;

-- How many events each of these logs has up to a position, in the order asked for. As above.
create function event_store.count_log(p_tenants uuid[], p_positions bigint[], p_generation bigint, p_until bigint) returns bigint[]
language plpgsql volatile as $$
begin
    execute format('set local tenure.tenants = %L', array_to_string(p_tenants, ','));
    if not exists (select from event_store.log_progress p where p.generation = p_generation and p.position >= p_until) then
        raise exception 'the index of the logs was begun anew' using errcode = 'serialization_failure';
    end if;
    return array(
        select coalesce((select e.n from event_store.log_entry e where e.tenant_id = a.tenant and e.position <= a.at
            order by e.position desc limit 1), 0)
        from unnest(p_tenants, p_positions) with ordinality as a(tenant, at, i) order by a.i);
end $$;

-- Takes a page of `$all` into the index, for the relay that holds the lease. False if another one holds it. Not waited for on the
-- disk: what a crash loses, it loses together, and is read again.
create function event_store.index_log(p_owner text, p_epoch bigint, p_generation bigint, p_from bigint,
    p_position bigint, p_ordinal bigint, p_record uuid, p_recorded_at bigint, p_event_position bigint, p_event uuid, p_event_recorded_at bigint,
    e_tenant uuid[], e_stream uuid[], e_position bigint[], e_n bigint[], e_revision bigint[], e_ordinal bigint[], e_category text[],
    h_tenant uuid[], h_position bigint[], h_n bigint[], h_event uuid[], h_recorded_at bigint[]) returns boolean
language plpgsql volatile as $$
begin
    perform from event_store.lease where name = 'relay' and owner = p_owner and epoch = p_epoch for share;
    if not found then
        return false;
    end if;
    execute 'set local synchronous_commit = off';
    update event_store.log_progress set position = p_position, ordinal = p_ordinal, record_id = p_record, recorded_at = p_recorded_at,
        event_position = p_event_position, event_id = p_event, event_recorded_at = p_event_recorded_at
    where generation = p_generation and position = p_from;
    if not found then
        raise exception 'the index of the logs is not where this relay left it' using errcode = 'serialization_failure';
    end if;
    execute format('set local tenure.tenants = %L', array_to_string(h_tenant, ','));
    insert into event_store.log_entry (tenant_id, stream_id, position, n, revision, ordinal, category)
    select * from unnest(e_tenant, e_stream, e_position, e_n, e_revision, e_ordinal, e_category);
    insert into event_store.log_head as h (tenant_id, position, n, event_id, recorded_at)
    select * from unnest(h_tenant, h_position, h_n, h_event, h_recorded_at)
    on conflict (tenant_id) do update
    set position = excluded.position, n = excluded.n, event_id = excluded.event_id, recorded_at = excluded.recorded_at;
    return true;
end $$;

-- Begins the index anew, for the relay that holds the lease: by the owner, as no role may remove entries. The new generation; null if
-- another relay holds the lease.
create function event_store.begin_log_index(p_owner text, p_epoch bigint) returns bigint
language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    begun bigint;
begin
    perform from event_store.lease where name = 'relay' and owner = p_owner and epoch = p_epoch for share;
    if not found then
        return null;
    end if;
    -- Never one that was given out: the row may be lost.
    select greatest(coalesce(max(generation), 0) + 1, (extract(epoch from clock_timestamp()) * 1000000)::bigint) into begun from event_store.log_progress;
    truncate event_store.log_entry, event_store.log_head, event_store.log_progress;
    insert into event_store.log_progress (generation) values (begun);
    return begun;
end $$;

revoke all on function event_store.read_log_index, event_store.count_log, event_store.index_log, event_store.begin_log_index from public;
grant execute on function event_store.read_log_index to tenure_command, tenure_relay, tenure_projector, tenure_query;
grant execute on function event_store.count_log to tenure_relay, tenure_projector;
grant execute on function event_store.index_log, event_store.begin_log_index to tenure_relay;
grant select on event_store.log_entry, event_store.log_head, event_store.log_progress to tenure_command, tenure_relay, tenure_projector, tenure_query;
grant insert on event_store.log_entry to tenure_relay;
grant insert, update on event_store.log_head to tenure_relay;
grant update on event_store.log_progress to tenure_relay;
