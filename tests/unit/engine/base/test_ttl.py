import math
from datetime import timedelta

import pytest

from alacena.engine import UNSET
from alacena.engine.base.ttl import check_ttl, jitter, seconds


@pytest.mark.parametrize(
    ("ttl", "expected"),
    [(1, 1.0), (0.5, 0.5), (timedelta(hours=1), 3600.0), (None, None), (math.inf, None), (1e-9, 1e-9)],
)
def test_seconds_timedeltas_and_for_ever(ttl, expected):
    assert seconds(ttl) == expected
    assert check_ttl(ttl) == expected


@pytest.mark.parametrize("ttl", [0, -1, -0.0, math.nan, -math.inf, timedelta(0), timedelta(seconds=-1)])
def test_no_time_at_all_is_refused_with_the_remedy(ttl):
    with pytest.raises(ValueError, match=r"greater than 0.*use None for what never expires"):
        seconds(ttl)


@pytest.mark.parametrize("ttl", [True, "60", [], b"1", 1j, UNSET])
def test_what_is_no_time_is_refused(ttl):
    with pytest.raises(TypeError, match="ttl must be seconds, a timedelta or None"):
        seconds(ttl)


def test_left_out_is_not_for_ever():
    assert check_ttl(UNSET) is UNSET
    assert repr(UNSET) == "UNSET"


def test_jitter_only_shortens_and_by_at_most_its_ratio():
    assert jitter(100.0, 0.1, 0.0) == 100.0
    assert jitter(100.0, 0.1, 0.5) == pytest.approx(95.0)
    assert jitter(100.0, 0.1, 0.999999) == pytest.approx(90.0, abs=1e-4)
    assert jitter(None, 0.1, 0.5) is None
    assert jitter(100.0, 0.0, 0.9) == 100.0
