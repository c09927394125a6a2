-- RLS. Rows to lock: what a process does for a tenant while it holds one, no other process does at the same time.
create table platform.turn (
    tenant_id uuid not null,
    what      text not null,
    primary key (tenant_id, what)
);
grant select, insert, update on platform.turn to tenure_command;
alter table platform.turn enable row level security;
alter table platform.turn force row level security;
create policy one_tenant on platform.turn using (tenant_id = platform.current_tenant()) with check (tenant_id = platform.current_tenant());
