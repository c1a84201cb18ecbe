-- The months of the log, made ahead by whoever runs: the application may ask for them, and has no say in which.

-- Makes the monthly partitions from the month of first_day to the month of last_day, those that are missing. Each is made
-- beside the log and attached to it: that waits for no writer, and no writer for it.
create or replace procedure create_audit_partitions(first_day date, last_day date) language plpgsql as $$
declare
  month timestamp := date_trunc('month', first_day::timestamp);
  name text;
begin
  -- Processes that find the same month missing make it one after the other.
  perform pg_advisory_xact_lock('audit_logs'::regclass::bigint);
  while month <= last_day loop
    name := 'audit_logs_' || to_char(month, 'YYYY_MM');
    if to_regclass(name) is null then
      execute format('create table %I (like audit_logs including all)', name);
      -- Row triggers come with the attaching, a TRUNCATE trigger does not; and the parent's policies do not guard a partition.
      execute format('create trigger append_only_truncate before truncate on %I execute function refuse_rewriting()', name);
      execute format('alter table %I enable row level security', name);
      execute format('alter table %I force row level security', name);
      execute format('alter table audit_logs attach partition %I for values from (%L) to (%L)', name,
        audit_id_floor(month at time zone 'UTC'), audit_id_floor((month + interval '1 month') at time zone 'UTC'));
    end if;
    month := month + interval '1 month';
  end loop;
end $$;
--> statement-breakpoint

-- Two months back, for what is told afterwards; three ahead, should nothing run for long.
create procedure keep_audit_partitions() language plpgsql security definer as $$
declare
  today timestamp := now() at time zone 'UTC';
begin
  call create_audit_partitions((today - interval '2 months')::date, (today + interval '3 months')::date);
end $$;
--> statement-breakpoint
do $$
begin
  -- It acts as the owner: what a caller has named alike must not be found first.
  execute format('alter procedure keep_audit_partitions set search_path = %I, pg_temp', current_schema);
end $$;
--> statement-breakpoint
revoke execute on procedure keep_audit_partitions from public;
--> statement-breakpoint
grant execute on procedure keep_audit_partitions to custos_app;
