"""Twin of the script of the token ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.local.twins.registry import MOST_EXACT, Server, refuse, twin

if TYPE_CHECKING:
    from alacena.engine.store import Reply


@twin
def ledger_record(server: Server, keys: list[bytes], args: list[bytes]) -> Reply:
    """Count a use of tokens once."""
    receipt, *totals, outbox = keys
    fingerprint, receipt_ms, tokens, field, record = args
    known = server.call("GET", receipt)
    if known is not None:
        if known != fingerprint:
            raise refuse("IDEMCONFLICT the key was used with other figures")
        return [0, int(server.call("ZCARD", outbox) > 0)]
    if server.number("HGET", totals[0], b"t:" + field) + int(tokens) > MOST_EXACT:
        raise refuse("OVERFLOW the total would leave the range of exact integers")
    server.call("SET", receipt, fingerprint, "PX", receipt_ms)
    for total in totals:
        server.call("HINCRBY", total, b"t:" + field, tokens)
        server.call("HINCRBY", total, b"c:" + field, 1)
    if not record:
        return [1, 0]
    first = server.call("ZCARD", outbox) == 0
    server.call("ZADD", outbox, server.now_us, record)
    return [1, int(first)]
