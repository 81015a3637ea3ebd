"""URLs of servers, right and wrong."""

from __future__ import annotations

import ssl

import pytest

from alacena.engine.base.errors import SettingsError
from alacena.engine.remote.redis.endpoint import Address, Endpoint, ServerAccess


def test_a_plain_url_with_everything() -> None:
    endpoint = Endpoint.parse("redis://al%40ce:p%2Fss@cache.local:6380/5?client_name=api")
    assert endpoint.kind == "standalone"
    assert endpoint.addresses == (Address("cache.local", 6380),)
    assert endpoint.access == ServerAccess(username="al@ce", password="p/ss", database=5, client_name="api")


@pytest.mark.parametrize("url", ["redis://", "valkey://", "redis://127.0.0.1", "redis://127.0.0.1:6379/0"])
def test_what_is_left_out_has_the_usual_value(url: str) -> None:
    assert Endpoint.parse(url) == Endpoint()


def test_ipv6_and_unix_addresses() -> None:
    assert Endpoint.parse("redis://[::1]:7000").address == Address("::1", 7000)
    assert str(Address("::1", 7000)) == "[::1]:7000"
    endpoint = Endpoint.parse("unix://user:pw@/run/my%20cache.sock?db=2")
    assert endpoint.address == Address(path="/run/my cache.sock")
    assert endpoint.access == ServerAccess(username="user", password="pw", database=2)


def test_sentinels_and_their_own_password() -> None:
    endpoint = Endpoint.parse("redis+sentinel://u:data@s1:26380,s2,[::1]:1/mymaster/3?sentinel_password=guard")
    assert endpoint.addresses == (Address("s1", 26380), Address("s2", 26379), Address("::1", 1))
    assert (endpoint.kind, endpoint.service, endpoint.access.database) == ("sentinel", "mymaster", 3)
    assert (endpoint.access.password, endpoint.sentinel_access.password) == ("data", "guard")


def test_cluster_seeds() -> None:
    endpoint = Endpoint.parse("redis+cluster://n1:7000,n2:7001")
    assert (endpoint.kind, endpoint.addresses) == ("cluster", (Address("n1", 7000), Address("n2", 7001)))


def test_tls_verifies_unless_it_is_told_not_to() -> None:
    strict = Endpoint.parse("rediss://h").access.tls
    assert strict is not None
    assert strict.check_hostname
    assert strict.verify_mode is ssl.CERT_REQUIRED
    loose = Endpoint.parse("rediss://h?ssl_cert_reqs=none").access.tls
    assert loose is not None
    assert loose.verify_mode is ssl.CERT_NONE
    half = Endpoint.parse("valkeys://h?ssl_check_hostname=false").access.tls
    assert half is not None
    assert (half.check_hostname, half.verify_mode) == (False, ssl.CERT_REQUIRED)


@pytest.mark.parametrize(
    ("url", "mend"),
    [
        ("http://h", "use one of redis://"),
        ("localhost:6379", "use one of redis://"),
        ("", "use one of redis://"),
        ("redis://h:port", "write host:port"),
        ("redis://h:70000", "write host:port"),
        ("redis://h:0", "write the port"),
        ("redis://h/first", "redis://host:6379/0"),
        ("redis://h/-1", "redis://host:6379/0"),
        ("redis://h/0/1", "a part too many"),
        ("redis://h1,h2", "redis+sentinel://"),
        ("redis://h?socket_timeout=3", "time limits are settings"),
        ("redis://h?ssl_ca_certs=/ca.pem", "write rediss://"),
        ("rediss://h?ssl_ca_certs=/nowhere/ca.pem", "cannot be read"),
        ("rediss://h?ssl_cert_reqs=maybe", "required or none"),
        ("rediss://h?ssl_check_hostname=perhaps", "true or false"),
        ("unix://run/redis.sock", "three slashes"),
        ("unix://", "socket's path"),
        ("redis+sentinel://h", "redis+sentinel://host:26379/mymaster"),
        ("redis+cluster://h/1", "only database 0"),
        ("redis://[::1", "cannot be read"),
    ],
)
def test_a_wrong_url_names_the_mend_and_no_password(url: str, mend: str) -> None:
    secret = url.replace("://", "://user:hunter2@", 1) if "localhost" not in url else url
    with pytest.raises(SettingsError) as caught:
        Endpoint.parse(secret)
    assert mend in str(caught.value)
    assert "hunter2" not in str(caught.value)


def test_no_repr_shows_a_secret() -> None:
    endpoint = Endpoint.parse("redis+sentinel://u:hunter2@h/m?sentinel_password=hunter2")
    assert "hunter2" not in repr(endpoint)


async def test_credentials_come_from_the_provider_at_each_connect() -> None:
    class Rotating:
        count = 0

        async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
            self.count += 1
            return ("user", f"token{self.count}") if self.count > 1 else ("token1",)

    access = ServerAccess(provider=Rotating())
    assert await access.credentials() == ("default", "token1")
    assert await access.credentials() == ("user", "token2")
    assert await ServerAccess().credentials() is None
    assert await ServerAccess(password="p").credentials() == ("default", "p")
