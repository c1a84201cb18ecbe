-- The guards of 0001 for the tables of 0002, and the numbers of what was sealed before they were kept.

do $$
declare
  audited text;
begin
  foreach audited in array array['branches', 'user_branch_access', 'tenant_settings', 'security_event_states'] loop
    execute format('create constraint trigger audited after insert or update or delete on %I
      deferrable initially deferred for each row execute function require_record()', audited);
  end loop;
end $$;
--> statement-breakpoint
do $$
declare
  owned text;
begin
  foreach owned in array array['branches', 'user_branch_access', 'tenant_settings', 'security_event_states',
    'audit_hours', 'audit_facets', 'security_detectors', 'throttle_counters'] loop
    execute format('alter table %I enable row level security', owned);
    execute format('alter table %I force row level security', owned);
    execute format('create policy platform on %I using ((select current_setting(''app.scope'', true)) = ''platform'')', owned);
    if owned not in ('security_detectors', 'throttle_counters') then
      execute format('create policy tenant on %I
        using (tenant_id = (select nullif(current_setting(''app.tenant'', true), '''')::uuid))', owned);
    end if;
  end loop;
end $$;
--> statement-breakpoint
grant select, insert, update on branches, tenant_settings, security_event_states, audit_hours, audit_facets to custos_app;
--> statement-breakpoint
grant select, insert, delete on user_branch_access to custos_app;
--> statement-breakpoint
grant select, update on security_detectors to custos_app;
--> statement-breakpoint
alter table throttle_counters set unlogged;
--> statement-breakpoint
grant select, insert, update, delete on throttle_counters to custos_app;
--> statement-breakpoint

-- Each batch of the sealer counts up rows of the hour and the day: with room beside them no index is touched.
alter table audit_hours set (fillfactor = 70);
--> statement-breakpoint
alter table audit_facets set (fillfactor = 80);
--> statement-breakpoint

-- The owner is bound by row-level security too.
select set_config('app.scope', 'platform', true);
--> statement-breakpoint
insert into security_detectors (name, pos) select 'sign-in', pos from audit_sealer;
--> statement-breakpoint
create temporary view sealed_record as
  select log.* from audit_seals
  cross join lateral generate_series(0, audit_seals.count - 1) as place
  join audit_logs as log on log.tenant_id = audit_seals.tenant_id
    and log.id = encode(substring(audit_seals.ids from place * 16 + 1 for 16), 'hex')::uuid;
--> statement-breakpoint
insert into audit_hours (tenant_id, hour, action, status, severity, count)
  select tenant_id, date_trunc('hour', created_at, 'UTC'), action, status, severity, count(*)
  from sealed_record group by 1, 2, 3, 4, 5;
--> statement-breakpoint
insert into audit_facets (tenant_id, day, facet, value, count, failures)
  select tenant_id, date_trunc('day', created_at, 'UTC'), facet, value, count(*), count(*) filter (where status <> 'success')
  from sealed_record
  cross join lateral (values ('actor', user_id::text), ('address', host(ip_address)), ('device', user_agent)) as seen (facet, value)
  where value is not null
  group by 1, 2, 3, 4;
--> statement-breakpoint
drop view sealed_record;
