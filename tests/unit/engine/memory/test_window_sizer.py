"""Where the border between the new and the proven goes."""

from __future__ import annotations

from alacena.engine.memory.window_sizer import WindowSizer


def turned(dial: WindowSizer, times: int, *, distance: float | None = None, density: float, tail: int = 0) -> float:
    """The ratio after so many turns of a hundred-place segment, ten insertions each."""
    for _ in range(times):
        for _ in range(10):
            dial.note_main_look(density)
            if distance is not None:
                dial.note_ghost(distance)
        for _ in range(tail):
            dial.note_tail_hit()
        dial.turn(0.1, 0.01)
    return dial.ratio


def test_ghosts_that_return_soon_open_the_window_where_the_main_queue_is_idle() -> None:
    assert turned(WindowSizer(), 12, distance=0.4, density=0.0) > 0.4


def test_a_busy_main_queue_closes_the_window() -> None:
    dial = WindowSizer()
    turned(dial, 20, distance=0.4, density=0.0)
    assert turned(dial, 60, density=1.0) < 0.05


def test_a_window_whose_tail_is_hit_stays_open() -> None:
    dial = WindowSizer()
    turned(dial, 12, distance=0.4, density=0.0)
    before = dial.ratio
    assert turned(dial, 60, density=0.2, tail=5) >= before


def test_ghosts_that_growth_would_push_out_of_reach_do_not_open_it() -> None:
    """In a loop, each place taken from the main queue makes every key come back one insertion later."""
    dial = WindowSizer()
    before = dial.ratio
    assert turned(dial, 40, distance=0.3, density=1 / 0.3) <= before


def test_the_window_neither_vanishes_nor_takes_all() -> None:
    dial = WindowSizer()
    assert 0.9 < turned(dial, 500, distance=0.98, density=0.0) < 1.0
    assert 0.0 < turned(dial, 500, density=5.0) <= 0.01
