-- Whom an event can concern that names nobody, such as a holiday: people who joined an audience by an event that did. RLS.
create table worker.audience (
    tenant_id uuid not null,
    audience  text not null check (audience ~ '^[a-z][a-z-]{1,40}$'),
    person_id uuid not null,
    primary key (tenant_id, audience, person_id)
);
alter table worker.audience enable row level security;
alter table worker.audience force row level security;
create policy one_tenant on worker.audience using (tenant_id = platform.current_tenant())
    with check (tenant_id = platform.current_tenant());
grant select, insert on worker.audience to tenure_worker;
