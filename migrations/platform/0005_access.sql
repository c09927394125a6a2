-- Who may do what, beyond the built-in roles. RLS, as in 0001; the services read a tenant's rows under its setting, when
-- its version here has moved.
create table platform.access_role (
    tenant_id  uuid        not null,
    name       text        not null check (name ~ '^[a-z][a-z0-9-]{0,39}$'),
    content    jsonb       not null,        -- platform::access::RoleContent
    changed_at timestamptz not null default now(),
    primary key (tenant_id, name)
);

create table platform.delegation (
    tenant_id     uuid        not null,
    delegation_id uuid        not null,
    from_subject  text        not null,
    to_subject    text        not null,
    roles         text[]      not null,     -- of those that the delegator held
    anchor        uuid,                     -- the delegator's person: whose line and self it is about
    starts_at     timestamptz not null,
    ends_at       timestamptz not null check (ends_at > starts_at),
    revoked_at    timestamptz,
    primary key (tenant_id, delegation_id)
);
create index delegation_from on platform.delegation (tenant_id, from_subject) where revoked_at is null;

do $$
declare
    name text;
begin
    foreach name in array array['access_role', 'delegation'] loop
        execute format('alter table platform.%I enable row level security', name);
        execute format('alter table platform.%I force row level security', name);
        execute format('create policy one_tenant on platform.%I using (tenant_id = platform.current_tenant())
                        with check (tenant_id = platform.current_tenant())', name);
        execute format('grant select on platform.%I to tenure_command, tenure_query', name);
    end loop;
end $$;
grant select, insert, update, delete on platform.access_role to tenure_identity;
grant select, insert, update on platform.delegation to tenure_identity;

-- Moves with every change of a tenant's rows above. Opaque; every service reads all of it each second.
create table platform.access_version (
    tenant_id uuid   primary key,
    version   bigint not null
);
grant select on platform.access_version to tenure_command, tenure_query;
grant select, insert, update on platform.access_version to tenure_identity;
