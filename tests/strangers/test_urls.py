"""URLs and settings as deployments write them, and passwords that nobody encoded."""

from __future__ import annotations

import logging
import os
import re
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from alacena import CacheManager, UsageError, configure
from alacena.common.db.supabase_settings import SupabaseSettings
from alacena.engine import Cache, Keyring, Policy, Settings, SettingsError
from alacena.engine.remote.redis.endpoint import Endpoint
from alacena.sources.ledger import PostgresAuthority
from alacena.sources.postgres import create_pool

SECRET = "s3cr3tPart"
BROKEN = [
    f"{scheme}{user}:{before}{cut}{SECRET}@cache:6379/0"
    for scheme in ("redis://", "rediss://", "redis+cluster://")
    for user in ("", "app")
    for before in ("abc", "4711", "p@ss")
    for cut in ("/", "#", "?", "[", "]", "[x]", "?b=", " ", "//", "/0#")
]


@pytest.mark.parametrize("url", BROKEN)
def test_no_piece_of_a_password_is_shown(url: str) -> None:
    """celery/celery#7864, cameronmaske/celery-once#135: an unescaped character cuts the password in two."""
    with pytest.raises(SettingsError) as caught:
        Settings(redis_url=url)
    message = str(caught.value)
    assert "percent-encode the password" in message
    for piece in (SECRET, "abc", "4711", "p@ss"):
        assert piece not in message
    with pytest.raises(SettingsError) as caught:
        Endpoint.parse(url)
    assert SECRET not in str(caught.value)
    with pytest.raises(SettingsError, match="redis_url"):
        configure(redis_url=url)


@pytest.mark.parametrize(
    "url",
    [
        f"redis://:{SECRET}",
        f"redis://{SECRET}:",
        f"redis://h/{SECRET}",
        f"redis://h?{SECRET}=1",
        f"redis://h?{SECRET}",
        f"{SECRET}://h",
        f"h:6379,password={SECRET},ssl=True",
        f"'redis://:{SECRET}@h'",
        f"unix://{SECRET}/run/s",
        f"redis://h1,:{SECRET}",
        f"rediss://h?ssl_cert_reqs={SECRET}",
        f"redis://[{SECRET}",
        f"redis://:x@$({SECRET})/0",
    ],
)
def test_a_message_quotes_nothing_that_may_be_a_password(url: str) -> None:
    """ethyca/fidesops#900: the message that names the fault must not be the leak."""
    with pytest.raises(SettingsError) as caught:
        Settings(redis_url=url)
    assert SECRET not in str(caught.value)


@pytest.mark.parametrize("value", [b"redis://:s3cr3tPart@h", ["redis://:s3cr3tPart@h"], "   "])
def test_a_setting_that_is_secret_is_not_quoted(value: object) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings(redis_url=value, key_secret=value)  # type: ignore[arg-type]  # what users pass
    assert SECRET not in str(caught.value)


def test_all_faults_are_in_one_message_at_once() -> None:
    """getredash/redash#7200: the URL was judged at the first read, when the service had long started."""
    with pytest.raises(SettingsError) as caught:
        configure(redis_url="redis://:70000/zero?ssl_ca_certs=x&socket_timeout=5", lease_s=-1)
    for part in ("lease_s", "write host:port", "redis://host:6379/0", "rediss://", "redis_timeout_s"):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ('"redis://cache:6379/0"', "quotes"),
        ("redis://cache:6379/0#main", "fragment"),
        ("redis+socket:///run/redis.sock", "unix://"),
        ("sentinel://h/m", "redis+sentinel://"),
        ("REDIS://h", "lower case"),
        ("redis://h?ssl=true", "rediss://"),
        ("redis://h?socket_connect_timeout=2", "redis_connect_timeout_s"),
        ("rediss://h?ssl_cert_req=none", "ssl_cert_reqs"),
        ("redis://cache:$(REDIS_PORT)/0", "variable"),
    ],
)
def test_the_mend_is_named(url: str, mend: str) -> None:
    """redis/redis-py#545, ohcnetwork/care PR 2964, and the habits of docker and Celery."""
    with pytest.raises(SettingsError, match=re.escape(mend)):
        Settings(redis_url=url)


def test_options_of_other_clients_do_not_stop_the_service(caplog: pytest.LogCaptureFixture) -> None:
    """getredash/redash#7200: one REDIS_URL for all libraries of a service, with options that concern only some."""
    url = "redis://h/2?max_connections=20&health_check_interval=30&decode_responses=True&protocol=3&retry_on_timeout=1"
    endpoint = Endpoint.parse(Settings(redis_url=url).redis_url or "")
    assert endpoint.access.database == 2
    assert caplog.text.count("mean nothing here: decode_responses, health_check_interval, max_connections") == 1


@pytest.mark.parametrize(
    "word", ["none", "None", "CERT_NONE", "optional", "CERT_OPTIONAL", "required", "CERT_REQUIRED"]
)
def test_the_words_for_certificates_of_other_clients(word: str) -> None:
    """redis/redis-py#545: Heroku and Celery write CERT_NONE; "optional" is no less than required for a client."""
    tls = Endpoint.parse(f"rediss://h?ssl_cert_reqs={word}").access.tls
    assert tls is not None
    assert (tls.verify_mode.name == "CERT_NONE") is ("none" in word.lower())


def test_variables_of_a_kubernetes_service_do_not_stop_the_service(caplog: pytest.LogCaptureFixture) -> None:
    """Python3WebSpider/ProxyPool#136, uselagoon/lagoon#1254: a service called like the prefix, in every pod."""
    environ = {
        "REDIS_URL": "redis://cache",
        "ALACENA_SERVICE_HOST": "10.0.0.7",
        "ALACENA_SERVICE_PORT": "8000",
        "ALACENA_SERVICE_PORT_HTTP": "8000",
        "ALACENA_PORT": "tcp://10.0.0.7:8000",
        "ALACENA_PORT_8000_TCP": "tcp://10.0.0.7:8000",
        "ALACENA_PORT_8000_TCP_PROTO": "tcp",
        "ALACENA_REDIS_SERVICE_HOST": "10.0.0.8",
        "ALACENA_REDIS_PORT_6379_TCP_ADDR": "10.0.0.8",
        "ALACENA_VERSION": "1.2.3",
        "alacena_lease_s": "7",
    }
    settings = Settings.from_env(environ)
    assert (settings.redis_url, settings.lease_s) == ("redis://cache", 5.0)
    [record] = [record for record in caplog.records if record.levelno == logging.WARNING]
    for name in set(environ) - {"REDIS_URL"}:
        assert name in record.getMessage()


@pytest.mark.parametrize("name", ["LEASE", "REDIS_TIMEOUT", "REDIS_HOST", "REDIS_PORT", "NAMESPACES", "MEMORY_MAX"])
def test_a_misspelled_setting_is_still_an_error(name: str) -> None:
    with pytest.raises(SettingsError, match=f"ALACENA_{name}: no such setting"):
        Settings.from_env({f"ALACENA_{name}": "5"})


@pytest.mark.parametrize("folder", ["ci#42", "50%", "q?x", "a%20b", "with blank", "at@x"])
async def test_an_embedded_server_lives_in_any_temporary_folder(folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of CI jobs hold any character; in a URL some of them have a meaning of their own."""
    with tempfile.TemporaryDirectory(prefix="a", dir="/tmp") as short:
        place = Path(short) / folder
        place.mkdir()
        monkeypatch.setattr(tempfile, "tempdir", str(place))
        async with Cache(Settings(redis_url="embedded://", redis_budget_s=5.0)) as cache:
            assert cache.guarantee()["connected"]
            assert cache.url is not None
            async with Cache(Settings(redis_url=cache.url, redis_budget_s=5.0)) as other:
                await cache.set("t", "r", 1, "acme")
                assert await other.get("t", "r", "acme") == 1


@pytest.mark.parametrize(
    "dsn",
    [
        f"postgresql://app:a/{SECRET}@h/db",
        f"postgresql://app:a#{SECRET}@h/db",
        f"postgresql://app:a?{SECRET}@h/db",
        f"postgresql://app:[{SECRET}@h/db",
        f"postgresql://app:{SECRET}@h:notaport/db",
        f"postgresql://app@127.0.0.1:1/db?password={SECRET}&port=x",
        f"postgres//app:{SECRET}@h/db",
    ],
)
async def test_a_dsn_shows_no_password_either(dsn: str) -> None:
    """celery/celery#7864, for the database: drivers quote what they could not read."""
    with pytest.raises((SettingsError, OSError)) as caught:
        await create_pool(dsn)
    error: BaseException | None = caught.value
    while error is not None:
        assert SECRET not in str(error)
        error = None if error.__suppress_context__ else error.__cause__ or error.__context__


@pytest.mark.parametrize("one", ["chunk [/] 3", "a[bold]b", "[link=file:///etc/passwd]x[/link]"])
def test_the_command_line_prints_ids_as_text(one: str) -> None:
    """Ids are the users' text, not rich's markup: "[/]" ended the program with an error."""
    done = _alacena("explain", "document", one, "--tenant", "[red]acme")
    assert done.returncode == 0, done.stderr
    assert f"document {one} of [red]acme" in done.stdout


def test_the_command_line_shows_no_password() -> None:
    done = _alacena("guarantee", "--url", f"redis://:abc/{SECRET}@cache:6379/0")
    assert done.returncode != 0
    assert "percent-encode the password" in done.stderr
    assert SECRET not in done.stdout + done.stderr


def _alacena(*words: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, "COLUMNS": "200"}
    command = [sys.executable, "-c", "from alacena.ops.cli import main; main()", *words]
    return subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60, check=False)


def test_the_process_wide_cache_is_as_it_was() -> None:
    """A configure() that raised has changed nothing."""
    configure()
    with pytest.raises(SettingsError):
        configure(redis_url="redis://:a#b@h")
    assert CacheManager.get_instance() is not None


PARTS: dict[str, Any] = {
    "policies": ({"document": 60}, "write Policy"),
    "observers": ([print], "def observe"),
    "authority": (PostgresAuthority, "the class PostgresAuthority, not an instance"),
    "keyring": ("hunter2-hunter2-hunter2-hunter2!", "pass Keyring"),
    "environment": (time, "SystemEnvironment"),
    "credentials": ("hunter2", "get_credentials_async"),
}


@pytest.mark.parametrize("build", [Cache, configure])
@pytest.mark.parametrize("name", PARTS)
def test_a_part_of_another_kind_is_refused_before_anything_is_opened(name: str, build: Any) -> None:
    """A part that cannot do its work is heard of at once, and not by a background task or the first value that is stored."""
    part, instead = PARTS[name]
    with pytest.raises(SettingsError, match=instead) as caught:
        build(**{name: part})
    assert name.removesuffix("s")[:6] in str(caught.value)
    assert "hunter2" not in "".join(traceback.format_exception_only(caught.value))


def test_a_url_in_place_of_the_settings_is_told_what_to_write() -> None:
    """The first thing that people write, as other clients take it."""
    with pytest.raises(SettingsError, match=r"Cache\(Settings\(redis_url=") as caught:
        Cache("redis://:hunter2@cache")  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


async def test_a_policy_is_found_under_the_text_of_its_type(open_cache: Any) -> None:
    """aio-libs/aiocache#633: a number and its text are one data type, also where policies are looked up."""
    cache = await open_cache(policies={7: Policy(ttl=7.0)})
    assert cache.policy("7").ttl_s == cache.policy(7).ttl_s == 7.0


@pytest.mark.parametrize("value", [10**400, 10**5000, "9" * 5_000, b"x" * 5_000], ids=range(4))
@pytest.mark.parametrize("name", ["memory_max_bytes", "ttl_default_s"])
def test_no_value_of_a_setting_is_too_large_for_its_message(name: str, value: Any) -> None:
    """A number of hundreds of digits is refused as a setting, and not with an OverflowError that names none."""
    with pytest.raises(SettingsError, match=name) as caught:
        Settings(**{name: value})
    assert len(str(caught.value)) < 300
    with pytest.raises(SettingsError):
        Settings.from_env({f"ALACENA_{name.upper()}": "1" * 400})
    with pytest.raises(ValueError, match="soft_timeout_s"):
        Policy(soft_timeout_s=value)


@pytest.mark.parametrize("url", [f"redis://h:{'1' * 5_000}", f"redis://h/{'1' * 5_000}"], ids=["port", "database"])
def test_a_number_of_thousands_of_digits_in_a_url_is_a_fault_of_the_url(url: str) -> None:
    with pytest.raises(SettingsError, match="number"):
        Settings(redis_url=url)


def test_a_key_in_place_of_the_supabase_url_is_not_shown() -> None:
    """The-Vibe-Company/quivr#188: URL and key that do not fit are printed to see which is which, and the key is in the log."""
    for url in ("sb_secret_hunter2", "eyJhbGciOi.hunter2", "https://user:hunter2@x.supabase.co/rest/v1"):
        with pytest.raises(SettingsError) as caught:
            SupabaseSettings(url=url)
        assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("keys", [{b"hunter2-" * 4: 1}, [b"hunter2-" * 4], {1: "hunter2-" * 4}, {1: b"hunter2-" * 4}])
def test_a_keyring_that_was_written_the_wrong_way_round_shows_no_key(keys: Any) -> None:
    with pytest.raises(UsageError) as caught:
        Keyring(keys, current=b"hunter2-" * 4)  # type: ignore[arg-type]
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("name", ["my service", "web\n1", "café", " "])
def test_a_name_that_no_server_takes_is_refused_as_a_setting(name: str) -> None:
    """A deployment's name with a space in it kept the cache from its server, for ever."""
    with pytest.raises(SettingsError, match="client_name"):
        Settings(client_name=name)
    with pytest.raises(SettingsError, match="client_name"):
        Settings(redis_url=f"redis://cache?client_name={quote(name)}")
    assert Settings(client_name="web-1:7/ü".encode("ascii", "ignore").decode()).client_name == "web-1:7/"
