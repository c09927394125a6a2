-- RLS. Tickets of background work that were used: each begins one job. Old ones go when the next is used.
create table platform.job (
    job_id    uuid        primary key,
    tenant_id uuid        not null,
    begun_at  timestamptz not null default now()
);
create index job_by_tenant on platform.job (tenant_id, begun_at);
alter table platform.job enable row level security;
alter table platform.job force row level security;
create policy one_tenant on platform.job using (tenant_id = platform.current_tenant()) with check (tenant_id = platform.current_tenant());
grant select, insert, delete on platform.job to tenure_projector;
