-- RLS. Subjects whose access goes on after the last day of their employment, because an owner said so.
create table if not exists platform.access_after_leaving (
    tenant_id  uuid        not null,
    subject    text        not null check (length(subject) between 1 and 255),
    allowed_at timestamptz not null default now(),
    primary key (tenant_id, subject)
);
alter table platform.access_after_leaving enable row level security;
alter table platform.access_after_leaving force row level security;
create policy one_tenant on platform.access_after_leaving using (tenant_id = platform.current_tenant())
    with check (tenant_id = platform.current_tenant());
grant select on platform.access_after_leaving to tenure_command, tenure_query;
grant select, insert, delete on platform.access_after_leaving to tenure_identity;

-- Expired rows of all tenants are deleted: a connection without a tenant may delete these rows and no others, and sees none of them.
create policy expired on platform.login_attempts for delete to tenure_identity using (window_ends < now());
create policy expired on platform.session for delete to tenure_identity using (expires_at < now() - interval '1 day');
create policy expired on platform.user_ticket for delete to tenure_identity using (expires_at < now() - interval '1 day');
