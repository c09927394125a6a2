-- Tenants are provisioned by the worker: their roles, their claim key, their first read schema, and the event that says so. The
-- projector keeps what it needs to make a read schema anew where the tenant has its roles.

-- Keeps two who make a tenant's read schemas apart, to the end of the transaction.
create function platform.lock_tenant(namespace text) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform platform.check_namespace(namespace);
    perform pg_advisory_xact_lock(hashtextextended('tenure.tenant.' || namespace, 0));
end $$;

-- Makes a tenant's roles where they are missing, and its first read schema. True if it made that: the worker may then fill it, until
-- platform.end_provisioning in the same transaction. A tenant that has a read schema is left to the projector.
create function platform.begin_provisioning(namespace text, name text) returns boolean
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform platform.check_read_schema(namespace, name);
    perform platform.create_tenant_roles(namespace);
    if exists (select from pg_namespace where nspname ~ ('^t_' || namespace || '_r[1-9]')) then
        return false;
    end if;
    perform platform.create_read_schema(namespace, name);
    execute format('grant %I to tenure_worker', 'w_' || namespace);
    return true;
end $$;

-- Takes the writer's rights from the worker again.
create function platform.end_provisioning(namespace text) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform platform.check_namespace(namespace);
    if pg_has_role('tenure_worker', 'w_' || namespace, 'member') then
        execute format('revoke %I from tenure_worker', 'w_' || namespace);
    end if;
end $$;

revoke all on function platform.lock_tenant, platform.begin_provisioning, platform.end_provisioning from public;
grant execute on function platform.lock_tenant to tenure_projector;
grant execute on function platform.begin_provisioning, platform.end_provisioning, platform.create_tenant_roles to tenure_worker;
revoke execute on function platform.create_tenant_roles from tenure_projector;

-- Whether a tenant is provisioned the projector tells by whether it has a key, which it need not see.
revoke all on platform.tenant_key from tenure_projector;
grant select (tenant_id) on platform.tenant_key to tenure_projector;
drop policy provisioning on platform.tenant_key;
grant insert on platform.tenant_key to tenure_worker;
create policy provisioning on platform.tenant_key for insert to tenure_worker with check (tenant_id = platform.current_tenant());

-- The worker confirms by a command, as it sends any other, so nobody needs a way around.
drop function event_store.append_provisioned(uuid, uuid, uuid, smallint, text, text);
