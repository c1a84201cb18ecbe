CREATE TABLE "audit_reads" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"reader_type" text NOT NULL,
	"reader_id" uuid NOT NULL,
	"kind" text NOT NULL,
	"query" text NOT NULL,
	"args" jsonb NOT NULL,
	"asked" "bytea" NOT NULL,
	"since" timestamptz NOT NULL,
	"read_at" timestamptz NOT NULL,
	"ip_address" "inet",
	"user_agent" text,
	"request_id" text NOT NULL,
	CONSTRAINT "audit_reads_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "audit_reads_kind" CHECK (kind in ('QUERY', 'STREAM', 'FILE'))
);
--> statement-breakpoint
CREATE UNIQUE INDEX "audit_reads_once" ON "audit_reads" USING btree ("tenant_id","reader_id","since","asked");