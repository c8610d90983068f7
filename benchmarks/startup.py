"""How long commands take before, beside and after their work: as ratios to ``import torch``."""

import resource
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from benchmarks.page import PAGE, Scale, Section
from benchmarks.peers import SHARED
from benchmarks.timing import Timing, interleaved

COMMAND = Path(sys.executable).with_name("fluoroscope")
NETWORK = SHARED.resolve() / "models" / "mobilenet_v1_0.25_128"
LARGE = SHARED.resolve() / "models" / "mobilenet_v1_0.75_224"
FLOOR = "`import torch`"
_ALONE = "`AutoModelForImageClassification.from_pretrained` of transformers alone"
# Of each command how many times as long as importing PyTorch it may take.
SMALL, WORKING, HUGGING_FACE = 0.3, 1.6, 2.5
DIGITS = ("-m", "digits-cnn", "-d", "digits")
# A morph in a process of its own, which has to import what draws: seconds of search and of saving.
_MORPH = """
import sys, time, warnings
warnings.simplefilter("ignore")
import torch
torch.set_num_threads(1)
import fluoroscope as fs
model = fs.load_model(sys.argv[1])
picture = fs.open_image("digits:7", channels=model.channels).image
clocks = [time.process_time()]
found = fs.morph(model, picture, to=int(sys.argv[2]), eps="8/255", steps=20)
clocks.append(time.process_time())
found.save(sys.argv[3])
clocks.append(time.process_time())
print(*(after - before for before, after in zip(clocks, clocks[1:])))
"""


def start(scale: Scale) -> Section:
    """The processor's time and the time on the wall of whole commands, and of saving a morph."""
    section = Section(PAGE, "start", "Starting")
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        _call(place, "evaluate", *DIGITS, "--limit", "100", "--threat", "linf:0.1",
              "--plan", "curve", "--out", "run")()  # fmt: skip
        goals = _goals()
        ways = {FLOOR: _python("import torch")}
        ways |= {
            f"`fluoroscope {' '.join(words)}`": _call(place, *words, code=code)
            for words, code, _ in goals
        }
        limits = {f"`fluoroscope {' '.join(words)}`": goal for words, _, goal in goals}
        if NETWORK.is_dir():
            name = f"`fluoroscope predict -i digits:7 -m` {NETWORK.name}, in Hugging Face's format"
            ways[name] = _call(place, "predict", "-i", "digits:7", "-m", str(NETWORK))
            limits[name] = HUGGING_FACE
            ways[_ALONE] = _python(
                "from transformers import AutoModelForImageClassification as Auto; "
                f"Auto.from_pretrained({str(NETWORK)!r})"
            )
        cpu = interleaved(ways, scale.repeats or 7, clock=_children)
        wall = interleaved(ways, scale.repeats or 7, warm=False)
    section.text(
        "Whole commands, each a process of its own, against one that imports PyTorch and nothing "
        "else: the processor's seconds, user and system together, and those on the wall. A "
        "network in Hugging Face's format needs transformers, so what that takes by itself stands "
        "below it."
    )
    section.table(
        ["", "CPU, s>", f"÷ {FLOOR}>", "quartiles>", "at most>", "wall, s>", "÷>", "quartiles>"],
        [_row(name, cpu, wall, limits.get(name)) for name in ways],
    )
    _saving(section, scale)
    return section


def _goals() -> list[tuple[tuple[str, ...], int, float]]:
    """Commands, their exit codes, and how many times as long as PyTorch's import they may take."""
    return [
        (("--help",), 0, SMALL),
        (("--version",), 0, SMALL),
        (("models", "list"), 0, SMALL),
        (("attacks",), 0, SMALL),
        (("attacks", "pgd"), 0, SMALL),
        (("runs", "show", "run"), 0, SMALL),
        (("predict", "-m", "digits-cmn", "-d", "digits"), 2, SMALL),
        (("attack", "pdg", *DIGITS, "--eps", "0.1"), 2, SMALL),
        (("labels", "-m", "digits-cnn", "-d", "digts"), 2, SMALL),
        (("predict", *DIGITS), 0, WORKING),
        (("gradient", "-m", "digits-cnn", "-i", "digits:7"), 0, WORKING),
        (("morph", "-m", "digits-cnn", "-i", "digits:7", "--to", "2"), 0, WORKING),
        (("attack", "pgd", *DIGITS, "--limit", "100", "--eps", "0.1"), 0, WORKING),
    ]


def _row(name: str, cpu: Timing, wall: Timing, goal: float | None) -> list[str]:
    found = []
    for timing, most in ((cpu, goal), (wall, None)):
        found += [f"{timing.median(name):.2f}", f"{timing.ratio(name, FLOOR):.2f}",
                  timing.spread(name, FLOOR)]  # fmt: skip
        if timing is cpu:
            found.append("" if most is None else f"{most:g}")
    return [name, *found]


def _saving(section: Section, scale: Scale) -> None:
    """What saving costs beside the search, in the process's first morph."""
    rows = []
    for network, target in (("digits-cnn", 2), (NETWORK, 23), (LARGE, 23)):
        if isinstance(network, Path) and not network.is_dir():
            continue
        with tempfile.TemporaryDirectory() as folder:
            ran = [
                _output([sys.executable, "-c", _MORPH, str(network), str(target), folder])
                for _ in range(scale.repeats or 5)
            ]
        search, save = (statistics.median(seconds) for seconds in zip(*ran, strict=True))
        name = network.name if isinstance(network, Path) else network
        rows.append([f"`{name}`", f"{search:.2f}", f"{save:.2f}", f"{save / search:.2f}"])
    section.text(
        "A morph of 20 steps and the saving of its files, GIF included, in a process that had not "
        "drawn before: the processor's seconds on one thread. At most half of the search, or one "
        "second."
    )
    section.table(["network", "search, s>", "save, s>", "save ÷ search>"], rows)


def _output(command: list[str]) -> list[float]:
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(word) for word in done.stdout.split()]


def _call(folder: Path, *words: str, code: int = 0) -> Callable[[], object]:
    def run() -> None:
        done = subprocess.run([COMMAND, *words], capture_output=True, text=True, cwd=folder)
        if done.returncode != code:
            raise RuntimeError(f"{' '.join(words)} ended with {done.returncode}: {done.stderr}")

    return run


def _python(code: str) -> Callable[[], object]:
    return lambda: subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def _children() -> float:
    """Seconds of the processor that ended child processes have taken."""
    spent = resource.getrusage(resource.RUSAGE_CHILDREN)
    return spent.ru_utime + spent.ru_stime
