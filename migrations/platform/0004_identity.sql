-- Who may log in, and what keeps them in or out. Password material stands here and nowhere else: not in the event store,
-- and not in reach of the roles that serve commands and queries. tenure_identity is the log-in's own role.
-- Tables marked RLS show only the rows of the tenant in `tenure.tenant`, as in 0001.

-- RLS. A person who logs in. The e-mail address is found by its digest and sealed by the master key.
create table platform.user_account (
    tenant_id     uuid        not null,
    user_id       uuid        not null,
    email_digest  bytea       not null check (length(email_digest) = 32),
    email         bytea       not null,     -- sealed
    state         text        not null check (state in ('invited', 'active', 'disabled')),
    roles         text[]      not null,
    employee_id   uuid,                     -- whom `self` and `line` mean
    password_hash text,                     -- Argon2id, PHC string; null until activated
    totp_secret   bytea,                    -- sealed
    totp_confirmed boolean    not null default false,
    totp_step     bigint      not null default 0,   -- the last time step that was used: a code works once
    created_at    timestamptz not null default now(),
    changed_at    timestamptz not null default now(),
    primary key (tenant_id, user_id),
    unique (tenant_id, email_digest),
    check (state <> 'active' or password_hash is not null)
);

-- RLS. Invitations and password resets: what activates an account, once.
create table platform.user_ticket (
    tenant_id  uuid        not null,
    digest     bytea       not null,        -- SHA-256 of the ticket
    user_id    uuid        not null,
    expires_at timestamptz not null,
    primary key (tenant_id, digest),
    foreign key (tenant_id, user_id) references platform.user_account on delete cascade
);

-- RLS. A log-in and the family of refresh tokens that came of it.
create table platform.session (
    tenant_id  uuid        not null,
    session_id uuid        not null,
    user_id    uuid        not null,
    started_at timestamptz not null default now(),
    expires_at timestamptz not null,
    ended_at   timestamptz,
    ended_why  text,
    primary key (tenant_id, session_id),
    foreign key (tenant_id, user_id) references platform.user_account on delete cascade
);
create index session_by_user on platform.session (tenant_id, user_id) where ended_at is null;
create index session_expires on platform.session (expires_at);

-- RLS. A refresh token works once. A used one stays as long as its session, so that its second use is seen.
create table platform.refresh_token (
    tenant_id  uuid        not null,
    digest     bytea       not null,        -- SHA-256 of the token
    session_id uuid        not null,
    issued_at  timestamptz not null default now(),
    expires_at timestamptz not null,
    used_at    timestamptz,
    primary key (tenant_id, digest),
    foreign key (tenant_id, session_id) references platform.session on delete cascade
);
create index refresh_token_session on platform.refresh_token (tenant_id, session_id);

-- RLS. A machine with a name, a secret and narrow roles.
create table platform.service_account (
    tenant_id     uuid        not null,
    account_id    uuid        not null,
    name          text        not null check (length(name) between 1 and 100),
    roles         text[]      not null,
    secret_digest bytea       not null,     -- SHA-256: the secret is 256 random bits
    created_at    timestamptz not null default now(),
    disabled_at   timestamptz,
    primary key (tenant_id, account_id)
);

-- RLS. Attempts that failed, or have not succeeded yet, in a window. The key is a digest of whom, from where, or both.
create table platform.login_attempts (
    tenant_id   uuid        not null,
    key         bytea       not null,
    attempts    integer     not null,
    window_ends timestamptz not null,
    primary key (tenant_id, key)
);
create index login_attempts_window on platform.login_attempts (window_ends);

-- RLS, insert only. Every decision about identity. Ids and codes; no addresses, no secrets.
create table platform.identity_audit (
    tenant_id  uuid        not null,
    entry      bigint      generated always as identity,
    at         timestamptz not null default now(),
    action     text        not null,
    outcome    text        not null,
    subject    text,                        -- whom it is about
    actor      text,                        -- who did it, where that is another
    primary key (tenant_id, entry)
);

do $$
declare
    name text;
begin
    foreach name in array array['user_account', 'user_ticket', 'session', 'refresh_token', 'service_account', 'login_attempts', 'identity_audit'] loop
        execute format('alter table platform.%I enable row level security', name);
        execute format('alter table platform.%I force row level security', name);
        execute format('create policy one_tenant on platform.%I using (tenant_id = platform.current_tenant())
                        with check (tenant_id = platform.current_tenant())', name);
    end loop;
end $$;
grant select, insert, update on platform.user_account, platform.service_account, platform.session, platform.refresh_token to tenure_identity;
grant select, insert, update, delete on platform.user_ticket, platform.login_attempts to tenure_identity;
grant delete on platform.session to tenure_identity;
grant select, insert on platform.identity_audit to tenure_identity;

-- What makes tokens void before they expire. Every verifier reads all of it each second: opaque ids, and only for as long
-- as a token could still live.
create table platform.revocation (
    tenant_id  uuid        not null,
    kind       text        not null check (kind in ('subject', 'session', 'token')),
    id         text        not null check (length(id) between 1 and 255),
    revoked_at timestamptz not null default now(),
    until      timestamptz not null,
    primary key (tenant_id, kind, id)
);
create index revocation_until on platform.revocation (until);
grant select on platform.revocation to tenure_command, tenure_query;
grant select, insert, update, delete on platform.revocation to tenure_identity;

-- Whose tokens are taken besides our own. Each issuer's audience belongs to one tenant, which is how such a token names it.
create table platform.external_issuer (
    tenant_id      uuid        not null,
    issuer         text        not null check (length(issuer) between 1 and 255),
    audience       text        not null check (length(audience) between 1 and 255),
    jwks_uri       text        not null check (length(jwks_uri) between 1 and 1024),
    token_type     text        not null check (token_type in ('at+jwt', 'JWT')),
    roles_claim    text        not null,
    roles          jsonb       not null,    -- what stands in the claim, to our role
    employee_claim text,
    created_at     timestamptz not null default now(),
    primary key (issuer, audience)
);
grant select on platform.external_issuer to tenure_command, tenure_query;
grant select, insert, update, delete on platform.external_issuer to tenure_identity;

-- Domains of a tenant's own, beside its subdomain.
create table platform.tenant_domain (
    domain     text        primary key check (domain ~ '^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$'),
    tenant_id  uuid        not null,
    created_at timestamptz not null default now()
);
grant select on platform.tenant_domain to tenure_command, tenure_query;
grant select, insert, update, delete on platform.tenant_domain to tenure_identity;

-- The log-in signs access tokens.
grant select on platform.signing_key to tenure_identity;
grant execute on function platform.current_tenant() to tenure_identity;
