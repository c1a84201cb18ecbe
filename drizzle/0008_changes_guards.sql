-- The guards of 0001 for the table of 0007, its partitions, and the fields of what was sealed before they were kept.

-- Makes the monthly partitions of the log and of its changes, as 0006 does those of the log alone.
create or replace procedure create_audit_partitions(first_day date, last_day date) language plpgsql as $$
declare
  month timestamp := date_trunc('month', first_day::timestamp);
  parent text;
  name text;
begin
  -- Processes that find the same month missing make it one after the other.
  perform pg_advisory_xact_lock('audit_logs'::regclass::bigint);
  while month <= last_day loop
    foreach parent in array array['audit_logs', 'audit_changes'] loop
      name := parent || '_' || to_char(month, 'YYYY_MM');
      if to_regclass(name) is null then
        execute format('create table %I (like %I including all)', name, parent);
        -- Row triggers come with the attaching, a TRUNCATE trigger does not; and the parent's policies do not guard a partition.
        execute format('create trigger append_only_truncate before truncate on %I execute function refuse_rewriting()', name);
        execute format('alter table %I enable row level security', name);
        execute format('alter table %I force row level security', name);
        execute format('alter table %I attach partition %I for values from (%L) to (%L)', parent, name,
          audit_id_floor(month at time zone 'UTC'), audit_id_floor((month + interval '1 month') at time zone 'UTC'));
      end if;
    end loop;
    month := month + interval '1 month';
  end loop;
end $$;
--> statement-breakpoint
do $$
declare
  month date;
begin
  for month in select to_date(right(relname, 7), 'YYYY_MM')
    from pg_inherits join pg_class on pg_class.oid = inhrelid where inhparent = 'audit_logs'::regclass loop
    call create_audit_partitions(month, month);
  end loop;
end $$;
--> statement-breakpoint
create trigger append_only before update or delete on audit_changes for each row execute function refuse_rewriting();
--> statement-breakpoint
create trigger append_only_truncate before truncate on audit_changes execute function refuse_rewriting();
--> statement-breakpoint
alter table audit_changes enable row level security;
--> statement-breakpoint
alter table audit_changes force row level security;
--> statement-breakpoint
create policy platform on audit_changes using ((select current_setting('app.scope', true)) = 'platform');
--> statement-breakpoint
create policy tenant on audit_changes
  using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
--> statement-breakpoint
grant select, insert on audit_changes to custos_app;
--> statement-breakpoint

-- The owner is bound by row-level security too.
select set_config('app.scope', 'platform', true);
--> statement-breakpoint
insert into audit_changes (tenant_id, field, id)
  select distinct log.tenant_id, path #>> '{}', log.id from audit_seals
  cross join lateral generate_series(0, audit_seals.count - 1) as place
  join audit_logs as log on log.tenant_id = audit_seals.tenant_id
    and log.id = encode(substring(audit_seals.ids from place * 16 + 1 for 16), 'hex')::uuid
  cross join lateral jsonb_path_query(log.changes, '$[*].path') as path
  where octet_length(path #>> '{}') <= 512;
