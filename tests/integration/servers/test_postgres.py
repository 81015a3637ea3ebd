"""Postgres has its schema, its vectors and its policies, and forgets one test's rows before the next."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING

import pytest

from proving.servers.postgres import Postgres, readable_programs
from proving.servers.process import StartError

if TYPE_CHECKING:
    from pathlib import Path

ONE_DOCUMENT = "insert into ai.documents (tenant_id, document_id) values ('a', 'd')"


@pytest.mark.parametrize("turn", [1, 2])
def test_rows_of_another_test_are_gone(postgres: Postgres, turn: int) -> None:
    assert postgres.execute("select count(*) from documents") == "0"
    postgres.execute(ONE_DOCUMENT)
    assert postgres.execute("select count(*) from documents") == "1"


def test_a_crash_keeps_what_was_committed() -> None:
    with Postgres() as own:
        own.execute(ONE_DOCUMENT)
        own.execute("checkpoint")
        pid = own.process.pid
        own.restart()
        assert own.process.pid != pid
        assert own.execute("select document_id from documents") == "d"


def test_vectors_are_ordered_by_distance(postgres: Postgres) -> None:
    two = "(values ('[1,0,0]'::vector), ('[0,1,0]')) t(v)"
    assert postgres.execute(f"select v from {two} order by v <=> '[0,2,0]' limit 1") == "[0,1,0]"


def test_a_role_without_a_tenant_sees_no_rows(postgres: Postgres) -> None:
    postgres.execute(ONE_DOCUMENT)
    assert postgres.execute("set role authenticated; select count(*) from documents") == "0"


def test_sql_that_fails_says_why(postgres: Postgres) -> None:
    with pytest.raises(StartError, match='relation "nothing" does not exist'):
        postgres.execute("select * from nothing")


def test_programs_in_a_private_folder_are_copied_to_where_another_user_can_run_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "elsewhere").mkdir()
    programs = tmp_path / "private" / "package" / "pginstall" / "bin"
    for program in (programs / "postgres", tmp_path / "private" / "package.libs" / "libpq.so"):
        program.parent.mkdir(parents=True)
        program.write_text("")
    (tmp_path / "private").chmod(0o700)
    monkeypatch.setattr("proving.servers.postgres.bundled_programs", lambda: programs)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "elsewhere"))
    assert readable_programs(None) == programs
    copied = readable_programs("nobody")
    assert copied.is_relative_to(tmp_path / "elsewhere")
    assert (copied / "postgres").exists()
    assert (copied.parents[2] / "package.libs" / "libpq.so").exists()
    assert readable_programs("nobody") == copied
