-- One tenant's read model, capability `employee`. See 0001_organization.sql for what a span is.
--
-- Where updates leave indexed columns alone, a page keeps room for the rows' next versions: PostgreSQL then updates in place,
-- and no index.
create table employee (
    employee_id        uuid   not null,
    employee_number    text,                -- null once erased
    original_hire_date date   not null,
    stream_version     bigint not null      -- for If-Match
) with (fillfactor = 80);

create table employment (
    employment_id      uuid not null,
    employee_id        uuid not null,
    starts_on          date not null,
    ends_on            date not null,       -- the first day not employed; 'infinity' while open
    termination_reason text
);

create table person_span (
    employee_id uuid     not null,
    valid_from  date     not null,
    seq         smallint not null,
    valid_to    date     not null,
    given_name  text,
    family_name text,
    birth_date  date,
    gender      text,
    sets        smallint not null,
    search      text,                       -- given name, family name and employee number, lower-cased
    grams       int4[]   not null           -- of `search`, for words anywhere in it: platform::search
) with (fillfactor = 90);

create table contact_span (
    employee_id   uuid     not null,
    valid_from    date     not null,
    seq           smallint not null,
    valid_to      date     not null,
    work_email    text,
    private_email text,
    phone         text,
    sets          smallint not null
) with (fillfactor = 90);

create table assignment_span (
    employment_id uuid     not null,
    employee_id   uuid     not null,
    valid_from    date     not null,
    seq           smallint not null,
    valid_to      date     not null,
    department_id uuid     not null,
    job_id        uuid     not null,
    location_id   uuid,
    manager_id    uuid,
    reason        text     not null,
    sets          smallint not null
);

create table compensation_span (
    employment_id uuid     not null,
    employee_id   uuid     not null,
    valid_from    date     not null,
    seq           smallint not null,
    valid_to      date     not null,
    rate          numeric  not null,
    currency      text     not null,
    per           text     not null,        -- year, month or hour
    annual        numeric  not null,        -- rate for a nominal full-time year
    reason        text     not null
) with (fillfactor = 90);

-- Days on which somebody stands at the top of the org chart: without a manager, or with one who is not employed.
create table top_span (
    employee_id uuid not null,
    valid_from  date not null,
    valid_to    date not null
);

-- By how much headcount and annual pay change in a period. The sum of all periods up to a day is what holds on it.
create table headcount_step (
    dimension smallint not null,            -- 0 everyone, 1 department, 2 job, 3 location
    period    smallint not null,            -- 0 day, 1 month, 2 year
    starts_on date     not null,            -- the period's first day
    unit_id   uuid     not null,            -- the department, job or location; zeros for everyone, and for people without one
    currency  text     not null,            -- of the pay; empty for people without
    heads     bigint   not null,
    annual    numeric  not null
) with (fillfactor = 60);
