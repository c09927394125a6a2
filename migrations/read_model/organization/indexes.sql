-- Keys and indexes, built after a rebuild's COPY and at once for a new tenant.
alter table department_span add primary key (department_id, valid_from, seq);
alter table location_span add primary key (location_id, valid_from, seq);
alter table job_span add primary key (job_id, valid_from, seq);
create index department_span_parent on department_span (parent_id);
alter table work_schedule add primary key (schedule_id, valid_from);
alter table holiday_calendar add primary key (calendar_id);
alter table holiday_year add primary key (calendar_id, year);
alter table place_calendar add primary key (place_id, valid_from);
