-- Which history positions, versions and cursors belong to. A store that was put back begins another one, which `tenure restored` draws.
-- A position, version or cursor of before carries the tag of its own epoch and is refused; a remembered answer of another epoch is none.
create table platform.epoch (
    only_row boolean     not null default true primary key check (only_row),
    number   bigint      not null,
    id       uuid        not null default gen_random_uuid(),   -- a number that is drawn twice, from two restores of one state, is two epochs
    changing boolean     not null default false,               -- a new one is being drawn: nothing is served
    drawn_at timestamptz not null default now(),
    tag      text        not null generated always as (case when number = 1 then '' else number::text || '-' || left(id::text, 8) end) stored
);
insert into platform.epoch (number) values (1);
grant select on platform.epoch to tenure_command, tenure_projector, tenure_query;

alter table platform.command_answer add column epoch text not null default '';
-- One of another epoch gives way.
grant update (command_hash, status, body, epoch, recorded_at) on platform.command_answer to tenure_command;

-- The reason for which a tenant is parked: `unprojectable`, or `history_diverged` where its read model holds events that the log has not.
alter table platform.parked add column code text not null default 'unprojectable';
grant select (tenant_id, code) on platform.parked to tenure_command;
