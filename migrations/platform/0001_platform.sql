-- What the platform keeps besides events. Runs as tenure_owner; each role below gets the least that works.
-- Tables marked RLS show only the rows of the tenant whose UUID the transaction put into `tenure.tenant`; with none set
-- they show nothing.
create function platform.current_tenant() returns uuid
    language sql stable parallel safe
    return nullif(current_setting('tenure.tenant', true), '')::uuid;

-- Tenants whose read model stands still, and why. Operators look at all of them.
create table platform.parked (
    tenant_id uuid        primary key,
    position  bigint      not null,         -- the event that could not be projected
    reason    text        not null,         -- without personal data
    since     timestamptz not null default now()
);
grant select, insert, update, delete on platform.parked to tenure_projector;
grant select on platform.parked to tenure_command, tenure_relay, tenure_query;

-- Which projector works on a partition; also leases of other single workers, under partitions below zero.
-- The epoch grows with every change of owner and is the fence of what the owner writes.
create table platform.partition_lease (
    partition  integer     primary key,
    owner      text        not null,
    epoch      bigint      not null,
    expires_at timestamptz not null
);
grant select, insert, update, delete on platform.partition_lease to tenure_projector;
grant select on platform.partition_lease to tenure_query, tenure_command, tenure_relay;

-- Something that opens only with the right master key: a process with another one is refused at its start, before it
-- wraps anything that the others can't open.
create table platform.master_key_probe (
    only_row boolean primary key default true check (only_row),
    wrapped  bytea   not null
);
grant select, insert on platform.master_key_probe to tenure_command, tenure_projector, tenure_query;

-- RLS. Each tenant's key for claim digests, wrapped by the master key. The platform's own is made on first use.
create table platform.tenant_key (
    tenant_id  uuid        primary key,
    claim_key  bytea       not null,
    created_at timestamptz not null default now()
);
grant select, insert on platform.tenant_key to tenure_projector, tenure_command;
alter table platform.tenant_key enable row level security;
alter table platform.tenant_key force row level security;
create policy one_tenant on platform.tenant_key for select using (tenant_id = platform.current_tenant());
create policy provisioning on platform.tenant_key for insert to tenure_projector with check (tenant_id = platform.current_tenant());
create policy own_platform on platform.tenant_key for insert to tenure_command
    with check (tenant_id = platform.current_tenant() and tenant_id = '00000000-0000-0000-0000-000000000000');

-- RLS. Each person's data key, wrapped by the master key. A destroyed key leaves its row, so that it is never made anew.
create table platform.person_key (
    tenant_id    uuid        not null,
    person_id    uuid        not null,
    wrapped      bytea,                     -- null: destroyed
    created_at   timestamptz not null default now(),
    destroyed_at timestamptz,
    primary key (tenant_id, person_id),
    check ((wrapped is null) = (destroyed_at is not null))
);
grant select, insert on platform.person_key to tenure_command;
grant update (wrapped, destroyed_at) on platform.person_key to tenure_command;
grant select on platform.person_key to tenure_projector, tenure_query;
alter table platform.person_key enable row level security;
alter table platform.person_key force row level security;
create policy one_tenant on platform.person_key using (tenant_id = platform.current_tenant())
    with check (tenant_id = platform.current_tenant());

-- The keys that sign access tokens. Services verify with the public part; only the owner's role reads the private one,
-- which is wrapped by the master key.
create table platform.signing_key (
    kid         text        primary key check (kid ~ '^[A-Za-z0-9_-]{1,64}$'),
    algorithm   text        not null check (algorithm in ('EdDSA', 'ES256')),
    public_key  bytea       not null,       -- EdDSA: 32 bytes; ES256: the uncompressed point, 65 bytes
    private_key bytea       not null,
    created_at  timestamptz not null default now(),
    retired_at  timestamptz
);
grant select (kid, algorithm, public_key, created_at, retired_at) on platform.signing_key to tenure_command, tenure_query;

-- RLS. Answers that an event can't give again (refusals, and commands that changed nothing), so that a retry gets the
-- first answer (I7).
create table platform.command_answer (
    tenant_id    uuid        not null,
    command_id   uuid        not null,
    command_hash uuid        not null,
    status       smallint    not null,
    body         text        not null,
    recorded_at  timestamptz not null default now(),
    primary key (tenant_id, command_id)
);
create index command_answer_recorded_at on platform.command_answer (recorded_at);
grant select, insert, update, delete on platform.command_answer to tenure_command;
alter table platform.command_answer enable row level security;
alter table platform.command_answer force row level security;
create policy one_tenant on platform.command_answer using (tenant_id = platform.current_tenant())
    with check (tenant_id = platform.current_tenant());
