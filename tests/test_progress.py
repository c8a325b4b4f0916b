"""The progress display: plain lines without a terminal, a bar on one, time left from recorded numbers only."""

from __future__ import annotations

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from regimen.events import Event, Header, Metrics, Note, Resumed
from regimen.progress import Progress


def at(step: int, fraction: float, elapsed_s: float) -> Metrics:
    timing = {"time/elapsed_s": elapsed_s, "time/fraction": fraction, "time/tokens_per_s": 312.4}
    return Metrics(step, {"train/loss": 1.234, **timing}, 0.0)


def plain(*events: Event) -> list[str]:
    out = io.StringIO()
    with Progress(out) as display:
        for event in events:
            display(event)
    return out.getvalue().splitlines()


def test_one_plain_line_a_log_interval() -> None:
    evaluated = Metrics(0, {"valid/loss": 1.3}, 0.0)
    lines = plain(Header("x"), evaluated, at(20, 0.06, 5.0), at(40, 0.12, 10.0))
    assert lines == [
        "step 0  valid loss 1.3",
        "step 20  loss 1.234  valid 1.300  312 tok/s  6% eta 1m18s",
        "step 40  loss 1.234  valid 1.300  312 tok/s  12% eta 1m13s",
    ]


def test_what_follows_the_training_is_told_by_its_own_numbers() -> None:
    """A search has no loss: that of the supernet would be stale, and its time left no time at all."""
    timing = {"time/elapsed_s": 21.0, "time/fraction": 0.5}
    lines = plain(
        at(40, 1.0, 20.0),
        Metrics(41, {"search/accuracy": 0.5, "search/best": 0.75, **timing}, 0.0),
        Metrics(62, {"retrain_train/loss": 2.5, **timing, "time/elapsed_s": 23.0}, 0.0),
        Metrics(62, {"retrain_valid/accuracy": 0.25, "retrain_train/epoch": 1.0}, 0.0),
        Metrics(70, {"final/proof_reload_difference": 0.0}, 0.0),
    )
    assert lines == [
        "step 40  loss 1.234  312 tok/s  100%",
        "search  step 41  accuracy 0.5  best 0.75  50% eta 1.0s",
        "retrain  step 62  loss 2.500  50% eta 2.0s",
        "retrain  step 62  valid accuracy 0.25",
        "final  step 70  proof_reload_difference 0",
    ]


def test_another_run_begins_without_the_numbers_of_the_one_before() -> None:
    lines = plain(Header("x"), at(40, 1.0, 20.0), Header("y"), Metrics(0, {"valid/loss": 1.5}, 0.0), at(10, 0.5, 1.0))
    assert lines[1:] == ["step 0  valid loss 1.5", "step 10  loss 1.234  valid 1.500  312 tok/s  50% eta 1.0s"]


def test_notes_and_resumes_are_said() -> None:
    assert plain(Note("train.jsonl:3 [odd]", 0.0), Resumed(30, 0, 0.0)) == [
        "note: train.jsonl:3 [odd]",
        "resumed from step 30",
    ]


def test_without_a_budget_no_time_is_promised() -> None:
    assert "eta" not in plain(at(20, 0.0, 5.0))[0]


def test_the_pace_after_a_resume_is_that_of_now() -> None:
    """Hours before the resume, on another machine perhaps, say nothing about the time that is left."""
    slow_then = [at(step, step / 100, step * 100.0) for step in (10, 20)]
    fast_now = [at(step, step / 100, 2000.0 + step) for step in (30, 40)]
    display = Progress(io.StringIO())
    for event in [*slow_then, Resumed(20, 0, 0.0), *fast_now]:
        display(event)
    assert display.eta_s == pytest.approx(60.0)


@given(st.floats(0.01, 1e6), st.lists(st.floats(0.001, 1.0), min_size=1, max_size=60))
def test_at_a_steady_pace_the_time_left_is_exact(total_s: float, fractions: list[float]) -> None:
    spent = sorted(set(fractions))
    if len(spent) > 1 and spent[-1] - spent[-50:][0] < 1e-6:
        return
    display = Progress(io.StringIO())
    for step, fraction in enumerate(spent):
        display(at(step, fraction, total_s * fraction))
    assert display.eta_s == pytest.approx(total_s * (1 - spent[-1]), rel=1e-3, abs=1e-3 * total_s)


@given(st.lists(st.tuples(st.floats(), st.floats()), max_size=4))
def test_odd_numbers_never_break_the_display(pairs: list[tuple[float, float]]) -> None:
    assert len(plain(*(at(step, fraction, s) for step, (fraction, s) in enumerate(pairs)))) == len(pairs)


def test_a_terminal_gets_a_bar_that_ends_with_the_last_numbers() -> None:
    out = io.StringIO()
    with Progress(out, terminal=True) as display:
        display(Metrics(0, {"valid/loss": 1.3}, 0.0))
        display(at(40, 0.12, 10.0))
        display(Note("a [bold] note", 0.0))
    text = out.getvalue()
    assert "━" in text
    assert "a [bold] note" in text
    assert text.rindex("step 40  loss 1.234  valid 1.300") > text.index("step 0")


def test_odd_numbers_never_break_the_bar() -> None:
    with Progress(io.StringIO(), terminal=True) as display:
        for value in (float("nan"), float("inf"), -1.0, 2.0):
            display(at(1, value, value))
