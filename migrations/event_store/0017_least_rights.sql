-- No role may do more than its code does (docs/rights.md lists both, and a test compares them).
--
-- The projector appends one kind of event: that a tenant was provisioned. With the rights to append that, it could append any event
-- to any tenant's log. So the owner appends it, on its word, and only once the tenant was registered.
create function event_store.append_provisioned(p_tenant uuid, p_command uuid, p_event uuid, p_schema smallint, p_data text, p_traceparent text)
returns void language plpgsql volatile security definer set search_path = pg_catalog, pg_temp as $$
declare
    platform   constant uuid := '00000000-0000-0000-0000-000000000000';
    registered text;
    verdict    smallint;
begin
    execute format('set local tenure.tenants = %L', platform);
    -- One after the other, so that two at once don't both find nothing.
    perform from event_store.tenant_head h where h.tenant_id = platform for update;
    if exists (select from event_store.event e where e.tenant_id = platform and e.stream_id = p_tenant and e.category = 'tenancy'
        and e.event_type = 'TenantProvisioned') then
        return; -- Once: a tenant that was suspended since stays so.
    end if;
    select e.data into registered from event_store.event e
    where e.tenant_id = platform and e.stream_id = p_tenant and e.category = 'tenancy' and e.version = 1 and e.event_type = 'TenantRegistered';
    if registered is null or p_data::jsonb is distinct from jsonb_build_object('tenant_id', registered::jsonb -> 'tenant_id') then
        raise exception 'only that a registered tenant was provisioned is appended here' using errcode = 'insufficient_privilege';
    end if;
    select b.verdicts[1] into verdict from event_store.append_batch(
        array[platform], array['tenancy'], array[p_tenant], array[-1]::bigint[], array[null]::uuid[], array[null]::bigint[],
        array[1], array[p_command], array[p_command],
        array['system:projector'], array[p_command], array[null]::uuid[], array[p_traceparent],
        array[1], array[1], array[p_event], array['TenantProvisioned'], array[p_schema], array[p_data],
        '{}', '{}', '{}', '{}') b;
    -- Written, or there already.
    if verdict not in (0, 1) then
        raise exception 'that the tenant was provisioned can''t be appended: verdict %', verdict;
    end if;
end $$;
revoke all on function event_store.append_provisioned from public;
grant execute on function event_store.append_provisioned to tenure_projector;

revoke execute on function event_store.append_batch from tenure_projector;
revoke insert on event_store.event from tenure_projector;
revoke insert, update on event_store.tenant_head from tenure_projector;
revoke all on event_store.claim, event_store.relay_cursor from tenure_projector;

-- Triggers need no right of who fires them.
revoke execute on function event_store.refuse from tenure_command, tenure_relay, tenure_projector, tenure_query;
revoke execute on function event_store.sample_streams, event_store.read_streams from tenure_command, tenure_relay, tenure_query;
revoke execute on function event_store.read_stream, event_store.read_command from tenure_relay, tenure_projector;
revoke execute on function event_store.read_command from tenure_query;
revoke execute on function event_store.head from tenure_relay;
revoke delete on event_store.lease from tenure_relay;
