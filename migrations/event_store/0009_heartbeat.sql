-- The relay's lease is judged by its heartbeat, not by a clock: whoever wants it watches whether the heartbeat changes, and takes
-- the lease after it has stood still for some seconds of the watcher's own. Nobody owns a lease that was given back.
alter table event_store.lease drop column expires_at, alter owner drop not null, add column heartbeat bigint not null default 0;
