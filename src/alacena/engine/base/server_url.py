"""The grammar of a server's URL: its parts, or all its faults, and never a piece of a password.

A password that was not percent-encoded ends where the first of ``/ ? #`` stands, and the rest looks like a path,
an option or a host. So a message quotes nothing of the URL but words that are known beforehand.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Final, Literal, TypeAlias
from urllib.parse import parse_qsl, unquote

from alacena.engine.base.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

Kind: TypeAlias = Literal["standalone", "sentinel", "cluster"]

EMBEDDED: Final = "embedded://"

_PORTS: Final[Mapping[Kind, int]] = {"standalone": 6379, "sentinel": 26379, "cluster": 6379}
_SUFFIXES: Final[Mapping[str, Kind]] = {"": "standalone", "+sentinel": "sentinel", "+cluster": "cluster"}
_SCHEMES: Final[Mapping[str, tuple[Kind, bool]]] = {
    base + suffix: (kind, base in ("rediss", "valkeys"))
    for base in ("redis", "rediss", "valkey", "valkeys")
    for suffix, kind in _SUFFIXES.items()
}
_UNIX: Final = "unix"
_OTHER_SCHEMES: Final[Mapping[str, str]] = {
    "http": "",
    "https": "",
    "tcp": "redis",
    "tls": "rediss",
    "redis+ssl": "rediss",
    "redis+tls": "rediss",
    "redis+socket": "unix",
    "redis-socket": "unix",
    "redis+unix": "unix",
    "sentinel": "redis+sentinel",
    "redis-sentinel": "redis+sentinel",
    "rediss-sentinel": "rediss+sentinel",
    "redis-cluster": "redis+cluster",
    "rediscluster": "redis+cluster",
}
"""Schemes of other programs, and what to write here."""

KNOWN_OPTIONS: Final = (
    "db",
    "virtual_host",
    "username",
    "password",
    "client_name",
    "sentinel_username",
    "sentinel_password",
    "ssl_ca_certs",
    "ssl_ca_path",
    "ssl_certfile",
    "ssl_keyfile",
    "ssl_password",
    "ssl_cert_reqs",
    "ssl_check_hostname",
)
_IGNORED: Final = frozenset(
    {
        "decode_responses",
        "encoding",
        "encoding_errors",
        "health_check_interval",
        "lib_name",
        "lib_version",
        "max_connections",
        "protocol",
        "retry_on_error",
        "retry_on_timeout",
        "single_connection_client",
        "socket_keepalive",
        "socket_read_size",
        "socket_type",
    }
)
"""Options of other clients that neither make this one safer nor unsafe: nothing is lost if they are not heard."""
_REFUSED: Final[Mapping[str, str]] = {
    "socket_timeout": "time limits are settings: take it out and give redis_timeout_s and redis_budget_s",
    "timeout": "time limits are settings: take it out and give redis_timeout_s and redis_budget_s",
    "socket_connect_timeout": "time limits are settings: take it out and give redis_connect_timeout_s",
    "ssl": "take it out and write rediss:// for TLS, redis:// without",
    "ssl_ca_data": "write the certificates to a file and name it with ssl_ca_certs",
    "ssl_ciphers": "take it out: Python's own choice of ciphers holds",
    "ssl_min_version": "take it out: Python's own lowest version of TLS holds",
}
_REQUIREMENTS: Final[Mapping[str, str]] = {
    "required": "required",
    "cert_required": "required",
    "optional": "required",  # for a client there is no such thing: a server always shows its certificate
    "cert_optional": "required",
    "none": "none",
    "cert_none": "none",
}
_ANSWERS: Final[Mapping[str, bool]] = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

CLIENT_NAME: Final = "write letters, digits and signs of ASCII without a space: servers take no other name of a client"
is_client_name = re.compile(r"[!-~]+").fullmatch
_ENCODE: Final = "percent-encode the password (urllib.parse.quote(password, safe=''))"
_NO_HOST: Final = re.compile(r"[\s\[\]{}()<>$\"'`\\^|]")
_NUMBER: Final = re.compile(r"[0-9]{1,9}")
"""Of as many digits as a port or a database may have: Python reads no number of thousands of digits."""
_CONTROL: Final = re.compile(r"[\x00-\x20\x7f]")


@dataclass(frozen=True, slots=True)
class ServerUrl:
    """A server's URL, parsed. Its ``repr`` shows no secret.

    Attributes:
        kind: How the hosts are to be understood.
        secure: Whether TLS is spoken.
        hosts: Hosts and ports; empty for a unix socket.
        path: The path of a unix socket, else ``None``.
        service: The master's name, for sentinels.
        database: The database's number.
        username: Decoded; ``None`` if it names none.
        password: Decoded; ``None`` if it has none.
        options: The other options, by name.
        ignored: Options of other clients that mean nothing here.
    """

    kind: Kind = "standalone"
    secure: bool = False
    hosts: tuple[tuple[str, int], ...] = ()
    path: str | None = None
    service: str | None = None
    database: int = 0
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    options: Mapping[str, str] = field(default_factory=dict, repr=False)
    ignored: tuple[str, ...] = ()

    @property
    def verifies(self) -> bool:
        """Whether the server's certificate is verified."""
        return _REQUIREMENTS[self.options.get("ssl_cert_reqs", "required").lower()] == "required"

    @property
    def checks_hostname(self) -> bool:
        """Whether the certificate must be of the host's name."""
        return self.verifies and _ANSWERS[self.options.get("ssl_check_hostname", "true").lower()]


def read(url: str) -> ServerUrl:
    """Reads a URL.

    Raises:
        SettingsError: It is wrong; the message names all that is, how to mend it, and no piece of a password.
    """
    reading = _Reading(url)
    if reading.faults:
        raise SettingsError("; ".join(reading.faults))
    return reading.result()


def faults(url: str) -> list[str]:
    """Returns all that is wrong with a URL; an empty list if nothing is."""
    return [] if url == EMBEDDED else _Reading(url).faults


class _Reading:
    """One pass over one URL, which goes on after a fault as far as it can."""

    def __init__(self, url: str) -> None:
        self.faults: list[str] = []
        self._said: dict[str, object] = {}
        text = url.strip()
        scheme, separator, rest = text.partition("://")
        # Quotes come from a file of variables that a shell would have taken off.
        if text[:1] in {'"', "'"}:
            self.faults.append("it stands in quotes: take them away")
        elif not separator or (scheme not in _SCHEMES and scheme != _UNIX):
            self.faults.append(_no_scheme(scheme if separator else ""))
        elif "#" in rest:
            self.faults.append(
                f"it holds '#', which begins a fragment, and a server has none: take it out, or {_ENCODE}"
            )
        elif _CONTROL.search(rest):
            self.faults.append(f"it holds a blank or a control character: take it out, or {_ENCODE}")
        else:
            self._read(scheme, rest)

    def result(self) -> ServerUrl:
        """Returns the URL that was read."""
        return ServerUrl(**self._said)  # type: ignore[arg-type]  # gathered field by field

    def _read(self, scheme: str, rest: str) -> None:
        before, _, query = rest.partition("?")
        authority, slash, path = before.partition("/")
        credentials, at, hosts = authority.rpartition("@")
        # A "/" in a password ends the authority early, and the real "@" is then in the path. Reading on would connect to a
        # host whose name is the first piece of the password.
        cut = "@" in path and (scheme != _UNIX or bool(authority))
        if cut or ("@" in query and not at and "=" not in query.partition("@")[0]):
            self.faults.append(f"it holds '/' or '?' before its last '@': {_ENCODE}")
            return
        if "[" in credentials or "]" in credentials:
            self.faults.append(f"it holds '[' or ']' before its '@': {_ENCODE}")
        self._read_options(query)
        options: dict[str, str] = self._said["options"]  # type: ignore[assignment]  # set one line above
        username, _, password = credentials.partition(":")
        self._said["username"] = options.get("username") or unquote(username) or None
        self._said["password"] = options.get("password") or unquote(password) or None
        if scheme == _UNIX:
            self._read_socket(hosts, slash + path, options)
        else:
            self._read_servers(scheme, hosts, path, options)

    def _read_options(self, query: str) -> None:
        options = dict(parse_qsl(query, keep_blank_values=True))
        self._said["options"] = {name: value for name, value in options.items() if name in KNOWN_OPTIONS}
        self._said["ignored"] = tuple(sorted(_IGNORED & options.keys()))
        # Refused, not ignored: these change how long a call may take or what TLS checks, and silence would drop that.
        self.faults += [f"{name}: {why}" for name, why in _REFUSED.items() if name in options]
        # Their number is said and not their names: after an unescaped "?" they are pieces of the password.
        unknown = options.keys() - _IGNORED - _REFUSED.keys() - set(KNOWN_OPTIONS)
        if unknown:
            near = sorted({one for name in unknown for one in get_close_matches(name, KNOWN_OPTIONS, 1, 0.8)})
            meant = f" (is {' or '.join(near)} meant?)" if near else ""
            self.faults.append(
                f"{len(unknown)} of its options {'is' if len(unknown) == 1 else 'are'} not known{meant}. Known: "
                f"{', '.join(KNOWN_OPTIONS)}; time limits are settings; if '?' is part of the password, {_ENCODE}"
            )
        self.faults += self._wrong_values(options)

    @staticmethod
    def _wrong_values(options: Mapping[str, str]) -> Iterator[str]:
        if options.get("ssl_cert_reqs", "required").lower() not in _REQUIREMENTS:
            yield "ssl_cert_reqs: write required or none"
        if options.get("ssl_check_hostname", "true").lower() not in _ANSWERS:
            yield "ssl_check_hostname: write true or false"
        if not is_client_name(options.get("client_name", "x")):
            yield f"client_name: {CLIENT_NAME}"

    def _read_socket(self, hosts: str, path: str, options: Mapping[str, str]) -> None:
        if hosts:
            self.faults.append(
                "unix:// names a host: an absolute path has three slashes, unix:///run/redis.sock; if there is a "
                f"password, {_ENCODE}"
            )
        elif not path:
            self.faults.append("unix:// needs the socket's path: unix:///run/redis.sock")
        self._said |= {"path": unquote(path), "database": self._number(_read_database(options, "0"))}
        self._refuse_tls(options)

    def _read_servers(self, scheme: str, hosts: str, path: str, options: Mapping[str, str]) -> None:
        kind, secure = _SCHEMES[scheme]
        if not secure:
            self._refuse_tls(options)
        parts = [unquote(part) for part in path.split("/") if part]
        service = parts.pop(0) if kind == "sentinel" and parts else None
        if kind == "sentinel" and service is None:
            self.faults.append(
                "redis+sentinel:// needs the master's name as its path: redis+sentinel://host:26379/mymaster"
            )
        database = self._number(_read_database(options, parts.pop(0) if parts else "0"))
        if parts:
            self.faults.append("its path has a part too many: write redis://host:6379/0")
        if kind == "cluster" and database:
            self.faults.append("a cluster has only database 0: leave the database out")
        addresses = tuple(self._addresses(hosts, _PORTS[kind]))
        if kind == "standalone" and len(addresses) > 1:
            self.faults.append("several addresses need redis+sentinel:// or redis+cluster://")
        self._said |= {"kind": kind, "secure": secure, "hosts": addresses, "service": service, "database": database}

    def _addresses(self, hosts: str, default_port: int) -> Iterator[tuple[str, int]]:
        found = False
        for one in hosts.split(","):
            if one:
                found = True
                yield self._address(one, default_port)
        if not found:
            yield "127.0.0.1", default_port

    def _address(self, text: str, default_port: int) -> tuple[str, int]:
        bracketed, closing, after = text.partition("]") if text.startswith("[") else ("", "", "")
        host, colon, port = (bracketed[1:], after[:1], after[1:]) if closing else text.partition(":")
        if text.startswith("[") and (not closing or colon not in {"", ":"}):
            self.faults.append("an address cannot be read: write host:port, and [::1]:6379 for IPv6")
        elif not host:
            self.faults.append(
                f"an address has a port and no host: write host:port; if there is a password before it, {_ENCODE}"
            )
        # Said before the port is looked at: "${HOST}:6379" has a port and is a variable that nobody filled in.
        elif not closing and _NO_HOST.search(text):
            self.faults.append("an address is no host name (an unexpanded variable?): write host:port")
        elif colon and not (_NUMBER.fullmatch(port) and int(port) < 65_536):
            self.faults.append(
                "the port of an address is no number up to 65535: write host:port, and [::1]:6379 for IPv6; if there is "
                f"a password before it, {_ENCODE}"
            )
        elif colon and int(port) == 0:
            self.faults.append("an address has port 0: write the port on which the server listens")
        else:
            return unquote(host).lower(), int(port) if colon else default_port
        return "", 0

    def _number(self, text: str) -> int:
        if _NUMBER.fullmatch(text):
            return int(text)
        self.faults.append("its database is no number: write it as in redis://host:6379/0")
        return 0

    def _refuse_tls(self, options: Mapping[str, str]) -> None:
        given = [name for name in KNOWN_OPTIONS if name.startswith("ssl_") and name in options]
        if given:
            self.faults.append(f"{given[0]} needs TLS: write rediss:// instead of redis://")


def _read_database(options: Mapping[str, str], otherwise: str) -> str:
    return options.get("db", options.get("virtual_host", otherwise))


def _no_scheme(scheme: str) -> str:
    """Returns the message; it shows a scheme only if it is a known one, for it may be a password."""
    known = ", ".join(f"{one}://" for one in ("redis", "rediss", "unix", "valkey", "redis+sentinel", "redis+cluster"))
    # Only a scheme that is in a table is repeated: in "secret://…" the word may be the password of a broken URL.
    if (instead := _OTHER_SCHEMES.get(scheme.lower())) is None:
        if scheme.lower() in _SCHEMES or scheme.lower() == _UNIX:
            return f"its scheme must be in lower case: write {scheme.lower()}://"
        return f"must be a URL such as redis://host:6379: use one of {known}"
    if not instead:
        return f"{scheme}:// is no scheme of a server's URL: use one of {known}"
    return f"{scheme}:// is no scheme here: write {instead}:// (use one of {known})"
