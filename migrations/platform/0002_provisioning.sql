-- What the projector may do for a tenant and could not by its own rights. Each function runs as tenure_owner, takes a
-- namespace, checks it, and can only touch roles and schemas that carry it.
create function platform.check_namespace(namespace text) returns void
    language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    if namespace is null or namespace !~ '^[a-z2-7]{26}$' then
        raise exception 'not a namespace' using errcode = 'invalid_parameter_value';
    end if;
end $$;

-- A read schema is t_{namespace}_r{version}, or one beside it with a suffix such as _next.
create function platform.check_read_schema(namespace text, name text) returns void
    language plpgsql immutable set search_path = pg_catalog, pg_temp as $$
begin
    perform platform.check_namespace(namespace);
    if name is null or name !~ ('^t_' || namespace || '_r[1-9][0-9]{0,5}(_[a-z0-9]{1,12})?$') then
        raise exception 'not a read schema of this tenant' using errcode = 'invalid_parameter_value';
    end if;
end $$;

-- The tenant's two roles. The lock, held to the end of the transaction, keeps two provisioners apart.
create function platform.create_tenant_roles(namespace text) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    reader text := 't_' || namespace;
    writer text := 'w_' || namespace;
    missing text;
begin
    perform platform.check_namespace(namespace);
    perform pg_advisory_xact_lock(hashtextextended('tenure.tenant.' || namespace, 0));
    foreach missing in array array[reader, writer] loop
        if not exists (select from pg_roles where rolname = missing) then
            begin
                execute format('create role %I nologin noinherit', missing);
            exception when duplicate_object or unique_violation then
                null; -- roles belong to the whole server: another database made it at the same moment
            end;
        end if;
    end loop;
    if not pg_has_role('tenure_query', reader, 'member') then
        execute format('grant %I to tenure_query', reader);
    end if;
    if not pg_has_role('tenure_projector', writer, 'member') then
        execute format('grant %I to tenure_projector', writer);
    end if;
    if not pg_has_role('tenure_owner', writer, 'usage') then
        execute format('grant %I to tenure_owner', writer);
    end if;
end $$;

-- An empty read schema that the tenant's writer owns and its reader reads, also what is created in it later.
create function platform.create_read_schema(namespace text, name text) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    reader text := 't_' || namespace;
    writer text := 'w_' || namespace;
begin
    perform platform.check_read_schema(namespace, name);
    perform pg_advisory_xact_lock(hashtextextended('tenure.tenant.' || namespace, 0));
    if exists (select from pg_namespace where nspname = name) then
        return;
    end if;
    execute format('create schema %I authorization %I', name, writer);
    execute format('grant usage on schema %I to %I', name, reader);
    execute format('alter default privileges for role %I in schema %I grant select on tables to %I', writer, name, reader);
end $$;

create function platform.drop_read_schema(namespace text, name text) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform platform.check_read_schema(namespace, name);
    perform pg_advisory_xact_lock(hashtextextended('tenure.tenant.' || namespace, 0));
    execute format('drop schema if exists %I cascade', name);
end $$;

-- Puts `next` in the place of `live`, which becomes `{live}_old` (one that stood there is dropped). Renaming a schema
-- takes no lock on its tables: queries in flight finish on the old one.
create function platform.cut_over(namespace text, live text, next text) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    perform platform.check_read_schema(namespace, live);
    perform platform.check_read_schema(namespace, next);
    perform pg_advisory_xact_lock(hashtextextended('tenure.tenant.' || namespace, 0));
    if not exists (select from pg_namespace where nspname = next) then
        raise exception 'there is no schema to cut over to' using errcode = 'invalid_schema_name';
    end if;
    if exists (select from pg_namespace where nspname = live) then
        execute format('drop schema if exists %I cascade', live || '_old');
        execute format('alter schema %I rename to %I', live, live || '_old');
    end if;
    execute format('alter schema %I rename to %I', next, live);
end $$;

revoke all on all functions in schema platform from public;
grant execute on function platform.current_tenant() to tenure_command, tenure_relay, tenure_projector, tenure_query;
grant execute on function
    platform.create_tenant_roles(text),
    platform.create_read_schema(text, text),
    platform.drop_read_schema(text, text),
    platform.cut_over(text, text, text)
    to tenure_projector;
