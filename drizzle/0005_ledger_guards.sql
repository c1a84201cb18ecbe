-- The guards of 0001 for the tables of 0004.

alter table audit_seals add constraint audit_seals_packed
  check (octet_length(ids) = count * 16 and octet_length(leaves) = count * 32);
--> statement-breakpoint
create trigger append_only before update or delete on audit_checkpoints for each row execute function refuse_rewriting();
--> statement-breakpoint
create trigger append_only_truncate before truncate on audit_checkpoints execute function refuse_rewriting();
--> statement-breakpoint

-- A tile is appended to until it is full; what it has stays.
create function refuse_other_hashes() returns trigger language plpgsql as $$
begin
  if (new.tenant_id, new.level, new.index) is distinct from (old.tenant_id, old.level, old.index)
    or substring(new.hashes for octet_length(old.hashes)) is distinct from old.hashes then
    raise exception 'a tile only grows' using errcode = 'insufficient_privilege';
  end if;
  return new;
end $$;
--> statement-breakpoint
create trigger append_only before update on audit_tiles for each row execute function refuse_other_hashes();
--> statement-breakpoint
create trigger append_only_delete before delete on audit_tiles for each row execute function refuse_rewriting();
--> statement-breakpoint
create trigger append_only_truncate before truncate on audit_tiles execute function refuse_rewriting();
--> statement-breakpoint
do $$
declare
  owned text;
begin
  foreach owned in array array['audit_tiles', 'audit_checkpoints', 'audit_verifications', 'audit_ledger'] loop
    execute format('alter table %I enable row level security', owned);
    execute format('alter table %I force row level security', owned);
    execute format('create policy platform on %I using ((select current_setting(''app.scope'', true)) = ''platform'')', owned);
    if owned <> 'audit_ledger' then
      execute format('create policy tenant on %I
        using (tenant_id = (select nullif(current_setting(''app.tenant'', true), '''')::uuid))', owned);
    end if;
  end loop;
end $$;
--> statement-breakpoint
grant select, insert, update on audit_tiles, audit_verifications to custos_app;
--> statement-breakpoint
grant select, insert on audit_checkpoints, audit_ledger to custos_app;
--> statement-breakpoint

create trigger append_only before update or delete on audit_ledger for each row execute function refuse_rewriting();
--> statement-breakpoint
create trigger append_only_truncate before truncate on audit_ledger execute function refuse_rewriting();
