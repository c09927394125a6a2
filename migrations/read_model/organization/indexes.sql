-- Keys and indexes, built after a rebuild's COPY and at once for a new tenant.
alter table department_span add primary key (department_id, valid_from, seq);
alter table location_span add primary key (location_id, valid_from, seq);
alter table job_span add primary key (job_id, valid_from, seq);
create index department_span_parent on department_span (parent_id);
