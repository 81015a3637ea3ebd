"""The process's Supabase clients: one for each event loop, key and access token."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from alacena.common.context.load_access import require_reader
from alacena.common.context.vars import agree_on_tenant
from alacena.common.db.supabase_settings import DEFAULT_TIMEOUT_S, SupabaseSettings
from alacena.engine.base.errors import SettingsError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from alacena.common.db.client import ClientRegistry, SupabaseClient


class _Process:
    """The Supabase state of this process: the settings given in code, and the clients once there are any."""

    def __init__(self) -> None:
        self.given = SupabaseSettings()
        self._registry: ClientRegistry | None = None

    @property
    def registry(self) -> ClientRegistry | None:
        """The clients; ``None`` until one is asked for."""
        return self._registry

    def open_registry(self) -> ClientRegistry:
        """Returns the clients; their package is imported at the first call."""
        if self._registry is None:
            try:
                from alacena.common.db.client import ClientRegistry
            except ModuleNotFoundError as error:
                raise SettingsError("the Supabase client is not installed: pip install 'alacena[supabase]'") from error
            self._registry = ClientRegistry()
        return self._registry


_process = _Process()


def configure_supabase(
    *,
    url: str | None = None,
    key: str | None = None,
    service_key: str | None = None,
    timeout_s: float = DEFAULT_TIMEOUT_S,
    tenant_token: Callable[[str], str] | None = None,
) -> None:
    """Says where the Supabase project is; the rest comes from the environment.

    Replaces the settings of an earlier call. Clients that were handed out keep their settings.

    Args:
        url: The project's URL, such as ``https://abc.supabase.co``; else ``SUPABASE_URL``.
        key: The public key, which row-level security applies to; else ``SUPABASE_KEY``.
        service_key: The service-role key, which no policy applies to; else ``SUPABASE_SERVICE_KEY`` or
            ``SUPABASE_SERVICE_ROLE_KEY``.
        timeout_s: How long a request may take, seconds.
        tenant_token: Gives the access token (a JWT) of a tenant; with it ``get_supabase_client(tenant_id)`` asks in
            that tenant's name.

    Raises:
        SettingsError: The URL or the timeout cannot be right; the message lists both.
    """
    _process.given = SupabaseSettings(
        url=url, key=key, service_key=service_key, timeout_s=timeout_s, tenant_token=tenant_token
    )


def get_supabase_client(
    tenant_id: str | bool | None = None,
    *,
    use_service_role: bool | None = None,
    access_token: str | None = None,
) -> SupabaseClient:
    """Returns the Supabase client of the running event loop; not a coroutine function, yet its result may be awaited.

    Usage::

        supabase = get_supabase_client()
        result = await supabase.table("documents").select("*").eq("tenant_id", tenant_id).execute()

    The same arguments give the same client (with a ``tenant_token``: as long as it gives the same token), on
    connections that all clients of the loop share. Outside a running loop
    (in a module's body) the client belongs to the loop that first uses it. A client is shared, a session is not: each
    ``client.auth`` is new and has no user signed in; keep it in a variable for as long as its session is needed.
    Signing in through it does not change the rows that the client sees; pass that user's ``access_token`` here instead.

    Inside a load, a token goes with ``user_id=`` or ``permissions=`` of that load: its entry is served to them alone.

    Cost: no network.

    Args:
        tenant_id: The tenant of the client's rows. It limits the client only where ``configure_supabase`` was given a
            ``tenant_token``: without one, filter by ``tenant_id`` in every query. ``True`` and ``False`` are taken as
            ``use_service_role``.
        use_service_role: ``True``: the service-role key, which no policy applies to. ``False``: the public key. Left
            out: the public key where one is configured, else the service-role key.
        access_token: A user's or a tenant's JWT: the request is made in its name, and its policies apply.

    Raises:
        SettingsError: URL or key is missing (the message names all that is), or the ``supabase`` extra is; or
            ``tenant_token`` gave no text.
        MissingTenantError: The tenant is blank.
        TenantMismatchError: The tenant is not the ambient one.
        UsageError: An access token and the service role were asked for together; or a token was passed inside a load
            for the whole tenant.
    """
    if isinstance(tenant_id, bool):
        tenant_id, use_service_role = None, tenant_id
    if use_service_role and access_token is not None:
        raise UsageError("access_token and use_service_role exclude each other: pass one of the two")
    if tenant_id is not None:
        tenant_id = agree_on_tenant(("the argument tenant_id", tenant_id))
    if access_token is not None:
        require_reader("a Supabase client with an access token sees what its user may see")
    settings = _process.given.or_from()
    if access_token is None and tenant_id is not None and not use_service_role:
        access_token = _token_of(tenant_id, settings)
    url, key = settings.address(use_service_role=use_service_role)
    return _process.open_registry().here(settings.timeout_s).get(url, key, access_token)


def _token_of(tenant_id: str, settings: SupabaseSettings) -> str | None:
    if settings.tenant_token is None:
        return None
    token: object = settings.tenant_token(tenant_id)
    if isinstance(token, str) and token.strip():
        return token
    if inspect.iscoroutine(token):
        token.close()
    raise SettingsError(
        f"tenant_token gave a {type(token).__name__} for a tenant, and must give its token as text: it is a plain "
        "function; mint tokens elsewhere, and let it look them up"
    )


async def close_supabase_clients() -> None:
    """Closes the clients of the running event loop, and those that were made outside of any; idempotent.

    ``get_supabase_client()`` makes new ones afterwards. Clients of other loops are theirs to close.
    """
    if _process.registry is not None:
        await _process.registry.close_here()
