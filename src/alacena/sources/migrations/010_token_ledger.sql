-- The token ledger: one row for each use of tokens, totals by day, and what was refused.
-- Safe to apply again. The unique key of alacena_token_usage decides what is counted.

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

-- Takes an array of records; keeps those whose key is new, totals exactly those, and returns the keys that are known
-- with other figures. One statement, so one transaction: either all of it happened or none.
CREATE OR REPLACE FUNCTION alacena_absorb_usage(records jsonb)
RETURNS TABLE (conflict_tenant_id text, conflict_key text)
LANGUAGE sql
SECURITY INVOKER
AS $$
    WITH incoming AS (
        SELECT DISTINCT ON (r.tenant_id, r.idempotency_key, r.fingerprint) r.*
        FROM jsonb_to_recordset(records) AS r (
            tenant_id text, idempotency_key text, fingerprint text, tokens bigint, model text, token_type text,
            operation text, saved boolean, agent_id text, conversation_id text, collection_id text, metadata jsonb,
            at double precision
        )
        ORDER BY r.tenant_id, r.idempotency_key, r.fingerprint
    ), fresh AS (
        INSERT INTO alacena_token_usage AS u (
            tenant_id, idempotency_key, fingerprint, tokens, model, token_type, operation, saved,
            agent_id, conversation_id, collection_id, metadata, used_at
        )
        SELECT i.tenant_id, i.idempotency_key, i.fingerprint, i.tokens, i.model, i.token_type, i.operation,
               coalesce(i.saved, false), i.agent_id, i.conversation_id, i.collection_id, i.metadata, to_timestamp(i.at)
        FROM incoming AS i
        ORDER BY i.tenant_id, i.idempotency_key, i.fingerprint
        ON CONFLICT (tenant_id, idempotency_key) DO NOTHING
        RETURNING u.tenant_id, u.idempotency_key, u.fingerprint, u.tokens, u.model, u.token_type, u.operation, u.saved,
                  u.used_at
    ), totalled AS (
        INSERT INTO alacena_token_daily AS d (tenant_id, day, model, token_type, operation, saved, tokens, calls)
        SELECT f.tenant_id, (f.used_at AT TIME ZONE 'UTC')::date, f.model, f.token_type, f.operation, f.saved,
               sum(f.tokens)::bigint, count(*)
        FROM fresh AS f
        GROUP BY 1, 2, 3, 4, 5, 6
        ORDER BY 1, 2, 3, 4, 5, 6
        ON CONFLICT (tenant_id, day, model, token_type, operation, saved)
        DO UPDATE SET tokens = d.tokens + EXCLUDED.tokens, calls = d.calls + EXCLUDED.calls
        RETURNING 1
    ), known AS (
        SELECT u.tenant_id, u.idempotency_key, u.fingerprint
        FROM alacena_token_usage AS u
        WHERE (u.tenant_id, u.idempotency_key) IN (SELECT i.tenant_id, i.idempotency_key FROM incoming AS i)
        UNION ALL
        SELECT f.tenant_id, f.idempotency_key, f.fingerprint FROM fresh AS f
    ), refused AS (
        SELECT i.*
        FROM incoming AS i
        JOIN known AS k USING (tenant_id, idempotency_key)
        WHERE k.fingerprint <> i.fingerprint
    ), noted AS (
        INSERT INTO alacena_token_conflicts (tenant_id, idempotency_key, fingerprint, record)
        SELECT x.tenant_id, x.idempotency_key, x.fingerprint, to_jsonb(x) FROM refused AS x
        ON CONFLICT DO NOTHING
    )
    SELECT x.tenant_id, x.idempotency_key FROM refused AS x
$$;

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
REVOKE ALL ON FUNCTION alacena_absorb_usage(jsonb) FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'anon') THEN
        REVOKE ALL ON alacena_token_usage, alacena_token_daily, alacena_token_conflicts, alacena_token_monthly FROM anon;
        REVOKE ALL ON FUNCTION alacena_absorb_usage(jsonb) FROM anon;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN
        REVOKE ALL ON alacena_token_usage, alacena_token_daily, alacena_token_conflicts, alacena_token_monthly
            FROM authenticated;
        REVOKE ALL ON FUNCTION alacena_absorb_usage(jsonb) FROM authenticated;
        GRANT SELECT ON alacena_token_usage, alacena_token_daily, alacena_token_monthly TO authenticated;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT ALL ON alacena_token_usage, alacena_token_daily, alacena_token_conflicts, alacena_token_monthly
            TO service_role;
        GRANT EXECUTE ON FUNCTION alacena_absorb_usage(jsonb) TO service_role;
    END IF;
END
$$;
