-- How far this read model has folded its tenant's log. One row, written in the same transaction as the rows (I3). The position alone
-- does not say of which log: the last event folded must stand there in the log that is folded on.
create table checkpoint (                                                    -- open
    only_row    boolean not null default true primary key check (only_row),
    position    bigint  not null,                                            -- open: of the last event folded
    event_id    uuid,                                                        -- open: its id, and
    recorded_at bigint,                                                      -- open: when the store took it, in microseconds since 1970; both null at position 0
    fence       bigint  not null                                             -- of the projector that folded it; a smaller one is refused
);
insert into checkpoint (position, fence) values (0, 0);
