-- The highest fence that each resource has seen: a write that comes with a lower one is refused.
-- Safe to apply again.

CREATE TABLE IF NOT EXISTS alacena_fences (
    tenant_id text        NOT NULL,
    resource  text        NOT NULL,
    fence     bigint      NOT NULL,
    seen_at   timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, resource)
);

ALTER TABLE alacena_fences ENABLE ROW LEVEL SECURITY;
REVOKE ALL ON alacena_fences FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'anon') THEN
        REVOKE ALL ON alacena_fences FROM anon;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN
        REVOKE ALL ON alacena_fences FROM authenticated;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT ALL ON alacena_fences TO service_role;
    END IF;
END
$$;
