-- What the worker keeps: how far it followed each tenant's log, what becomes due on which day, and jobs. Instants are microseconds
-- since 1970. Tables marked RLS show only the rows of the tenant whose UUID the transaction put into `tenure.tenant`.
create schema worker;
grant usage on schema worker to tenure_worker, tenure_identity;

-- Which worker works on a partition, as platform.partition_lease says it of projectors.
create table worker.partition_lease (
    partition integer primary key,
    owner     text,                     -- null: given back
    epoch     bigint  not null,         -- grows with every change of owner; the fence of what the owner writes
    heartbeat bigint  not null default 0
);
grant select, insert, update, delete on worker.partition_lease to tenure_worker;

-- RLS. How far a tenant's log was folded. Written with what the events lead to, in one transaction. Events that were recorded before
-- this migration was applied are folded for due dates, and not reacted to.
create table worker.cursor (
    tenant_id   uuid   primary key,
    position    bigint not null,        -- of the last event folded
    event_id    uuid,                   -- its id, and
    recorded_at bigint,                 -- when the store took it; both null at position 0
    fence       bigint not null         -- of the worker that folded it; a smaller one is refused
);

-- RLS. What takes effect on a day that had not begun when it was recorded. A row goes once it was announced.
create table worker.due (
    tenant_id      uuid     not null,
    due_id         uuid     not null,   -- derived from the event that says so; also the id of the command
    due_on         date     not null,
    place          jsonb    not null,   -- where the day must have begun: "tenant", or {"person": …} for a person's place of work
    command        jsonb    not null,   -- {"name": …, "data": {…}} of the command that announces it, without personal data
    cause          uuid     not null,   -- the event that says so
    correlation_id uuid     not null,   -- of that event
    recorded_at    bigint   not null,   -- when the store took it
    depth          smallint not null,   -- how many reactions led to that event, one to the next
    look_at        bigint   not null,   -- when it is looked at next
    primary key (tenant_id, due_id)
);
create index due_by_look on worker.due (tenant_id, look_at);

-- RLS. Work that nobody waits for.
create table worker.job (
    tenant_id  uuid     not null,
    job_id     uuid     not null,       -- of a reaction also the id of the command
    kind       text     not null check (kind ~ '^[a-z][a-z-]{1,40}$'),
    input      bytea    not null,       -- sealed for this tenant, kind and job
    state      text     not null default 'waiting' check (state in ('waiting', 'running', 'done', 'failed', 'refused')),
    tries      integer  not null default 0,
    run_at     bigint   not null,       -- not before this instant
    fence      bigint   not null default 0, -- of the worker that runs it or ran it last
    asked_by   text     not null,
    error_code text,                    -- of the last try that failed
    error      text,                    -- what it said, without personal data
    progress   text,
    made_at    bigint   not null,
    ended_at   bigint,
    primary key (tenant_id, job_id)
);
create index job_by_run on worker.job (tenant_id, state, run_at) where state in ('waiting', 'running');

-- When a tenant's due dates or jobs are to be looked at next, so that a worker with a thousand tenants asks for the few that have
-- something to do. It names tenants and instants, as event_store.tenant_head names tenants and positions.
create table worker.agenda (
    tenant_id uuid   primary key,
    look_at   bigint not null
);
create index agenda_by_look on worker.agenda (look_at);

do $$
declare t text;
begin
    foreach t in array array['cursor', 'due', 'job'] loop
        execute format('alter table worker.%I enable row level security', t);
        execute format('alter table worker.%I force row level security', t);
        execute format('create policy one_tenant on worker.%I using (tenant_id = platform.current_tenant())
            with check (tenant_id = platform.current_tenant())', t);
    end loop;
end $$;
grant select, insert, update on worker.cursor to tenure_worker;
grant select, insert, update, delete on worker.due to tenure_worker;
grant select, insert, update, delete on worker.job to tenure_worker;
grant select, insert, update on worker.agenda to tenure_worker;

-- Whoever asks for a job puts it on the agenda in the same transaction, with the owner's rights: they need none to the agenda.
create function worker.note_job() returns trigger language plpgsql security definer set search_path = pg_catalog, pg_temp as $$
begin
    insert into worker.agenda as a (tenant_id, look_at) values (new.tenant_id, new.run_at)
    on conflict (tenant_id) do update set look_at = least(a.look_at, excluded.look_at);
    return null;
end $$;
revoke all on function worker.note_job from public;
create trigger job_is_noted after insert on worker.job for each row execute function worker.note_job();

-- Log-in asks for mail and sees no job, not even its own.
grant insert (tenant_id, job_id, kind, input, run_at, asked_by, made_at) on worker.job to tenure_identity;
create policy only_mail on worker.job as restrictive for insert to tenure_identity with check (kind = 'send-mail');

-- The worker sends commands, as command-api does: the rights of who appends. It makes nobody known, so it makes no person's key.
grant usage on schema event_store to tenure_worker;
grant execute on function event_store.append_batch, event_store.head, event_store.read_log, event_store.read_stream,
    event_store.read_command, event_store.answer_command, event_store.read_log_index, event_store.reserve_commands,
    event_store.reserved_command, event_store.withdraw_command, event_store.count_log to tenure_worker;
grant select, insert on event_store.event to tenure_worker;
grant select, insert, update on event_store.tenant_head to tenure_worker;
grant select, insert, delete on event_store.claim to tenure_worker;
grant select, insert, delete on event_store.answered_command to tenure_worker;
grant update (answered_at, epoch) on event_store.answered_command to tenure_worker;
grant select on event_store.log_entry, event_store.log_head, event_store.log_progress to tenure_worker;
grant execute on function event_store.forget_answered, event_store.forget_commands to tenure_worker;
grant execute on function platform.current_tenant() to tenure_worker;
grant select, insert, delete on platform.command_answer to tenure_worker;
grant update (command_hash, status, body, epoch, recorded_at) on platform.command_answer to tenure_worker;
grant select, insert, update on platform.turn to tenure_worker;
grant select on platform.epoch, platform.tenant_key, platform.person_key to tenure_worker;
grant select, insert on platform.master_key_probe to tenure_worker;
