"""The command: ``python -m examples.rag_service [FILES OR FOLDERS ...] [--questions FILE]``."""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from examples.rag_service.stage.demo import Plan

Result = TypeVar("Result")

DONE, DISPROVED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Returns:
        0: done, and everything held; 1: something that it claims did not hold; 2: bad input; 130: interrupted.
    """
    options = _parser().parse_args(arguments)
    try:
        if options.second_process:
            from examples.rag_service.stage.second_process import serve

            asyncio.run(serve())
            return DONE
        return _demo(options)
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("Interrupted: every server was ended and nothing was left behind.", file=sys.stderr)
        return INTERRUPTED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m examples.rag_service",
        description="Ingest documents, ask questions twice, edit a document, and see what the cache does. "
        "Everything runs on private servers that end with the program; your files are only read.",
        epilog="An OpenAI-compatible endpoint is used where OPENAI_API_KEY or OPENAI_BASE_URL is set.",
        allow_abbrev=False,
    )
    parser.add_argument(
        "paths", nargs="*", type=Path, metavar="FILE OR FOLDER", help="Markdown or plain text (default: the docs)"
    )
    parser.add_argument("--questions", type=Path, metavar="FILE", help="a file with one question a line")
    parser.add_argument(
        "--question", "-q", action="append", default=[], metavar="TEXT", help="a question; may be repeated"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")
    parser.add_argument("--offline", action="store_true", help="use the demo's own model even if an endpoint is set")
    parser.add_argument("--second-process", action="store_true", help=argparse.SUPPRESS)
    return parser


def _demo(options: argparse.Namespace) -> int:
    from examples.rag_service.stage.documents import InputError

    sys.stdout.reconfigure(errors="replace")  # type: ignore[union-attr]
    try:
        result, held = _run(_prepare(options))
    except InputError as error:
        print(error, file=sys.stderr)
        return BAD_INPUT
    if options.json:
        options.json.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return DONE if held else DISPROVED


def _run(plan: Plan) -> tuple[dict[str, Any], bool]:
    from examples.rag_service.stage.demo import run
    from examples.rag_service.stage.screen import Screen

    screen = Screen()
    for file, reason in plan.library.skipped.items():
        screen.say(f"Passed over {file}: {reason}")
    return asyncio.run(_interruptible(run(plan, screen)))


def _prepare(options: argparse.Namespace) -> Plan:
    """Read what was asked for, before anything is started."""
    from examples.rag_service.stage import questions
    from examples.rag_service.stage.demo import Plan
    from examples.rag_service.stage.documents import InputError, default_paths, read_library
    from examples.rag_service.stage.embedder import openai_client
    from examples.rag_service.stage.local_model import require_model
    from examples.rag_service.stage.services import needs_local_model

    if options.json and not options.json.parent.is_dir():
        raise InputError(f"{options.json}: there is no folder {options.json.parent} to write it in.")
    library = read_library(options.paths or default_paths())
    asked = questions.distinct(text.strip() for text in options.question if text.strip())
    if options.questions:
        asked = questions.distinct([*asked, *questions.questions_from_file(options.questions)])
    if not asked:
        asked = (
            questions.questions_from_headings(library.documents) if options.paths else [*questions.ABOUT_THE_PROJECT]
        )
    if needs_local_model(offline=options.offline):
        require_model()
    openai_client("http://127.0.0.1")
    return Plan(library, asked, options.offline)


async def _interruptible(work: Coroutine[Any, Any, Result]) -> Result:
    """Do the work; the first Ctrl-C, SIGTERM or hang-up cancels it, and further ones do not disturb the cleaning."""
    task = asyncio.ensure_future(work)
    loop = asyncio.get_running_loop()

    def interrupt() -> None:
        if not task.cancelling():
            print("\nClosing ...", file=sys.stderr)
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:
            loop.add_signal_handler(number, interrupt)
    return await task


if __name__ == "__main__":
    sys.exit(main())
