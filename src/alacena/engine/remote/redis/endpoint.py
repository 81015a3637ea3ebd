"""Server addresses and credentials."""

from __future__ import annotations

import logging
import ssl
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alacena.engine.base import server_url
from alacena.engine.base.credentials import CredentialProvider, ask
from alacena.engine.base.errors import SettingsError

if TYPE_CHECKING:
    from alacena.engine.base.server_url import Kind, ServerUrl

_log = logging.getLogger("alacena")


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
class ServerAccess:
    """The credentials and options of a connection. Its ``repr`` shows no secret.

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
        """Returns user and password for ``HELLO ... AUTH``; ``None`` if the server asks for none."""
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
    access: ServerAccess = field(default_factory=ServerAccess)
    sentinel_access: ServerAccess = field(default_factory=ServerAccess)

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
        """Reads a URL.

        ``redis://user:password@host:6379/0``, ``rediss://`` (TLS, verified), ``unix:///path/to/socket?db=0``,
        ``valkey://``, ``redis+sentinel://host1:26379,host2/mymaster/0``, ``redis+cluster://host1:7000,host2:7001``, and
        ``rediss+...`` of the last two. Options follow ``?`` under the names that redis-py gives them (``ssl_ca_certs``,
        ``client_name``, ...); those that mean nothing here (``max_connections``, ...) are logged and left alone.

        Raises:
            SettingsError: The URL is wrong; the message names the mend and shows no password.
        """
        said = server_url.read(url)
        if said.ignored:
            _log.warning("options of the server's URL that mean nothing here: %s", ", ".join(said.ignored))
        name = said.options.get("client_name", client_name)
        tls = _context(said) if said.secure else None
        access = ServerAccess(
            username=said.username,
            password=said.password,
            provider=provider,
            database=said.database,
            client_name=name,
            tls=tls,
        )
        if said.path is not None:
            return cls(addresses=(Address(path=said.path),), access=access)
        return cls(
            kind=said.kind,
            addresses=tuple(Address(host, port) for host, port in said.hosts),
            service=said.service,
            access=access,
            sentinel_access=ServerAccess(
                username=said.options.get("sentinel_username"),
                password=said.options.get("sentinel_password"),
                client_name=name,
                tls=tls,
            ),
        )


def _context(said: ServerUrl) -> ssl.SSLContext:
    """Returns a context that verifies certificate and host name, unless the URL says in so many words not to."""
    options = said.options
    try:
        context = ssl.create_default_context(cafile=options.get("ssl_ca_certs"), capath=options.get("ssl_ca_path"))
        if "ssl_certfile" in options:
            context.load_cert_chain(options["ssl_certfile"], options.get("ssl_keyfile"), options.get("ssl_password"))
    except OSError as error:
        raise SettingsError(f"the TLS files of the server's URL cannot be read: {error.strerror or error}") from error
    # In this order: `CERT_NONE` is refused while host names are checked.
    if not said.checks_hostname:
        context.check_hostname = False
    if not said.verifies:
        context.verify_mode = ssl.CERT_NONE
    return context
