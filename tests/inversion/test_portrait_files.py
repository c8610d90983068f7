"""Portraits on disk, put down and taken up, asked of a second network, and drawn."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
from PIL import Image

import fluoroscope as fs
from fluoroscope.data.digits import digits
from fluoroscope.engine import bookmark as bookmarks
from fluoroscope.engine.bookmark import Bookmark
from fluoroscope.inversion.measures.saved import read_saved
from fluoroscope.inversion.portraits import sheets
from fluoroscope.inversion.portraits.books import STATIONS, look_steps
from fluoroscope.inversion.portraits.objectives.classes import class_goal
from fluoroscope.inversion.portraits.objectives.units import feature_match
from fluoroscope.inversion.portraits.portrait import Look, NothingFinishedError
from fluoroscope.inversion.portraits.portrait_files import TENSORS
from fluoroscope.inversion.portraits.priors.vital import sorted_values
from fluoroscope.inversion.portraits.recipe import Weighted
from fluoroscope.tensor_files import write_tensors


@pytest.fixture(scope="module")
def made() -> fs.Portraits:
    found = fs.portrait(
        fs.load_model("digits-cnn"), [3, 8], method="pixels", steps=8, against=True, frames=3
    )
    return found.judged_by(fs.load_model("digits-robust"))


def test_what_is_saved_comes_back_in_the_same_bytes(made: fs.Portraits, tmp_path: Path) -> None:
    made.save(tmp_path)
    found = fs.Portraits.load(tmp_path)
    for name in TENSORS:
        assert torch.equal(getattr(found, name), getattr(made, name)), name
    assert (found.record, found.labels, found.notes) == (made.record, made.labels, made.notes)
    assert found.second == made.second
    told = json.loads((tmp_path / "portraits.json").read_text())
    assert [row["against"] for row in told["portraits"]] == [False, False, True, True]
    assert told["portraits"][0]["probability"] == pytest.approx(float(made.probabilities[0]))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"targets": torch.tensor([3, 8, 3, 10])}, "a target is none of 10 classes"),
        ({"images": torch.full((4, 1, 28, 28), 2.0)}, "images are not within 0 and 1"),
        ({"reached": torch.zeros(4, 5, dtype=torch.long)}, "reached has shape"),
        ({"numbers": torch.zeros(4)}, "numbers holds torch.float32"),
    ],
)
def test_what_no_portraits_are_is_refused(
    change: dict[str, torch.Tensor], words: str, made: fs.Portraits, tmp_path: Path
) -> None:
    made.save(tmp_path)
    file = tmp_path / "portraits.json"
    tensors = {name: getattr(made, name) for name in TENSORS} | change
    seal = write_tensors(tmp_path / "portraits.safetensors", tensors)
    file.write_text(json.dumps(json.loads(file.read_text()) | {"sha256": seal}))
    with pytest.raises(fs.FluoroscopeError, match=words):
        fs.Portraits.load(tmp_path)


def test_a_way_station_is_the_first_picture_that_was_seen_to_be_there(made: fs.Portraits) -> None:
    model = fs.load_model("digits-cnn")
    for row in range(2):
        steps, sure = made.curve[row, :, 0], made.curve[row, :, -1]
        for at, station in enumerate(STATIONS):
            first = steps[sure >= station]
            reached = int(made.reached[row, at])
            assert reached == (int(first[0]) if len(first) else -1)
            if reached >= 0:
                said = fs.predict(model, made.stations[row, at])
                assert float(said.probabilities[0, made.targets[row]]) >= station - 1e-5
    assert (made.reached[2:] == -1).all()


def test_it_is_looked_at_often_at_first_and_at_the_end() -> None:
    assert look_steps(1) == [0]
    assert look_steps(12) == [0, 1, 2, 3, 4, 5, 6, 8, 10, 11]
    found = look_steps(512)
    assert found[:8] == [0, 1, 2, 3, 4, 5, 6, 8]
    assert found[-1] == 511
    assert len(found) == 24


def test_frames_are_spread_evenly_over_all_steps() -> None:
    model = fs.load_model("digits-linear")
    start = torch.full((1, 28, 28), 0.5)
    ways = [
        fs.portrait(model, 3, method="pixels", steps=steps, start=start).images for steps in (2, 5)
    ]
    found = fs.portrait(model, 3, method="pixels", steps=8, start=start, frames=3)
    torch.testing.assert_close(found.frames[0, 0], start)
    torch.testing.assert_close(found.frames[0, 1:], torch.cat(ways))  # those of steps 2 and 5
    few = fs.portrait(model, 3, method="pixels", steps=2, start=start, frames=9)
    assert few.frames.shape[1] == 2


def _stopped(place: Path, after: int, batch_size: int) -> fs.Portraits:
    """Portraits that are put down after so many steps of the loop, and taken up again."""
    model, seen = fs.load_model("digits-cnn"), []
    usual = {"method": "pixels", "steps": 6, "batch_size": batch_size, "seed": 3}
    with mock.patch.object(bookmarks, "_WORTH", 0.0):
        part = fs.portrait(
            model, [1, 2, 3, 4], **usual, bookmark=Bookmark(place, {}), on_step=seen.append,
            cancelled=lambda: len(seen) == after,
        )  # fmt: skip
        assert 0 < len(part.images) < 4
        again = Bookmark(place, {})
        assert again.found
        return fs.portrait(model, [1, 2, 3, 4], **usual, bookmark=again)


def test_put_down_and_taken_up_it_is_the_same_bytes(tmp_path: Path) -> None:
    whole = fs.portrait(
        fs.load_model("digits-cnn"), [1, 2, 3, 4], method="pixels", steps=6, batch_size=2, seed=3
    )
    found = _stopped(tmp_path / "portraits.going", 9, 2)
    for name in TENSORS:
        assert torch.equal(getattr(found, name), getattr(whole, name)), name
    assert found.record == whole.record


def test_stopped_before_one_is_finished_it_says_so() -> None:
    with pytest.raises(NothingFinishedError):
        fs.portrait(
            fs.load_model("digits-linear"), 3, method="pixels", steps=5, cancelled=lambda: True
        )


def test_portraits_under_way_are_told_of() -> None:
    looks: list[Look] = []
    model = fs.load_model("digits-linear")
    found = fs.portrait(model, [3, 5], method="pixels", steps=4, on_look=looks.append)
    assert [look.steps.tolist() for look in looks] == [[step, step] for step in range(4)]
    for at, look in enumerate(looks):
        said = fs.predict(model, look.images).probabilities.gather(1, torch.tensor([[3], [5]]))
        torch.testing.assert_close(look.probabilities, said[:, 0])
        torch.testing.assert_close(look.goals, found.curve[:, at, 1])


def test_the_second_network_is_asked_by_the_name_of_the_class(made: fs.Portraits) -> None:
    robust = fs.load_model("digits-robust")
    said = fs.predict(robust, made.images).probabilities
    for row, one in enumerate(made.second):
        assert one.probability == pytest.approx(float(said[row, made.targets[row]]))
        assert one.winner == str(int(said[row].argmax()))
        assert one.agrees == (int(said[row].argmax()) == int(made.targets[row]))
    names = [*map(str, range(1, 10)), "0"]  # the same names at other places
    turned = made.judged_by(robust.restated(names))
    for row, one in enumerate(turned.second):
        place = names.index(str(int(made.targets[row])))
        assert one.probability == pytest.approx(float(said[row, place]))
    other = made.judged_by(robust.restated([*"abcdefghi", "3"]))
    assert other.second[1].probability == pytest.approx(float(said[1, 8]))  # no class is called 8
    with pytest.raises(fs.FluoroscopeError, match="the network under study itself"):
        made.judged_by(fs.load_model("digits-cnn"))


def test_every_picture_is_drawn_and_those_of_before_go(made: fs.Portraits, tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"")
    written = made.draw(tmp_path)
    assert {file.name for file in tmp_path.iterdir()} == {file.name for file in written} | {
        "mine.png"
    }
    names = {file.name for file in written}
    assert {"gallery.png", "ladder.png", "pairs.png", "curves.svg", "portraits.gif"} <= names
    assert {"portrait-3-3-0-0.png", "portrait-against-8-8-1-3.png"} <= names
    with Image.open(tmp_path / "portrait-3-3-0-0.png") as picture:
        assert picture.size == (28, 28)
        assert picture.getpixel((5, 9)) == round(255 * float(made.images[0, 0, 9, 5]))
    with Image.open(tmp_path / "portraits.gif") as film:
        assert film.n_frames == 4  # type: ignore[attr-defined]
    few = replace(
        made, **{name: getattr(made, name)[:1] for name in TENSORS}, second=made.second[:1]
    )
    few.draw(tmp_path, gif=False, transparent=True)
    left = {file.name for file in tmp_path.iterdir()}
    assert not left & {"pairs.png", "portraits.gif", "portrait-8-8-1-1.png"}
    with Image.open(tmp_path / "portrait-3-3-0-0.png") as picture:
        assert picture.mode == "RGBA"


def test_which_real_pictures_portraits_were_made_with(tmp_path: Path) -> None:
    model = fs.load_model("digits-cnn")
    pictures = digits()[0][:8]
    fitted = fs.inversion.fit_prior(pictures, model)
    ranks = Weighted(sorted_values(model, pictures))

    def made(**options: Any) -> fs.Portraits:
        return fs.portrait(model, 3, method="pixels", steps=1, **options)

    assert made().made_with == "begun from the shipped statistics of real pictures: digits"
    assert made(prior="grey").made_with == ""
    for options, words in (
        ({"prior": fitted}, f"statistics of {fitted.name}"),
        ({"prior": "grey", "priors": (ranks,)}, "sorted values of 8 pictures"),
        ({"prior": "grey", "start": pictures[0]}, "a start that was given"),
        (
            {"prior": "grey", "goal": class_goal() + 2 * feature_match(model, "0", pictures[0])},
            "as a picture at 0",
        ),
    ):
        found = made(**options)
        assert found.record["needs_data"] is True
        assert words in found.made_with
        assert found.made_with.startswith("made with real pictures: ")
        found.save(tmp_path)
        assert read_saved(tmp_path).needs_data is True
    made().save(tmp_path)
    assert read_saved(tmp_path).needs_data is False


def test_one_sample_of_each_class_stands_side_by_side_under_its_name(
    made: fs.Portraits, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, Any] = {}

    def sheet(rows: Any, names: Any, **words: str) -> Image.Image:
        seen.update(rows=rows, names=names, **words)
        return Image.new("L", (8, 8))

    monkeypatch.setattr(sheets, "tile_sheet", sheet)
    made.gallery()
    assert [[tile.words[0] for tile in row] for row in seen["rows"]] == [
        ["3", "against 3", "8", "against 8"]
    ]
    assert seen["rows"][0][1].words[2] == f"predicted as {made.winners[2]}"
    assert seen["names"] == [""]
    assert seen["title"] == "What digits-cnn answers to as a class"
    assert "not what the class looks like" in seen["foot"]
    assert "in the whole picture" not in seen["foot"]
    assert "begun from the shipped statistics of real pictures: digits" in seen["foot"]
    replace(made, record=made.record | {"seen_in_parts": True}).gallery()
    assert "in the whole picture, of which the search looked at parts" in seen["foot"]
    begun = replace(
        made, starts=made.images[[2, 2, 2, 2]], start_logits=9 * torch.eye(10)[[5, 5, 5, 5]]
    )
    begun.gallery()
    assert [[tile.words[0] for tile in row][:1] for row in seen["rows"]] == [["the start"]] * 4
    assert [len(row) for row in seen["rows"]] == [2] * 4
    assert seen["rows"][0][0].words[1] == "5, 99.9\u202f%"
    begun.ladder()
    assert seen["heads"][0] == "the start"
    assert torch.equal(seen["rows"][0][0].picture, made.images[2])
    assert [len(row) for row in seen["rows"]] == [6, 6]
    replace(made, targets=torch.full_like(made.targets, -1)).gallery()
    assert "what excites it" in seen["title"]
    assert seen["names"] == ["logit", "against logit"]


def _several(made: fs.Portraits, classes: int, samples: int) -> fs.Portraits:
    """The first portrait many times, as samples of classes."""
    rows = [0] * (classes * samples)
    many = {name: getattr(made, name)[rows] for name in TENSORS if len(getattr(made, name))}
    many["targets"] = torch.arange(classes).repeat_interleave(samples)
    many["numbers"] = torch.arange(samples).repeat(classes)
    return replace(made, **many, second=())


@pytest.mark.parametrize(
    ("classes", "samples", "rows", "words"),
    [
        (3, 2, [[0, 1], [2, 3], [4, 5]], ""),
        (1, 7, [[0, 1, 2, 3, 4], [5, 6]], ""),
        (7, 1, [[0, 1, 2, 3, 4], [5, 6]], ""),
        (10, 3, [[0, 3, 6, 9, 12], [15, 18, 21, 24, 27]],
         "the first of each class; 20 portraits more in the .safetensors file"),
    ],
)  # fmt: skip
def test_no_class_is_left_out_of_the_film(
    made: fs.Portraits, classes: int, samples: int, rows: list[list[int]], words: str
) -> None:
    assert sheets._in_gif(_several(made, classes, samples)) == (rows, words)


def test_the_median_of_two_lies_between_them_and_those_against_are_counted(
    made: fs.Portraits,
) -> None:
    logits = made.logits.clone()
    logits[:2] = 0.0
    logits[[0, 1], [3, 8]] = torch.tensor([100.0, 0.0])
    found = replace(made, logits=logits, second=())
    assert found.summary == (
        "2 portraits, 1 predicted as their class (median probability 55.0\u202f%); beside them 2 "
        "against a class"
    )


def test_where_no_class_was_reached_more_steps_are_named(made: fs.Portraits) -> None:
    assert "may be sure" in made.caution or "give more" in made.caution
    wrong = torch.zeros_like(made.logits)
    wrong[:, 0] = 9.0
    none = replace(made, logits=wrong, reached=torch.full_like(made.reached, -1))
    usual = none.record["usual_steps"]
    assert f"after 8 of the preset's {usual} steps: give more." in none.caution
    assert "may be sure" not in none.caution
    assert "may be sure" in replace(none, reached=made.reached.clamp(min=0)).caution
    enough = replace(none, record=none.record | {"usual_steps": None})
    assert enough.caution.endswith("predicts none of them as their class.")


def test_the_start_is_kept_with_what_the_network_says_of_it(tmp_path: Path) -> None:
    model, picture = fs.load_model("digits-cnn"), digits()[0][0]
    found = fs.portrait(model, [3, 4], method="pixels", steps=1, start=picture)
    assert torch.equal(found.starts, picture.expand(2, -1, -1, -1))
    torch.testing.assert_close(found.start_logits, fs.predict(model, found.starts).logits)
    found.save(tmp_path)
    assert torch.equal(fs.Portraits.load(tmp_path).starts, found.starts)
    assert len(fs.portrait(model, 3, method="pixels", steps=1).starts) == 0


def test_curves_of_many_steps_show_the_first_ones_and_ten_classes_have_colours(
    made: fs.Portraits,
) -> None:
    ten = _several(made, 10, 1)
    curve = ten.curve.clone()
    curve[:, -1, 0] = 511
    many, few = replace(ten, curve=curve).figure(), ten.figure()
    assert [axis.get_xscale() for axis in many.axes] == ["symlog"] * len(many.axes)
    assert few.axes[0].get_xscale() == "linear"
    assert len({line.get_color() for line in many.axes[0].lines}) == 10
