"""Facts of one server, its settings and our rights: asked for with the heartbeat, so that a change is noticed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from alacena.engine.base.errors import ServerReplyError
from alacena.engine.remote.redis.cache_scripts import CACHE_SCRIPTS, RELEASE
from alacena.engine.remote.redis.command_safety import is_forbidden

if TYPE_CHECKING:
    from collections.abc import Sequence

    from alacena.engine.remote.redis.wire.command import Command, Reply

SAFE_POLICY: Final = "noeviction"
"""Every other policy may evict something that coordination writes: ``volatile-*`` evicts locks and receipts."""

NEEDS: Final = {
    "scripts": "grant EVALSHA, EVAL and SCRIPT LOAD (+@scripting): without them nothing is stored, and locks, queues, "
    "counters and the ledger are refused",
    "EVAL": "grant EVAL, or do not rename it: without it no invalidation of a document or tag is confirmed",
    "write": "grant writes to the keys of the namespace (+@write): without them nothing is stored or invalidated",
    "UNLINK": "grant UNLINK, or do not rename it: DEL is used meanwhile",
    "DEL": "grant DEL, or do not rename it: the scripts remove with it, and without it nothing is stored",
    "channels": "grant PUBLISH on the channels of the namespace (such as &alacena:*): without it waiters for locks and "
    "queues are not woken",
    "SUBSCRIBE": "grant SUBSCRIBE on the channels of the namespace (such as &alacena:*): without it waiters for locks and "
    "queues are not woken, and look again every few seconds",
    "tracking": "grant CLIENT TRACKING: without it memory stays off and each read asks the server",
    "INFO": "grant INFO and TIME: without them memory stays off, and coordination is refused unless the setting "
    "trust_eviction_policy vouches for the server",
}
"""What the user of a server must be allowed, and what to do if it is not."""


class ServerFacts:
    """One server, as it described itself last.

    Attributes:
        server: Its name and version.
        policy: Its ``maxmemory-policy``; empty while it is not known.
        on_disk: Whether it keeps an append-only file: ``"append-only file"``, ``"none, or snapshots"`` or
            ``"unknown"``.
        missing: Rights that the user lacks, each with the server's words.
    """

    def __init__(self) -> None:
        self.server = ""
        self.policy = ""
        self.on_disk = "unknown"
        self.missing: dict[str, str] = {}

    def forget(self) -> None:
        """Forgets all facts: the next connection may be to another server."""
        self.policy, self.on_disk = "", "unknown"

    @staticmethod
    def questions() -> list[Command]:
        """Returns the questions of each heartbeat."""
        # Two questions: servers before 7.0 take one section at a time.
        return [("INFO", "memory"), ("INFO", "persistence")]

    def read(self, replies: Sequence[Reply]) -> None:
        """Takes note of the answers to :meth:`questions`."""
        memory, persistence = replies
        self.policy = facts(memory).get("maxmemory_policy", "")
        enabled = facts(persistence).get("aof_enabled")
        self.on_disk = {"1": "append-only file", "0": "none, or snapshots"}.get(enabled or "", "unknown")
        self._note("INFO", memory)

    @staticmethod
    def introduction() -> list[Command]:
        """Returns the questions to a new connection: its server's name, and to know our scripts."""
        return [("INFO", "server"), *(("SCRIPT", "LOAD", script.source) for script in CACHE_SCRIPTS)]

    def read_introduction(self, replies: Sequence[Reply]) -> None:
        """Takes note of the answers to :meth:`introduction`."""
        about = facts(replies[0])
        if "valkey_version" in about:
            self.server = f"Valkey {about['valkey_version']}"
        else:
            self.server = f"Redis {about.get('redis_version', '?')}"

    @staticmethod
    def probes(namespace: str, tag: str) -> list[Command]:
        """Returns commands that do nothing of note but need the rights that the cache needs."""
        key = f"{namespace}:probe:{{{tag}}}"
        return [
            ("SCRIPT", "LOAD", RELEASE.source),
            # `-` is no lease's token: the script runs and does nothing.
            ("EVALSHA", RELEASE.sha, 1, key, "-"),
            # Whole, too, as the endings of documents and tags are sent.
            ("EVAL", RELEASE.source, 1, key, "-"),
            # It expires by itself, as neither removal may be allowed.
            ("SET", key, "1", "PX", 1000),
            ("UNLINK", key),
            ("DEL", key),
            ("PUBLISH", f"{namespace}:probe", ""),
        ]

    def read_probes(self, replies: Sequence[Reply]) -> None:
        """Takes note of the answers to :meth:`probes`. A refusal that lasts for a moment says nothing of rights."""
        load, run, run_whole, write, unlink, delete, publish = replies
        self._note("scripts", load if is_forbidden(load) else run)
        self._note("EVAL", run_whole)
        self._note("write", write)
        self._note("UNLINK", unlink)
        self._note("DEL", delete)
        self._note("channels", publish)

    def read_tracking(self, reply: Reply) -> None:
        """Takes note of the answer to ``CLIENT TRACKING ON``."""
        self._note("tracking", reply)

    def read_subscription(self, refusal: ServerReplyError | None) -> None:
        """Takes note of how ``SUBSCRIBE`` went."""
        self._note("SUBSCRIBE", refusal)

    def _note(self, right: str, reply: Reply) -> None:
        if is_forbidden(reply):
            self.missing[right] = str(reply)
        elif not isinstance(reply, ServerReplyError):
            self.missing.pop(right, None)


def facts(info: Reply) -> dict[str, str]:
    """Returns the fields of an answer to ``INFO``; none if it was refused."""
    if not isinstance(info, bytes):
        return {}
    lines = info.decode("utf-8", "replace").splitlines()
    return dict(line.split(":", 1) for line in lines if ":" in line)
