"""Logs say for whom the running code works."""

from __future__ import annotations

import asyncio
import io
import logging
from typing import Any

import structlog

from alacena import Context
from alacena.integrations.log_context import ContextFilter, add_context


def logger_into(stream: io.StringIO, **options: Any) -> logging.Logger:
    logger = logging.Logger("test")  # noqa: LOG001 - one of its own, that no other test sees
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(tenant_id)s %(user_id)s %(conversation_id)s %(message)s"))
    handler.addFilter(ContextFilter(**options))
    logger.addHandler(handler)
    return logger


async def test_records_have_the_ambient_ids() -> None:
    written = io.StringIO()
    logger = logger_into(written)

    async def work(n: int) -> None:
        with Context(f"t{n}", user_id=f"u{n}", conversation_id=f"c{n}"):
            await asyncio.sleep(0)
            logger.info("in")

    await asyncio.gather(work(1), work(2))
    logger.info("out")
    with Context("acme"):
        logger.info("own", extra={"tenant_id": "said"})
        await asyncio.to_thread(logger.info, "thread")

    lines = written.getvalue().splitlines()
    assert sorted(lines[:2]) == ["t1 u1 c1 in", "t2 u2 c2 in"]
    assert lines[2:] == ["- - - out", "said - - own", "acme - - thread"]


def test_fields_can_be_chosen() -> None:
    record = logging.makeLogRecord({})
    with Context("acme", agent_id="a1"):
        assert ContextFilter(("tenant_id", "user_id"), absent=None).filter(record)

    assert (record.tenant_id, record.user_id, hasattr(record, "agent_id")) == ("acme", None, False)  # type: ignore[attr-defined]


async def test_a_line_never_fails_for_whom_it_is() -> None:
    written = io.StringIO()
    logger = logger_into(written)

    async def log() -> None:
        logger.info("from a task that nobody can tell the tenant of")

    async def items() -> Any:
        with Context("acme"):
            yield asyncio.create_task(log())

    stream = items()
    await (await anext(stream))
    await stream.aclose()

    assert written.getvalue() == "- - - from a task that nobody can tell the tenant of\n"


def test_structlog_events_have_the_ambient_ids() -> None:
    seen: list[Any] = []

    def keep(_: Any, __: str, event: Any) -> Any:
        seen.append(dict(event))
        raise structlog.DropEvent

    logger = structlog.wrap_logger(None, processors=[add_context, keep])
    with Context("acme", user_id="u1"):
        logger.info("in", user_id="said")
    logger.info("out")

    assert seen == [{"event": "in", "tenant_id": "acme", "user_id": "said"}, {"event": "out"}]
