-- How long an access token of another issuer may live, in seconds. The big providers issue tokens of 60 to 90 minutes.
alter table platform.external_issuer add column if not exists max_lifetime_s bigint not null default 3600
    check (max_lifetime_s between 60 and 86400);
-- A revoked token stays void for as long as the longest token that an issuer may be trusted with.
update platform.revocation set until = greatest(until, revoked_at + interval '86460 seconds') where subject like 'external:%';
