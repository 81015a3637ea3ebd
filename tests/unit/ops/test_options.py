"""What cannot be undone is asked for first."""

import pytest
import typer

from alacena.ops.options import confirm


@pytest.fixture
def asked(monkeypatch):
    """Somebody is there, and gives this answer; the questions that were put."""

    def answers(answer, *, is_there=True):
        questions = []
        monkeypatch.setattr("sys.stdin.isatty", lambda: is_there, raising=False)
        monkeypatch.setattr(typer, "confirm", lambda question, **_: questions.append(question) or answer)
        return questions

    return answers


def test_a_yes_goes_on(asked):
    questions = asked(True)
    confirm("Forget 'a\nb'?", yes=False)

    assert questions == ["Forget 'a\\nb'?"]


def test_a_no_ends_with_1(asked, capsys):
    asked(False)
    with pytest.raises(typer.Exit) as ended:
        confirm("Forget?", yes=False)

    assert ended.value.exit_code == 1
    assert "nothing was done" in capsys.readouterr().err


def test_where_nobody_is_there_the_answer_must_be_given(asked, capsys):
    assert asked(True, is_there=False) == []
    with pytest.raises(typer.Exit) as ended:
        confirm("Forget?", yes=False)

    assert ended.value.exit_code == 2
    assert "--yes" in capsys.readouterr().err
    confirm("Forget?", yes=True)
