-- RLS. Roles that were removed, for as long as a token that names one may live: a role that is made anew under the name
-- is another, which such a token does not grant.
create table platform.removed_role (
    tenant_id  uuid        not null,
    name       text        not null,
    removed_at timestamptz not null,
    until      timestamptz not null,
    primary key (tenant_id, name)
);
alter table platform.removed_role enable row level security;
alter table platform.removed_role force row level security;
create policy one_tenant on platform.removed_role using (tenant_id = platform.current_tenant())
    with check (tenant_id = platform.current_tenant());
grant select on platform.removed_role to tenure_command, tenure_query;
grant select, insert, update, delete on platform.removed_role to tenure_identity;
