"""Settings and policies: all that is wrong in one message, every unit in its name."""

import dataclasses
import math
from datetime import timedelta
from types import MappingProxyType

import pytest

from alacena.engine import Policy, Settings, SettingsError

NUMBERS = [f.name for f in dataclasses.fields(Settings) if str(f.type).startswith(("int", "float"))]
TEXTS = [f.name for f in dataclasses.fields(Settings) if str(f.type).startswith("str")]


def test_the_defaults_are_right_and_need_no_server():
    settings = Settings()
    assert settings.redis_url is None
    assert settings.tenant_buckets == {}
    assert dataclasses.replace(settings, lease_s=7.0).lease_s == 7.0


@pytest.mark.parametrize("name", NUMBERS)
@pytest.mark.parametrize("value", [0, -1, math.nan, math.inf, "5", True, [], 1.5])
def test_a_number_that_makes_no_sense_is_named(name, value):
    whole = str(next(f.type for f in dataclasses.fields(Settings) if f.name == name)).startswith("int")
    fits = (value == 1.5 and not whole and not name.endswith("_ratio")) or (value == 0 and name.endswith("_ratio"))
    if fits:
        assert getattr(Settings(**{name: value}), name) == value
    else:
        with pytest.raises(SettingsError, match=rf"{name}: must be "):
            Settings(**{name: value})


@pytest.mark.parametrize("name", TEXTS)
@pytest.mark.parametrize("value", ["", "  ", 5, b"bytes"])
def test_a_text_that_is_none_is_named(name, value):
    with pytest.raises(SettingsError, match=rf"{name}: must be a non-empty string"):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ({"namespace": None}, "namespace: must not be None"),
        ({"redis_url": "localhost:6379"}, "redis_url: must be a URL such as redis://host:6379"),
        ({"key_secret": "x" * 65}, "key_secret: must have at most 64 bytes, not 65"),
        ({"key_secret": "ñ" * 33}, "key_secret: must have at most 64 bytes, not 66"),
        ({"integrity_key": "x" * 15}, "integrity_key: must have 16 to 64 bytes, not 15"),
        ({"integrity_key": "x" * 65}, "integrity_key: must have 16 to 64 bytes, not 65"),
        ({"ttl_jitter_ratio": 1.0}, "ttl_jitter_ratio: must be at least 0 and below 1"),
        ({"tenant_buckets": {"a": 0}}, "tenant_buckets: must map tenant ids to 1..1024 buckets"),
        ({"tenant_buckets": {"a": 1025}}, "tenant_buckets: must map"),
        ({"tenant_buckets": {"a": True}}, "tenant_buckets: must map"),
        ({"tenant_buckets": {3: 2}}, "tenant_buckets: must map"),
        ({"tenant_buckets": ["a"]}, "tenant_buckets: must map"),
        ({"memory_weights": {"a": 0}}, "memory_weights: must map tenant ids to weights above 0"),
        ({"memory_weights": {"a": float("inf")}}, "memory_weights: must map"),
        ({"memory_weights": {"a": "2"}}, "memory_weights: must map"),
        ({"memory_weights": 2}, "memory_weights: must map"),
    ],
)
def test_what_is_wrong_is_said(settings, why):
    with pytest.raises(SettingsError) as caught:
        Settings(**settings)
    assert why in str(caught.value)


def test_all_that_is_wrong_is_said_at_once():
    with pytest.raises(SettingsError) as caught:
        Settings(redis_budget_s=-1, memory_max_bytes="much", namespace="", ttl_jitter_ratio=2)
    assert str(caught.value).count("\n  ") == 4
    assert isinstance(caught.value, ValueError)


def test_secrets_are_not_shown():
    shown = repr(Settings(redis_url="redis://u:pass@h", key_secret="hidden", integrity_key="i" * 16))
    assert all(secret not in shown for secret in ("pass", "hidden", "iiii"))
    assert "redis_url=..." in shown


def test_the_environment_is_read_by_kind():
    settings = Settings.from_env(
        {
            "REDIS_URL": "redis://from-redis-url",
            "ALACENA_MEMORY_MAX_BYTES": "1000",
            "ALACENA_MEMORY_MAX_ENTRIES": "none",
            "ALACENA_LEASE_S": "2.5",
            "ALACENA_NAMESPACE": "ours",
            "ALACENA_TENANT_BUCKETS": "big=8,with=sign=2",
            "ALACENA_MEMORY_WEIGHTS": "big=2.5,small=1",
            "ALACENA_KEY_SECRET": "",
            "UNRELATED": "x",
        },
        hold_s=9,
    )
    assert settings.redis_url == "redis://from-redis-url"
    assert (settings.memory_max_bytes, settings.memory_max_entries, settings.lease_s) == (1000, None, 2.5)
    assert (settings.namespace, settings.hold_s, settings.key_secret) == ("ours", 9, None)
    assert settings.tenant_buckets == {"big": 8, "with=sign": 2}
    assert settings.memory_weights == {"big": 2.5, "small": 1.0}


def test_our_own_name_wins_over_redis_url_and_arguments_over_both():
    environ = {"REDIS_URL": "redis://a", "ALACENA_REDIS_URL": "redis://b"}
    assert Settings.from_env(environ).redis_url == "redis://b"
    assert Settings.from_env(environ, redis_url="redis://c").redis_url == "redis://c"
    assert Settings.from_env({"REDIS_URL": ""}).redis_url is None


def test_the_process_environment_is_the_default(monkeypatch):
    monkeypatch.setenv("ALACENA_LEASE_S", "3")
    assert Settings.from_env().lease_s == 3.0


def test_all_that_is_wrong_in_the_environment_is_said_at_once():
    with pytest.raises(SettingsError) as caught:
        Settings.from_env(
            {"ALACENA_LEASE_S": "soon", "ALACENA_LEASE": "5", "ALACENA_HOLD_S": "-1", "ALACENA_TENANT_BUCKETS": "a"},
            redis_budget_s=0,
            redis_urn="x",
        )
    text = str(caught.value)
    for part in (
        "ALACENA_LEASE_S: 'soon' is not a valid float",
        "ALACENA_LEASE: no such setting; there are client_name",
        "hold_s: must be greater than 0",
        "ALACENA_TENANT_BUCKETS: 'a' is not like tenant=8,other=2",
        "redis_budget_s: must be greater than 0",
        "redis_urn: no such setting",
    ):
        assert part in text


def test_a_mapping_that_is_read_only_is_taken():
    assert Settings(tenant_buckets=MappingProxyType({"a": 2})).tenant_buckets == {"a": 2}


@pytest.mark.parametrize(
    ("policy", "why"),
    [
        ({"ttl": 0}, "ttl: ttl must be greater than 0"),
        ({"ttl": math.nan}, "ttl: ttl must be greater than 0"),
        ({"ttl": "60"}, "ttl: ttl must be seconds, a timedelta or None"),
        ({"ttl": timedelta(0)}, "ttl: ttl must be greater than 0"),
        ({"stale_if_error_s": -1}, "stale_if_error_s: must be a number of at least 0"),
        ({"stale_while_revalidate_s": math.inf}, "stale_while_revalidate_s: must be"),
        ({"soft_timeout_s": 0}, "soft_timeout_s: must be greater than 0, or None"),
        ({"hard_timeout_s": 0}, "hard_timeout_s: must be greater than 0, or None"),
        ({"early_refresh_beta": None}, "early_refresh_beta: must be"),
        ({"negative_ttl_s": True}, "negative_ttl_s: must be"),
        ({"jitter_ratio": 1}, "jitter_ratio: must be below 1"),
        ({"use_memory": 1}, "use_memory: must be True or False"),
        ({"shared": None}, "shared: must be True or False"),
    ],
)
def test_a_policy_that_makes_no_sense_is_refused(policy, why):
    with pytest.raises(SettingsError) as caught:
        Policy(**policy)
    assert why in str(caught.value)
    with pytest.raises(SettingsError):
        Policy().but(**policy)


def test_all_that_is_wrong_with_a_policy_is_said_at_once():
    with pytest.raises(SettingsError) as caught:
        Policy(ttl=-1, soft_timeout_s=0, shared="yes")
    assert all(name in str(caught.value) for name in ("ttl", "soft_timeout_s", "shared"))


def test_what_a_policy_keeps_and_how_long():
    policy = Policy(ttl=timedelta(minutes=1), stale_if_error_s=5, stale_while_revalidate_s=7)
    assert (policy.ttl_s, policy.stale_s) == (60.0, 7)
    assert policy.but(ttl=None).ttl_s is None
    assert policy.but(shared=True) != policy
