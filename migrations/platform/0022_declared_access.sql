-- A tenant's reader is granted tables and columns one by one, as the read model's migrations declare them. Whoever makes the tables
-- grants (platform::declared). A table or a column without a declaration can't be read.
create or replace function platform.create_read_schema(namespace text, name text) returns void
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
end $$;

-- Tables that are added to an older read schema can't be read without a grant, either.
do $$
declare
    schema record;
begin
    for schema in
        select nspname as name, substr(nspname, 3, 26) as namespace from pg_namespace
        where nspname ~ '^t_[a-z2-7]{26}_r[1-9][0-9]{0,5}(_[a-z0-9]{1,12})?$'
    loop
        execute format('alter default privileges for role %I in schema %I revoke select on tables from %I',
            'w_' || schema.namespace, schema.name, 't_' || schema.namespace);
    end loop;
end $$;
