-- One tenant's read model, capability `organization`. Runs with search_path set to the tenant's new schema.
-- A *span* is what held from a day until the next, [valid_from, valid_to); valid_to = 'infinity' is "still", and a span
-- with valid_to = valid_from was replaced on the same day. `sets` says which fields the span's own change set (a bit
-- per field, in column order after valid_to): the others were carried forward.
create table department_span (
    department_id uuid     not null,
    valid_from    date     not null,
    seq           smallint not null,
    valid_to      date     not null,
    code          text     not null,
    name          text     not null,
    parent_id     uuid,
    sets          smallint not null
);

create table location_span (
    location_id uuid     not null,
    valid_from  date     not null,
    seq         smallint not null,
    valid_to    date     not null,
    code        text     not null,
    name        text     not null,
    time_zone   text     not null,
    sets        smallint not null
);

create table job_span (
    job_id     uuid     not null,
    valid_from date     not null,
    seq        smallint not null,
    valid_to   date     not null,
    code       text     not null,
    title      text     not null,
    sets       smallint not null
);
