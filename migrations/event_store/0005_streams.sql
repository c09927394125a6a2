-- Reading whole streams, one after another, by the index `event_stream`. For folds that need a stream's events together and
-- not the order of the log: what is read once is done with.

-- The streams of every nth event: between two neighbours lie about n events.
create or replace function event_store.sample_streams(p_tenant uuid, p_every bigint, p_head bigint) returns setof uuid
language plpgsql volatile as $$
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return query
    select (select e.stream_id from event_store.event e where e.tenant_id = p_tenant and e.position = g.n)
    from generate_series(p_every, p_head, p_every) as g(n);
end $$;

-- Events up to the position `p_head`, of streams up to `p_until`, after one event's place in this order.
create or replace function event_store.read_streams(p_tenant uuid, p_stream uuid, p_category text, p_version bigint, p_until uuid,
    p_head bigint, p_limit bigint)
returns table (stream_id uuid, category text, version bigint, "position" bigint, event_type text, schema_version smallint, data text)
language plpgsql volatile as $$
#variable_conflict use_column
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    return query
    select e.stream_id, e.category, e.version, e.position, e.event_type, e.schema_version, e.data
    from event_store.event e
    where e.tenant_id = p_tenant and (e.stream_id, e.category, e.version) > (p_stream, p_category, p_version) and e.stream_id <= p_until
        and e.position <= p_head
    order by e.stream_id, e.category, e.version limit p_limit;
end $$;

revoke all on function event_store.sample_streams, event_store.read_streams from public;
grant execute on function event_store.sample_streams, event_store.read_streams to tenure_command, tenure_relay, tenure_projector, tenure_query;
