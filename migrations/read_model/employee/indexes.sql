-- Keys and indexes, built after a rebuild's COPY and at once for a new tenant.
alter table employee add primary key (employee_id);
alter table employment add primary key (employment_id);
alter table person_span add primary key (employee_id, valid_from, seq);
alter table contact_span add primary key (employee_id, valid_from, seq);
alter table assignment_span add primary key (employment_id, valid_from, seq);
alter table compensation_span add primary key (employment_id, valid_from, seq);
create index employment_employee on employment (employee_id);
create index assignment_span_employee on assignment_span (employee_id, valid_from, valid_to, department_id);
create index assignment_span_department on assignment_span (department_id, valid_from, valid_to);
create index assignment_span_manager on assignment_span (manager_id, valid_from, valid_to) where manager_id is not null;
create index compensation_span_employee on compensation_span (employee_id);
-- The order of every list of people, that of ICU's root collation. After PostgreSQL got another version of ICU it is to be reindexed,
-- or the read model rebuilt.
create index person_span_name on person_span ((coalesce(family_name, '')) collate "und-x-icu", (coalesce(given_name, '')) collate "und-x-icu", employee_id);
create index person_span_grams on person_span using gin (grams);
alter table top_span add primary key (employee_id, valid_from);
create index top_span_days on top_span (valid_to, valid_from);
alter table headcount_step add primary key (dimension, period, starts_on, unit_id, currency);
alter table working_time add primary key (employee_id, valid_from);
