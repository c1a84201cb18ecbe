CREATE TABLE "api_keys" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"name" text NOT NULL,
	"hash" "bytea" NOT NULL,
	"hint" text NOT NULL,
	"scopes" jsonb NOT NULL,
	"created_by" uuid,
	"created_at" timestamptz NOT NULL,
	"expires_at" timestamptz,
	"revoked_at" timestamptz,
	CONSTRAINT "api_keys_tenant_id_id_pk" PRIMARY KEY("tenant_id","id")
);
--> statement-breakpoint
CREATE TABLE "audit_event_keys" (
	"tenant_id" uuid NOT NULL,
	"key" text NOT NULL,
	"record_id" uuid NOT NULL,
	"created_at" timestamptz NOT NULL,
	CONSTRAINT "audit_event_keys_tenant_id_key_pk" PRIMARY KEY("tenant_id","key")
);
--> statement-breakpoint
CREATE TABLE "event_types" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"name" text NOT NULL,
	"version" integer NOT NULL,
	"description" text,
	"schema" jsonb NOT NULL,
	"created_by" uuid,
	"created_at" timestamptz NOT NULL,
	CONSTRAINT "event_types_tenant_id_name_version_pk" PRIMARY KEY("tenant_id","name","version")
);
--> statement-breakpoint
CREATE INDEX "api_keys_id" ON "api_keys" USING btree ("id");--> statement-breakpoint
CREATE UNIQUE INDEX "api_keys_hash" ON "api_keys" USING btree ("hash");--> statement-breakpoint
CREATE INDEX "audit_event_keys_expiry" ON "audit_event_keys" USING btree ("created_at");--> statement-breakpoint
CREATE INDEX "event_types_id" ON "event_types" USING btree ("id");