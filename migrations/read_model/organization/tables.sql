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

-- The days of work of a schedule, from a day until the next.
create table work_schedule (     -- open
    schedule_id uuid not null,   -- open
    valid_from  date not null,   -- open
    code        text not null,   -- open
    name        text not null,   -- open
    days        text not null    -- open: events::WorkSchedule as JSON
);

create table holiday_calendar (  -- open
    calendar_id uuid not null,   -- open
    code        text not null,   -- open
    name        text not null    -- open
);

-- The holidays of a year that a calendar knows.
create table holiday_year (          -- open
    calendar_id uuid     not null,   -- open
    year        smallint not null,   -- open
    holidays    text     not null,   -- open: a list of events::Holiday as JSON
    source      text     not null    -- open
);

-- Which calendar holds at a place, from a day until the next.
create table place_calendar (    -- open
    place_id    uuid not null,   -- open: the location; zeros for people without one, and for places without a calendar of their own
    valid_from  date not null,   -- open
    calendar_id uuid not null    -- open
);
