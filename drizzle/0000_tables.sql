CREATE TABLE "tenants" (
	"id" uuid PRIMARY KEY NOT NULL,
	"name" text NOT NULL,
	"subdomain" text NOT NULL,
	"status" text NOT NULL,
	"status_reason" text,
	"tier" text NOT NULL,
	"max_users" integer,
	"max_branches" integer,
	"starts_at" timestamptz,
	"ends_at" timestamptz,
	"created_at" timestamptz NOT NULL,
	"updated_at" timestamptz NOT NULL,
	"deleted_at" timestamptz,
	CONSTRAINT "tenants_status" CHECK (status in ('ACTIVE', 'INACTIVE')),
	CONSTRAINT "tenants_tier" CHECK (tier in ('FREE', 'STARTER', 'PROFESSIONAL', 'ENTERPRISE'))
);
--> statement-breakpoint
CREATE TABLE "users" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"email" text NOT NULL,
	"full_name" text NOT NULL,
	"phone" text,
	"role" text NOT NULL,
	"status" text NOT NULL,
	"status_reason" text,
	"password_hash" text,
	"last_login_at" timestamptz,
	"created_at" timestamptz NOT NULL,
	"updated_at" timestamptz NOT NULL,
	"deleted_at" timestamptz,
	CONSTRAINT "users_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "users_role" CHECK (role in ('SUPER_ADMIN', 'TENANT_ADMIN', 'BRANCH_MANAGER', 'AUDITOR', 'MEMBER')),
	CONSTRAINT "users_status" CHECK (status in ('ACTIVE', 'INACTIVE')),
	CONSTRAINT "users_platform" CHECK ((role = 'SUPER_ADMIN') = (tenant_id = '00000000-0000-0000-0000-000000000000'))
);
--> statement-breakpoint
CREATE TABLE "mailed_tokens" (
	"tenant_id" uuid NOT NULL,
	"hash" "bytea" NOT NULL,
	"user_id" uuid NOT NULL,
	"purpose" text NOT NULL,
	"created_at" timestamptz NOT NULL,
	"expires_at" timestamptz NOT NULL,
	"used_at" timestamptz,
	CONSTRAINT "mailed_tokens_tenant_id_hash_pk" PRIMARY KEY("tenant_id","hash"),
	CONSTRAINT "mailed_tokens_purpose" CHECK (purpose in ('PASSWORD_RESET'))
);
--> statement-breakpoint
CREATE TABLE "refresh_tokens" (
	"tenant_id" uuid NOT NULL,
	"hash" "bytea" NOT NULL,
	"session_id" uuid NOT NULL,
	"created_at" timestamptz NOT NULL,
	"expires_at" timestamptz NOT NULL,
	"used_at" timestamptz,
	CONSTRAINT "refresh_tokens_tenant_id_hash_pk" PRIMARY KEY("tenant_id","hash")
);
--> statement-breakpoint
CREATE TABLE "sessions" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"user_id" uuid NOT NULL,
	"ip_address" "inet",
	"user_agent" text,
	"created_at" timestamptz NOT NULL,
	"expires_at" timestamptz NOT NULL,
	"revoked_at" timestamptz,
	"revoked_because" text,
	CONSTRAINT "sessions_tenant_id_id_pk" PRIMARY KEY("tenant_id","id")
);
--> statement-breakpoint
CREATE TABLE "audit_logs" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"tx" "xid8" DEFAULT pg_current_xact_id() NOT NULL,
	"created_at" timestamptz NOT NULL,
	"operation_id" uuid NOT NULL,
	"schema_version" smallint NOT NULL,
	"user_id" uuid,
	"actor" jsonb NOT NULL,
	"action" text NOT NULL,
	"resource" text NOT NULL,
	"resource_id" uuid,
	"resource_name" text,
	"status" text NOT NULL,
	"failure" text,
	"severity" smallint NOT NULL,
	"security" boolean DEFAULT false NOT NULL,
	"ip_address" "inet",
	"user_agent" text,
	"request_id" text NOT NULL,
	"context" jsonb NOT NULL,
	"details" jsonb NOT NULL,
	"changes" jsonb NOT NULL,
	"subject_hmac" "bytea",
	"pii" "bytea",
	"leaf_hash" "bytea" NOT NULL,
	CONSTRAINT "audit_logs_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "audit_logs_status" CHECK (status in ('success', 'failure', 'error')),
	CONSTRAINT "audit_logs_severity" CHECK (severity between 0 and 4),
	CONSTRAINT "audit_logs_leaf" CHECK (octet_length(leaf_hash) = 32)
) PARTITION BY RANGE ("id");
--> statement-breakpoint
CREATE TABLE "audit_sealer" (
	"one" boolean PRIMARY KEY DEFAULT true NOT NULL,
	"sealed" "pg_snapshot" NOT NULL,
	"target" "pg_snapshot",
	"target_tx" "xid8",
	"target_id" uuid,
	"pos" bigint NOT NULL,
	"system_identifier" bigint NOT NULL,
	CONSTRAINT "audit_sealer_one" CHECK (one)
);
--> statement-breakpoint
CREATE TABLE "audit_seals" (
	"tenant_id" uuid NOT NULL,
	"first_seq" bigint NOT NULL,
	"first_pos" bigint NOT NULL,
	"count" integer NOT NULL,
	"min_id" uuid NOT NULL,
	"max_id" uuid NOT NULL,
	"ids" "bytea" NOT NULL,
	"sealed_at" timestamptz NOT NULL,
	CONSTRAINT "audit_seals_tenant_id_first_seq_pk" PRIMARY KEY("tenant_id","first_seq")
);
--> statement-breakpoint
CREATE TABLE "audit_trees" (
	"tenant_id" uuid PRIMARY KEY NOT NULL,
	"size" bigint NOT NULL
);
--> statement-breakpoint
CREATE TABLE "subject_keys" (
	"tenant_id" uuid NOT NULL,
	"subject_id" uuid NOT NULL,
	"wrapped_key" "bytea" NOT NULL,
	"created_at" timestamptz NOT NULL,
	CONSTRAINT "subject_keys_tenant_id_subject_id_pk" PRIMARY KEY("tenant_id","subject_id")
);
--> statement-breakpoint
CREATE UNIQUE INDEX "tenants_subdomain_key" ON "tenants" USING btree ("subdomain") WHERE deleted_at is null;--> statement-breakpoint
CREATE UNIQUE INDEX "users_email_key" ON "users" USING btree ("tenant_id","email") WHERE deleted_at is null;--> statement-breakpoint
CREATE INDEX "users_id" ON "users" USING btree ("id");--> statement-breakpoint
CREATE INDEX "users_email" ON "users" USING btree ("email");--> statement-breakpoint
CREATE INDEX "mailed_tokens_hash" ON "mailed_tokens" USING btree ("hash");--> statement-breakpoint
CREATE INDEX "mailed_tokens_user" ON "mailed_tokens" USING btree ("tenant_id","user_id");--> statement-breakpoint
CREATE INDEX "refresh_tokens_hash" ON "refresh_tokens" USING btree ("hash");--> statement-breakpoint
CREATE INDEX "refresh_tokens_session" ON "refresh_tokens" USING btree ("tenant_id","session_id");--> statement-breakpoint
CREATE INDEX "sessions_id" ON "sessions" USING btree ("id");--> statement-breakpoint
CREATE INDEX "sessions_user" ON "sessions" USING btree ("tenant_id","user_id");--> statement-breakpoint
CREATE INDEX "audit_logs_id" ON "audit_logs" USING btree ("id");--> statement-breakpoint
CREATE INDEX "audit_logs_user" ON "audit_logs" USING btree ("tenant_id","user_id","id");--> statement-breakpoint
CREATE INDEX "audit_logs_action" ON "audit_logs" USING btree ("tenant_id","action","id");--> statement-breakpoint
CREATE INDEX "audit_logs_resource" ON "audit_logs" USING btree ("tenant_id","resource_id","id");--> statement-breakpoint
CREATE INDEX "audit_logs_failed" ON "audit_logs" USING btree ("tenant_id","id") WHERE status <> 'success';--> statement-breakpoint
CREATE INDEX "audit_logs_security" ON "audit_logs" USING btree ("tenant_id","id") WHERE security;--> statement-breakpoint
CREATE INDEX "audit_logs_failed_ip" ON "audit_logs" USING btree ("tenant_id","ip_address","id") WHERE status <> 'success';--> statement-breakpoint
CREATE INDEX "audit_logs_subject" ON "audit_logs" USING btree ("tenant_id","subject_hmac","id") WHERE subject_hmac is not null;--> statement-breakpoint
CREATE INDEX "audit_logs_request" ON "audit_logs" USING btree ("request_id","id");--> statement-breakpoint
CREATE INDEX "audit_logs_tx" ON "audit_logs" USING btree ("tx","id");--> statement-breakpoint
CREATE INDEX "audit_seals_pos" ON "audit_seals" USING btree ("first_pos");--> statement-breakpoint
CREATE INDEX "audit_seals_ids" ON "audit_seals" USING btree ("tenant_id","max_id");