"""The READMEs show the figures that the benchmark printed, and no others."""

from __future__ import annotations

import pytest

from proving.figures.statistics import Spread
from proving.figures.tables import Column, Report, Result, Row, Table
from tests.docs.figures import QUESTIONS, READMES, block, printed, take, with_block


@pytest.mark.parametrize("language", READMES)
def test_the_readmes_show_the_figures_that_were_printed(language: str) -> None:
    shown = READMES[language].read_text("utf-8")

    assert shown == with_block(shown, block(printed(), language))


def test_a_row_shows_the_median_of_each_contender_and_none_for_who_did_not_run() -> None:
    report = Report(
        {"Python": "3.11.7", "server": "Valkey 9.1.2"},
        {
            scenario: Result(
                tuple(
                    Table(
                        asked.table,
                        tuple(Column(name) for name in asked.columns),
                        (
                            Row(asked.ours, (Spread(12.4, 11, 14, 7),) * len(asked.columns)),
                            Row(asked.named.get("cashews", "cashews"), (1234.5,) * len(asked.columns)),
                            Row(asked.floor, (2.25,) * len(asked.columns)),
                        ),
                    )
                    for asked in QUESTIONS
                    if asked.scenario == scenario
                )
            )
            for scenario in {asked.scenario for asked in QUESTIONS}
        },
        {},
    )

    rows = block(take(report, "9.9.9"), "en").splitlines()

    assert "for version 9.9.9 on Python 3.11.7 and Valkey 9.1.2" in rows[0]
    assert rows[4].endswith("| 12 | – | – | – | 1,234 | – | – | – |")
    assert "(a bare hiredis protocol: 2.2)" in rows[6]
    assert rows[13].endswith("| 12 of 12 | – | – | – | 1,234 of 1,234 | – | – | – |")
    assert "| 12 | – | – | – | 1.234 | – | – | – |" in block(take(report, "9.9.9"), "es")
