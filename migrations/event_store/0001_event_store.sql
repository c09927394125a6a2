-- The event store. Runs as the owner; idempotent.
create schema if not exists event_store;

create table if not exists event_store.event (
    tenant_id      uuid        not null,
    position       bigint      not null,
    category       text        not null,
    stream_id      uuid        not null,
    version        bigint      not null,
    event_id       uuid        not null,
    event_type     text        not null,
    schema_version smallint    not null,
    data           text        not null,
    actor          text        not null,
    command_id     uuid        not null,
    command_hash   uuid        not null,
    correlation_id uuid        not null,
    causation_id   uuid,
    traceparent    text,
    recorded_at    timestamptz not null,
    constraint event_log primary key (tenant_id, position),
    constraint event_stream unique (tenant_id, stream_id, category, version),
    constraint event_command unique (tenant_id, command_id, version)
);

create table if not exists event_store.tenant_head (
    tenant_id uuid   not null primary key,
    position  bigint not null
) with (fillfactor = 50);

create table if not exists event_store.claim (
    tenant_id uuid  not null,
    kind      text  not null,
    digest    bytea not null,
    category  text  not null,
    stream_id uuid  not null,
    constraint claim_value primary key (tenant_id, kind, digest)
);

create table if not exists event_store.relay_cursor (
    tenant_id uuid   not null primary key,
    position  bigint not null
) with (fillfactor = 50);

create table if not exists event_store.lease (
    name       text        not null primary key,
    owner      text        not null,
    epoch      bigint      not null,
    expires_at timestamptz not null
);
