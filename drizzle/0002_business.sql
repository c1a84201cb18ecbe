CREATE TABLE "branches" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"name" text NOT NULL,
	"code" text NOT NULL,
	"address" text,
	"status" text NOT NULL,
	"status_reason" text,
	"created_at" timestamptz NOT NULL,
	"updated_at" timestamptz NOT NULL,
	"deleted_at" timestamptz,
	CONSTRAINT "branches_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "branches_status" CHECK (status in ('ACTIVE', 'INACTIVE'))
);
--> statement-breakpoint
CREATE TABLE "tenant_settings" (
	"tenant_id" uuid PRIMARY KEY NOT NULL,
	"display_name" text,
	"support_url" text,
	"time_zone" text,
	"locale" text,
	"failed_logins_per_account" integer,
	"failed_logins_per_address" integer,
	"failed_logins_window_minutes" integer,
	"require_verified_email" boolean,
	"max_days" integer,
	"idle_days" integer,
	"updated_at" timestamptz NOT NULL
);
--> statement-breakpoint
CREATE TABLE "user_branch_access" (
	"tenant_id" uuid NOT NULL,
	"user_id" uuid NOT NULL,
	"branch_id" uuid NOT NULL,
	"granted_at" timestamptz NOT NULL,
	CONSTRAINT "user_branch_access_tenant_id_user_id_branch_id_pk" PRIMARY KEY("tenant_id","user_id","branch_id")
);
--> statement-breakpoint
CREATE TABLE "throttle_counters" (
	"key" text PRIMARY KEY NOT NULL,
	"points" integer DEFAULT 0 NOT NULL,
	"expire" bigint
);
--> statement-breakpoint
CREATE TABLE "audit_facets" (
	"tenant_id" uuid NOT NULL,
	"day" timestamptz NOT NULL,
	"facet" text NOT NULL,
	"value" text NOT NULL,
	"count" bigint NOT NULL,
	"failures" bigint NOT NULL,
	CONSTRAINT "audit_facets_tenant_id_day_facet_value_pk" PRIMARY KEY("tenant_id","day","facet","value"),
	CONSTRAINT "audit_facets_facet" CHECK (facet in ('actor', 'address', 'device'))
);
--> statement-breakpoint
CREATE TABLE "audit_hours" (
	"tenant_id" uuid NOT NULL,
	"hour" timestamptz NOT NULL,
	"action" text NOT NULL,
	"status" text NOT NULL,
	"severity" smallint NOT NULL,
	"count" bigint NOT NULL,
	CONSTRAINT "audit_hours_tenant_id_hour_action_status_severity_pk" PRIMARY KEY("tenant_id","hour","action","status","severity")
);
--> statement-breakpoint
CREATE TABLE "security_detectors" (
	"name" text PRIMARY KEY NOT NULL,
	"pos" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "security_event_states" (
	"tenant_id" uuid NOT NULL,
	"log_id" uuid NOT NULL,
	"state" text NOT NULL,
	"note" text,
	"changed_by" uuid NOT NULL,
	"changed_at" timestamptz NOT NULL,
	CONSTRAINT "security_event_states_tenant_id_log_id_pk" PRIMARY KEY("tenant_id","log_id"),
	CONSTRAINT "security_event_states_state" CHECK (state in ('OPEN', 'ACKNOWLEDGED', 'RESOLVED'))
);
--> statement-breakpoint
ALTER TABLE "users" DROP CONSTRAINT "users_status";--> statement-breakpoint
ALTER TABLE "mailed_tokens" DROP CONSTRAINT "mailed_tokens_purpose";--> statement-breakpoint
ALTER TABLE "users" ADD COLUMN "email_verified_at" timestamptz;--> statement-breakpoint
ALTER TABLE "sessions" ADD COLUMN "last_used_at" timestamptz NOT NULL DEFAULT now();--> statement-breakpoint
ALTER TABLE "sessions" ALTER COLUMN "last_used_at" DROP DEFAULT;--> statement-breakpoint
CREATE UNIQUE INDEX "branches_code_key" ON "branches" USING btree ("tenant_id","code") WHERE deleted_at is null;--> statement-breakpoint
CREATE INDEX "branches_id" ON "branches" USING btree ("id");--> statement-breakpoint
CREATE INDEX "user_branch_access_branch" ON "user_branch_access" USING btree ("tenant_id","branch_id","user_id");--> statement-breakpoint
CREATE INDEX "audit_facets_day" ON "audit_facets" USING btree ("day","facet");--> statement-breakpoint
CREATE INDEX "audit_hours_hour" ON "audit_hours" USING btree ("hour");--> statement-breakpoint
ALTER TABLE "users" ADD CONSTRAINT "users_status" CHECK (status in ('ACTIVE', 'INACTIVE', 'INVITED'));--> statement-breakpoint
ALTER TABLE "mailed_tokens" ADD CONSTRAINT "mailed_tokens_purpose" CHECK (purpose in ('PASSWORD_RESET', 'EMAIL_VERIFICATION', 'INVITATION'));