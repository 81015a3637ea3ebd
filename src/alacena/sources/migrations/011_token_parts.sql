-- The parts of a use of tokens (input, output, cached, ...) and its cost, with totals by day; and conflicts between
-- transactions that bring one key at the same time. Safe to apply again.

ALTER TABLE alacena_token_usage ADD COLUMN IF NOT EXISTS parts jsonb;
ALTER TABLE alacena_token_usage ADD COLUMN IF NOT EXISTS cost_micros bigint NOT NULL DEFAULT 0;

-- The part "$" is money, in millionths.
CREATE TABLE IF NOT EXISTS alacena_token_parts (
    tenant_id  text    NOT NULL,
    day        date    NOT NULL,
    model      text    NOT NULL,
    token_type text    NOT NULL,
    operation  text    NOT NULL,
    saved      boolean NOT NULL,
    part       text    NOT NULL,
    amount     bigint  NOT NULL,
    PRIMARY KEY (tenant_id, day, model, token_type, operation, saved, part)
);

-- Takes an array of records; keeps those whose key is new, totals exactly those, and returns the keys that are known
-- with other figures. One call is one transaction: either all of it happened or none.
--
-- Two statements, because each sees what was committed when it began: where another transaction brought a key first,
-- the first statement waits for it, and the second sees its row.
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
            at double precision, parts jsonb, cost_micros bigint
        )
        ORDER BY r.tenant_id, r.idempotency_key, r.fingerprint
    ), fresh AS (
        INSERT INTO alacena_token_usage AS u (
            tenant_id, idempotency_key, fingerprint, tokens, model, token_type, operation, saved,
            agent_id, conversation_id, collection_id, metadata, used_at, parts, cost_micros
        )
        SELECT i.tenant_id, i.idempotency_key, i.fingerprint, i.tokens, i.model, i.token_type, i.operation,
               coalesce(i.saved, false), i.agent_id, i.conversation_id, i.collection_id, i.metadata, to_timestamp(i.at),
               i.parts, coalesce(i.cost_micros, 0)
        FROM incoming AS i
        ORDER BY i.tenant_id, i.idempotency_key, i.fingerprint
        ON CONFLICT (tenant_id, idempotency_key) DO NOTHING
        RETURNING u.*
    ), parted AS (
        INSERT INTO alacena_token_parts AS p (tenant_id, day, model, token_type, operation, saved, part, amount)
        SELECT f.tenant_id, (f.used_at AT TIME ZONE 'UTC')::date, f.model, f.token_type, f.operation, f.saved,
               e.part, sum(e.amount)::bigint
        FROM fresh AS f CROSS JOIN LATERAL (
            SELECT key AS part, value::bigint AS amount FROM jsonb_each_text(coalesce(f.parts, '{}'::jsonb))
            UNION ALL SELECT '$', f.cost_micros WHERE f.cost_micros > 0
        ) AS e
        GROUP BY 1, 2, 3, 4, 5, 6, 7
        ORDER BY 1, 2, 3, 4, 5, 6, 7
        ON CONFLICT (tenant_id, day, model, token_type, operation, saved, part)
        DO UPDATE SET amount = p.amount + EXCLUDED.amount
    )
    INSERT INTO alacena_token_daily AS d (tenant_id, day, model, token_type, operation, saved, tokens, calls)
    SELECT f.tenant_id, (f.used_at AT TIME ZONE 'UTC')::date, f.model, f.token_type, f.operation, f.saved,
           sum(f.tokens)::bigint, count(*)
    FROM fresh AS f
    GROUP BY 1, 2, 3, 4, 5, 6
    ORDER BY 1, 2, 3, 4, 5, 6
    ON CONFLICT (tenant_id, day, model, token_type, operation, saved)
    DO UPDATE SET tokens = d.tokens + EXCLUDED.tokens, calls = d.calls + EXCLUDED.calls;

    WITH refused AS (
        SELECT DISTINCT ON (r.tenant_id, r.idempotency_key, r.fingerprint)
               r.tenant_id, r.idempotency_key, r.fingerprint, one AS record
        FROM jsonb_array_elements(records) AS one
        CROSS JOIN LATERAL jsonb_to_record(one) AS r (tenant_id text, idempotency_key text, fingerprint text)
        JOIN alacena_token_usage AS u USING (tenant_id, idempotency_key)
        WHERE u.fingerprint <> r.fingerprint
        ORDER BY r.tenant_id, r.idempotency_key, r.fingerprint
    ), noted AS (
        INSERT INTO alacena_token_conflicts (tenant_id, idempotency_key, fingerprint, record)
        SELECT x.tenant_id, x.idempotency_key, x.fingerprint, x.record FROM refused AS x
        ON CONFLICT DO NOTHING
    )
    SELECT x.tenant_id, x.idempotency_key FROM refused AS x;
$$;

ALTER TABLE alacena_token_parts ENABLE ROW LEVEL SECURITY;
DROP POLICY IF EXISTS alacena_own_parts ON alacena_token_parts;
CREATE POLICY alacena_own_parts ON alacena_token_parts FOR SELECT USING (tenant_id = alacena_claimed_tenant());
REVOKE ALL ON alacena_token_parts FROM PUBLIC;
REVOKE ALL ON FUNCTION alacena_absorb_usage(jsonb) FROM PUBLIC;

DO $$
BEGIN
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'anon') THEN
        REVOKE ALL ON alacena_token_parts FROM anon;
        REVOKE ALL ON FUNCTION alacena_absorb_usage(jsonb) FROM anon;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'authenticated') THEN
        REVOKE ALL ON alacena_token_parts FROM authenticated;
        REVOKE ALL ON FUNCTION alacena_absorb_usage(jsonb) FROM authenticated;
        GRANT SELECT ON alacena_token_parts TO authenticated;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'service_role') THEN
        GRANT ALL ON alacena_token_parts TO service_role;
        GRANT EXECUTE ON FUNCTION alacena_absorb_usage(jsonb) TO service_role;
    END IF;
END
$$;
