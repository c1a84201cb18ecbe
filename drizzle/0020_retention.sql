CREATE TABLE "audit_archives" (
	"tenant_id" uuid NOT NULL,
	"month" text NOT NULL,
	"file" text NOT NULL,
	"bytes" bigint NOT NULL,
	"sha256" text NOT NULL,
	"manifest" text NOT NULL,
	"rows" bigint NOT NULL,
	"from_seq" bigint NOT NULL,
	"to_seq" bigint NOT NULL,
	"archived_at" timestamptz NOT NULL,
	"record_id" uuid,
	"dropped_at" timestamptz,
	CONSTRAINT "audit_archives_tenant_id_month_pk" PRIMARY KEY("tenant_id","month"),
	CONSTRAINT "audit_archives_month" CHECK (month ~ '^\d{4}-\d{2}$')
);
--> statement-breakpoint
CREATE TABLE "audit_retention" (
	"tenant_id" uuid PRIMARY KEY NOT NULL,
	"last_run_at" timestamptz NOT NULL
);
--> statement-breakpoint
ALTER TABLE "tenant_settings" ADD COLUMN "audit_retention_days" integer;