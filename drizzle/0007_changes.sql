CREATE TABLE "audit_changes" (
	"tenant_id" uuid NOT NULL,
	"field" text NOT NULL,
	"id" uuid NOT NULL,
	CONSTRAINT "audit_changes_tenant_id_field_id_pk" PRIMARY KEY("tenant_id","field","id")
) PARTITION BY RANGE ("id");