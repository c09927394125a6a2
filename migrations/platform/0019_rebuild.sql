-- Rebuilds are fenced. A rebuild draws an epoch when it begins, builds in a schema that carries it, and may cut over only while
-- no later one has begun, whatever became of the session that keeps two apart. No role reaches the table but by the functions.
create table platform.rebuild (
    tenant_namespace text   primary key,
    epoch            bigint not null        -- of the rebuild that began last
);

create function platform.begin_rebuild(namespace text) returns bigint
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    drawn bigint;
begin
    perform platform.check_namespace(namespace);
    insert into platform.rebuild as r (tenant_namespace, epoch) values (namespace, 1)
        on conflict (tenant_namespace) do update set epoch = r.epoch + 1 returning r.epoch into drawn;
    return drawn;
end $$;

-- How many tables a schema has, and how many of their indexes work. By way of the schema's own dependencies: pg_class has no
-- index by schema, and one row for each table and index of every tenant.
create function platform.count_relations(schema oid, out tables bigint, out indexes bigint)
    language sql stable set search_path = pg_catalog, pg_temp as $$
    select count(distinct c.oid), count(i.indexrelid)
    from pg_depend d
        join pg_class c on c.oid = d.objid and c.relkind = 'r'
        left join pg_index i on i.indrelid = c.oid and i.indisvalid and i.indisready
    where d.classid = 'pg_class'::regclass and d.refclassid = 'pg_namespace'::regclass and d.refobjid = schema
$$;

-- Puts what the rebuild `epoch` made in the place of `live`, which becomes `{live}_old` (one that stood there is dropped), if no
-- later rebuild has begun, and if what it made stands at this position and has these many tables and working indexes. Renaming a
-- schema takes no lock on its tables: queries in flight finish on the old one.
drop function platform.cut_over(text, text, text);
create function platform.cut_over(namespace text, live text, epoch bigint, stands_at bigint, tables bigint, indexes bigint) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
declare
    next text := live || '_n' || epoch;
    found_at bigint;
    relations record;
begin
    perform platform.check_read_schema(namespace, live);
    perform platform.check_read_schema(namespace, next);
    -- A later rebuild begins after this transaction, or this one is refused.
    perform from platform.rebuild r where r.tenant_namespace = namespace and r.epoch = cut_over.epoch for update;
    if not found then
        raise exception 'a later rebuild of this read model has begun' using errcode = 'object_not_in_prerequisite_state';
    end if;
    perform pg_advisory_xact_lock(hashtextextended('tenure.tenant.' || namespace, 0));
    if not exists (select from pg_namespace where nspname = next) then
        raise exception 'there is no schema to cut over to' using errcode = 'invalid_schema_name';
    end if;
    execute format('select position from %I.checkpoint', next) into found_at;
    if found_at is distinct from stands_at then
        raise exception 'the rebuilt read model stands at %, not at %', found_at, stands_at using errcode = 'object_not_in_prerequisite_state';
    end if;
    select * into relations from platform.count_relations(next::regnamespace);
    if relations.tables < cut_over.tables or relations.indexes < cut_over.indexes then
        raise exception 'the rebuilt read model has % tables and % working indexes, not % and %',
            relations.tables, relations.indexes, cut_over.tables, cut_over.indexes using errcode = 'object_not_in_prerequisite_state';
    end if;
    if exists (select from pg_namespace where nspname = live) then
        execute format('drop schema if exists %I cascade', live || '_old');
        execute format('alter schema %I rename to %I', live, live || '_old');
    end if;
    execute format('alter schema %I rename to %I', next, live);
end $$;

-- Drops what rebuilds left beside `live`, on behalf of the rebuild `epoch`, which must be the last that began; its own schema stays.
-- One that somebody still uses is left for the next rebuild.
create function platform.drop_left_over(namespace text, live text, epoch bigint) returns void
    language plpgsql security definer set search_path = pg_catalog, pg_temp set lock_timeout = '20s' as $$
declare
    left_over text;
begin
    perform platform.check_read_schema(namespace, live);
    perform from platform.rebuild r where r.tenant_namespace = namespace and r.epoch = drop_left_over.epoch for update;
    if not found then
        return;
    end if;
    for left_over in
        select nspname from pg_namespace
        where nspname ~ ('^' || live || '_(old|next|n[0-9]+)$') and nspname <> live || '_n' || epoch
    loop
        begin
            execute format('drop schema if exists %I cascade', left_over);
        exception when lock_not_available or deadlock_detected then
            null;
        end;
    end loop;
end $$;

-- Where the read models of some tenants stand, and whether they are whole, for whoever looks after them: null where there is none
-- or where its checkpoint can't be read. Numbers only; nothing of people.
create function platform.read_models(namespaces text[], version integer)
    returns table (namespace text, stands_at bigint, tables bigint, indexes bigint)
    language plpgsql stable security definer set search_path = pg_catalog, pg_temp as $$
declare
    schema oid;
begin
    foreach namespace in array namespaces loop
        perform platform.check_namespace(namespace);
        stands_at := null;
        schema := to_regnamespace(format('t_%s_r%s', namespace, version));
        select * into tables, indexes from platform.count_relations(schema);
        if schema is not null then
            begin
                execute format('select position from t_%s_r%s.checkpoint', namespace, version) into stands_at;
            exception when undefined_table or undefined_column or invalid_schema_name then
                null;
            end;
        end if;
        return next;
    end loop;
end $$;

revoke all on all functions in schema platform from public;
grant execute on function
    platform.begin_rebuild(text),
    platform.cut_over(text, text, bigint, bigint, bigint, bigint),
    platform.drop_left_over(text, text, bigint),
    platform.read_models(text[], integer)
    to tenure_projector;
