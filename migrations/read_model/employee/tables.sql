-- One tenant's read model, capability `employee`. See `organization` for what a span is.
--
-- Where updates leave indexed columns alone, a page keeps room for the rows' next versions: PostgreSQL then updates in place,
-- and no index.
create table employee (                  -- of employee_id: directory
    employee_id        uuid   not null,  -- directory
    employee_number    text,             -- directory: null once erased
    original_hire_date date   not null,  -- directory
    stream_version     bigint not null   -- directory: for If-Match
) with (fillfactor = 80);

create table employment (              -- of employee_id: directory
    employment_id      uuid not null,  -- directory
    employee_id        uuid not null,  -- directory
    starts_on          date not null,  -- directory
    ends_on            date not null,  -- directory: the first day not employed; 'infinity' while open
    termination_reason text            -- personal
);

create table person_span (          -- of employee_id: directory
    employee_id uuid     not null,  -- directory
    valid_from  date     not null,  -- directory
    seq         smallint not null,  -- directory
    valid_to    date     not null,  -- directory
    given_name  text,               -- directory
    family_name text,               -- directory
    birth_date  date,               -- personal
    gender      text,               -- personal
    sets        smallint not null,  -- personal
    search      text,               -- directory: names, number, work addresses and former names, folded: platform::search
    grams       int4[]   not null   -- directory: of `search`, for words anywhere in it: platform::search
) with (fillfactor = 90);

create table contact_span (           -- of employee_id: directory
    employee_id   uuid     not null,  -- directory
    valid_from    date     not null,  -- directory
    seq           smallint not null,  -- directory
    valid_to      date     not null,  -- directory
    work_email    text,               -- directory
    private_email text,               -- personal
    phone         text,               -- personal
    sets          smallint not null   -- personal
) with (fillfactor = 90);

create table assignment_span (        -- of employee_id: directory
    employment_id uuid     not null,  -- directory
    employee_id   uuid     not null,  -- directory
    valid_from    date     not null,  -- directory
    seq           smallint not null,  -- directory
    valid_to      date     not null,  -- directory
    department_id uuid     not null,  -- directory
    job_id        uuid     not null,  -- directory
    location_id   uuid,               -- directory
    manager_id    uuid,               -- directory
    reason        text     not null,  -- personal
    sets          smallint not null   -- directory
);

create table compensation_span (      -- of employee_id: pay
    employment_id uuid     not null,  -- pay
    employee_id   uuid     not null,  -- pay
    valid_from    date     not null,  -- pay
    seq           smallint not null,  -- pay
    valid_to      date     not null,  -- pay
    rate          numeric  not null,  -- pay
    currency      text     not null,  -- pay
    per           text     not null,  -- pay: year, month or hour
    annual        numeric  not null,  -- pay: rate for a nominal full-time year
    reason        text     not null   -- pay
) with (fillfactor = 90);

-- Days on which somebody stands at the top of the org chart: without a manager, or with one who is not employed.
create table top_span (         -- of employee_id: directory
    employee_id uuid not null,  -- directory
    valid_from  date not null,  -- directory
    valid_to    date not null   -- directory
);

-- By how much headcount and annual pay change in a period. The sum of all periods up to a day is what holds on it.
create table headcount_step (     -- of everyone: directory, pay
    dimension smallint not null,  -- directory: 0 everyone, 1 department, 2 job, 3 location
    period    smallint not null,  -- directory: 0 day, 1 month, 2 year
    starts_on date     not null,  -- directory: the period's first day
    unit_id   uuid     not null,  -- directory: the department, job or location; zeros for everyone, and for people without one
    currency  text     not null,  -- pay: of the pay; empty for people without
    heads     bigint   not null,  -- directory
    annual    numeric  not null   -- pay
) with (fillfactor = 60);

-- How much and by which schedule somebody works, from a day until the next.
create table working_time (          -- of employee_id: absence
    employee_id uuid    not null,    -- absence
    valid_from  date    not null,    -- absence
    fraction    numeric not null,    -- absence: of full time
    schedule_id uuid    not null     -- absence
);
