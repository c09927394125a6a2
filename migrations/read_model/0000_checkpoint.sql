-- How far this read model has folded its tenant's log. One row, written in the same transaction as the rows (I3).
create table checkpoint (
    only_row boolean not null default true primary key check (only_row),
    position bigint  not null,              -- the last event folded
    fence    bigint  not null               -- of the projector that folded it; a smaller one is refused
);
insert into checkpoint (position, fence) values (0, 0);
