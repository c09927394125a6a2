-- Audiences: the people to whom the worker sends a command when an event names nobody, such as a holiday. A person joins an audience by
-- an event that names them, such as an enrolment. RLS.
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
