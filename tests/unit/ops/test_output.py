"""What is printed of somebody's text, for people, pipes and programs."""

import json
import re

import pytest

from alacena.ops.output import Cell, CommandResult, Table, count_of, printable, say


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("d1", "d1"),
        ("[red]x[/]", "[red]x[/]"),
        ("a\nb\tc\r", "a\\nb\\tc\\r"),
        ("\x1b[2J\x00", "\\x1b[2J\\x00"),
        ("\u202eabc\u2066", "\\u202eabc\\u2066"),
        ("مرحبا ñ 🙂", "مرحبا ñ 🙂"),
        ("\ud800", "\\ud800"),
        ("\U000e0001", "\\U000e0001"),
    ],
)
def test_what_moves_the_cursor_is_written_as_its_code(text, shown):
    assert printable(text) == shown


def test_what_is_long_loses_its_middle_and_says_how_long_it_was():
    shown = printable("a" * 9_000 + "z" * 1_000, 60)

    assert len(shown) < 100
    assert shown.startswith("aaa")
    assert shown.endswith("zzz")
    assert "10000 characters" in shown


def test_a_pipe_gets_everything_in_lines(capsys):
    table = Table("Title", ("id", "n"), [[Cell("x" * 5_000, "bad"), Cell("1")]])
    say(CommandResult({}, (Cell("first"),), (table,), (Cell("last"),)), as_json=False)

    assert capsys.readouterr().out == f"first\nTitle\nid\tn\n{'x' * 5_000}\t1\nlast\n"


def test_json_is_whole_and_ascii(capsys):
    say(CommandResult({"id": "ñ\ud800\n" * 3, "when": object}), as_json=True)

    assert json.loads(capsys.readouterr().out)["id"] == "ñ\ud800\n" * 3


@pytest.fixture
def terminal(monkeypatch, capsys):
    """`terminal(40, table)`: what a terminal of so many columns shows of a table, without its colours."""

    def shown(columns, table):
        monkeypatch.setenv("COLUMNS", str(columns))
        monkeypatch.setenv("FORCE_COLOR", "1")
        say(CommandResult({}, tables=(table,)), as_json=False)
        return re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().out)

    return shown


def test_a_terminal_that_is_too_narrow_for_names_of_facts_gets_lines(terminal):
    facts = Table("", ("", ""), [[Cell("entry.generations_stand"), Cell("True")], [Cell("age"), Cell("2")]])

    assert terminal(40, facts) == "entry.generations_stand: True\nage: 2\n"
    assert terminal(120, facts).splitlines()[1].split() == ["age", "2"]


def test_a_list_in_place_of_a_wide_table_leaves_out_what_is_empty(terminal):
    table = Table("", ("tenant", "scope"), [[Cell("a" * 30), Cell("")], [Cell("b" * 30), Cell("agent_id=a1")]])

    assert terminal(40, table) == f"tenant: {'a' * 30}\n\ntenant: {'b' * 30}\nscope: agent_id=a1\n\n"


def test_a_number_has_its_noun():
    assert [count_of(number, "call", "calls") for number in (0, 1, 2)] == ["0 calls", "1 call", "2 calls"]
