-- The guards of 0001 for the tables of 0016. What a webhook is, is business; how far it has come and what it tried is not.

do $$
declare
  owned text;
begin
  foreach owned in array array['webhooks', 'webhook_cursors', 'webhook_deliveries'] loop
    execute format('alter table %I enable row level security', owned);
    execute format('alter table %I force row level security', owned);
    execute format('create policy platform on %I using ((select current_setting(''app.scope'', true)) = ''platform'')', owned);
    execute format('create policy tenant on %I
      using (tenant_id = (select nullif(current_setting(''app.tenant'', true), '''')::uuid))', owned);
  end loop;
end $$;
--> statement-breakpoint
create constraint trigger audited after insert or update or delete on webhooks
  deferrable initially deferred for each row execute function require_record();
--> statement-breakpoint
grant select, insert, update on webhooks, webhook_cursors to custos_app;
--> statement-breakpoint
grant select, insert, delete on webhook_deliveries to custos_app;
--> statement-breakpoint
select pgboss.create_queue('webhook-delivery-expiry', '{"policy": "standard", "retryLimit": 5, "retryDelay": 5, "retryBackoff": true, "expireInSeconds": 30}');
