"""Where the servers are, and what opens their door."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, TypeAlias
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from alacena.engine.credentials import CredentialProvider, ask
from alacena.engine.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Mapping

Kind: TypeAlias = Literal["standalone", "sentinel", "cluster"]

_PORTS: Mapping[Kind, int] = {"standalone": 6379, "sentinel": 26379, "cluster": 6379}
_SUFFIXES: Mapping[str, Kind] = {"": "standalone", "+sentinel": "sentinel", "+cluster": "cluster"}
_SCHEMES: Mapping[str, tuple[Kind, bool]] = {
    base + suffix: (kind, base in ("rediss", "valkeys"))
    for base in ("redis", "rediss", "valkey", "valkeys")
    for suffix, kind in _SUFFIXES.items()
}
_OPTIONS = (
    "db",
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


@dataclass(frozen=True, slots=True)
class Address:
    """One server's place: a host and port, or the path of a unix socket."""

    host: str = "127.0.0.1"
    port: int = 6379
    path: str | None = None

    def __str__(self) -> str:
        if self.path is not None:
            return f"unix:{self.path}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """What a server wants to know before it serves. Its ``repr`` shows no secret.

    Attributes:
        username: The ACL user; ``None`` is the server's default user.
        password: Its password.
        provider: Asked at each connect instead of the two above.
        database: The database number; only 0 in a cluster.
        client_name: Shown by ``CLIENT LIST``.
        tls: The verified context, ``None`` without TLS.
    """

    username: str | None = None
    password: str | None = field(default=None, repr=False)
    provider: CredentialProvider | None = field(default=None, repr=False)
    database: int = 0
    client_name: str | None = None
    tls: ssl.SSLContext | None = None

    async def credentials(self) -> tuple[str, str] | None:
        """User and password for ``HELLO ... AUTH``; ``None`` where the server asks for none."""
        if self.provider is not None:
            return await ask(self.provider)
        if self.password is None and self.username is None:
            return None
        return self.username or "default", self.password or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """The servers of one cache: a node, a set of sentinels that know the master, or the seeds of a cluster.

    Attributes:
        kind: How the addresses are to be understood.
        addresses: At least one; several for sentinels and clusters.
        service: The master's name, as the sentinels call it.
        access: For the data nodes.
        sentinel_access: For the sentinels themselves.
    """

    kind: Kind = "standalone"
    addresses: tuple[Address, ...] = (Address(),)
    service: str | None = None
    access: Access = field(default_factory=Access)
    sentinel_access: Access = field(default_factory=Access)

    def __post_init__(self) -> None:
        if not self.addresses:
            raise SettingsError("an endpoint needs at least one address, such as Address('127.0.0.1', 6379)")
        if self.kind == "standalone" and len(self.addresses) > 1:
            raise SettingsError("several addresses need redis+sentinel:// or redis+cluster://")
        if self.kind == "sentinel" and not self.service:
            raise SettingsError(
                "redis+sentinel:// needs the master's name as its path: redis+sentinel://host:26379/mymaster"
            )
        if self.kind == "cluster" and self.access.database:
            raise SettingsError("a cluster has only database 0: leave the database out")
        if self.access.database < 0:
            raise SettingsError(f"the database is {self.access.database}: it starts at 0")

    @property
    def address(self) -> Address:
        """The first address: the only one of a standalone endpoint."""
        return self.addresses[0]

    @classmethod
    def parse(cls, url: str, *, provider: CredentialProvider | None = None, client_name: str | None = None) -> Endpoint:
        """Read a URL.

        ``redis://user:password@host:6379/0``, ``rediss://`` (TLS, verified), ``unix:///path/to/socket?db=0``,
        ``valkey://``, ``redis+sentinel://host1:26379,host2/mymaster/0``, ``redis+cluster://host1:7000,host2:7001``, and
        ``rediss+...`` of the last two. Options follow ``?`` under the names that redis-py gives them (``ssl_ca_certs``,
        ``client_name``, ...).

        Raises:
            SettingsError: The URL is wrong; the message names the mend and shows no password.
        """
        parts = _split(url)
        options = _options(parts)
        name = options.get("client_name", client_name)
        access = Access(
            username=options.get("username") or (unquote(parts.username) if parts.username else None),
            password=options.get("password") or (unquote(parts.password) if parts.password else None),
            provider=provider,
            client_name=name,
        )
        if parts.scheme == "unix":
            return _unix(parts, options, access)
        kind, secure = _SCHEMES[parts.scheme]
        tls = _tls(options, secure=secure)
        path = [unquote(part) for part in parts.path.split("/") if part]
        service = path.pop(0) if kind == "sentinel" and path else None
        access = replace(access, tls=tls, database=_database(options.get("db", path.pop(0) if path else "0")))
        if path:
            raise SettingsError(f"the URL's path has a part too many: {path[0]!r}")
        return cls(
            kind=kind,
            addresses=_addresses(parts, _PORTS[kind]),
            service=service,
            access=access,
            sentinel_access=Access(
                username=options.get("sentinel_username"),
                password=options.get("sentinel_password"),
                client_name=name,
                tls=tls,
            ),
        )


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise SettingsError(f"the server's URL cannot be read: {error}") from error
    if parts.scheme not in _SCHEMES and parts.scheme != "unix":
        known = ", ".join(
            f"{scheme}://" for scheme in ("redis", "rediss", "unix", "valkey", "redis+sentinel", "redis+cluster")
        )
        raise SettingsError(f"{parts.scheme or 'no scheme'!r} is no scheme of a server's URL: use one of {known}")
    return parts


def _options(parts: SplitResult) -> dict[str, str]:
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = sorted(set(options) - set(_OPTIONS))
    if unknown:
        known = ", ".join(_OPTIONS)
        raise SettingsError(
            f"unknown in the server's URL: {', '.join(unknown)}. Known: {known}; time limits are settings"
        )
    return options


def _unix(parts: SplitResult, options: dict[str, str], access: Access) -> Endpoint:
    if parts.hostname:
        raise SettingsError(
            f"unix://{parts.hostname}/... names a host: an absolute path has three slashes, unix:///run/redis.sock"
        )
    if not parts.path:
        raise SettingsError("unix:// needs the socket's path: unix:///run/redis.sock")
    address = Address(path=unquote(parts.path))
    return Endpoint(addresses=(address,), access=replace(access, database=_database(options.get("db", "0"))))


def _addresses(parts: SplitResult, default_port: int) -> tuple[Address, ...]:
    hosts = parts.netloc.rpartition("@")[2]
    return tuple(_address(one, default_port) for one in hosts.split(",") if one) or (Address(port=default_port),)


def _address(text: str, default_port: int) -> Address:
    try:
        parts = urlsplit(f"//{text}")
        port = default_port if parts.port is None else parts.port
    except ValueError as error:
        raise SettingsError(f"{text!r} is no address: write host:port, and [::1]:6379 for IPv6") from error
    if port == 0:
        raise SettingsError(f"{text!r} has port 0: write the port on which the server listens")
    return Address(parts.hostname or "127.0.0.1", port)


def _database(text: str) -> int:
    if not text.isdecimal():
        raise SettingsError(f"the database is {text!r}: write its number, as in redis://host:6379/0")
    return int(text)


def _tls(options: dict[str, str], *, secure: bool) -> ssl.SSLContext | None:
    given = [name for name in options if name.startswith("ssl_")]
    if given and not secure:
        raise SettingsError(f"{given[0]} needs TLS: write rediss:// instead of redis://")
    return _context(options) if secure else None


def _context(options: dict[str, str]) -> ssl.SSLContext:
    """A context that verifies certificate and host name, unless the URL says in so many words not to."""
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    except OSError as error:
        raise SettingsError(f"the TLS files of the server's URL cannot be read: {error}") from error
    requirement = options.get("ssl_cert_reqs", "required")
    if requirement not in ("required", "none"):
        raise SettingsError(f"ssl_cert_reqs is {requirement!r}: write required or none")
    check = options.get("ssl_check_hostname", "true").lower()
    if check not in ("true", "yes", "1", "false", "no", "0"):
        raise SettingsError(f"ssl_check_hostname is {check!r}: write true or false")
    if requirement == "none" or check in ("false", "no", "0"):
        context.check_hostname = False
    if requirement == "none":
        context.verify_mode = ssl.CERT_NONE
    return context
