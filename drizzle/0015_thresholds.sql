ALTER TABLE "tenant_settings" ADD COLUMN "sprayed_accounts" integer;--> statement-breakpoint
ALTER TABLE "tenant_settings" ADD COLUMN "familiar_days" integer;--> statement-breakpoint
ALTER TABLE "tenant_settings" ADD COLUMN "dormant_days" integer;--> statement-breakpoint
ALTER TABLE "tenant_settings" ADD COLUMN "travel_km_per_hour" integer;--> statement-breakpoint
ALTER TABLE "tenant_settings" ADD COLUMN "bulk_deletions" integer;--> statement-breakpoint
ALTER TABLE "tenant_settings" ADD COLUMN "bulk_exports" integer;--> statement-breakpoint
ALTER TABLE "tenant_settings" ADD COLUMN "bulk_window_minutes" integer;