-- The guards of 0001 for the tables of 0020, and the one way to drop a month of logs.

do $$
declare
  owned text;
begin
  foreach owned in array array['audit_archives', 'audit_retention'] loop
    execute format('alter table %I enable row level security', owned);
    execute format('alter table %I force row level security', owned);
    execute format('create policy platform on %I using ((select current_setting(''app.scope'', true)) = ''platform'')', owned);
    execute format('create policy tenant on %I
      using (tenant_id = (select nullif(current_setting(''app.tenant'', true), '''')::uuid))', owned);
  end loop;
end $$;
--> statement-breakpoint
grant select, insert, update on audit_archives, audit_retention to custos_app;
--> statement-breakpoint

-- Drops what those logs have in a month that is over: exactly so many records, told of by a record of each log in this transaction.
-- What other logs have in it stays, in a partition made anew, so that no row is deleted one by one.
create function drop_audit_month(first_day date, gone uuid[], expected bigint) returns void
language plpgsql security definer as $$
declare
  suffix text := to_char(first_day, 'YYYY_MM');
  month timestamp := date_trunc('month', first_day::timestamp);
  parent text;
  old text;
  fresh text;
  found bigint;
  kept boolean;
begin
  if current_setting('app.scope', true) is distinct from 'platform' then
    raise exception 'only the platform drops a month' using errcode = 'insufficient_privilege';
  end if;
  if month + interval '1 month' > now() at time zone 'UTC' then
    raise exception 'the month % is not over', suffix using errcode = 'insufficient_privilege';
  end if;
  if exists (
    select from unnest(gone) as log (id) where not exists (
      select from audit_archives join audit_logs on audit_logs.tenant_id = log.id and audit_logs.id = audit_archives.record_id
      where audit_archives.tenant_id = log.id and audit_archives.month = to_char(first_day, 'YYYY-MM')
        and audit_logs.action = 'audit.log_dropped' and audit_logs.tx = pg_current_xact_id())
  ) then
    raise exception 'dropping a month needs an archive and a record of each log in its transaction' using errcode = 'CUS01';
  end if;
  -- As whoever makes months.
  perform pg_advisory_xact_lock('audit_logs'::regclass::bigint);
  foreach parent in array array['audit_logs', 'audit_changes'] loop
    fresh := parent || '_' || suffix;
    if to_regclass(fresh) is null then
      continue;
    end if;
    old := fresh || '_dropped';
    execute format('alter table %I detach partition %I', parent, fresh);
    execute format('alter table %I rename to %I', fresh, old);
    execute format('alter table %I no force row level security', old);
    execute format('alter table %I disable row level security', old);
    if parent = 'audit_logs' then
      execute format('select count(*) from %I where tenant_id = any ($1)', old) into found using gone;
      if found <> expected then
        raise exception 'the archive of % has % records, the log %', suffix, expected, found using errcode = 'data_exception';
      end if;
    end if;
    execute format('select exists (select from %I where tenant_id <> all ($1))', old) into kept using gone;
    if kept then
      execute format('create table %I (like %I including all)', fresh, parent);
      -- Before it is attached: no trigger takes these rows for new ones.
      execute format('insert into %I select * from %I where tenant_id <> all ($1)', fresh, old) using gone;
      execute format('create trigger append_only_truncate before truncate on %I execute function refuse_rewriting()', fresh);
      execute format('alter table %I enable row level security', fresh);
      execute format('alter table %I force row level security', fresh);
      execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, fresh,
        audit_id_floor(month at time zone 'UTC'), audit_id_floor((month + interval '1 month') at time zone 'UTC'));
    end if;
    execute format('drop table %I', old);
  end loop;
  delete from audit_hours where tenant_id = any (gone)
    and hour >= month at time zone 'UTC' and hour < (month + interval '1 month') at time zone 'UTC';
  delete from audit_facets where tenant_id = any (gone)
    and day >= month at time zone 'UTC' and day < (month + interval '1 month') at time zone 'UTC';
end $$;
--> statement-breakpoint
do $$
begin
  execute format('alter function drop_audit_month set search_path = %I, pg_temp', current_schema);
end $$;
--> statement-breakpoint
revoke execute on function drop_audit_month from public;
--> statement-breakpoint
grant execute on function drop_audit_month to custos_app;
