-- Which types of events may be written, and which processes live and can read them. A build that brings a new type writes it only
-- once every process that lives can read it: `tenure release activate`.
create table platform.release (
    only_row   boolean primary key default true check (only_row),
    activation bigint  not null default 0,  -- how often types were activated
    is_new     boolean not null             -- the bootstrap that made this database is still to activate all that its build knows
);
-- Of a new database, every migration is of this transaction.
insert into platform.release (is_new)
select not exists (select from platform.migration where xmin::text <> pg_current_xact_id()::xid::text);

-- What may be written. Rows are added and never removed.
create table platform.active_event (
    category       text        not null,
    event_type     text        not null,
    schema_version integer     not null check (schema_version between 1 and 65535),
    activated_at   timestamptz not null default now(),
    activated_by   text        not null,    -- the build
    primary key (category, event_type, schema_version)
);
-- All that builds before this one write. EmploymentStarted, EmploymentEnded and ChangeTookEffect are new.
insert into platform.active_event (category, event_type, schema_version, activated_by)
select category, event_type, schema_version, 'migration 0025'
from (values
    ('tenancy', 'TenantRegistered', 1), ('tenancy', 'TenantProvisioned', 1), ('tenancy', 'TenantRenamed', 1),
    ('tenancy', 'TenantSuspended', 1), ('tenancy', 'TenantResumed', 1), ('tenancy', 'TenantClosed', 1),
    ('tenancy', 'SubscriptionChanged', 1), ('tenancy', 'TenantTimeZoneChanged', 1),
    ('organization', 'DepartmentCreated', 1), ('organization', 'DepartmentRenamed', 1), ('organization', 'DepartmentMoved', 1),
    ('organization', 'DepartmentClosed', 1), ('organization', 'LocationOpened', 1), ('organization', 'LocationChanged', 1),
    ('organization', 'LocationClosed', 1), ('organization', 'JobCreated', 1), ('organization', 'JobRetitled', 1),
    ('organization', 'JobRetired', 1),
    ('employee', 'EmployeeHired', 1), ('employee', 'EmployeeRehired', 1), ('employee', 'AssignmentChanged', 1),
    ('employee', 'CompensationChanged', 1), ('employee', 'CompensationChanged', 2), ('employee', 'PersonalDetailsChanged', 1),
    ('employee', 'ContactDetailsChanged', 1), ('employee', 'EmployeeTerminated', 1)
) as known (category, event_type, schema_version);

-- Who lives, and what it reads.
create table platform.process (
    process_id uuid        primary key,
    kind       text        not null check (kind ~ '^tenure-[a-z-]{1,30}$'),
    build      text        not null check (length(build) between 1 and 100),
    reads      jsonb       not null check (jsonb_typeof(reads) = 'object'), -- category.Type: the highest schema version
    started_at timestamptz not null default now(),
    seen_at    timestamptz not null          -- by this server's clock; dead after 10 s
);

-- Says that a process lives and what it reads. If it can't read what is active, `unread` says what, and the process is none any more.
-- Whoever activates waits for this transaction, and this one for them: nobody slips in between their look and their commit.
create function platform.note_process(process uuid, of_kind text, of_build text, can_read jsonb,
        out unread text, out activated_by text, out active jsonb)
language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    lock table platform.release in row share mode;
    select format('%s/%s v%s', a.category, a.event_type, a.schema_version), a.activated_by into unread, activated_by
    from platform.active_event a
    where coalesce((can_read ->> (a.category || '.' || a.event_type))::integer, 0) < a.schema_version
    order by a.activated_at, a.category, a.event_type, a.schema_version limit 1;
    if unread is not null then
        delete from platform.process p where p.process_id = process;
        return;
    end if;
    update platform.process p set kind = of_kind, build = of_build, reads = can_read, seen_at = clock_timestamp() where p.process_id = process;
    if found then
        -- If it is lost, the next one comes in a second.
        set local synchronous_commit = off;
    else
        insert into platform.process (process_id, kind, build, reads, seen_at) values (process, of_kind, of_build, can_read, clock_timestamp());
    end if;
    delete from platform.process p where p.seen_at < clock_timestamp() - interval '1 day';
    select jsonb_object_agg(name, newest) into active
    from (select a.category || '.' || a.event_type as name, max(a.schema_version) as newest from platform.active_event a group by 1) types;
end $$;

-- A process ends in order: nobody waits for it.
create function platform.forget_process(process uuid) returns void
language sql security definer set search_path = pg_catalog, pg_temp as $$
    delete from platform.process p where p.process_id = process
$$;

revoke all on function platform.note_process, platform.forget_process from public;
grant execute on function platform.note_process, platform.forget_process
    to tenure_command, tenure_relay, tenure_projector, tenure_query, tenure_worker;

-- The oldest migration that a build must know to run on a database with this one, as the line `-- runs-with: ...` of the newer build's
-- file says; null: it must know this one itself. So a build can be rolled back as long as nothing was activated that it can't read.
alter table platform.migration add column runs_with text;
