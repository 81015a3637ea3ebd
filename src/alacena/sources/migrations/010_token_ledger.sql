-- The token ledger: one row for each use of tokens, totals by day, and what was refused.
-- Safe to apply again. The unique key of alacena_token_usage decides what is counted.
-- The function that takes records is in 011 alone: an older one here would lose their cost until 011 is applied again.

CREATE TABLE IF NOT EXISTS alacena_token_usage (
    tenant_id       text        NOT NULL,
    idempotency_key text        NOT NULL,
    fingerprint     text        NOT NULL,
    tokens          bigint      NOT NULL CHECK (tokens >= 0),
    model           text        NOT NULL,
    token_type      text        NOT NULL,
    operation       text        NOT NULL,
    saved           boolean     NOT NULL DEFAULT false,
    agent_id        text,
    conversation_id text,
    collection_id   text,
    metadata        jsonb,
    used_at         timestamptz NOT NULL,
    absorbed_at     timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, idempotency_key)
);

CREATE INDEX IF NOT EXISTS alacena_token_usage_by_time ON alacena_token_usage (tenant_id, used_at);

CREATE TABLE IF NOT EXISTS alacena_token_daily (
    tenant_id  text    NOT NULL,
    day        date    NOT NULL,
    model      text    NOT NULL,
    token_type text    NOT NULL,
    operation  text    NOT NULL,
    saved      boolean NOT NULL,
    tokens     bigint  NOT NULL,
    calls      bigint  NOT NULL,
    PRIMARY KEY (tenant_id, day, model, token_type, operation, saved)
);

CREATE TABLE IF NOT EXISTS alacena_token_conflicts (
    tenant_id       text        NOT NULL,
    idempotency_key text        NOT NULL,
    fingerprint     text        NOT NULL,
    record          jsonb       NOT NULL,
    seen_at         timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, idempotency_key, fingerprint)
);

CREATE OR REPLACE VIEW alacena_token_monthly WITH (security_invoker = true) AS
SELECT tenant_id, date_trunc('month', day)::date AS month, model, token_type, operation, saved,
       sum(tokens)::bigint AS tokens, sum(calls)::bigint AS calls
FROM alacena_token_daily
GROUP BY tenant_id, date_trunc('month', day)::date, model, token_type, operation, saved;

-- A tenant reads its own rows; only the service writes. The tenant comes from claims that the user cannot edit.
CREATE OR REPLACE FUNCTION alacena_claimed_tenant() RETURNS text
LANGUAGE sql STABLE
AS $$
    SELECT coalesce(claims ->> 'tenant_id', claims -> 'app_metadata' ->> 'tenant_id')
    FROM (SELECT nullif(current_setting('request.jwt.claims', true), '')::jsonb AS claims) AS c
$$;

ALTER TABLE alacena_token_usage ENABLE ROW LEVEL SECURITY;
ALTER TABLE alacena_token_daily ENABLE ROW LEVEL SECURITY;
ALTER TABLE alacena_token_conflicts ENABLE ROW LEVEL SECURITY;

DROP POLICY IF EXISTS alacena_own_usage ON alacena_token_usage;
CREATE POLICY alacena_own_usage ON alacena_token_usage FOR SELECT USING (tenant_id = alacena_claimed_tenant());
DROP POLICY IF EXISTS alacena_own_totals ON alacena_token_daily;
CREATE POLICY alacena_own_totals ON alacena_token_daily FOR SELECT USING (tenant_id = alacena_claimed_tenant());

REVOKE ALL ON alacena_token_usage, alacena_token_daily, alacena_token_conflicts, alacena_token_monthly FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'anon') THEN
        REVOKE ALL ON alacena_token_usage, alacena_token_daily, alacena_token_conflicts, alacena_token_monthly FROM anon;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN
        REVOKE ALL ON alacena_token_usage, alacena_token_daily, alacena_token_conflicts, alacena_token_monthly
            FROM authenticated;
        GRANT SELECT ON alacena_token_usage, alacena_token_daily, alacena_token_monthly TO authenticated;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT ALL ON alacena_token_usage, alacena_token_daily, alacena_token_conflicts, alacena_token_monthly
            TO service_role;
    END IF;
END
$$;
