CREATE TABLE "audit_export_parts" (
	"tenant_id" uuid NOT NULL,
	"export_id" uuid NOT NULL,
	"number" integer NOT NULL,
	"body" "bytea" NOT NULL,
	"footer" "bytea",
	CONSTRAINT "audit_export_parts_tenant_id_export_id_number_pk" PRIMARY KEY("tenant_id","export_id","number")
);
--> statement-breakpoint
CREATE TABLE "audit_exports" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"requested_by" uuid,
	"format" text NOT NULL,
	"filter" jsonb,
	"condition" jsonb NOT NULL,
	"state" text NOT NULL,
	"next_seq" bigint NOT NULL,
	"end_seq" bigint NOT NULL,
	"rows" bigint NOT NULL,
	"bytes" bigint NOT NULL,
	"first_position" bigint,
	"last_position" bigint,
	"manifest" text,
	"error" text,
	"created_at" timestamptz NOT NULL,
	"finished_at" timestamptz,
	"expires_at" timestamptz NOT NULL,
	CONSTRAINT "audit_exports_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "audit_exports_format" CHECK (format in ('CSV', 'NDJSON', 'PARQUET')),
	CONSTRAINT "audit_exports_state" CHECK (state in ('QUEUED', 'RUNNING', 'DONE', 'FAILED'))
);
--> statement-breakpoint
CREATE INDEX "audit_exports_id" ON "audit_exports" USING btree ("id");--> statement-breakpoint
CREATE INDEX "audit_exports_expiry" ON "audit_exports" USING btree ("expires_at");