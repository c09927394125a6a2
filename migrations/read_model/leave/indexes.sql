-- Keys and indexes, built after a rebuild's COPY and at once for a new tenant.
alter table leave_type add primary key (type_id);
alter table leave_policy add primary key (policy_id, version);
alter table leave_enrolment add primary key (enrolment_id);
alter table leave_request add primary key (request_id);
alter table leave_day add primary key (request_id, day, part);
alter table leave_adjustment add primary key (adjustment_id);
alter table leave_entry add primary key (posting_id, seq);
create index leave_enrolment_employee on leave_enrolment (employee_id);
create index leave_request_employee on leave_request (employee_id, first_day);
create index leave_request_days on leave_request (last_day, first_day);
create index leave_day_day on leave_day (day, employee_id);
create index leave_adjustment_employee on leave_adjustment (employee_id);
create index leave_entry_employee on leave_entry (employee_id, day);
