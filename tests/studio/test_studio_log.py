"""What a job told, kept within bounds and read by many at their own pace."""

import asyncio
import json
import threading
from base64 import b64decode
from collections import deque
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fluoroscope.errors import FluoroscopeError
from fluoroscope.studio.jobs import log as log_module
from fluoroscope.studio.jobs.encoding import as_places, as_text, encoded_frames
from fluoroscope.studio.jobs.log import EventLog


def read(log: EventLog, after: int = 0) -> list[tuple[int, str, dict[str, Any]]]:
    """All events past that one, up to the end."""

    async def all_of_it() -> list[tuple[int, str, dict[str, Any]]]:
        found: list[tuple[int, str, dict[str, Any]]] = []
        with log.reader(after) as reader:
            while events := await reader.next():
                found += [(one.number, one.name, json.loads(one.data)) for one in events]
        return found

    return asyncio.run(asyncio.wait_for(all_of_it(), 20))


def filled(log: EventLog, steps: int = 30, every: int = 7) -> EventLog:
    """A log of steps, some of which matter, to its end."""
    log.tell("begin", {}, frames={"original": "p" * 80}, matters=True)
    for step in range(steps):
        matters = step % every == 0
        log.tell("winner" if matters else "step", {"step": step}, frames={"now": "p" * 80},
                 matters=matters)  # fmt: skip
    log.tell("end", {"state": "done"}, matters=True)
    return log


def test_a_slow_reader_loses_the_oldest_frames_and_nothing_else() -> None:
    told = read(filled(EventLog(most_frame_bytes=1000)))
    assert [number for number, _, _ in told] == list(range(1, 33))
    assert [data["step"] for _, _, data in told[1:-1]] == list(range(30))
    assert told[-1][2] == {"state": "done"}
    framed = [number for number, _, data in told if "frames" in data]
    mattering = [number for number, name, _ in told if name in ("begin", "winner")]
    assert set(mattering) <= set(framed)
    passing = [number for number in framed if number not in mattering]
    # Those that are left are the newest: none older than any that is gone.
    steps = [number for number, name, _ in told if name == "step"]
    assert passing == steps[-len(passing) :]
    assert 0 < len(passing) < len(steps)
    frame = len('{"now":"' + "p" * 80 + '"}')
    assert 1000 - frame < frame * len(framed) <= 1000


def test_even_frames_that_matter_are_bounded() -> None:
    log = filled(EventLog(most_frame_bytes=500), steps=40, every=1)
    told = read(log)
    framed = [number for number, _, data in told if "frames" in data]
    assert framed == [1, 38, 39, 40, 41]
    assert [name for _, name, _ in told].count("winner") == 40
    assert log.size < 500 + 42 * 400


def test_the_first_and_the_newest_frames_stay_whatever_they_take() -> None:
    for every in (1, 100):
        told = read(filled(EventLog(most_frame_bytes=10), steps=2, every=every))
        framed = [number for number, _, data in told if "frames" in data]
        assert framed == ([1, 3] if every == 1 else [1, 2])


def test_a_log_that_is_full_of_numbers_takes_only_the_end() -> None:
    log = EventLog(most_event_bytes=20_000)
    fill = partial(deque, (log.tell("step", {"step": step}) for step in range(1000)))
    with pytest.raises(FluoroscopeError, match=r"has told \d+ events.*fewer steps"):
        fill()
    log.tell("end", {"state": "failed"})
    told = read(log)
    assert 20 < len(told) < 100
    assert told[-1][1] == "end"


def test_nothing_is_told_after_the_end() -> None:
    log = filled(EventLog(), steps=1)
    before = read(log)
    log.tell("end", {"state": "cancelled"})
    log.tell("step", {})
    assert read(log) == before


def test_numbers_that_are_not_finite_are_told_as_such() -> None:
    log = EventLog()
    odd = {"linf": float("nan"), "rows": [1.0, {"effect": float("-inf")}], "l2": 3.0}
    log.tell("step", odd, frames={"now": {"scale": float("inf")}})
    log.tell("end", {})
    data = read(log)[0][2]
    assert data["linf"] is None
    assert data["rows"] == [1.0, {"effect": None}]
    assert data["l2"] == 3.0
    assert data["not_finite"] == {"linf": "nan", "rows.1.effect": "-inf"}
    assert data["frames"] == {"now": {"scale": None, "not_finite": {"scale": "inf"}}}


FRAME = st.dictionaries(st.text(), st.text() | st.integers()) | st.fixed_dictionaries(
    {"width": st.integers(), "pixels": st.binary()}, optional={"scale": st.floats(0, 1)}
)


@given(st.dictionaries(st.text(), FRAME | st.lists(FRAME, max_size=3) | st.text(), max_size=3))
def test_frames_are_the_json_that_they_would_be(frames: dict[str, Any]) -> None:
    def with_bytes(frame: Any, of: Any) -> Any:
        if isinstance(frame, list):
            return [with_bytes(one, of) for one in frame]
        if isinstance(frame, dict) and "width" in frame and "pixels" in frame:
            return {**frame, "pixels": of(frame["pixels"])}
        return frame

    def each(of: Any, frames: dict[str, Any]) -> dict[str, Any]:
        return {name: with_bytes(one, of) for name, one in frames.items()}

    parts = encoded_frames(frames)
    assert each(b64decode, json.loads(as_text(parts))) == frames
    text, pixels = as_places(parts)
    placed = each(lambda lies: pixels[lies[0] : lies[0] + lies[1]], json.loads(text))
    assert placed == frames


def test_texts_for_many_readers_are_made_once_within_a_bound(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    made: list[Any] = []

    def spied(parts: list[bytes]) -> bytes:
        made.append(parts)
        return as_text(parts)

    monkeypatch.setattr(log_module, "as_text", spied)
    monkeypatch.setattr(log_module, "_TEXT_BYTES", 20_000)
    log = EventLog()
    for _ in range(30):
        log.tell("step", {}, frames={"now": {"pixels": bytes(3000)}})
    log.tell("end", {})
    alone = log.size

    async def look() -> None:
        with log.reader(), log.reader():
            events = log.after(0)[0]
            texts = [[log.spelled(one) for one in events] for _ in range(2)]
            assert texts[0] == texts[1] == [one.data for one in events]
            assert len(events) * 3000 > 20_000
            made.clear()
            for _ in range(50):
                for one in events[-5:]:
                    log.spelled(one)
            assert len(made) <= 5
            assert alone + 10_000 < log.size <= alone + 20_000

    asyncio.run(look())
    assert log.size == alone


@pytest.mark.parametrize("after", range(33))
def test_a_reader_goes_on_after_any_event(after: int) -> None:
    log = filled(EventLog())
    assert read(log, after) == read(log)[after:]


def test_readers_of_several_threads_hear_all_while_it_is_told() -> None:
    log = EventLog()
    heard: list[list[int]] = [[] for _ in range(12)]

    def listen(into: list[int]) -> None:
        into += [number for number, _, _ in read(log)]

    threads = [threading.Thread(target=listen, args=(into,)) for into in heard]
    for thread in threads:
        thread.start()
    for step in range(200):
        log.tell("step", {"step": step}, frames={"now": "p"})
    log.tell("end", {})
    for thread in threads:
        thread.join(20)
    assert heard == [list(range(1, 202))] * 12
    assert log.readers == 0


def test_a_reader_whose_loop_is_gone_does_not_disturb_the_job() -> None:
    log = EventLog()

    async def leave() -> None:
        context = log.reader()
        context.__enter__()  # and never left: its loop ends under it
        kept.append(context)

    kept: list[Any] = []
    asyncio.run(leave())
    log.tell("step", {})
    log.tell("end", {})
    assert log.last == 2


def test_who_reads_is_known() -> None:
    log = EventLog()
    assert log.unread()[1] is False

    async def look() -> tuple[float, bool, int]:
        with log.reader():
            return *log.unread(), log.readers

    assert asyncio.run(look()) == (0.0, True, 1)
    since, was_read = log.unread()
    assert since > 0
    assert was_read
    assert log.readers == 0
