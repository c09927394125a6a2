-- An Idempotency-Key names a command of its sender. In builds before, it named one of the tenant's, whoever sent it. Where there may be
-- such commands, they are looked for as well, so that they give their first answer for ever (I7). A new installation has no row here.
create table platform.tenant_wide_keys (
    only_row boolean     not null default true primary key check (only_row),
    until    timestamptz not null default now()
);
insert into platform.tenant_wide_keys (until) select now() where exists (select from platform.tenant_key);
grant select on platform.tenant_wide_keys to tenure_command, tenure_worker;

-- A refusal is remembered for 24 hours, and what changed nothing for ever. What is judged anew may be appended again.
create function event_store.reopen_command(p_tenant uuid, p_command uuid) returns void language plpgsql volatile as $$
begin
    execute format('set local tenure.tenants = %L', p_tenant);
    delete from event_store.answered_command c where c.tenant_id = p_tenant and c.command_id = p_command;
end $$;
revoke all on function event_store.reopen_command from public;
grant execute on function event_store.reopen_command to tenure_command, tenure_worker;
