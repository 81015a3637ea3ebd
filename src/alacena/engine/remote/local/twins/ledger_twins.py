"""Twin of the script of the token ledger."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.remote.local.twins.twin_server import MOST_EXACT, TwinServer, refuse, twin

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


@twin
def ledger_record(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Counts a use of tokens once."""
    receipt, *totals, outbox = keys
    fingerprint, receipt_ms, tokens, field, record, figures, *parts = args
    known = server.call("GET", receipt)
    if known is not None:
        if not known.startswith(fingerprint):
            return [-1, known]
        return [0, int(server.call("ZCARD", outbox) > 0)]
    added = [(b"t:" + field, tokens), (b"c:" + field, b"1")]
    added += [(b"p:" + name, amount) for name, amount in zip(parts[::2], parts[1::2], strict=True)]
    # All are checked before any is counted: what a script has done is not taken back when it refuses.
    for name, amount in added:
        if server.number("HGET", totals[0], name) + int(amount) > MOST_EXACT:
            raise refuse("OVERFLOW the total would leave the range of exact integers")
    server.call("SET", receipt, fingerprint + figures, "PX", receipt_ms)
    for total in totals:
        for name, amount in added:
            server.call("HINCRBY", total, name, amount)
    if not record:
        return [1, 0]
    first = server.call("ZCARD", outbox) == 0
    server.call("ZADD", outbox, server.now_us, record)
    return [1, int(first)]
