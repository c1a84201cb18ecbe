-- The guards of 0001 for the table of 0022: what was noted of a read stays as it is.

alter table audit_reads enable row level security;
--> statement-breakpoint
alter table audit_reads force row level security;
--> statement-breakpoint
create policy platform on audit_reads using ((select current_setting('app.scope', true)) = 'platform');
--> statement-breakpoint
create policy tenant on audit_reads using (tenant_id = (select nullif(current_setting('app.tenant', true), '')::uuid));
--> statement-breakpoint
create trigger append_only before update or delete on audit_reads for each row execute function refuse_rewriting();
--> statement-breakpoint
create trigger append_only_truncate before truncate on audit_reads execute function refuse_rewriting();
--> statement-breakpoint
grant select, insert on audit_reads to custos_app;
--> statement-breakpoint
select pgboss.create_queue('audit-reads-digest',
  '{"policy": "standard", "retryLimit": 5, "retryDelay": 5, "retryBackoff": true, "expireInSeconds": 30}');
