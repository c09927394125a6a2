-- What an operator writes down about an issuer counts once somebody of the tenant has said so: null until then.
alter table platform.external_issuer add column if not exists confirmed_at timestamptz;
