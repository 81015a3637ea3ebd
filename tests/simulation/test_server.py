"""The simulated server over the simulated network: what it answers, what it forgets, what its clients hear."""

from __future__ import annotations

import asyncio
from typing import Any

import hiredis
import pytest

from tests.simulator import LinkProfile, Replication, SimOptions, SimServer, Simulation, run

SPLIT = SimOptions(profile=LinkProfile(split_ratio=0.5))


class Client(asyncio.Protocol):
    """A RESP3 client: commands out, replies in their order, pushes apart."""

    def __init__(self) -> None:
        self.pushes: list[list[Any]] = []
        self.order: list[str] = []
        self.lost = False
        self._reader = hiredis.Reader()
        self._waiting: list[asyncio.Future[Any]] = []

    @classmethod
    async def connect(cls, *tracking: str, address: Any = ("redis", 6379)) -> Client:
        _, client = await asyncio.get_running_loop().create_connection(cls, *address)
        assert isinstance(client, Client)
        await client.ask("HELLO", "3")
        if tracking:
            await client.ask("CLIENT", "TRACKING", *tracking)
        return client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self._reader.feed(data)
        while (frame := self._reader.gets()) is not False:
            if isinstance(frame, hiredis.PushNotification):
                self.pushes.append(list(frame))
                self.order.append("push")
            else:
                self.order.append("reply")
                self._waiting.pop(0).set_result(frame)

    def connection_lost(self, exc: Exception | None) -> None:
        self.lost = True

    def ask(self, *words: str | bytes) -> asyncio.Future[Any]:
        self.transport.write(hiredis.pack_command(words))
        return self.expect()

    def expect(self) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting.append(future)
        return future


def test_a_login_a_name_and_the_facts_about_the_server() -> None:
    async def main(sim: Simulation) -> None:
        SimServer(sim, password="secret")
        _, client = await asyncio.get_running_loop().create_connection(Client, "redis", 6379)
        assert str(await client.ask("GET", "k")).startswith("NOAUTH")
        assert str(await client.ask("HELLO", "3", "AUTH", "default", "wrong")).startswith("WRONGPASS")
        hello = await client.ask("HELLO", "3", "AUTH", "default", "secret", "SETNAME", "me")
        assert (hello[b"proto"], hello[b"role"]) == (3, b"master")
        assert await client.ask("CLIENT", "GETNAME") == b"me"
        info = (await client.ask("INFO", "replication", "memory")).decode()
        assert "role:master" in info
        assert "maxmemory_policy:noeviction" in info
        assert "redis_version" not in info
        seconds, micros = await client.ask("TIME")
        assert (int(seconds), len(micros)) == (1_750_000_000, len(str(int(micros))))
        assert await client.ask("CONFIG", "GET", "maxmemory-policy") == {b"maxmemory-policy": b"noeviction"}

    run(main, seed=1, options=SPLIT)


def test_pushes_stand_before_later_replies_however_the_stream_is_cut() -> None:
    async def main(sim: Simulation) -> None:
        SimServer(sim)
        reader, writer = await Client.connect("ON"), await Client.connect()
        await reader.ask("MGET", "a", "missing")
        await writer.ask("MSET", "a", "1", "missing", "2")
        await reader.ask("PING")
        assert reader.order == ["reply"] * 3 + ["push", "push", "reply"]
        assert [push[1] for push in reader.pushes] == [[b"a"], [b"missing"]]

    for seed in range(20):
        run(main, seed=seed, options=SPLIT)


def test_expiry_is_pushed_without_anybody_asking() -> None:
    async def main(sim: Simulation) -> None:
        SimServer(sim)
        client = await Client.connect("ON", "NOLOOP")
        await client.ask("SET", "k", "v", "PX", "500")
        await client.ask("GET", "k")
        await asyncio.sleep(0.7)
        assert client.pushes == [[b"invalidate", [b"k"]]]

    run(main, seed=1)


def test_subscribers_hear_what_is_published() -> None:
    async def main(sim: Simulation) -> None:
        SimServer(sim)
        listener, talker = await Client.connect(), await Client.connect()
        listener.transport.write(hiredis.pack_command(("SUBSCRIBE", "news")))
        await asyncio.sleep(0.1)
        assert await talker.ask("PUBLISH", "news", "x") == 1
        await asyncio.sleep(0.1)
        assert listener.pushes == [[b"subscribe", b"news", 1], [b"message", b"news", b"x"]]

    run(main, seed=1)


@pytest.mark.parametrize(
    ("policy", "survivor"),
    [("allkeys-lru", b"kept"), ("allkeys-lfu", b"kept"), ("volatile-ttl", b"kept"), ("volatile-lru", b"kept")],
)
def test_a_full_server_evicts_by_its_policy(policy: Any, survivor: bytes) -> None:
    async def main(sim: Simulation) -> None:
        server = SimServer(sim, policy=policy, maxmemory_bytes=2000)
        client = await Client.connect()
        await client.ask("SET", "kept", "v")
        for number in range(30):
            await client.ask("SET", f"k{number}", "v" * 50, "PX", "10000")
            await client.ask("GET", "kept")
        assert survivor in set(server.keyspace.names())
        assert server.evictor.evicted > 5
        assert server.evictor.used_bytes <= 2200

    run(main, seed=1)


def test_a_full_server_that_may_not_evict_refuses_what_grows() -> None:
    async def main(sim: Simulation) -> None:
        SimServer(sim, maxmemory_bytes=300)
        client = await Client.connect()
        replies = [await client.ask("SET", f"k{number}", "v" * 50) for number in range(5)]
        assert str(replies[-1]).startswith("OOM")
        assert await client.ask("GET", "k0") == b"v" * 50
        assert await client.ask("DEL", "k0", "k1") == 2

    run(main, seed=1)


def test_a_failover_loses_the_tail_and_changes_the_replication_id() -> None:
    async def main(sim: Simulation) -> None:
        primary, replica = SimServer(sim), SimServer(sim, ("replica", 1), name="replica")
        replication = Replication(primary, replica, lag_s=(1.0, 1.0))
        client, other = await Client.connect(), await Client.connect(address=("replica", 1))
        await client.ask("SET", "k", "old")
        await asyncio.sleep(2)
        assert await client.ask("WAIT", "1", "0") == 1
        assert str(await other.ask("SET", "k", "x")).startswith("READONLY")
        assert await other.ask("GET", "k") == b"old"
        await client.ask("DEL", "k")
        assert await client.ask("WAIT", "1", "0") == 0
        before = replica.replid
        assert before == primary.replid
        assert replication.fail_over() == 1
        await asyncio.sleep(1)
        assert client.lost
        client = await Client.connect()
        assert await client.ask("GET", "k") == b"old"
        assert await client.ask("SET", "k", "new") == b"OK"
        assert replica.replid != before

    run(main, seed=1)


@pytest.mark.parametrize(("data", "value"), [("kept", b"2"), ("saved", b"1"), ("lost", None)])
def test_a_restart_finds_the_data_that_it_is_told_to_and_forgets_scripts(data: Any, value: bytes | None) -> None:
    async def main(sim: Simulation) -> None:
        server = SimServer(sim, scripts={"return 7": lambda _space, _keys, _args: 7})
        client = await Client.connect("ON")
        sha = await client.ask("SCRIPT", "LOAD", "return 7")
        assert await client.ask("EVALSHA", sha, "0") == 7
        await client.ask("SET", "k", "1")
        server.save()
        await client.ask("SET", "k", "2")
        before = server.replid
        server.restart(data)
        await asyncio.sleep(1)
        assert client.lost
        client = await Client.connect()
        assert await client.ask("GET", "k") == value
        assert str(await client.ask("EVALSHA", sha, "0")).startswith("NOSCRIPT")
        assert server.replid != before

    run(main, seed=1)


def test_an_unknown_script_says_what_to_pass_and_a_loading_server_says_so() -> None:
    async def main(sim: Simulation) -> None:
        server = SimServer(sim, scripts={})
        client = await Client.connect()
        assert "SimServer(scripts=...)" in str(await client.ask("SCRIPT", "LOAD", "return 1"))
        server.refusing = "LOADING the dataset"
        assert str(await client.ask("GET", "k")).startswith("LOADING")
        server.refusing = None
        assert await client.ask("GET", "k") is None

    run(main, seed=1)


def test_bytes_that_are_no_command_end_the_connection() -> None:
    async def main(sim: Simulation) -> None:
        SimServer(sim)
        client = await Client.connect()
        pong, error = client.ask("PING"), client.expect()
        client.transport.write(b"*1\r\n+oops\r\n")
        assert await pong == b"PONG"
        assert str(await error).startswith("ERR Protocol error")
        await asyncio.sleep(1)
        assert client.lost

    run(main, seed=1)


def test_a_paused_server_answers_late_and_in_order() -> None:
    async def main(sim: Simulation) -> None:
        server = SimServer(sim)
        client = await Client.connect()
        server.process.pause_for(5)
        began = sim.now()
        replies = await asyncio.gather(client.ask("SET", "k", "1"), client.ask("GET", "k"))
        assert replies == [b"OK", b"1"]
        assert sim.now() - began > 4.9

    run(main, seed=1)
