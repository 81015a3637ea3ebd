"""The ambient ids as HTTP headers, between services that trust each other.

A header is not authentication: set a tenant from headers only behind a gateway that removes them from the requests of strangers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, unquote

from alacena.common.context.vars import FIELDS, agree_on_tenant, get_full_context
from alacena.engine.base.arguments import copy_mapping
from alacena.engine.base.errors import text_of
from alacena.engine.base.scope import identifier

if TYPE_CHECKING:
    from collections.abc import Mapping
    from contextvars import Token

HEADERS: Final[Mapping[str, str]] = {
    "tenant_id": "X-Tenant-ID",
    "agent_id": "X-Agent-ID",
    "conversation_id": "X-Conversation-ID",
    "collection_id": "X-Collection-ID",
}

# Without %: as it is, it would be read as the beginning of an encoded byte.
_SAFE: Final = "!#$&'()*+,/:;=?@[]~"


def extract_context_from_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Returns the ids that a request's headers carry, by field name; names of headers in any case, blank values left out."""
    lowered = {text_of(name).lower(): value for name, value in copy_mapping(headers, "headers", "text by name").items()}
    given = {field: lowered.get(header.lower(), "") for field, header in HEADERS.items()}
    found = {field: unquote(_text(HEADERS[field], value)).strip() for field, value in given.items()}
    return {field: value for field, value in found.items() if value}


def _text(header: str, value: object) -> str:
    # Blank ones are left out, and are no error.
    return value if isinstance(value, str) else identifier(header, value)


def add_context_to_headers(headers: Mapping[str, str] | None = None) -> dict[str, str]:
    """Returns a copy of ``headers`` with the ambient ids added; ids that a header cannot carry are percent-encoded."""
    ambient = get_full_context()
    added = {header: quote(value, safe=_SAFE) for field, header in HEADERS.items() if (value := ambient[field])}
    return {**({} if headers is None else copy_mapping(headers, "headers", "text by name")), **added}


def setup_context_from_headers(headers: Mapping[str, str]) -> list[tuple[Token[Any], str]]:
    """Makes the ids of a request's headers ambient.

    Returns:
        A ``(token, field)`` for each: give them to `reset_context`, last one first.

    Raises:
        TenantMismatchError: The header names another tenant than the ambient one.
    """
    found = extract_context_from_headers(headers)
    agree_on_tenant(("the header X-Tenant-ID", found.get("tenant_id")))
    return [(FIELDS[field].set(value), field) for field, value in found.items()]
