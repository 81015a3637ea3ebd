"""What ``alacena doctor`` says of servers that are well, and of those that are not."""

import asyncio
import json
import re
import shlex
import socket
import subprocess
import sys
import time
from contextlib import asynccontextmanager

import pytest

from alacena.engine import SystemEnvironment
from alacena.ops import check_runner, doctor_checks
from proving.servers.redis_server import free_port

SYMPTOMS = ("values are not in the cache", "errors at access", "inconsistent metadata")


def examined(url, environment=None, source=None):
    subject = check_runner.Subject(environment=environment or SystemEnvironment(), source=source)
    return asyncio.run(check_runner.examine(doctor_checks.list_checks(url), subject))


def of(found, check):
    return [finding for finding in found if finding.check == check]


def test_a_healthy_server_passes(redis_server, findings):
    found = findings(redis_server.url, code=0)

    assert {one["state"] for one in found.values()} <= {"pass", "skip"}
    assert found["tracking and canary"]["state"] == "pass"
    assert found["right: scripts"]["state"] == "pass"
    assert {f"symptom: {name}" for name in SYMPTOMS} <= found.keys()
    skipped = [one for one in found.values() if one["state"] == "skip"]
    assert all(one["found"] for one in skipped)


def test_a_healthy_server_is_left_as_it_was(redis_server, findings):
    redis_server.call("SET", "other", "1")
    findings(redis_server.url, code=0)

    left = [key for key in redis_server.call("KEYS", "*") if "canary" not in key and ":g:" not in key]
    assert left == ["other"]


def test_the_last_line_is_the_verdict(valkey_server, alacena):
    done = alacena("doctor", url=valkey_server.url)

    assert done.exit_code == 0
    assert done.stdout.splitlines()[-1].startswith("All is well.")


def test_no_server_configured_is_no_failure(findings):
    found = findings(None, code=0)

    assert found["settings"]["state"] == "warn"
    assert "ALACENA_REDIS_URL" in found["settings"]["mend"]
    assert found["reachable"] == {**found["reachable"], "state": "skip", "found": "no server is configured"}


def test_nobody_listens(findings):
    found = findings(f"redis://127.0.0.1:{free_port()}", code=1)

    assert found["reachable"]["state"] == "fail"
    assert found["latency"]["found"] == "no server is reached"


def test_wrong_settings_are_said_and_the_rest_is_skipped(findings, monkeypatch):
    monkeypatch.setenv("ALACENA_REDIS_BUDGET_S", "soon")
    found = findings("redis://127.0.0.1:1", code=1)

    assert found["settings"]["state"] == "fail"
    assert "redis_budget_s" in found["settings"]["found"].lower()
    assert {one["state"] for name, one in found.items() if name not in {"settings", "symptom: errors at access"}} == {
        "skip"
    }


def test_a_variable_that_is_no_setting_is_named(valkey_server, findings, monkeypatch):
    monkeypatch.setenv("ALACENA_OF_SOMEBODY_ELSE", "1")

    assert "ALACENA_OF_SOMEBODY_ELSE" in findings(valkey_server.url, code=0)["settings"]["found"]


def test_a_wrong_password_is_not_shown(start_redis, findings, alacena):
    server = start_redis(password="right", tcp=True)
    url = f"redis://:not-this-one@127.0.0.1:{server.port}"
    found = findings(url, code=1)

    assert found["reachable"]["state"] == "fail"
    assert "password" in found["reachable"]["mend"]
    assert "not-this-one" not in json.dumps(found)
    assert alacena("keys", url=url).exit_code == 3


@pytest.mark.parametrize("policy", ["allkeys-lru", "volatile-lru"])
def test_eviction_with_queues_in_use_is_a_failure(policy, valkey_server, findings, work):
    async def push(cache):
        await cache.queues("ingest", tenant_id="acme").push({"n": 1})

    work(valkey_server.url, push)
    valkey_server.call("CONFIG", "SET", "maxmemory-policy", policy)
    try:
        found = findings(valkey_server.url, code=1)
    finally:
        valkey_server.call("CONFIG", "SET", "maxmemory-policy", "noeviction")

    assert found["eviction"]["state"] == "fail"
    assert policy in found["eviction"]["found"]
    assert "queue" in found["eviction"]["found"]
    assert "noeviction" in found["eviction"]["mend"]
    assert found["coordination"]["state"] == "fail"


def test_dead_letters_are_a_warning_that_names_the_queue(valkey_server, findings, work):
    """rq/rq 834, twentyhq/twenty 26219: jobs that are over fill the server, and every look at it says that it is well."""

    async def fail(cache):
        for tenant, count in (("acme", 2), ("globex", 1)):
            queue = cache.queues("ingest", tenant_id=tenant, max_attempts=1)
            await queue.push_many(range(count))
            for item in await queue.reserve(count):
                await item.nack(reason="no such model")

    assert findings(valkey_server.url, code=0)["dead letters"]["state"] == "pass"
    work(valkey_server.url, fail)
    found = findings(valkey_server.url, code=0)["dead letters"]

    assert found["state"] == "warn"
    assert found["found"] == "3 in 2 of 2 queues, most of them in 'ingest' of 'acme'"
    assert "alacena queues dead" in found["mend"]


@pytest.mark.parametrize(
    ("kind", "remedy"), [("redis+sentinel", "?sentinel_password="), ("redis+cluster", "correct user and password")]
)
def test_a_password_that_is_missing_is_named_whatever_is_asked_for_the_server(kind, remedy, start_redis, findings):
    server = start_redis(password="right", tcp=True)
    found = findings(f"{kind}://127.0.0.1:{server.port}" + ("/m" if "sentinel" in kind else ""), code=1)

    assert remedy in found["reachable"]["mend"]


def test_eviction_for_a_cache_alone_is_a_warning(start_redis, findings):
    found = findings(start_redis(maxmemory_policy="allkeys-lru").url, code=0)

    assert found["eviction"]["state"] == "warn"
    assert found["coordination"]["state"] == "warn"


RIGHTS = {
    "tracking": ("-client|tracking", 0),
    "scripts": ("-@scripting", 1),
    "write": ("-set", 1),
    "INFO": ("-info", 0),
    "TIME": ("-time", 1),
    "UNLINK": ("-unlink", 0),
}


@pytest.mark.parametrize("right", RIGHTS)
def test_a_right_that_is_missing_is_named_with_what_grants_it(right, start_redis, findings):
    rule, code = RIGHTS[right]
    server = start_redis(users=[f"app on >pw ~* &* +@all {rule}"], tcp=True)
    found = findings(f"redis://app:pw@127.0.0.1:{server.port}", code=code)

    assert found[f"right: {right}"]["state"] == ("fail" if code else "warn")
    assert "NOPERM" in found[f"right: {right}"]["found"]
    assert "grant" in found[f"right: {right}"]["mend"]
    assert found["right: read"]["state"] == "pass"
    # What it says is done: then it is well.
    _, command = found[f"right: {right}"]["mend"].split("redis-cli ")
    server.call(*shlex.split(command))
    assert findings(f"redis://app:pw@127.0.0.1:{server.port}", code=0)[f"right: {right}"]["state"] == "pass"


def test_what_a_missing_right_keeps_from_being_looked_at_is_skipped(start_redis, findings):
    server = start_redis(users=["app on >pw ~* &* +@all -@scripting"], tcp=True)
    found = findings(f"redis://app:pw@127.0.0.1:{server.port}", code=1)

    assert found["right: scripts"]["state"] == "fail"
    assert found["fleet"]["state"] == "skip"


def test_channels_that_are_missing_are_named(start_redis, findings):
    server = start_redis(users=["app on >pw ~* resetchannels +@all"], tcp=True)
    found = findings(f"redis://app:pw@127.0.0.1:{server.port}", code=0)

    assert found["right: channels"]["state"] == "warn"
    assert found["right: subscribe"]["state"] == "warn"
    assert found["right: channels"]["mend"].endswith("redis-cli ACL SETUSER app '&alacena:*'")


def test_a_command_that_mends_says_to_a_shell_what_it_says_to_the_server(start_redis, findings):
    server = start_redis(users=["app on >pw ~* &* +@all -client +client|setname +client|setinfo"], tcp=True)
    found = findings(f"redis://app:pw@127.0.0.1:{server.port}", code=0)

    command = shlex.split(found["right: tracking"]["mend"].partition("redis-cli ")[2])
    assert command == ["ACL", "SETUSER", "app", "+client|tracking"]
    assert "'+client|tracking'" in found["right: tracking"]["mend"]


def test_a_replica_is_no_server_for_a_cache(start_redis, findings):
    master = start_redis(tcp=True)
    replica = start_redis(tcp=True, extra=["--replicaof", "127.0.0.1", str(master.port)])
    found = findings(replica.tcp_url, code=1)

    assert found["topology"]["state"] == "fail"
    assert "master" in found["topology"]["mend"]
    assert found["writes"]["state"] == "fail"
    # It does not hang: it is a replica, and the cache waits for a master.
    assert found["tracking and canary"]["state"] == "skip"


def test_a_server_that_is_not_there_is_told_in_words(findings):
    found = findings("redis://127.0.0.1:1", code=1)
    assert found["reachable"]["found"] == "127.0.0.1:1 cannot be reached: Connection refused"
    # A name with several addresses is one place.
    found = findings("redis://localhost:1", code=1)
    assert found["reachable"]["found"] == "localhost:1 cannot be reached: Connection refused"
    found = findings("unix:///no/such/socket", code=1)
    assert found["reachable"]["found"] == "unix:/no/such/socket cannot be reached: No such file or directory"


def test_a_server_without_room_for_another_client(start_redis, findings):
    server = start_redis(tcp=True, extra=["--maxclients", "1"])
    with socket.create_connection(("127.0.0.1", server.port)) as held:
        held.sendall(b"PING\r\n")
        held.recv(64)
        found = findings(server.tcp_url, code=1)

    assert found["reachable"]["state"] == "fail"
    assert "maxclients" in found["reachable"]["mend"]


def test_a_full_server_is_named(start_redis, findings):
    server = start_redis(tcp=True)
    server.call("SET", "big", b"x" * 2**20)
    server.call("CONFIG", "SET", "maxmemory", 2**20)
    found = findings(server.tcp_url, code=1)

    assert found["memory"]["state"] == "fail"
    assert found["symptom: values are not in the cache"]["state"] == "fail"


PUSH = re.compile(rb">2\r\n\$10\r\ninvalidate\r\n(?:\*\d+\r\n(?:\$\d+\r\n[^\r]*\r\n)+|_\r\n)")


@asynccontextmanager
async def swallower(port):
    """A proxy that hands on everything but pushes."""
    tasks, writers = set(), []

    async def pump(reader, writer, pattern):
        while data := await reader.read(65_536):
            writer.write(pattern.sub(b"", data) if pattern else data)
            await writer.drain()

    async def accept(reader, writer):
        there, back = await asyncio.open_connection("127.0.0.1", port)
        writers.extend((writer, back))
        for pair in ((reader, back, None), (there, writer, PUSH)):
            tasks.add(asyncio.ensure_future(pump(*pair)))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        for writer in writers:
            writer.close()
        await asyncio.gather(*tasks, *(writer.wait_closed() for writer in writers), return_exceptions=True)


def test_a_proxy_that_swallows_pushes_is_found(start_redis):
    server = start_redis(tcp=True)

    async def run():
        async with swallower(server.port) as port:
            return await check_runner.examine(
                doctor_checks.list_checks(f"redis://127.0.0.1:{port}"), check_runner.Subject()
            )

    (finding,) = of(asyncio.run(run()), "tracking and canary")

    assert finding.state == "warn"
    assert "push" in finding.found
    assert "proxy" in finding.mend


def test_a_clock_that_is_an_hour_off_is_named(valkey_server):
    environment = SystemEnvironment()
    environment.wall = lambda: time.time() + 3600
    (finding,) = of(examined(valkey_server.url, environment), "clock")

    assert finding.state == "warn"
    assert "3600" in finding.found or "3599" in finding.found
    assert "behind" in finding.found


def test_a_server_that_stops_answering_does_not_keep_it_waiting(start_redis, alacena):
    server = start_redis(tcp=True)
    server.process.pause()
    try:
        done = alacena("doctor", "--json", url=server.tcp_url)
    finally:
        server.process.resume()

    assert done.exit_code == 1
    assert {one["check"]: one for one in json.loads(done.stdout)["checks"]}["reachable"]["state"] == "fail"


def test_a_check_that_hangs_does_not_hold_up_the_others():
    async def hangs(_):
        await asyncio.Event().wait()

    async def looks(_):
        return [check_runner.Finding("after", "pass", "seen")]

    asked = [check_runner.Check("hanging", "nothing", hangs), check_runner.Check("after", "nothing", looks)]
    found = asyncio.run(check_runner.examine(asked, check_runner.Subject(), all_s=0.2))

    assert [finding.state for finding in found] == ["fail", "skip"]
    assert "no time is left" in found[1].found


def test_a_name_that_is_resolved_for_ever_does_not_hold_up_the_end():
    """The thread that resolves it is not waited for, neither by the loop nor at the end of the program."""
    code = (
        "import socket, threading\n"
        "socket.getaddrinfo = lambda *_, **__: threading.Event().wait(600)\n"
        "from alacena.ops.cli import main\n"
        "main()\n"
    )
    command = [sys.executable, "-c", code, "doctor", "--url", "redis://nowhere.example:6379"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert done.returncode == 1
    assert "no answer from nowhere.example:6379" in done.stdout


def test_a_cluster_is_examined_at_each_master(redis_cluster, findings):
    url = "redis+cluster://" + ",".join(f"{host}:{port}" for host, port in redis_cluster.addresses)
    found = findings(url, code=0)

    assert found["topology"]["found"] == "cluster, 3 master(s)"
    assert found["right: write"]["state"] == "pass"


def test_sentinels_lead_to_the_master(start_sentinel, findings):
    sentinels = start_sentinel()
    hosts = ",".join(f"{host}:{port}" for host, port in sentinels.addresses)
    found = findings(f"redis+sentinel://{hosts}/{sentinels.service}", code=0)

    assert str(sentinels.primary.port) in found["reachable"]["found"]


def test_another_namespace_is_pointed_at(valkey_server, findings, work, monkeypatch):
    async def fill(cache):
        await cache.set("document", "d1", {"a": 1}, "acme")

    work(valkey_server.url, fill, namespace="shop")
    found = findings(valkey_server.url, code=0)

    assert "shop" in found["symptom: values are not in the cache"]["found"]
    monkeypatch.setenv("ALACENA_NAMESPACE", "shop")
    assert findings(valkey_server.url, code=0)["symptom: values are not in the cache"]["state"] == "pass"


def test_a_time_to_live_that_is_too_short_is_named(valkey_server, findings, monkeypatch):
    monkeypatch.setenv("ALACENA_TTL_DEFAULT_S", "1")

    assert "ttl_default_s" in findings(valkey_server.url, code=0)["symptom: values are not in the cache"]["found"]


def test_metadata_without_their_fields_are_found(valkey_server, findings, work):
    async def fill(cache):
        await cache.set("chunk", "good", {"text": "a", "metadata": {"tenant_id": "acme", "created_at": 1}}, "acme")
        await cache.set("chunk", "bad", {"text": "a", "metadata": {"document_id": "d1"}}, "acme")
        await cache.set("chunk", "moved", [{"metadata": {"tenant_id": "other", "created_at": 1}}], "acme")

    work(valkey_server.url, fill)
    found = findings(valkey_server.url, code=1)["symptom: inconsistent metadata"]

    assert found["state"] == "fail"
    assert "chunk bad of acme" in found["found"]
    assert "chunk moved of acme" in found["found"]
    assert "chunk good" not in found["found"]
    assert "standardize_llama_metadata" in found["mend"]


def test_calls_of_the_wrong_interface_are_found_in_the_code(tmp_path, findings):
    lines = ["await CacheManager.rpush('q', 1)", "CacheManager.set('a', 'b', 1)", "await CacheManager.get('a', 'b')"]
    code = "async def f():\n" + "".join(f"    {line}\n" for line in lines)
    (tmp_path / "service.py").write_text(code)
    found = findings(None, "--source", str(tmp_path), code=1)["symptom: errors at access"]
    done = [one for one in examined(None, source=str(tmp_path)) if one.check == found["check"]]

    assert [re.search(r":(\d+):", one.found).group(1) for one in done] == ["2", "3"]
    assert "CacheManager.get_instance().rpush" in done[0].mend
