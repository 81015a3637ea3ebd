"""Settings: from code or from the environment, every mistake in one message."""

from alacena import Settings, SettingsError

# --8<-- [start:code]
settings = Settings(redis_url="redis://localhost:6379/0", staleness_bound_s=0.5, memory_max_bytes=256 * 1024 * 1024)
# --8<-- [end:code]
# --8<-- [start:env]
environ = {"REDIS_URL": "redis://cache:6379/0", "ALACENA_REDIS_BUDGET_S": "0.02", "ALACENA_TENANT_BUCKETS": "acme=8"}
settings = Settings.from_env(environ)
assert settings.redis_budget_s == 0.02
assert settings.tenant_buckets == {"acme": 8}
# --8<-- [end:env]
# --8<-- [start:wrong]
try:
    Settings(redis_budget_s=-1, ttl_jitter_ratio=2)
except SettingsError as error:
    print(error)
# --8<-- [end:wrong]
