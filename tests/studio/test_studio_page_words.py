"""What the page is told is in its words, not in those of Python or of a terminal."""

from fluoroscope.inversion.measures import of_answers, of_class, variety
from fluoroscope.studio.kinds.page_words import spoken, with_minus, without_python
from tests.studio.conftest import Served


def test_what_is_needed_is_said_without_parameters() -> None:
    seeds = f"seeds= and {of_answers.SECOND}", "seeds=, the same pictures from other seeds"
    for needs in (of_class.TRAIN, variety.REAL, of_answers.SECOND, *seeds):
        plain = without_python(f"not measured, for it needs {needs}: a; b")
        assert "=" not in plain
        assert plain.endswith(": a; b")
        assert ", ," not in plain
    both = without_python(f"for it needs {of_class.TRAIN}: a")
    assert both == "for it needs the pictures that the network learnt from, and others: a"


def test_numbers_have_minus_signs_and_words_keep_their_hyphens() -> None:
    assert with_minus("at -1.3, in grad-cam and 1e-05") == "at −1.3, in grad-cam and 1e-05"


def test_a_warning_is_not_shouted() -> None:
    assert spoken("NO CLASS: 3 of 4") == "No class: 3 of 4"
    assert spoken("3 of 4: fine") == "3 of 4: fine"


def test_units_and_portraits_in_the_words_of_the_page(served: Served) -> None:
    told = served.job(kind="units", network="digits-cnn", picture="digits:7", other="digits:3")
    found = [event for event in told if event["event"] == "units"][-1]
    words = " ".join([found["summary"], *found["notes"], *(row["words"] for row in found["rows"])])
    assert "−" in words
    assert "none was named" not in words
    assert with_minus(words) == words
    told = served.job(kind="portrait", network="digits-cnn", classes=["2"], steps=3)
    [last] = [event for event in told if event["event"] == "picture" and event["final"]]
    assert not any("=" in line for line in last["not_measured"])
    assert last["not_measured"]
    assert not last["headline"].partition(":")[0].isupper()
