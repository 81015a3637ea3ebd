"""The twin of the script on counters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from alacena.engine.remote.local.twins.twin_server import MOST_EXACT, TwinServer, refuse, twin

if TYPE_CHECKING:
    from alacena.engine.remote.backend import Reply


@twin
def counter_add(server: TwinServer, keys: list[bytes], args: list[bytes]) -> Reply:
    """Adds to a counter, with expiry and receipt."""
    amount, ttl_ms, receipt_ms = args
    known = server.call("GET", keys[1]) if len(keys) > 1 else None
    if known is not None:
        before, _, value = known.partition(b":")
        if before != amount:
            raise refuse(f"IDEMCONFLICT the id was used with amount {before.decode()}")
        return int(value)
    current = server.call("GET", keys[0]) or b"0"
    # What is no number is left to `INCRBY`, which refuses it in the server's words.
    if current.lstrip(b"-").isdigit() and abs(int(current) + int(amount)) > MOST_EXACT:
        raise refuse("OVERFLOW the counter would leave the range of exact integers")
    value = server.call("INCRBY", keys[0], amount)
    if ttl_ms != b"0":
        left = server.call("PTTL", keys[0])
        if left == -1 or left > int(ttl_ms):
            server.call("PEXPIRE", keys[0], ttl_ms)
    if len(keys) > 1:
        server.call("SET", keys[1], b"%b:%d" % (amount, value), "PX", receipt_ms)
    return value
