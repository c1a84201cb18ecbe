CREATE TABLE "webhook_cursors" (
	"tenant_id" uuid NOT NULL,
	"webhook_id" uuid NOT NULL,
	"next_seq" bigint NOT NULL,
	"attempts" integer NOT NULL,
	"failing_since" timestamptz,
	"next_attempt_at" timestamptz NOT NULL,
	"delivered_at" timestamptz,
	"lease" uuid,
	"leased_until" timestamptz,
	CONSTRAINT "webhook_cursors_tenant_id_webhook_id_pk" PRIMARY KEY("tenant_id","webhook_id")
);
--> statement-breakpoint
CREATE TABLE "webhook_deliveries" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"webhook_id" uuid NOT NULL,
	"message_id" text NOT NULL,
	"record_id" uuid,
	"position" bigint,
	"attempt" integer NOT NULL,
	"attempted_at" timestamptz NOT NULL,
	"duration_ms" integer NOT NULL,
	"status" integer,
	"error" text,
	CONSTRAINT "webhook_deliveries_tenant_id_id_pk" PRIMARY KEY("tenant_id","id")
);
--> statement-breakpoint
CREATE TABLE "webhooks" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"url" text NOT NULL,
	"description" text,
	"format" text NOT NULL,
	"filter" jsonb,
	"condition" jsonb NOT NULL,
	"secret" "bytea" NOT NULL,
	"state" text NOT NULL,
	"paused_because" text,
	"created_by" uuid,
	"created_at" timestamptz NOT NULL,
	"updated_at" timestamptz NOT NULL,
	"deleted_at" timestamptz,
	CONSTRAINT "webhooks_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "webhooks_state" CHECK (state in ('ACTIVE', 'PAUSED'))
);
--> statement-breakpoint
ALTER TABLE "webhook_cursors" ADD CONSTRAINT "webhook_cursors_tenant_id_webhook_id_webhooks_tenant_id_id_fk" FOREIGN KEY ("tenant_id","webhook_id") REFERENCES "public"."webhooks"("tenant_id","id") ON DELETE no action ON UPDATE no action;--> statement-breakpoint
CREATE INDEX "webhook_cursors_due" ON "webhook_cursors" USING btree ("next_attempt_at");--> statement-breakpoint
CREATE INDEX "webhook_deliveries_webhook" ON "webhook_deliveries" USING btree ("tenant_id","webhook_id","id");--> statement-breakpoint
CREATE INDEX "webhook_deliveries_expiry" ON "webhook_deliveries" USING btree ("attempted_at");--> statement-breakpoint
CREATE INDEX "webhooks_id" ON "webhooks" USING btree ("id");