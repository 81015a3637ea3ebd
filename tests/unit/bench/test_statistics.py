"""Medians, quartiles, ratios and percentiles are what they say."""

from __future__ import annotations

import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proving.figures.statistics import Spread, percentile, ratio, spread

_SAMPLES = st.lists(st.floats(min_value=0.001, max_value=1e6), min_size=1, max_size=40)


def test_the_spread_of_five_is_the_third_between_the_second_and_the_fourth() -> None:
    assert spread([5.0, 1.0, 4.0, 2.0, 3.0]) == Spread(3.0, 2.0, 4.0, 5)


def test_one_sample_is_its_own_spread() -> None:
    assert spread([7.0]) == Spread(7.0, 7.0, 7.0, 1)


def test_no_samples_are_an_error_that_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="at least one round"):
        spread([])
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 0.5)


@given(_SAMPLES)
def test_the_median_is_the_standard_librarys_and_the_quartiles_enclose_it(samples: list[float]) -> None:
    found = spread(samples)
    assert found.median == pytest.approx(statistics.median(samples))
    assert min(samples) <= found.low <= found.median <= found.high <= max(samples)


def test_a_ratio_is_taken_round_by_round() -> None:
    """A round in which everything was ten times slower does not show."""
    assert ratio([2.0, 20.0, 2.0], [1.0, 10.0, 1.0]) == Spread(2.0, 2.0, 2.0, 3)


def test_a_ratio_of_different_rounds_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        ratio([1.0, 2.0], [1.0])


def test_another_unit_keeps_the_order_of_the_quartiles() -> None:
    assert Spread(2.0, 1.0, 3.0, 9).times(10) == Spread(20.0, 10.0, 30.0, 9)
    assert Spread(2.0, 1.0, 3.0, 9).times(-1) == Spread(-2.0, -3.0, -1.0, 9)


@pytest.mark.parametrize(("part", "expected"), [(0.0, 1), (0.5, 50), (0.99, 99), (0.991, 100), (1.0, 100)])
def test_a_percentile_is_the_sample_at_its_rank(part: float, expected: float) -> None:
    assert percentile([float(number) for number in range(100, 0, -1)], part) == expected
