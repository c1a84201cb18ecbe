CREATE TABLE "legal_holds" (
	"tenant_id" uuid NOT NULL,
	"id" uuid NOT NULL,
	"user_id" uuid,
	"from_time" timestamptz,
	"to_time" timestamptz,
	"reason" text NOT NULL,
	"placed_by" uuid,
	"created_at" timestamptz NOT NULL,
	"released_at" timestamptz,
	"release_reason" text,
	CONSTRAINT "legal_holds_tenant_id_id_pk" PRIMARY KEY("tenant_id","id"),
	CONSTRAINT "legal_holds_time" CHECK (from_time < to_time)
);
--> statement-breakpoint
CREATE INDEX "legal_holds_id" ON "legal_holds" USING btree ("id");