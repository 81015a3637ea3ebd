"""The figures of both READMEs, written from what the benchmark printed.

``python -m bench --json out.json`` measures; ``python -m tests.docs.figures out.json`` keeps of it what the READMEs show in
``bench/printed.json``, and rewrites their tables from that.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from proving.figures.statistics import Spread
from proving.figures.tables import Report

if TYPE_CHECKING:
    from proving.figures.tables import Cell

ROOT = Path(__file__).parents[2]
PRINTED = ROOT / "bench" / "printed.json"
READMES = {"en": ROOT / "README.md", "es": ROOT / "README.es.md"}
CONTENDERS = ("Alacena", "redis-py", "coredis", "valkey-glide", "cashews", "aiocache", "dogpile", "theine")
_BEGIN, _END = "<!-- figures -->\n", "<!-- /figures -->"
_NONE = "–"


class Question(msgspec.Struct, frozen=True):
    """One row of the tables.

    Attributes:
        words: The question in each language; ``{floor}`` stands for the figure of the floor.
        scenario: The scenario that answers it.
        table: The beginning of its table's title.
        columns: The columns whose figures a cell shows, one after the other.
        ours: The name of our row there.
        digits: Digits behind the point of each column; ``None``: two digits that count, and no point from 10 on.
        joined: Stands between the figures of a cell, in each language.
        floor: The row of the floor, if the question names it.
        named: The rows of peers that are not named as the peer is.
        scale: The factor of each figure.
        unit: Stands behind each cell.
    """

    words: dict[str, str]
    scenario: str
    table: str
    columns: tuple[str, ...]
    ours: str
    digits: tuple[int | None, ...] = (None,)
    joined: dict[str, str] = msgspec.field(default_factory=lambda: dict.fromkeys(READMES, "; "))
    floor: str = ""
    named: dict[str, str] = msgspec.field(default_factory=dict)
    scale: float = 1
    unit: str = ""


QUESTIONS = (
    Question(
        {
            "en": "a hit in memory, `CacheManager.get`, in floors (one floor: awaiting one dict look-up)",
            "es": "un acierto en memoria, `CacheManager.get`, en suelos (un suelo: esperar una consulta a un dict)",
        },
        "memory_hit", "A hit in memory: get", ("floors",), "CacheManager.get, immutable",
    ),
    Question(
        {
            "en": "the same through get-or-load, `get_with_cache_aside`",
            "es": "lo mismo a través de obtener-o-cargar, `get_with_cache_aside`",
        },
        "memory_hit", "A hit in memory: get or load", ("floors",), "get_with_cache_aside, immutable",
    ),
    Question(
        {
            "en": "CPU of a hit on the server, `CacheManager.get(use_memory=False)`, 100 callers over TCP, µs"
            " (a bare hiredis protocol: {floor})",
            "es": "CPU de un acierto en el servidor, `CacheManager.get(use_memory=False)`, 100 peticionarios por TCP, µs"
            " (un protocolo hiredis desnudo: {floor})",
        },
        "redis_hit", "Hits on the server, 100 callers (TCP, asyncio)", ("µs CPU here",), "alacena", floor="bare",
    ),
    Question(
        {
            "en": "CPU of a miss that asks the source and stores its answer, `get_with_cache_aside`, 100 callers, µs;"
            " redis-py, coredis and valkey-glide protect no source",
            "es": "CPU de un fallo que pregunta a la fuente y guarda su respuesta, `get_with_cache_aside`, 100 peticionarios,"
            " µs; redis-py, coredis y valkey-glide no protegen la fuente",
        },
        "misses", "A miss and its fill on the server, 100 callers", ("µs CPU here",), "alacena, get_with_cache_aside",
    ),
    Question(
        {
            "en": "1,000 documents to the server in one call, `CacheManager.set_many`, ms",
            "es": "1.000 documentos al servidor en una llamada, `CacheManager.set_many`, ms",
        },
        "writes", "1,000 documents to the server in one call", ("ms",), "alacena, CacheManager.set_many",
    ),
    Question(
        {
            "en": "1,000 cold arrays of 1,536 float32 in one call, `Cache.load_many`: the answer, ms",
            "es": "1.000 arrays fríos de 1.536 float32 en una llamada, `Cache.load_many`: la respuesta, ms",
        },
        "batches", "1,000 cold arrays in one call", ("answer, ms",), "alacena, Cache.load_many",
        named={"aiocache": "aiocache, pickled arrays", "cashews": "cashews, pickled arrays"},
    ),
    Question(
        {
            "en": "a full collection with 10⁶ texts in memory, ms of CPU (a plain dict: {floor})",
            "es": "una recolección completa con 10⁶ textos en memoria, ms de CPU (un dict: {floor})",
        },
        "pauses", "A full collection, 1,000,000 texts", ("full collection, ms of CPU",), "alacena, Cache.set_many",
        floor="dict",
    ),
    Question(
        {
            "en": "a warm service, a FastAPI route on two uvicorn workers, `get_with_cache_aside`: of the requests a second"
            " without a look-up",
            "es": "un servicio caliente, una ruta de FastAPI en dos procesos de uvicorn, `get_with_cache_aside`: de las"
            " peticiones por segundo sin consulta",
        },
        "service", "A service, a FastAPI route", ("of the handler alone",), "get_with_cache_aside",
        digits=(0,), scale=100, unit=" %",
    ),
    Question(
        {
            "en": "one cold key, 8 processes × 500 callers: loads, and commands a process",
            "es": "una clave fría, 8 procesos × 500 peticionarios: cargas, y órdenes por proceso",
        },
        "stampede", "One cold key, 8 processes × 500 callers", ("loads", "commands a process"), "alacena", digits=(0, 0),
    ),
    Question(
        {
            "en": "late answers that were stored as old values after an invalidation",
            "es": "valores viejos guardados tras una invalidación, de las respuestas que llegaron tarde",
        },
        "stale_fill", "Old values stored after the invalidation", ("stale stores", "late answers"), "alacena",
        digits=(0, 0), joined={"en": " of ", "es": " de "},
    ),
    Question(
        {
            "en": "callers that failed because another one was cancelled (aiocache shares no loads)",
            "es": "peticionarios que fallan porque otro se canceló (aiocache no comparte cargas)",
        },
        "cancellation", "A storm of cancellations", ("% of the others",), "alacena", digits=(0,), unit=" %",
    ),
)  # fmt: skip


class Words(msgspec.Struct, frozen=True):
    """The sentences around the table, in one language.

    Attributes:
        opening: Above it, with places for the version, Python's and the server's.
        question: The heading of its first column.
        closing: Below it.
    """

    opening: str
    question: str
    closing: str


WORDS = {
    "en": Words(
        "`python -m bench` printed these figures for version {} on Python {} and {}, on two shared cores: medians of"
        " interleaved rounds, all contenders in one run.",
        "question",
        "dogpile and theine are called without `await`. [`proving/rivals`](proving/rivals) has the settings of each"
        " contender.",
    ),
    "es": Words(
        "Las imprimió `python -m bench` para la versión {} con Python {} y {} en dos núcleos compartidos: medianas de rondas"
        " intercaladas, todos los contendientes en una misma ejecución.",
        "pregunta",
        "A dogpile y theine se los llama sin `await`; con qué se configuró cada contendiente está en"
        " [`proving/rivals`](proving/rivals).",
    ),
}


class Answer(msgspec.Struct, frozen=True):
    """The figures of one question.

    Attributes:
        by_contender: The figures of a cell by the contender's name.
        floor: The figure of the floor; ``None``: the question names none.
    """

    by_contender: dict[str, tuple[float, ...]]
    floor: float | None = None


class Printed(msgspec.Struct, frozen=True):
    """What the READMEs show of one run.

    Attributes:
        version: The version that was measured.
        machine: Where, as the benchmark says it.
        answers: One for each question.
    """

    version: str
    machine: dict[str, str]
    answers: tuple[Answer, ...]


def take(report: Report, version: str) -> Printed:
    """Returns the figures of a whole run that the READMEs show.

    Raises:
        KeyError: The run did not ask one of the questions.
    """
    return Printed(version, report.machine, tuple(_answer(report, question) for question in QUESTIONS))


def _answer(report: Report, question: Question) -> Answer:
    table = next(t for t in report.results[question.scenario].tables if t.title.startswith(question.table))
    rows = {row.name for row in table.rows}

    def figures(row: str) -> tuple[float, ...]:
        return tuple(_median(table.cell(row, column)) * question.scale for column in question.columns)

    names = {"Alacena": question.ours}
    names |= {peer: question.named.get(peer, peer) for peer in CONTENDERS[1:]}
    found = {who: figures(row) for who, row in names.items() if row in rows}
    return Answer(found, figures(question.floor)[0] if question.floor else None)


def _median(cell: Cell) -> float:
    figure = cell.median if isinstance(cell, Spread) else cell
    if not isinstance(figure, int | float):
        raise TypeError(f"{cell!r} is no figure")
    return float(figure)


def block(printed: Printed, language: str) -> str:
    """Returns the table of a README with the sentences around it."""
    words = WORDS[language]
    opening = words.opening.format(printed.version, printed.machine["Python"], printed.machine["server"])
    lines = [opening, "", f"| {words.question} | {' | '.join(CONTENDERS)} |", "|---|" + "--:|" * len(CONTENDERS)]
    for question, answer in zip(QUESTIONS, printed.answers, strict=True):
        cells = [_cell(question, answer.by_contender.get(who), language) for who in CONTENDERS]
        floor = "" if answer.floor is None else _number(answer.floor, None, language)
        lines.append(f"| {question.words[language].replace('{floor}', floor)} | {' | '.join(cells)} |")
    return "\n".join([*lines, "", words.closing, ""])


def _cell(question: Question, figures: tuple[float, ...] | None, language: str) -> str:
    if figures is None:
        return _NONE
    numbers = [_number(figure, digits, language) for figure, digits in zip(figures, question.digits, strict=True)]
    return question.joined[language].join(numbers) + question.unit


def _number(figure: float, digits: int | None, language: str) -> str:
    if digits is None:
        digits = 0 if figure >= 10 else 1
    text = f"{figure:,.{digits}f}"
    return text.translate(str.maketrans(",.", ".,")) if language == "es" else text


def with_block(text: str, figures: str) -> str:
    """Returns the text of a README with its figures replaced."""
    before, begin, rest = text.partition(_BEGIN)
    _, end, after = rest.partition(_END)
    return f"{before}{begin}{figures}{end}{after}"


def printed() -> Printed:
    """Returns the figures that are kept."""
    return msgspec.json.decode(PRINTED.read_bytes(), type=Printed)


def _write(version: str, run: Path) -> None:
    kept = take(msgspec.json.decode(run.read_bytes(), type=Report), version)
    PRINTED.write_bytes(msgspec.json.format(msgspec.json.encode(kept)) + b"\n")
    for language, path in READMES.items():
        path.write_text(with_block(path.read_text("utf-8"), block(kept, language)), "utf-8")


if __name__ == "__main__":
    from alacena import __version__

    _write(__version__, Path(sys.argv[1]))
