-- The guards of 0001 for the table of 0013, and the one way to destroy what a person's values are sealed under.

alter table legal_holds enable row level security;
--> statement-breakpoint
alter table legal_holds force row level security;
--> statement-breakpoint
create policy platform on legal_holds using ((select current_setting('app.scope', true)) = 'platform');
--> statement-breakpoint
create policy tenant on legal_holds using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
--> statement-breakpoint
grant select, insert, update on legal_holds to custos_app;
--> statement-breakpoint
create constraint trigger audited after insert or update or delete on legal_holds
  deferrable initially deferred for each row execute function require_record();
--> statement-breakpoint

-- Whoever the owner is, it reaches as far as the caller's transaction does.
create function destroy_subject_keys(subjects uuid[]) returns int language sql security definer as $$
  with destroyed as (
    delete from subject_keys
    where subject_id = any (subjects) and (current_setting('app.scope', true) = 'platform'
      or tenant_id = nullif(current_setting('app.tenant', true), '')::uuid)
    returning 1
  )
  select count(*)::int from destroyed
$$;
--> statement-breakpoint
do $$
begin
  execute format('alter function destroy_subject_keys set search_path = %I, pg_temp', current_schema);
end $$;
--> statement-breakpoint
revoke execute on function destroy_subject_keys from public;
--> statement-breakpoint
grant execute on function destroy_subject_keys to custos_app;
--> statement-breakpoint
create constraint trigger destroyed_on_record after delete on subject_keys
  deferrable initially deferred for each row execute function require_record();
