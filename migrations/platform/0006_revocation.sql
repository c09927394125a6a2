-- Whose a revocation is, so that nobody can make so many that the others' don't get through; and which transaction wrote
-- it, so that every verifier reads only what came since it last looked.
alter table platform.revocation add column if not exists subject text;
alter table platform.revocation add column if not exists written xid8 not null default pg_current_xact_id();
create index if not exists revocation_subject on platform.revocation (tenant_id, subject);
create index if not exists revocation_written on platform.revocation (written);
