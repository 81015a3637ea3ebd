"""The commands that concern the connection or the server rather than a key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from alacena.engine.base.errors import ServerReplyError
from tests.simulator.information import information
from tests.simulator.process import CURRENT, SimProcess
from tests.simulator.resp import Push, Status

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.simulator.server import SimServer
    from tests.simulator.session import Session

    Handler = Callable[[SimServer, Session, list[bytes]], Any]

OK: Final = Status(b"OK")
QUEUED: Final = Status(b"QUEUED")
NOTHING: Final = object()
"""What a command returns that has already queued what it answers."""

CONNECTION_COMMANDS: dict[bytes, Handler] = {}
"""The commands of this module by their names in capitals."""


def enter_process(process: SimProcess) -> None:
    """Make a context belong to a process."""
    CURRENT.set(process)


def published(channel: bytes, message: bytes) -> Push:
    """What a subscriber of ``channel`` gets."""
    return Push([b"message", channel, message])


def _command(name: str, at_least: int = 0) -> Callable[[Handler], Handler]:
    def enter(handler: Handler) -> Handler:
        def checked(server: SimServer, session: Session, words: list[bytes]) -> Any:
            if len(words) < at_least:
                raise ServerReplyError(f"ERR wrong number of arguments for '{name.lower()}' command")
            return handler(server, session, words)

        CONNECTION_COMMANDS[name.encode()] = checked
        return handler

    return enter


@_command("HELLO")
def _hello(server: SimServer, session: Session, words: list[bytes]) -> Any:
    rest = list(words)
    if rest and rest.pop(0) not in {b"2", b"3"}:
        raise ServerReplyError("NOPROTO unsupported protocol version")
    while rest:
        option = rest.pop(0).upper()
        if option == b"AUTH" and len(rest) >= 2:
            _log_in(server, session, rest[1])
            del rest[:2]
        elif option == b"SETNAME" and rest:
            session.name = rest.pop(0)
        else:
            raise ServerReplyError(f"ERR Syntax error in HELLO option '{option.decode().lower()}'")
    if not session.authenticated:
        raise ServerReplyError("NOAUTH HELLO must be called with the client already authenticated")
    session.version = int(words[0]) if words else session.version
    return {
        "server": "valkey",
        "version": "9.1.2",
        "proto": session.version,
        "id": session.id,
        "mode": "standalone",
        "role": "master" if server.role == "master" else "replica",
        "modules": [],
    }


@_command("AUTH", 1)
def _auth(server: SimServer, session: Session, words: list[bytes]) -> Any:
    _log_in(server, session, words[-1])
    return OK


def _log_in(server: SimServer, session: Session, password: bytes) -> None:
    if server.password is not None and password != server.password.encode():
        raise ServerReplyError("WRONGPASS invalid username-password pair or user is disabled.")
    session.authenticated = True


@_command("CLIENT", 1)
def _client(server: SimServer, session: Session, words: list[bytes]) -> Any:
    what, rest = words[0].upper(), words[1:]
    if what == b"ID":
        return session.id
    if what == b"GETNAME":
        return session.name or None
    if what == b"SETNAME" and rest:
        if not all(33 <= byte <= 126 for byte in rest[0]):
            raise ServerReplyError("ERR Client names cannot contain spaces, newlines or special characters.")
        session.name = rest[0]
        return OK
    if what == b"TRACKING" and rest:
        if server.tracks == "refused":
            raise ServerReplyError("NOPERM User app has no permissions to run the 'client|tracking' command")
        return _tracking(session, rest)
    if what in {b"SETINFO", b"NO-EVICT", b"NO-TOUCH"}:
        return OK
    if what == b"KILL" and rest[:1] and rest[0].upper() == b"ID":
        return _kill(server, int(rest[1]))
    raise ServerReplyError(f"ERR unknown subcommand '{words[0].decode(errors='replace')}'. Try CLIENT HELP.")


def _tracking(session: Session, words: list[bytes]) -> Any:
    switch, options = words[0].upper(), [word.upper() for word in words[1:]]
    if switch not in {b"ON", b"OFF"} or not set(options) <= {b"NOLOOP"}:
        raise ServerReplyError("ERR syntax error")
    session.tracking = switch == b"ON"
    session.noloop = session.tracking and b"NOLOOP" in options
    return OK


def _kill(server: SimServer, number: int) -> int:
    victims = [session for session in server.sessions if session.id == number]
    for victim in victims:
        server.leave(victim)
        victim.disconnect(hard=True)
    return len(victims)


@_command("INFO")
def _info(server: SimServer, session: Session, words: list[bytes]) -> Any:
    return information(server, [word.decode().lower() for word in words])


@_command("CONFIG", 1)
def _config(server: SimServer, session: Session, words: list[bytes]) -> Any:
    settings = {
        "maxmemory": str(server.evictor.maxmemory_bytes),
        "maxmemory-policy": server.evictor.policy,
        "tracking-table-max-keys": str(server.tracking.max_keys),
    }
    if words[0].upper() != b"GET":
        raise ServerReplyError("ERR a simulated server is configured by its constructor")
    wanted = [word.decode().lower() for word in words[1:]]
    return {name: value for name, value in settings.items() if name in wanted}


@_command("SELECT", 1)
def _select(server: SimServer, session: Session, words: list[bytes]) -> Any:
    if words[0] != b"0":
        raise ServerReplyError("ERR DB index is out of range")
    return OK


@_command("ROLE")
def _role(server: SimServer, session: Session, words: list[bytes]) -> Any:
    return [server.role, server.offset, []]


@_command("ECHO", 1)
def _echo(server: SimServer, session: Session, words: list[bytes]) -> Any:
    return words[0]


@_command("WAIT", 2)
def _wait(server: SimServer, session: Session, words: list[bytes]) -> Any:
    return sum(replication.caught_up for replication in server.replications)


@_command("RESET")
def _reset(server: SimServer, session: Session, words: list[bytes]) -> Any:
    _discard_queue(session)
    session.tracking = session.noloop = False
    session.version = 2
    session.channels.clear()
    session.authenticated = server.password is None
    return Status(b"RESET")


@_command("QUIT")
def _quit(server: SimServer, session: Session, words: list[bytes]) -> Any:
    session.reply(OK)
    session.flush()
    session.disconnect()
    return NOTHING


@_command("FLUSHALL")
def _flushall(server: SimServer, session: Session, words: list[bytes]) -> Any:
    server.flush_everything()
    return OK


CONNECTION_COMMANDS[b"FLUSHDB"] = CONNECTION_COMMANDS[b"FLUSHALL"]


@_command("MULTI")
def _multi(server: SimServer, session: Session, words: list[bytes]) -> Any:
    if session.queue is not None:
        session.broken = True
        raise ServerReplyError("ERR Command 'multi' not allowed inside a transaction")
    session.queue, session.broken = [], False
    return OK


@_command("DISCARD")
def _discard(server: SimServer, session: Session, words: list[bytes]) -> Any:
    if session.queue is None:
        raise ServerReplyError("ERR DISCARD without MULTI")
    _discard_queue(session)
    return OK


@_command("EXEC")
def _exec(server: SimServer, session: Session, words: list[bytes]) -> Any:
    queue, broken, watched = session.queue, session.broken, dict(session.watched)
    if queue is None:
        raise ServerReplyError("ERR EXEC without MULTI")
    _discard_queue(session)
    if broken:
        raise ServerReplyError("EXECABORT Transaction discarded because of previous errors.")
    if any(server.version_of(key) != version for key, version in watched.items()):
        return None
    replies: list[Any] = []
    for queued in queue:
        try:
            replies.append(server.call(session, queued))
        except ServerReplyError as error:
            replies.append(error)
    return replies


def _discard_queue(session: Session) -> None:
    session.queue, session.broken = None, False
    session.watched.clear()


@_command("WATCH", 1)
def _watch(server: SimServer, session: Session, words: list[bytes]) -> Any:
    if session.queue is not None:
        session.broken = True
        raise ServerReplyError("ERR Command 'watch' not allowed inside a transaction")
    session.watched |= {key: server.version_of(key) for key in words}
    return OK


@_command("UNWATCH")
def _unwatch(server: SimServer, session: Session, words: list[bytes]) -> Any:
    session.watched.clear()
    return OK


@_command("SCRIPT", 1)
def _script(server: SimServer, session: Session, words: list[bytes]) -> Any:
    what, rest = words[0].upper(), words[1:]
    if what == b"LOAD" and rest:
        return server.load_script(rest[0]).encode()
    if what == b"EXISTS":
        return [int(sha.decode() in server.loaded) for sha in rest]
    if what == b"FLUSH":
        server.loaded.clear()
        return OK
    raise ServerReplyError(f"ERR unknown subcommand '{words[0].decode(errors='replace')}'. Try SCRIPT HELP.")


@_command("EVALSHA", 2)
def _evalsha(server: SimServer, session: Session, words: list[bytes]) -> Any:
    count = int(words[1])
    return server.run_script(words[0].decode().lower(), words[2 : 2 + count], words[2 + count :])


@_command("EVAL", 2)
def _eval(server: SimServer, session: Session, words: list[bytes]) -> Any:
    return _evalsha(server, session, [server.load_script(words[0]).encode(), *words[1:]])


@_command("SUBSCRIBE", 1)
def _subscribe(server: SimServer, session: Session, words: list[bytes]) -> Any:
    for channel in words:
        session.channels[channel] = None
        session.push(Push([b"subscribe", channel, len(session.channels)]))
    return NOTHING


@_command("UNSUBSCRIBE")
def _unsubscribe(server: SimServer, session: Session, words: list[bytes]) -> Any:
    leaving: list[bytes | None] = [*words] or [*session.channels] or [None]
    for channel in leaving:
        if channel is not None:
            session.channels.pop(channel, None)
        session.push(Push([b"unsubscribe", channel, len(session.channels)]))
    return NOTHING
