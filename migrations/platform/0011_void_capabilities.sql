-- A capability ends with what it was handed out for.

-- The subject who asked for a ticket, and what they were then: activation checks that they could still ask for it. Tickets
-- without an issuer are from before this file; they activate nothing.
alter table platform.user_ticket add column issued_by text;
alter table platform.user_ticket add column issuer_roles text[];
alter table platform.user_ticket add column issuer_registration uuid;
alter table platform.user_ticket add column issued_at timestamptz not null default now();
-- Nothing changes a ticket: it is made, and deleted.
revoke update on platform.user_ticket from tenure_identity;

-- A ticket is for the account as it was when the ticket was issued. Whatever statement changes an account, its tickets go.
create function platform.void_tickets() returns trigger
    language plpgsql set search_path = pg_catalog, pg_temp as $$
begin
    delete from platform.user_ticket where tenant_id = old.tenant_id and user_id = old.user_id;
    return null;
end $$;
revoke all on function platform.void_tickets() from public;
create trigger void_tickets after update on platform.user_account for each row
    when ((old.roles, old.state, old.employee_id, old.email_digest, old.password_hash, old.totp_confirmed)
        is distinct from (new.roles, new.state, new.employee_id, new.email_digest, new.password_hash, new.totp_confirmed))
    execute function platform.void_tickets();

-- Names a registration of an issuer as it was confirmed: one that is written down otherwise, or anew, is another.
alter table platform.external_issuer add column registration_id uuid not null default gen_random_uuid();
create unique index external_issuer_registration on platform.external_issuer (registration_id);

-- The registration by which a delegator's token was taken. A delegation of somebody who logs in elsewhere counts for as
-- long as that registration stands; those from before this file name none, and count no longer.
alter table platform.delegation add column registration uuid;
alter table platform.delegation add column made_at timestamptz not null default now();
