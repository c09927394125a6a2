-- One tenant's read model, capability `organization`. Runs with search_path set to the tenant's new schema.
-- A *span* is what held from a day until the next, [valid_from, valid_to); valid_to = 'infinity' is "still", and a span
-- with valid_to = valid_from was replaced on the same day. `sets` says which fields the span's own change set (a bit
-- per field, in column order after valid_to): the others were carried forward.
create table department_span (        -- open
    department_id uuid     not null,  -- open
    valid_from    date     not null,  -- open
    seq           smallint not null,  -- open
    valid_to      date     not null,  -- open
    code          text     not null,  -- open
    name          text     not null,  -- open
    parent_id     uuid,               -- open
    sets          smallint not null   -- open
);

create table location_span (        -- open
    location_id uuid     not null,  -- open
    valid_from  date     not null,  -- open
    seq         smallint not null,  -- open
    valid_to    date     not null,  -- open
    code        text     not null,  -- open
    name        text     not null,  -- open
    time_zone   text     not null,  -- open
    sets        smallint not null   -- open
);

create table job_span (            -- open
    job_id     uuid     not null,  -- open
    valid_from date     not null,  -- open
    seq        smallint not null,  -- open
    valid_to   date     not null,  -- open
    code       text     not null,  -- open
    title      text     not null,  -- open
    sets       smallint not null   -- open
);
