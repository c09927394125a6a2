-- One tenant's read model, capability `leave`.
--
-- A kind of leave has a class: absence, personal or medical. A row names its kind in the column of that class and leaves the other two
-- null, so whoever may not read the class finds null.
create table leave_type (     -- open
    type_id uuid not null,    -- open
    code    text not null,    -- open
    name    text not null,    -- open
    class   text not null     -- open: absence, personal or medical
);

create table leave_policy (        -- open
    policy_id  uuid     not null,  -- open
    version    smallint not null,  -- open
    code       text     not null,  -- open
    type_id    uuid     not null,  -- open
    valid_from date     not null,  -- open
    terms      text     not null   -- open: events::leave::LeavePolicyTerms as JSON
);

create table leave_enrolment (     -- of employee_id: absence
    enrolment_id       uuid not null,  -- absence
    employee_id        uuid not null,  -- absence
    policy_id          uuid,           -- absence
    personal_policy_id uuid,           -- personal
    medical_policy_id  uuid,           -- medical
    valid_from         date not null,  -- absence
    valid_to           date not null   -- absence: 'infinity' while open
);

create table leave_request (               -- of employee_id: absence
    request_id       uuid     not null,    -- absence
    employee_id      uuid     not null,    -- absence
    type_id          uuid,                 -- absence
    personal_type_id uuid,                 -- personal
    medical_type_id  uuid,                 -- medical
    status           text     not null,    -- absence: pending, approved, rejected, withdrawn, cancellation_requested or cancelled
    cancelled_on     date,                 -- absence
    first_day        date     not null,    -- absence
    last_day         date     not null,    -- absence
    cost             numeric  not null,    -- absence
    days             text     not null,    -- absence: a list of events::leave::DayCost as JSON
    sequence         bigint   not null,    -- absence: how many events it has had, from 1
    note             text,                 -- absence
    personal_note    text,                 -- personal
    medical_note     text,                 -- medical
    decision_reason  text                  -- personal
) with (fillfactor = 90);

-- The days on which somebody is away: of leave that is approved, and that costs something on that day.
create table leave_day (              -- of employee_id: directory
    request_id  uuid     not null,    -- directory
    employee_id uuid     not null,    -- directory
    day         date     not null,    -- directory
    part        text     not null     -- directory: whole, morning or afternoon
);

create table leave_adjustment (            -- of employee_id: absence
    adjustment_id    uuid     not null,    -- absence
    employee_id      uuid     not null,    -- absence
    type_id          uuid,                 -- absence
    personal_type_id uuid,                 -- personal
    medical_type_id  uuid,                 -- medical
    day              date     not null,    -- absence
    amount           numeric  not null,    -- absence: negative where it takes away or pays out
    ends_on          date,                 -- absence
    is_encashment    smallint not null,    -- absence: 1 where it was paid out
    reason           text                  -- personal
);

-- The entries that were recorded of accounts. No row is ever changed: further entries correct earlier ones.
create table leave_entry (                 -- of employee_id: absence
    posting_id       uuid     not null,    -- absence
    seq              smallint not null,    -- absence
    employee_id      uuid     not null,    -- absence
    type_id          uuid,                 -- absence
    personal_type_id uuid,                 -- personal
    medical_type_id  uuid,                 -- medical
    day              date     not null,    -- absence: from which it counts
    kind             text     not null,    -- absence
    amount           numeric  not null,    -- absence
    entry            text     not null     -- absence: events::leave::Entry as JSON
);
