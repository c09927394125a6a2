-- Leases on partitions are judged by their heartbeat, not by a clock, as the relay's is (event_store/0009). Nobody owns one that
-- was given back.
alter table platform.partition_lease drop column expires_at, alter owner drop not null, add column heartbeat bigint not null default 0;

-- A parked tenant is tried again by a projector of another build, and by any once `build` is empty.
alter table platform.parked
    add column build    text        not null default '',    -- which tried last
    add column tries    integer     not null default 1,     -- in all
    add column tried_at timestamptz not null default now();
