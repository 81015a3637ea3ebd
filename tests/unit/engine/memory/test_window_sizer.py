"""Where the border between the new and the proven goes."""

from __future__ import annotations

from alacena.engine.memory.window_sizer import WindowSizer


def turned(sizer: WindowSizer, times: int, *, distance: float | None = None, density: float, tail: int = 0) -> float:
    """The ratio after so many turns of a hundred-place segment, ten insertions each."""
    for _ in range(times):
        for _ in range(10):
            sizer.note_main_look(density)
            if distance is not None:
                sizer.note_ghost(distance)
        for _ in range(tail):
            sizer.note_tail_hit()
        sizer.turn(0.1, 0.01)
    return sizer.ratio


def test_ghosts_that_return_soon_open_the_window_where_the_main_queue_is_idle() -> None:
    assert turned(WindowSizer(), 12, distance=0.4, density=0.0) > 0.4


def test_a_busy_main_queue_closes_the_window() -> None:
    sizer = WindowSizer()
    turned(sizer, 20, distance=0.4, density=0.0)
    assert turned(sizer, 60, density=1.0) < 0.05


def test_a_window_whose_tail_is_hit_stays_open() -> None:
    sizer = WindowSizer()
    turned(sizer, 12, distance=0.4, density=0.0)
    before = sizer.ratio
    assert turned(sizer, 60, density=0.2, tail=5) >= before


def test_ghosts_that_growth_would_push_out_of_reach_do_not_open_it() -> None:
    """In a loop, each place taken from the main queue makes every key come back one insertion later."""
    sizer = WindowSizer()
    before = sizer.ratio
    assert turned(sizer, 40, distance=0.3, density=1 / 0.3) <= before


def test_the_window_neither_vanishes_nor_takes_all() -> None:
    sizer = WindowSizer()
    assert 0.9 < turned(sizer, 500, distance=0.98, density=0.0) < 1.0
    assert 0.0 < turned(sizer, 500, density=5.0) <= 0.01
