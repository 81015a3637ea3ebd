"""What is printed of somebody's text, for people, pipes and programs."""

import json

import pytest

from alacena.ops.output import Cell, CommandResult, Table, printable, say


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
