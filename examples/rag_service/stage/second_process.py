"""A second process of the product, asked and told things over a pipe, one JSON object a line."""

from __future__ import annotations

import asyncio
import json
import sys
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from examples.rag_service.ingestion import Ingested
from examples.rag_service.query import Reply
from examples.rag_service.stage.documents import REPOSITORY
from examples.rag_service.stage.services import choose_providers, open_services

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from examples.rag_service.stage.services import Services

STOP_WITHIN_S = 5.0
_LINE_BYTES = 64 * 1024 * 1024


class SecondProcess:
    """The second process as the first one sees it.

    Args:
        process: A Python that runs ``serve``, its input and output piped.
    """

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def ask(self, question: str) -> Reply:
        """Have it answer a question."""
        return Reply(**await self._call({"ask": question}))

    async def edit(self, document_id: str, text: str) -> Ingested:
        """Have it give a stored document another text."""
        return Ingested(**await self._call({"edit": document_id, "text": text}))

    async def _call(self, request: dict[str, Any]) -> dict[str, Any]:
        if self._process.stdin is None or self._process.stdout is None:
            raise RuntimeError("The second process must be started with pipes.")
        self._process.stdin.write(_line(request))
        await self._process.stdin.drain()
        answer = await self._process.stdout.readline()
        if not answer:
            raise RuntimeError(f"The second process ended (exit code {await self._process.wait()}).")
        reply: dict[str, Any] = json.loads(answer)
        return reply


@asynccontextmanager
async def second_process(*, redis_url: str, dsn: str, local_url: str | None) -> AsyncIterator[SecondProcess]:
    """Start a second process on the same servers; it ends with the block, or when its input closes."""
    # A session of its own, so that Ctrl-C reaches the first process alone and the two close in order.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.rag_service", "--second-process"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        limit=_LINE_BYTES,
        start_new_session=True,
    )
    try:
        if process.stdin is not None:
            process.stdin.write(_line({"redis_url": redis_url, "dsn": dsn, "local_url": local_url}))
        yield SecondProcess(process)
    finally:
        await _end(process)


async def serve() -> None:
    """Be the second process: read where the servers are, then answer until the input closes."""
    requests = asyncio.StreamReader(limit=_LINE_BYTES)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(requests), sys.stdin)
    if not (line := await requests.readline()):
        return
    where = json.loads(line)
    providers = choose_providers(where["local_url"])
    async with open_services(providers, redis_url=where["redis_url"], dsn=where["dsn"]) as services:
        while line := await requests.readline():
            sys.stdout.buffer.write(_line(await _answer(services, json.loads(line))))
            sys.stdout.buffer.flush()


async def _answer(services: Services, request: dict[str, Any]) -> dict[str, Any]:
    if "ask" in request:
        return asdict(await services.ask(request["ask"]))
    return asdict(await services.edit(request["edit"], request["text"]))


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.stdin is not None:
        process.stdin.close()
    for insist in (process.terminate, process.kill):
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await process.wait()
                return
        with suppress(ProcessLookupError):
            insist()
    await process.wait()


def _line(message: dict[str, Any]) -> bytes:
    return json.dumps(message).encode() + b"\n"
