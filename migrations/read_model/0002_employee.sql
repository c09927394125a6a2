-- One tenant's read model, capability `employee`. See 0001_organization.sql for what a span is.
create table employee (
    employee_id        uuid   not null,
    employee_number    text,                -- null once erased
    original_hire_date date   not null,
    stream_version     bigint not null      -- for If-Match
);

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
    search      text                        -- lower-cased given and family name, for name search
);

create table contact_span (
    employee_id   uuid     not null,
    valid_from    date     not null,
    seq           smallint not null,
    valid_to      date     not null,
    work_email    text,
    private_email text,
    phone         text,
    sets          smallint not null
);

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
);
