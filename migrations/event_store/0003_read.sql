-- Reading. Each function sets the tenant for its own statement only, so nothing is left on a connection that is handed on.

create or replace function event_store.read_log(p_tenant uuid, p_after bigint, p_limit bigint)
returns table ("position" bigint, category text, stream_id uuid, version bigint, event_id uuid, event_type text, schema_version smallint,
    data text, actor text, command_id uuid, command_hash uuid, correlation_id uuid, causation_id uuid, traceparent text, recorded_at bigint)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return query
    select e.position, e.category, e.stream_id, e.version, e.event_id, e.event_type, e.schema_version, e.data, e.actor, e.command_id,
        e.command_hash, e.correlation_id, e.causation_id, e.traceparent, (extract(epoch from e.recorded_at) * 1000000)::bigint
    from event_store.event e where e.tenant_id = p_tenant and e.position > p_after order by e.position limit p_limit;
end $$;

create or replace function event_store.read_stream(p_tenant uuid, p_category text, p_stream uuid, p_after bigint, p_limit bigint)
returns table ("position" bigint, category text, stream_id uuid, version bigint, event_id uuid, event_type text, schema_version smallint,
    data text, actor text, command_id uuid, command_hash uuid, correlation_id uuid, causation_id uuid, traceparent text, recorded_at bigint)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return query
    select e.position, e.category, e.stream_id, e.version, e.event_id, e.event_type, e.schema_version, e.data, e.actor, e.command_id,
        e.command_hash, e.correlation_id, e.causation_id, e.traceparent, (extract(epoch from e.recorded_at) * 1000000)::bigint
    from event_store.event e where e.tenant_id = p_tenant and e.stream_id = p_stream and e.category = p_category and e.version > p_after order by e.version limit p_limit;
end $$;

create or replace function event_store.read_command(p_tenant uuid, p_command uuid)
returns table ("position" bigint, category text, stream_id uuid, version bigint, event_id uuid, event_type text, schema_version smallint,
    data text, actor text, command_id uuid, command_hash uuid, correlation_id uuid, causation_id uuid, traceparent text, recorded_at bigint)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return query
    select e.position, e.category, e.stream_id, e.version, e.event_id, e.event_type, e.schema_version, e.data, e.actor, e.command_id,
        e.command_hash, e.correlation_id, e.causation_id, e.traceparent, (extract(epoch from e.recorded_at) * 1000000)::bigint
    from event_store.event e where e.tenant_id = p_tenant and e.command_id = p_command order by e.version;
end $$;

create or replace function event_store.head(p_tenant uuid) returns bigint
language plpgsql volatile as $$
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return (select h.position from event_store.tenant_head h where h.tenant_id = p_tenant);
end $$;
