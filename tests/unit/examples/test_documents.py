"""Reading documents: what is read, what is passed over, what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from examples.rag_service.stage.documents import MAX_FILE_BYTES, InputError, default_paths, read_library

if TYPE_CHECKING:
    from pathlib import Path


def test_a_folder_is_read_in_order_and_named_from_the_shared_folder(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "two.txt").write_text("second")
    (tmp_path / "a.md").write_text("\ufeff# Título\r\n\r\ntexto", encoding="utf-8")
    (tmp_path / ".hidden").mkdir()
    (tmp_path / ".hidden" / "x.md").write_text("no")
    (tmp_path / "picture.png").write_bytes(b"\x89PNG")
    library = read_library([tmp_path, tmp_path / "a.md"])
    assert [(one.document_id, one.title, one.text) for one in library.documents] == [
        ("a.md", "Título", "# Título\n\ntexto"),
        ("b/two.txt", "two", "second"),
    ]
    assert library.skipped == {}


def test_in_a_folder_what_is_not_text_is_passed_over_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "good.md").write_text("text")
    (tmp_path / "latin.txt").write_bytes("año".encode("latin-1"))
    (tmp_path / "blank.md").write_text(" \n")
    skipped = read_library([tmp_path]).skipped
    assert skipped == {
        str(tmp_path / "latin.txt"): "not UTF-8 text; give Markdown or plain text.",
        str(tmp_path / "blank.md"): "empty.",
    }


def test_a_missing_path_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nowhere: no such file or folder"):
        read_library([tmp_path / "nowhere"])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff\xfe\x00", "not UTF-8"),
        (b"a\x00b", "binary data"),
        (b"", "empty"),
        (b" " * (MAX_FILE_BYTES + 1), "larger than 4 MiB"),
    ],
)
def test_a_named_file_that_is_not_text_is_refused(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "file.md"
    file.write_bytes(content)
    with pytest.raises(InputError, match=rf"file\.md: {reason}"):
        read_library([file])


def test_an_empty_folder_is_refused_with_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"Nothing to read in .*no text file \(\.markdown, \.md, \.rst, \.txt\)"):
        read_library([tmp_path])


def test_a_project_without_documentation_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="There is no documentation under"):
        default_paths(tmp_path)
    (tmp_path / "README.es.md").write_text("# Hola")
    assert default_paths(tmp_path) == [tmp_path / "README.es.md"]
