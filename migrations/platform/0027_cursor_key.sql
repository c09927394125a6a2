-- The key that seals the cursors of lists: they hold the sort key of a page's last row, which names a person, and stand in URLs.
-- Every query API opens the cursors of the others. 32 random bytes, of which 244 bits are drawn.
create table platform.cursor_key (
    only_row boolean not null default true primary key check (only_row),
    key      bytea   not null check (octet_length(key) = 32)
);
insert into platform.cursor_key (key) values (decode(replace(gen_random_uuid()::text || gen_random_uuid()::text, '-', ''), 'hex'));
grant select on platform.cursor_key to tenure_query;
