-- The guards of 0001 for the tables of 0018. A key that was used is noted with the records of its events, and forgotten by a job.

do $$
declare
  owned text;
begin
  foreach owned in array array['api_keys', 'event_types', 'audit_event_keys'] loop
    execute format('alter table %I enable row level security', owned);
    execute format('alter table %I force row level security', owned);
    execute format('create policy platform on %I using ((select current_setting(''app.scope'', true)) = ''platform'')', owned);
    execute format('create policy tenant on %I
      using (tenant_id = (select nullif(current_setting(''app.tenant'', true), '''')::uuid))', owned);
  end loop;
  foreach owned in array array['api_keys', 'event_types'] loop
    execute format('create constraint trigger audited after insert or update or delete on %I
      deferrable initially deferred for each row execute function require_record()', owned);
  end loop;
end $$;
--> statement-breakpoint
grant select, insert, update on api_keys to custos_app;
--> statement-breakpoint
grant select, insert on event_types to custos_app;
--> statement-breakpoint
grant select, insert, delete on audit_event_keys to custos_app;
--> statement-breakpoint
select pgboss.create_queue('audit-event-key-expiry',
  '{"policy": "standard", "retryLimit": 5, "retryDelay": 5, "retryBackoff": true, "expireInSeconds": 30}');
