-- The guards of 0001 for the tables of 0011. An export is no business by itself: that somebody ordered it is on record, and its file
-- is written and deleted by jobs.

do $$
declare
  owned text;
begin
  foreach owned in array array['audit_exports', 'audit_export_parts'] loop
    execute format('alter table %I enable row level security', owned);
    execute format('alter table %I force row level security', owned);
    execute format('create policy platform on %I using ((select current_setting(''app.scope'', true)) = ''platform'')', owned);
    execute format('create policy tenant on %I
      using (tenant_id = (select nullif(current_setting(''app.tenant'', true), '''')::uuid))', owned);
  end loop;
end $$;
--> statement-breakpoint
grant select, insert, update, delete on audit_exports to custos_app;
--> statement-breakpoint
grant select, insert, delete on audit_export_parts to custos_app;
--> statement-breakpoint
-- A part is compressed already.
alter table audit_export_parts alter column body set storage external;
