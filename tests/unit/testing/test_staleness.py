"""The stale-read rule, against hand-made histories and against a quadratic oracle."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from alacena.testing.staleness import Operation, check, dump, load


def read(version: int, at: float, *, key: str = "k", actor: str = "r", bound_s: float | None = None) -> Operation:
    return Operation(
        kind="read", key=key, version=version, called_at=at, returned_at=at + 0.01, actor=actor, bound_s=bound_s
    )


def invalidate(version: int, at: float, *, key: str = "k", actor: str = "w") -> Operation:
    return Operation(kind="invalidate", key=key, version=version, called_at=at - 0.01, returned_at=at, actor=actor)


def test_a_read_within_the_bound_is_stale_but_allowed() -> None:
    report = check([invalidate(2, 10.0), read(1, 10.5)], bound_s=1.0)
    assert report.violations == []
    assert report.staleness_s == [0.5]


def test_a_read_after_the_bound_is_a_violation_that_names_the_invalidation() -> None:
    report = check([read(1, 11.5), invalidate(2, 10.0)], bound_s=1.0)
    (violation,) = report.violations
    assert violation.invalidation.version == 2
    assert violation.late_s == pytest.approx(0.5)
    with pytest.raises(AssertionError, match="1 stale reads of 1:\nr read k version 1"):
        report.raise_for_violations()


def test_the_own_process_is_bound_at_once() -> None:
    history = [invalidate(2, 10.0, actor="p"), read(1, 10.1, actor="p"), read(1, 10.1, actor="q")]
    report = check(history, bound_s=1.0)
    assert [violation.read.actor for violation in report.violations] == ["p"]


def test_a_read_that_skips_memory_has_its_own_bound() -> None:
    report = check([invalidate(2, 10.0), read(1, 10.1, bound_s=0.0), read(1, 10.1)], bound_s=1.0)
    assert len(report.violations) == 1


def test_a_read_that_starts_before_the_acknowledgement_may_return_either_version() -> None:
    assert check([invalidate(2, 10.0), read(1, 9.99), read(2, 9.99)], bound_s=0.0).violations == []


def test_keys_do_not_mix() -> None:
    assert check([invalidate(2, 10.0, key="a"), read(1, 20.0, key="b")], bound_s=0.0).violations == []


def test_quantiles_count_fresh_reads_as_zero() -> None:
    history = [invalidate(2, 10.0), *[read(2, 11.0)] * 98, read(1, 10.25), read(1, 10.5)]
    report = check(history, bound_s=1.0)
    assert (report.quantile(0.5), report.quantile(0.98), report.quantile(1.0)) == (0.0, 0.25, 0.5)
    assert report.max_s == 0.5


def test_a_log_survives_a_writer_that_was_killed_in_the_middle_of_a_line() -> None:
    history = [invalidate(2, 10.0), read(2, 11.0)]
    lines = [dump(operation) for operation in history]
    assert load([*lines, "", '{"kind":"re']) == history
    with pytest.raises(ValueError, match="line 1"):
        load(['{"kind":"re', *lines])


operations = st.builds(
    lambda kind, key, version, tick, length, actor: Operation(
        kind=kind, key=key, version=version, called_at=tick / 4, returned_at=(tick + length) / 4, actor=actor
    ),
    st.sampled_from(["read", "invalidate"]),
    st.sampled_from("ab"),
    st.integers(0, 5),
    st.integers(0, 20),
    st.integers(0, 4),
    st.sampled_from("pq"),
)


@given(st.lists(operations, max_size=40), st.sampled_from([0.0, 0.5, 1.0]))
def test_the_checker_finds_what_comparing_every_pair_finds(history: list[Operation], bound_s: float) -> None:
    expected = [
        operation
        for operation in history
        if operation.kind == "read"
        and any(
            other.kind == "invalidate"
            and other.key == operation.key
            and other.version > operation.version
            and other.returned_at + (0.0 if other.actor == operation.actor else bound_s) < operation.called_at
            for other in history
        )
    ]
    assert [violation.read for violation in check(history, bound_s).violations] == expected
