-- Who may do what. Nobody, the owner included, changes or removes an event.
create or replace function event_store.refuse() returns trigger language plpgsql as $$
begin
    raise exception 'events are never changed or removed' using errcode = 'insufficient_privilege';
end $$;

create or replace trigger event_is_final before update or delete on event_store.event for each row execute function event_store.refuse();
create or replace trigger event_stays before truncate on event_store.event for each statement execute function event_store.refuse();

-- Rows are visible to, and can be written by, a statement that names their tenant in `tenure.tenants`. The setting is
-- read once per statement (an uncorrelated sub-select), not once per row; `array_position` rather than `= any`, which
-- would become a condition of every index scan and be worked through anew for each (a third of the time of a batch).
do $$
declare t text;
begin
    foreach t in array array['event', 'claim'] loop
        execute format('alter table event_store.%I enable row level security', t);
        execute format('alter table event_store.%I force row level security', t);
        execute format('drop policy if exists named_tenant on event_store.%I', t);
        execute format($p$create policy named_tenant on event_store.%I
            using (array_position((select string_to_array(current_setting('tenure.tenants', true), ',')::uuid[]), tenant_id) is not null)
            with check (array_position((select string_to_array(current_setting('tenure.tenants', true), ',')::uuid[]), tenant_id) is not null)$p$, t);
    end loop;
end $$;

revoke all on schema event_store from public;
revoke all on all functions in schema event_store from public;

grant usage on schema event_store to tenure_command, tenure_relay, tenure_projector, tenure_query;
grant execute on all functions in schema event_store to tenure_command, tenure_relay, tenure_projector, tenure_query;
revoke execute on function event_store.append_batch from tenure_relay, tenure_query;
grant select on event_store.event, event_store.tenant_head to tenure_command, tenure_relay, tenure_projector, tenure_query;
grant insert on event_store.event to tenure_command, tenure_projector;
-- The projector appends one kind of event: that a tenant was provisioned.
grant insert, update on event_store.tenant_head to tenure_command, tenure_projector;
grant select, insert, delete on event_store.claim to tenure_command;
grant select, insert, delete on event_store.claim to tenure_projector;
grant select, insert, update on event_store.relay_cursor to tenure_relay;
grant select on event_store.relay_cursor to tenure_projector;
grant select, insert, update, delete on event_store.lease to tenure_relay;
