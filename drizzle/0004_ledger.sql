CREATE TABLE "audit_checkpoints" (
	"tenant_id" uuid NOT NULL,
	"size" bigint NOT NULL,
	"note" text NOT NULL,
	"created_at" timestamptz NOT NULL,
	CONSTRAINT "audit_checkpoints_tenant_id_size_pk" PRIMARY KEY("tenant_id","size")
);
--> statement-breakpoint
CREATE TABLE "audit_ledger" (
	"one" boolean PRIMARY KEY DEFAULT true NOT NULL,
	"name" text NOT NULL,
	"verifier_key" text NOT NULL,
	CONSTRAINT "audit_ledger_one" CHECK (one)
);
--> statement-breakpoint
CREATE TABLE "audit_tiles" (
	"tenant_id" uuid NOT NULL,
	"level" smallint NOT NULL,
	"index" bigint NOT NULL,
	"hashes" "bytea" NOT NULL,
	CONSTRAINT "audit_tiles_tenant_id_level_index_pk" PRIMARY KEY("tenant_id","level","index"),
	CONSTRAINT "audit_tiles_level" CHECK (level > 0),
	CONSTRAINT "audit_tiles_hashes" CHECK (octet_length(hashes) between 32 and 8192 and octet_length(hashes) % 32 = 0)
);
--> statement-breakpoint
CREATE TABLE "audit_verifications" (
	"tenant_id" uuid PRIMARY KEY NOT NULL,
	"verified_to" bigint NOT NULL,
	"next_seq" bigint NOT NULL,
	"due_at" timestamptz NOT NULL,
	"fault_at" bigint
);
--> statement-breakpoint
ALTER TABLE "audit_seals" ADD COLUMN "leaves" "bytea";
--> statement-breakpoint
-- By hand from here on: what was sealed before has its leaves in the records.
ALTER TABLE "audit_seals" ALTER COLUMN "leaves" SET STORAGE EXTERNAL;
--> statement-breakpoint
ALTER TABLE "audit_seals" DISABLE TRIGGER append_only;
--> statement-breakpoint
select set_config('app.scope', 'platform', true);
--> statement-breakpoint
UPDATE "audit_seals" SET "leaves" = (
  select string_agg(log.leaf_hash, ''::bytea order by place)
  from generate_series(0, audit_seals.count - 1) as place
  join audit_logs as log on log.tenant_id = audit_seals.tenant_id
    and log.id = encode(substring(audit_seals.ids from place * 16 + 1 for 16), 'hex')::uuid);
--> statement-breakpoint
ALTER TABLE "audit_seals" ENABLE TRIGGER append_only;
--> statement-breakpoint
ALTER TABLE "audit_seals" ALTER COLUMN "leaves" SET NOT NULL;