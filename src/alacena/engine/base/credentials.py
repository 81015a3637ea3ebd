"""Providers of changing credentials: cloud identities, short-lived tokens, rotated passwords."""

from __future__ import annotations

from typing import Protocol

from alacena.engine.base.errors import BackendUnavailableError, SettingsError


class CredentialProvider(Protocol):
    """Gives the user and password of the moment; the providers for redis-py (cloud identities among them) fit."""

    async def get_credentials_async(self) -> tuple[str] | tuple[str, str]:
        """Returns ``(password,)`` or ``(username, password)``, asked for at each connect."""
        ...


def check_credentials(provider: CredentialProvider | None) -> CredentialProvider | None:
    """Returns the provider.

    Raises:
        SettingsError: It is none.
    """
    if provider is not None and not callable(getattr(provider, "get_credentials_async", None)):
        raise SettingsError(
            f"credentials is a {type(provider).__name__}: pass an object with `async def get_credentials_async(self)` that "
            "returns (password,) or (user, password)"
        )
    return provider


async def ask(provider: CredentialProvider) -> tuple[str, str]:
    """Returns the user and password of the moment.

    Raises:
        BackendUnavailableError: The provider failed, or gave something else. The message names the fault's type alone: its
            text might hold a secret.
    """
    try:
        given = await provider.get_credentials_async()
    except Exception as error:
        # An outage of the provider is an outage of the server: reads go on to the source, and the next connect asks again.
        raise BackendUnavailableError(f"the credentials provider failed: {type(error).__name__}") from error
    if isinstance(given, (tuple, list)) and len(given) in (1, 2) and all(isinstance(word, str) for word in given):
        return ("default", given[0]) if len(given) == 1 else (given[0], given[1])
    raise BackendUnavailableError(
        f"the credentials provider gave a {type(given).__name__}: it must be (password,) or (user, password)"
    )
