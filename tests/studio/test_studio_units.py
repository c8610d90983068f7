"""Units in the studio are those that the library's traces find, with pictures that they like."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from fluoroscope import load_images, load_model
from fluoroscope.neurons.reading.read import read
from fluoroscope.neurons.tracing.trace import trace
from fluoroscope.neurons.tracing.turned import turned
from fluoroscope.studio.kinds import favourites as reading
from tests.studio.conftest import Served
from tests.studio.odd_networks import run, studio

DIGITS = load_images("digits", channels=1)


def test_who_decided_and_what_they_like(served: Served) -> None:
    told = served.job(kind="units", network="digits-cnn", picture="digits:7")
    early, late = (event for event in told if event["event"] == "units")
    model = load_model("digits-cnn")
    own = trace(model, model.fit(DIGITS[7].image))
    assert [(row["unit"], row["effect"]) for row in late["rows"]] == [
        (row["unit"], row["margin"]) for row in own.rows(4)
    ]
    assert [row["unit"] for row in early["rows"]] == [row["unit"] for row in late["rows"]]
    assert late["layer"] == own.record["layer"]
    assert late["pair"] == [7, own.record["rival"]]
    read_ = read(model, DIGITS.take(600), own.record["layer"], reduction="max")
    for row in late["rows"]:
        values = read_.values[:, row["unit"]]
        best = np.argsort(-values, kind="stable")[:4]
        assert [one["picture"] for one in row["favourites"]] == [f"digits:{n}" for n in best]
        assert len(late["frames"][f"unit_{row['unit']}"]) == 4
        assert f"unit_{row['unit']}" not in early["frames"]


def test_who_turned_between_two_pictures(served: Served) -> None:
    told = served.job(kind="units", network="digits-cnn", picture="digits:7", other="digits:3",
                      **{"class": "7", "against": "3"})  # fmt: skip
    found = [event for event in told if event["event"] == "units"][-1]
    model = load_model("digits-cnn")
    own = turned(model, model.fit(DIGITS[7].image), model.fit(DIGITS[3].image), ("7", "3"))
    rows = {row["unit"]: row for row in own.rows(64)}
    assert found["pair"] == [7, 3]
    assert [row["unit"] for row in found["rows"]] == own.turned[:8]
    for row in found["rows"]:
        assert (row["before"], row["after"]) == (
            rows[row["unit"]]["before"], rows[row["unit"]]["after"],
        )  # fmt: skip
        side = "7" if row["after"] > row["before"] else "3"
        assert row["words"].startswith(f"turned to {side}: ")


def test_a_picture_that_does_not_activate_a_unit_is_none_of_its_favourites(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def first_alone(*args: Any, **options: Any) -> Any:
        found = read(*args, **options)
        values = np.zeros_like(found.values)
        values[0, 1::2] = 1.0
        return replace(found, values=values)

    monkeypatch.setattr(reading, "read", first_alone)
    told = run(studio(), kind="units", network="linear", picture="digits:7")
    late = told[-1]
    rows = {row["unit"]: row["favourites"] for row in late["rows"]}
    assert {unit % 2 for unit in rows} == {0, 1}
    for unit, liked in rows.items():
        assert [one["picture"] for one in liked] == ["digits:0"] * (unit % 2)
        assert (f"unit_{unit}" in late["frames"]) == bool(unit % 2)
