-- No role may do more than its code does (docs/rights.md lists both, and a test compares them).
revoke select on platform.parked from tenure_command, tenure_relay;
revoke select on platform.partition_lease from tenure_command, tenure_relay, tenure_query;
revoke execute on function platform.current_tenant() from tenure_relay;
revoke update on platform.command_answer from tenure_command;
-- The query API opens nothing that is sealed.
revoke all on platform.person_key, platform.master_key_probe from tenure_query;
