-- What is read says whose it is, row by row, so that the engine can compare it with whom it asked for: the condition and
-- row-level security both follow from one argument, and would fail together. Otherwise the functions are those of 0003 and
-- 0005; a function's columns can't be changed in place.
drop function if exists event_store.read_log(uuid, bigint, bigint);
drop function if exists event_store.read_stream(uuid, text, uuid, bigint, bigint);
drop function if exists event_store.read_command(uuid, uuid);
drop function if exists event_store.read_streams(uuid, uuid, text, bigint, uuid, bigint, bigint);

create function event_store.read_log(p_tenant uuid, p_after bigint, p_limit bigint)
returns table ("position" bigint, category text, stream_id uuid, version bigint, event_id uuid, event_type text, schema_version smallint,
    data text, actor text, command_id uuid, command_hash uuid, correlation_id uuid, causation_id uuid, traceparent text, recorded_at bigint,
    tenant_id uuid)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return query
    select e.position, e.category, e.stream_id, e.version, e.event_id, e.event_type, e.schema_version, e.data, e.actor, e.command_id,
        e.command_hash, e.correlation_id, e.causation_id, e.traceparent, (extract(epoch from e.recorded_at) * 1000000)::bigint, e.tenant_id
    from event_store.event e where e.tenant_id = p_tenant and e.position > p_after order by e.position limit p_limit;
end $$;

create function event_store.read_stream(p_tenant uuid, p_category text, p_stream uuid, p_after bigint, p_limit bigint)
returns table ("position" bigint, category text, stream_id uuid, version bigint, event_id uuid, event_type text, schema_version smallint,
    data text, actor text, command_id uuid, command_hash uuid, correlation_id uuid, causation_id uuid, traceparent text, recorded_at bigint,
    tenant_id uuid)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return query
    select e.position, e.category, e.stream_id, e.version, e.event_id, e.event_type, e.schema_version, e.data, e.actor, e.command_id,
        e.command_hash, e.correlation_id, e.causation_id, e.traceparent, (extract(epoch from e.recorded_at) * 1000000)::bigint, e.tenant_id
    from event_store.event e where e.tenant_id = p_tenant and e.stream_id = p_stream and e.category = p_category and e.version > p_after order by e.version limit p_limit;
end $$;

create function event_store.read_command(p_tenant uuid, p_command uuid)
returns table ("position" bigint, category text, stream_id uuid, version bigint, event_id uuid, event_type text, schema_version smallint,
    data text, actor text, command_id uuid, command_hash uuid, correlation_id uuid, causation_id uuid, traceparent text, recorded_at bigint,
    tenant_id uuid)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return query
    select e.position, e.category, e.stream_id, e.version, e.event_id, e.event_type, e.schema_version, e.data, e.actor, e.command_id,
        e.command_hash, e.correlation_id, e.causation_id, e.traceparent, (extract(epoch from e.recorded_at) * 1000000)::bigint, e.tenant_id
    from event_store.event e where e.tenant_id = p_tenant and e.command_id = p_command order by e.version;
end $$;

create function event_store.read_streams(p_tenant uuid, p_stream uuid, p_category text, p_version bigint, p_until uuid,
    p_head bigint, p_limit bigint)
returns table (stream_id uuid, category text, version bigint, "position" bigint, event_type text, schema_version smallint, data text,
    tenant_id uuid)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return query
    select e.stream_id, e.category, e.version, e.position, e.event_type, e.schema_version, e.data, e.tenant_id
    from event_store.event e
    where e.tenant_id = p_tenant and (e.stream_id, e.category, e.version) > (p_stream, p_category, p_version) and e.stream_id <= p_until
        and e.position <= p_head
    order by e.stream_id, e.category, e.version limit p_limit;
end $$;

revoke all on function event_store.read_log, event_store.read_stream, event_store.read_command, event_store.read_streams from public;
grant execute on function event_store.read_log, event_store.read_stream, event_store.read_command, event_store.read_streams
    to tenure_command, tenure_relay, tenure_projector, tenure_query;
