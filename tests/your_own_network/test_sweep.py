"""Every odd network on every odd data set: right, noted, or refused in one sentence."""

from pathlib import Path

import pytest

import fluoroscope as fs
from tests.your_own_network.calls import COMMANDS, LIBRARY, PLAN_FILE, Given, ask, command, words_of
from tests.your_own_network.data_sets import DATA_SETS
from tests.your_own_network.networks import NETWORKS, SIDES, network

KINDS = {"right": "r", "noted": "n", "refused": "x"}
# A letter for each data set, in their order: what comes of an evaluation and its kin, of an attack,
# and of ``predict``. Only the first stops at the level of chance, where the data's words are others
# or all pictures of one class; and an attack leads pictures without labels away from what the
# network classifies them as.
EXPECTED = {
    "logits": ("rrnxxrrxxrxr", "rrnnrrrrrrxr", "rrnnnrrnnrxr"),
    "one output": ("xxxxxxxxxxxx", "xxxxxxxxxxxx", "xxxxxxxxxxxx"),
    "probabilities": ("nnnxxnnxxnxn", "nnnnnnnnnnxn", "nnnnnnnnnnxn"),
    "bfloat16": ("rrnxxrrxxrxr", "rrnnrrrrrrxr", "rrnnnrrnnrxr"),
    "depends on the batch": ("nnnxxnnxxnxn", "nnnnnnnnnnxn", "nnnnnnnnnnxn"),
    "draws at random": ("nnnxxnnxxnxn", "nnnnnnnnnnxn", "nnnnnnnnnnxn"),
    "gradient 0": ("nnnxxnnxxnxn", "nnnnnnnnnnxn", "nnnnnnnnnnxn"),
    "gradient not finite": ("nnnxxnnxxnxn", "nnnnnnnnnnxn", "nnnnnnnnnnxn"),
    "raises": ("xxxxxxxxxxxx", "xxxxxxxxxxxx", "xxxxxxxxxxxx"),
    "batches of four": ("rrnxxrrxxrxr", "rrnnrrrrrrxr", "rrnnnrrnnrxr"),
    "not a number": ("xxxxxxxxxxxx", "xxxxxxxxxxxx", "xxxxxxxxxxxx"),
    "untrained": ("xxxxxxxxxxxx", "nnnnnnnnnnxn", "nnnnnnnnnnxn"),
}
COLUMNS = {"attack": 1, "predict": 2}
# Where the words of the data are not the network's, places are a guess.
GUESSED = "other words"
LONGEST = 900  # characters: a sentence or two, and what to do


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, object]:
    """What each data set was written as."""
    top = tmp_path_factory.mktemp("data")
    made: dict[str, object] = {}
    for name, put in DATA_SETS.items():
        (top / name).mkdir()
        made[name] = put(top / name)
    return made


@pytest.mark.parametrize("call", LIBRARY)
def test_a_call_of_the_library(call: str, folders: dict[str, object]) -> None:
    wrong = []
    for name in NETWORKS:
        for number, (data, put) in enumerate(folders.items()):
            given: Given = fs.load_images(put, channels=1) if isinstance(put, Path) else put
            found = ask(call, network(name), given)
            expected = EXPECTED[name][COLUMNS.get(call, 0)][number]
            trusted = found.kind == "refused" or data == GUESSED or name == "untrained"
            if (
                KINDS[found.kind] != expected
                or len(found.words) > LONGEST
                or not (trusted or found.accuracy in (None, 1))
            ):
                wrong.append(f"{name} on {data}: {found}, not {expected}")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command(
    name: str,
    folders: dict[str, object],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "names.txt").write_text("\n".join(SIDES))
    (tmp_path / "plan.toml").write_text(PLAN_FILE)
    wrong = []
    for each in NETWORKS:
        model = f"python:tests.your_own_network.networks:{each.replace(' ', '_')}"
        for number, (data, put) in enumerate(folders.items()):
            if not isinstance(put, Path):
                continue
            code, said = command(monkeypatch, capsys, *words_of(name, model, put, tmp_path))
            expected = EXPECTED[each][COLUMNS.get(name, 0)][number]
            noted = "warning: " in said or "note: " in said
            found = "x" if code == 2 else "n" if noted else "r"
            if code not in (0, 2) or found != expected or (code == 2 and said.count("\n") > 3):
                wrong.append(f"{each} on {data}: {code}, {found}, not {expected}: {said[-500:]}")
    assert not wrong, "\n".join(wrong)
