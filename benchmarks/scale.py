"""How an evaluation's cost grows: a simulation of its schedule, written to docs/scale.md.

``python -m benchmarks.scale`` takes figures of the user's own: a network's speed, a cluster's
deaths and stragglers, the rows of a run (``--run DIRECTORY``) in place of those measured here.
The simulation hands parts to idle workers as the engine ``ray`` does, with every picture's passes
drawn from rows of real runs. What it knows of machines it was told: see the page.
"""

import argparse
import heapq
import statistics
import tempfile
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

import fluoroscope as fs
from benchmarks.page import Scale, Section, Skipped, percent
from benchmarks.peers import MNIST
from fluoroscope.evaluation.plans import PLANS
from fluoroscope.evaluation.runs.run_directory import RunDirectory

PAGE = Path("docs/scale.md")
HEAD = """# Past one machine: what ImageNet costs on 64 GPUs

Written by `python -m benchmarks scale`; nothing in it is typed by hand.
`python -m benchmarks.scale --help` lists the figures that can be set, and `--run DIRECTORY` draws
the passes of every picture from a run of your own.
"""

Numbers = NDArray[np.float64]
_HOUR = 3600.0
_DRAWS = 20


@dataclass(frozen=True)
class Setting:
    """What the simulation is told; the defaults are assumptions, each with its source."""

    pictures: int = 50_000
    """of ImageNet's validation set"""
    part: int = 222
    """pictures in a part; the default at 224×224"""
    gpus: int = 64
    """workers, each with a GPU"""
    forward: float = 1 / 1229
    """seconds of a picture's forward pass; V100, float32, batches of 128 (1)"""
    backward: float = (1 / 356 - 1 / 1229) / 2
    """seconds of a picture's backward pass to the pixels alone; half of what training adds to the
    forward pass, since the weights' gradients are the other half; same GPU (1)"""
    step: float = 10.37e-3
    """seconds that any pass of a batch takes at least, however few pictures are in it; (1), a batch
    of one"""
    clean: float = 0.6402
    """share of pictures classified correctly; ResNet-50 of Salman et al. 2020, Linf 4/255 (2)"""
    robust: float = 0.3496
    """share that the standard plan does not fool; the same (2)"""
    start: float = 60.0
    """seconds until a worker works: its process, imports, the network; a guess, several times a
    start on one machine"""
    decode: float = 0.01
    """seconds to read and decode a picture, of 126 kB in the mean: 6.3 GB of 50,000 JPEGs"""
    picture_bytes: float = 126e3
    """bytes of a picture's file"""
    network_bytes: float = 102.2e6
    """bytes of the network; ResNet-50's 25.6 million float32"""
    write: float = 0.05
    """seconds to write a stage's file on a shared disk"""
    mean_life: float = 24.0
    """hours until a worker dies, exponentially distributed; a guess for machines that can be
    reclaimed"""
    spread: float = 0.05
    """standard deviation of the workers' speeds, as a share"""
    slow: float = 1 / 64
    """share of workers at half speed; a guess"""
    resumes: bool = True
    """whether a part goes on from its last finished stage; without a disk that all share it begins
    anew"""


@dataclass(frozen=True)
class Costs:
    """What pictures took in real runs: per picture and stage, in one table for each fate."""

    stages: tuple[str, ...]
    fooled: Numbers
    """``(N, stages, 2)`` forward and backward passes of pictures that were fooled at some stage."""
    surviving: Numbers
    """The same of those that no stage fooled."""
    row_bytes: float
    """of a row in the run's files"""

    def drawn(self, setting: Setting, rng: np.random.Generator) -> Numbers:
        """``(pictures, 1 + stages, 2)`` passes of each picture; the clean look comes first."""
        fate = rng.random(setting.pictures)
        found = np.zeros((setting.pictures, 1 + len(self.stages), 2))
        found[:, 0, 0] = 1
        for rows, chosen in (
            (self.surviving, fate < setting.robust),
            (self.fooled, (fate >= setting.robust) & (fate < setting.clean)),
        ):
            found[chosen, 1:] = rows[rng.integers(len(rows), size=int(chosen.sum()))]
        return found


@dataclass(frozen=True)
class Outcome:
    """What one simulated run took."""

    hours: float
    forwards: float
    backwards: float
    busy: float
    """Hours of all workers together, spent on passes."""
    deaths: int
    lost: float
    """Hours of work that deaths threw away."""
    read: float
    """Bytes of pictures, decoded once for each part and attempt."""
    sent: float
    """Bytes of the network, to every worker at every start."""
    rows: float
    """Bytes of rows written, and as many sent back."""
    files: int


def simulate(setting: Setting, costs: Costs, seed: int) -> Outcome:
    """One run: parts in order, each to the worker that is idle first."""
    rng = np.random.default_rng(seed)
    passes = costs.drawn(setting, rng)
    parts = np.array_split(passes, range(setting.part, setting.pictures, setting.part))
    workers = min(setting.gpus, len(parts))
    speed = np.exp(setting.spread * rng.standard_normal(workers))
    speed[rng.random(workers) < setting.slow] = 0.5
    life = setting.mean_life * _HOUR
    idle = [(setting.start, worker) for worker in range(workers)]
    heapq.heapify(idle)
    dies = rng.exponential(life, workers) if life < np.inf else np.full(workers, np.inf)
    deaths, busy, lost, read, files, end = 0, 0.0, 0.0, 0.0, 0, 0.0
    for part in parts:
        now, worker = heapq.heappop(idle)
        stages = [stage for stage in _stage_seconds(part, setting) if stage > 0]
        files += len(stages)
        done = 0
        opened = setting.decode * len(part)
        while done < len(stages):
            now += opened
            read += setting.picture_bytes * len(part)
            began = done
            while done < len(stages):
                takes = stages[done] / speed[worker]
                if now + takes > dies[worker]:
                    spent = max(0.0, dies[worker] - now)
                    if not setting.resumes:
                        spent += sum(stages[began:done]) / speed[worker]
                        done = began
                    lost += spent
                    deaths += 1
                    now = max(now, dies[worker]) + setting.start
                    dies[worker] = now + rng.exponential(life)
                    break
                now += takes + setting.write
                busy += takes
                done += 1
        end = max(end, now)
        heapq.heappush(idle, (now, worker))
    given = int((passes.sum(2) > 0).sum())
    return Outcome(
        end / _HOUR, passes[..., 0].sum(), passes[..., 1].sum(), busy / _HOUR, deaths,
        lost / _HOUR, read, setting.network_bytes * (workers + deaths), costs.row_bytes * given,
        files,
    )  # fmt: skip


def _stage_seconds(part: Numbers, setting: Setting) -> Numbers:
    """Of the clean look and each stage on a part ``(N, 1 + stages, 2)``, on a worker of speed 1.

    The pictures share the batch; but a batch's pass takes a least time, and the longest search of
    the part makes its passes one after the other.
    """
    seconds = part @ np.array([setting.forward, setting.backward])
    longest = part.max(0).sum(1) * setting.step
    longest[0] = setting.step
    return np.maximum(seconds.sum(0), np.where(seconds.sum(0) > 0, longest, 0))


def costs_of(table: pa.Table, stages: tuple[str, ...], row_bytes: float) -> Costs:
    """The passes of every picture in a run's rows that the network classifies correctly."""
    frame = table.to_pandas()
    clean = frame[frame.attack == "clean"]
    right = clean[~clean.success]["index"].to_numpy()
    place = {index: row for row, index in enumerate(right)}
    passes = np.zeros((len(right), len(stages), 2))
    fooled = np.zeros(len(right), dtype=bool)
    for row in frame[frame.attack != "clean"].itertuples():
        passes[place[row.index], stages.index(row.attack)] = row.forwards, row.backwards
        fooled[place[row.index]] |= row.success
    if not fooled.any() or fooled.all():
        raise Skipped("the run needs pictures that are fooled and pictures that survive")
    return Costs(stages, passes[fooled], passes[~fooled], row_bytes)


def scale(options: Scale) -> Section:
    """The section with everything as assumed, for each plan."""
    return page(Setting(), None, options.limit or 100, options.repeats or _DRAWS)


def page(setting: Setting, run: Path | None, limit: int, draws: int) -> Section:
    """What a run costs on several numbers of GPUs, and what is lost to what."""
    section = Section(PAGE, "scale", f"{setting.pictures:,} pictures")
    section.text(*_told(setting, run, limit, draws))
    section.table(
        ["", "figure>", "which is"],
        [
            [each.name, _number(getattr(setting, each.name)), " ".join(_words(each.name).split())]
            for each in fields(Setting)
        ],
    )
    section.text(
        "(1) NVIDIA, DeepLearningExamples, ResNet50 v1.5 for PyTorch: training and inference of "
        "the DGX-1, pytorch-21.03. (2) RobustBench, model_info/imagenet/Linf/Salman2020Do_R50. No "
        "GPU was measured for this page."
    )
    plans = ["run"] if run else [name for name in ("standard", "fast") if name in PLANS]
    for plan in plans:
        costs = _from_run(run) if run else _measured(plan, limit)
        _write(section, plan, setting, costs, draws)
    return section


def _write(section: Section, plan: str, setting: Setting, costs: Costs, draws: int) -> None:
    title = f"the rows of {plan}" if plan == "run" else f"the plan `{plan}`"
    section.text(f"### By {title}")
    shares = [
        [
            name,
            *(
                f"{value:,.0f}"
                for rows in (costs.fooled, costs.surviving)
                for value in rows[:, number].mean(0)
            ),
        ]
        for number, name in enumerate(costs.stages)
    ]
    section.text(
        f"Passes of a picture, means over {len(costs.fooled)} that were fooled in the end and "
        f"{len(costs.surviving)} that were not:"
    )
    section.table(
        ["stage", "fooled: forward>", "backward>", "surviving: forward>", "backward>"], shares
    )
    rows = []
    for gpus in sorted({1, 8, setting.gpus, 4 * setting.gpus}):
        found = [simulate(replace(setting, gpus=gpus), costs, seed) for seed in range(draws)]
        hours = sorted(one.hours for one in found)
        ideal = statistics.mean(one.busy for one in found) / gpus
        rows.append(
            [
                gpus, _millions(found, "forwards"), _millions(found, "backwards"),
                f"{ideal:.2f}", f"{statistics.mean(hours):.2f}", f"{hours[-1]:.2f}",
                percent(ideal / statistics.mean(hours), 0),
                f"{statistics.mean(one.deaths for one in found):.1f}",
                _bytes(found, "read"), _bytes(found, "sent"), _bytes(found, "rows"),
                f"{found[0].files:,}",
            ]
        )  # fmt: skip
    section.text("The whole run, on so many GPUs:")
    section.table(
        ["GPUs>", "forward, millions>", "backward, millions>", "hours of passes ÷ GPUs>",
         "hours expected>", "longest>", "used>", "deaths>", "pictures read>", "network sent>",
         "rows>", "files>"],
        rows,
    )  # fmt: skip
    _losses(section, setting, costs, draws)


# What is taken away or made worse, one thing at a time.
_WITHOUT: dict[str, dict[str, Any]] = {
    "parts too large to share out evenly": {"part": 1, "step": 0.0, "write": 0.0},
    "passes of batches that are not full": {"step": 0.0},
    "slow workers": {"spread": 0.0, "slow": 0.0},
    "deaths": {"mean_life": np.inf},
    "starting": {"start": 0.0},
    "decoding": {"decode": 0.0},
    "writing": {"write": 0.0},
}
_WORSE: dict[str, dict[str, Any]] = {
    "as above": {},
    "parts of 64": {"part": 64},
    "parts of 16": {"part": 16},
    "parts of 1000": {"part": 1000},
    "a life of 1 hour": {"mean_life": 1.0},
    "the same, and no disk that all share": {"mean_life": 1.0, "resumes": False},
    "one worker in eight at half speed": {"slow": 1 / 8},
    "a start of 10 minutes": {"start": 600.0},
    "pictures that take a second each": {"decode": 1.0},
}


def _losses(section: Section, setting: Setting, costs: Costs, draws: int) -> None:
    def hours(**changes: Any) -> float:
        changed = replace(setting, **changes)
        return statistics.mean(simulate(changed, costs, seed).hours for seed in range(draws))

    whole = hours()
    # With parts of one picture only what is shared out changes: compare without the step's floor.
    saved = {
        name: (hours(step=0.0, write=0.0) if "part" in changes else whole) - hours(**changes)
        for name, changes in _WITHOUT.items()
    }
    order = sorted(saved, key=lambda name: -saved[name])
    section.text(
        f"What is lost on {setting.gpus} GPUs, by leaving out one cause at a time, of "
        f"{whole:.2f} hours; what breaks first stands first:"
    )
    section.table(
        ["lost to", "hours>", "of the run>"],
        [[name, f"{saved[name]:+.3f}", percent(saved[name] / whole)] for name in order],
    )
    section.text("And what other circumstances would do:")
    section.table(
        ["with", "hours>", "times>"],
        [
            [name, f"{(found := hours(**changes)):.2f}", f"{found / whole:.2f}"]
            for name, changes in _WORSE.items()
        ],
    )


def _told(setting: Setting, run: Path | None, limit: int, draws: int) -> list[str]:
    source = (
        f"the rows of {run}"
        if run
        else f"runs of {limit} test digits of MNIST on `digits-robust` at Linf 0.3, whose fooled "
        "and surviving pictures are weighted to the accuracies below: another network needs other "
        "numbers of passes where it is fooled, while the budgets of what survives are the plan's"
    )
    return [
        "Parts of the data set go to idle workers one at a time. A worker decodes a part's "
        "pictures, looks at them clean, and leads those that survive through the stages; each ends "
        "with a file. A stage takes the sum of its pictures' passes, or, where few are left, the "
        "longest search's passes one by one. A worker that dies starts anew and goes on with its "
        "part from the last file. The network is sent to every worker at every start, and every "
        "row comes back.",
        f"The passes of each picture are drawn from {source}. All else is told, not measured: the "
        f"table says where it is from. Means over {draws} simulated runs (seeds 0 to {draws - 1}).",
    ]


def _measured(plan: str, limit: int) -> Costs:
    if not MNIST.is_dir():
        raise Skipped(f"it needs {MNIST}")
    with tempfile.TemporaryDirectory() as folder:
        fs.evaluate(
            fs.load_model("digits-robust"),
            fs.load_images(MNIST, "test", channels=1).take(limit),
            threat="linf:0.3",
            plan=plan,
            out=folder,
        )
        return _from_run(Path(folder))


def _from_run(path: Path) -> Costs:
    run = RunDirectory(path)
    table = run.tables()
    stages = tuple(stage["name"] for stage in run.read()["identity"]["plan"]["stages"])
    size = sum(file.stat().st_size for file in (path / "parts").glob("[0-9]*.parquet"))
    return costs_of(table, stages, size / len(table))


def _words(name: str) -> str:
    source = Path(__file__).read_text("utf-8")
    after = source.split(f"\n    {name}: ", 1)[1]
    return after.split('"""')[1]


def _number(value: float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return f"{value:,}" if isinstance(value, int) else f"{value:,.4g}"


def _millions(found: list[Outcome], name: str) -> str:
    return f"{statistics.mean(getattr(one, name) for one in found) / 1e6:,.0f}"


def _bytes(found: list[Outcome], name: str) -> str:
    value = statistics.mean(getattr(one, name) for one in found)
    return f"{value / 1e9:,.2f} GB"


def main() -> None:
    """Simulate with the user's own figures."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    for each in fields(Setting):
        words = " ".join(_words(each.name).split()).replace("%", "%%")
        option = "--" + each.name.replace("_", "-")
        if isinstance(each.default, bool):
            parser.add_argument(
                option, action=argparse.BooleanOptionalAction, default=each.default, help=words
            )
        else:
            parser.add_argument(
                option, type=type(each.default), default=each.default, help=f"{words} (%(default)s)"
            )
    parser.add_argument("--run", type=Path, help="a run directory to draw the passes from")
    parser.add_argument("--limit", type=int, default=100, help="pictures measured (%(default)s)")
    parser.add_argument("--draws", type=int, default=_DRAWS, help="simulated runs (%(default)s)")
    given = vars(parser.parse_args())
    run, limit, draws = (given.pop(name) for name in ("run", "limit", "draws"))
    print("\n".join(page(Setting(**given), run, limit, draws).lines))


if __name__ == "__main__":
    main()
