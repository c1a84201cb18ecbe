-- What Drizzle cannot say: who may do what (roles, row-level security), what nobody may do (append-only), and what must be
-- (a record for every change). Run by the owner; the application is the role custos_app, which platform/migrate.ts makes.

-- Partitions ---------------------------------------------------------------------------------------------------------

create function audit_id_floor(moment timestamptz) returns uuid
  language sql immutable strict parallel safe
  return (lpad(to_hex(floor(extract(epoch from moment) * 1000)::bigint), 12, '0') || '70008000000000000000')::uuid;
--> statement-breakpoint
comment on function audit_id_floor is 'The least UUIDv7 of a whole millisecond: the bound of a partition.';
--> statement-breakpoint

create function refuse_rewriting() returns trigger language plpgsql as $$
begin
  raise exception '% is append-only: % refused', tg_table_name, tg_op using errcode = 'insufficient_privilege';
end $$;
--> statement-breakpoint

-- Makes the monthly partitions from the month of first_day to the month of last_day, those that are missing.
create procedure create_audit_partitions(first_day date, last_day date) language plpgsql as $$
declare
  month timestamp := date_trunc('month', first_day::timestamp);
  name text;
begin
  while month <= last_day loop
    name := 'audit_logs_' || to_char(month, 'YYYY_MM');
    if to_regclass(name) is null then
      execute format('create table %I partition of audit_logs for values from (%L) to (%L)', name,
        audit_id_floor(month at time zone 'UTC'), audit_id_floor((month + interval '1 month') at time zone 'UTC'));
      -- Row triggers are inherited, a TRUNCATE trigger is not; and the parent's policies do not guard a partition.
      execute format('create trigger append_only_truncate before truncate on %I execute function refuse_rewriting()', name);
      execute format('alter table %I enable row level security', name);
      execute format('alter table %I force row level security', name);
    end if;
    month := month + interval '1 month';
  end loop;
end $$;
--> statement-breakpoint

-- Append-only --------------------------------------------------------------------------------------------------------

create trigger append_only before update or delete on audit_logs for each row execute function refuse_rewriting();
--> statement-breakpoint
create trigger append_only_truncate before truncate on audit_logs execute function refuse_rewriting();
--> statement-breakpoint
create trigger append_only before update or delete on audit_seals for each row execute function refuse_rewriting();
--> statement-breakpoint
create trigger append_only_truncate before truncate on audit_seals execute function refuse_rewriting();
--> statement-breakpoint

-- A record for every change ------------------------------------------------------------------------------------------

-- A record leaves its name in the transaction, so that the guard below looks in one partition, not in all.
create function remember_record() returns trigger language plpgsql as $$
begin
  perform set_config('custos.record', new.tenant_id || '/' || new.id, true);
  return null;
end $$;
--> statement-breakpoint
create trigger remember_record after insert on audit_logs for each row execute function remember_record();
--> statement-breakpoint

create function require_record() returns trigger language plpgsql as $$
declare
  record text[] := string_to_array(nullif(current_setting('custos.record', true), ''), '/');
begin
  if not exists (
    select from audit_logs
    where tenant_id = record[1]::uuid and id = record[2]::uuid and tx = pg_current_xact_id()
  ) then
    raise exception 'a change of % needs an audit record in its transaction', tg_table_name using errcode = 'CUS01';
  end if;
  return null;
end $$;
--> statement-breakpoint
do $$
declare
  audited text;
begin
  foreach audited in array array['tenants', 'users', 'sessions', 'refresh_tokens', 'mailed_tokens'] loop
    execute format('create constraint trigger audited after insert or update or delete on %I
      deferrable initially deferred for each row execute function require_record()', audited);
  end loop;
end $$;
--> statement-breakpoint

-- The sealer -------------------------------------------------------------------------------------------------------

-- Nothing is sealed yet: no transaction is visible in the snapshot 3:3:.
insert into audit_sealer (sealed, pos, system_identifier)
  select '3:3:', 0, system_identifier from pg_control_system();
--> statement-breakpoint

-- Isolation ----------------------------------------------------------------------------------------------------------

-- A transaction carries app.scope and app.tenant (platform/db.ts). Without them nothing is visible. Sub-selects make the
-- settings constants of the plan, and uuid equality is leakproof, so the indexes are used.
do $$
declare
  owned text;
begin
  foreach owned in array array['users', 'sessions', 'refresh_tokens', 'mailed_tokens', 'audit_logs', 'subject_keys',
    'audit_seals', 'audit_trees', 'tenants', 'audit_sealer'] loop
    execute format('alter table %I enable row level security', owned);
    execute format('alter table %I force row level security', owned);
    execute format('create policy platform on %I using ((select current_setting(''app.scope'', true)) = ''platform'')', owned);
    if owned not in ('tenants', 'audit_sealer') then
      execute format('create policy tenant on %I
        using (tenant_id = (select nullif(current_setting(''app.tenant'', true), '''')::uuid))', owned);
    end if;
  end loop;
end $$;
--> statement-breakpoint
create policy tenant on tenants using (id = (select nullif(current_setting('app.tenant', true), '')::uuid));
--> statement-breakpoint

-- Rights -------------------------------------------------------------------------------------------------------------

grant select, insert, update on tenants, users, sessions, refresh_tokens, mailed_tokens to custos_app;
--> statement-breakpoint
grant select, insert on audit_logs, audit_seals, subject_keys to custos_app;
--> statement-breakpoint
grant select, insert, update on audit_trees to custos_app;
--> statement-breakpoint
grant select, update on audit_sealer to custos_app;
--> statement-breakpoint
revoke execute on procedure create_audit_partitions from public;
