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
  first_id uuid := audit_id_floor(month at time zone 'UTC');
  next_id uuid := audit_id_floor((month + interval '1 month') at time zone 'UTC');
  parents text[];
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
  select array_agg(each) into parents from unnest(array['audit_logs', 'audit_changes']) as each
    where to_regclass(each || '_' || suffix) is not null;

  -- What stays is copied first, while everybody goes on writing into other months.
  foreach parent in array parents loop
    old := parent || '_' || suffix;
    fresh := old || '_kept';
    execute format('lock table only %I in share mode', old);
    -- Through the log itself: a partition lets nobody in.
    if parent = 'audit_logs' then
      select count(*) into found from audit_logs where id >= first_id and id < next_id and tenant_id = any (gone);
      if found <> expected then
        raise exception 'the archive of % has % records, the log %', suffix, expected, found using errcode = 'data_exception';
      end if;
    end if;
    execute format('create table %I (like %I including all)', fresh, parent);
    -- Before it is attached: no trigger takes these rows for new ones.
    execute format('insert into %I select * from %I where id >= $1 and id < $2 and tenant_id <> all ($3)', fresh, parent)
      using first_id, next_id, gone;
    -- What the attaching would look for in all rows.
    execute format('alter table %I add constraint month check (id is not null and id >= %L and id < %L)', fresh, first_id, next_id);
    execute format('create trigger append_only_truncate before truncate on %I execute function refuse_rewriting()', fresh);
    execute format('alter table %I enable row level security', fresh);
    execute format('alter table %I force row level security', fresh);
  end loop;

  -- Whoever writes waits for this, and this not long for whoever reads: then it is tried again another time.
  perform set_config('lock_timeout', '3s', true);
  foreach parent in array parents loop
    old := parent || '_' || suffix;
    fresh := old || '_kept';
    execute format('alter table %I detach partition %I', parent, old);
    execute format('drop table %I', old);
    execute format('select exists (select from %I)', fresh) into kept;
    if kept then
      execute format('alter table %I rename to %I', fresh, old);
      execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, old, first_id, next_id);
      execute format('alter table %I drop constraint month', old);
    else
      execute format('drop table %I', fresh);
    end if;
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
