"""The address of the Supabase project, and the keys that open it."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from alacena.engine.base.errors import SettingsError, show
from alacena.engine.base.ttl import is_finite

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

URL_VARIABLE = "SUPABASE_URL"
KEY_VARIABLE = "SUPABASE_KEY"
SERVICE_KEY_VARIABLES = ("SUPABASE_SERVICE_KEY", "SUPABASE_SERVICE_ROLE_KEY")
DEFAULT_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class SupabaseSettings:
    """A Supabase project and its keys; ``None`` where something is not known.

    Attributes:
        url: The project's URL, such as ``https://abc.supabase.co``, without ``/rest/v1``.
        key: The public (anon, publishable) key: row-level security applies to it.
        service_key: The service-role (secret) key: no policy applies to it.
        timeout_s: How long a request may take, seconds.
        tenant_token: Gives the access token of a tenant, for ``get_supabase_client(tenant_id)``.
    """

    url: str | None = None
    key: str | None = field(default=None, repr=False)
    service_key: str | None = field(default=None, repr=False)
    timeout_s: float = DEFAULT_TIMEOUT_S
    tenant_token: Callable[[str], str] | None = None

    def __post_init__(self) -> None:
        wrong = [
            complaint for complaint in (self._wrong_url(), *self._wrong_keys(), self._wrong_timeout()) if complaint
        ]
        if wrong:
            raise SettingsError("; ".join(wrong))

    def _wrong_url(self) -> str | None:
        if self.url is None:
            return None
        # Neither message quotes it: where the variables of URL and key were swapped, this is the key.
        if not isinstance(self.url, str) or not self.url.startswith(("http://", "https://")):
            return "the Supabase URL must start with https:// (or http://): see whether the URL and a key were swapped"
        if self.url.rstrip("/").endswith("/v1"):
            return "the Supabase URL is the project's, without /rest/v1: leave that out"
        return None

    def _wrong_keys(self) -> Iterator[str]:
        # By type alone: it may be a secret that stands in the wrong place.
        for name in ("key", "service_key"):
            if not isinstance(given := getattr(self, name), str | None):
                yield f"{name} must be text, not a {type(given).__name__}"
        token: object = self.tenant_token
        if token is not None and not callable(token):
            yield f"tenant_token must be a function of (tenant_id), not a {type(token).__name__}"

    def _wrong_timeout(self) -> str | None:
        if is_finite(self.timeout_s) and self.timeout_s > 0:
            return None
        return f"timeout_s must be a positive number of seconds: {show(self.timeout_s)}"

    def or_from(self, environ: Mapping[str, str] = os.environ) -> SupabaseSettings:
        """Returns these settings, with the missing ones filled in from the environment.

        Read are ``SUPABASE_URL``, ``SUPABASE_KEY`` and ``SUPABASE_SERVICE_KEY`` (or ``SUPABASE_SERVICE_ROLE_KEY``).
        """
        service_key = next((environ[name] for name in SERVICE_KEY_VARIABLES if environ.get(name)), None)
        return SupabaseSettings(
            url=self.url or environ.get(URL_VARIABLE) or None,
            key=self.key or environ.get(KEY_VARIABLE) or None,
            service_key=self.service_key or service_key,
            timeout_s=self.timeout_s,
            tenant_token=self.tenant_token,
        )

    def address(self, *, use_service_role: bool | None) -> tuple[str, str]:
        """Returns the URL and the key to use.

        Args:
            use_service_role: ``True``: the service-role key; ``False``: the public key; ``None``: the public key where
                there is one, else the service-role key.

        Raises:
            SettingsError: Something that is needed is missing; the message names all of it.
        """
        key = self._key(use_service_role=use_service_role)
        if self.url is not None and key is not None:
            return self.url, key
        missing = [] if self.url is not None else [f"{URL_VARIABLE} (or configure_supabase(url=...))"]
        if key is None:
            missing.append(_name_of_key(use_service_role=use_service_role))
        raise SettingsError(f"Supabase is not configured, missing: {'; '.join(missing)}")

    def _key(self, *, use_service_role: bool | None) -> str | None:
        if use_service_role is None:
            return self.key or self.service_key
        return self.service_key if use_service_role else self.key


def _name_of_key(*, use_service_role: bool | None) -> str:
    if use_service_role:
        return f"{' or '.join(SERVICE_KEY_VARIABLES)} (or configure_supabase(service_key=...))"
    return f"{KEY_VARIABLE} (or configure_supabase(key=...))"
