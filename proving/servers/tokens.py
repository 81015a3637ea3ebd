"""Keys as Supabase makes them: HS256 tokens whose ``role`` claim is a role of the database."""

from __future__ import annotations

import jwt

JWT_SECRET = "a secret for loopback only, of more than thirty-two bytes"


def mint(role: str, **claims: str) -> str:
    """A signed token that does not expire."""
    return jwt.encode({"role": role, **claims}, JWT_SECRET, algorithm="HS256")


def claims_of(token: str) -> dict[str, str]:
    """What a token says; ``jwt.InvalidTokenError`` where it is not one of ours."""
    claims: dict[str, str] = jwt.decode(token, JWT_SECRET, algorithms=["HS256"])
    return claims


ANON_KEY = mint("anon")
SERVICE_KEY = mint("service_role")


def tenant_token(tenant_id: str) -> str:
    """The token of a user of ``tenant_id``: the policies show that tenant's rows, and no others."""
    return mint("authenticated", tenant_id=tenant_id)
