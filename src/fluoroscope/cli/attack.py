"""``fluoroscope attack`` and ``fluoroscope attacks``: fool a network, and list the ways."""

import json as json_text
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

import fluoroscope as fs
from fluoroscope.cli.options import Json, Seed, with_model
from fluoroscope.cli.output import Output

if TYPE_CHECKING:
    from torch import Tensor

    from fluoroscope.attacks.attack import AttackResult, Method
    from fluoroscope.attacks.universal.fitting import FitStep
    from fluoroscope.data.imageset import ImageSet
    from fluoroscope.engine.stream import Step
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.pictures.pairs import Pair

# Pictures shown of an attack.
_SHOWN = 6
# What --through names: made from a network, the seed and pictures to mix in.
_THROUGH: "dict[str, Callable[[Classifier, int, Callable[[], Tensor]], Classifier]]" = {
    "di": lambda model, seed, _: fs.DiverseInput(model, seed=seed),
    "ti": lambda model, seed, _: fs.TranslationInvariant(model),
    "si": lambda model, seed, _: fs.ScaleInvariant(model),
    "admix": lambda model, seed, pool: fs.Admix(model, pool(), seed=seed),
    "ghost": lambda model, seed, _: fs.Ghost(model, seed=seed),
}
# Pictures that admix may draw from.
_POOL = 64


def attacks(json: Json = None) -> None:
    """List the attacks: family, what they read, norms, passes of a step, paper."""
    from fluoroscope.attacks.registry import describe_attacks

    output = Output(json)
    found = describe_attacks()
    output.json(found)
    if json != "-":
        output.table(
            ["name", "family", "reads", "norms", "a step", "looks for", "paper"],
            (
                [
                    each["name"],
                    each["family"],
                    each["access"],
                    " ".join(each["norms"]),
                    each["cost"],
                    "the closest" if each["minimum_norm"] else "any within eps",
                    each["paper"],
                ]
                for each in found
            ),
        )


@with_model
def attack(
    method: Annotated[
        str, typer.Argument(help="See: fluoroscope attacks. Joined by | each attacks what is left.")
    ],
    model: "Classifier",
    images: Annotated[
        str, typer.Option("--images", help="digits, a picture, a folder, Parquet or a hub id.")
    ],
    split: Annotated[str | None, typer.Option(help="Its split.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only its first pictures.")] = None,
    fit_on: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="universal, patch: learn from the first so many and attack only the others; "
            "default: learn from all and attack all.",
        ),
    ] = None,
    eps: Annotated[
        str | None, typer.Option(help="How far a picture may go, such as 8/255.")
    ] = None,
    norm: Annotated[str | None, typer.Option(help="linf, l2 …; default: the method's.")] = None,
    to: Annotated[
        str | None,
        typer.Option(help="Towards a class instead of away: a label, random, least-likely, all."),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Steps; default: the method's.")] = None,
    restarts: Annotated[int, typer.Option(help="Searches for each picture not yet fooled.")] = 1,
    starts: Annotated[
        str | None,
        typer.Option(
            help="Pictures to begin from, named as for --images; for methods that read decisions."
        ),
    ] = None,
    param: Annotated[
        list[str] | None, typer.Option(help="The method's own: NAME=VALUE. Repeatable.")
    ] = None,
    keep: Annotated[
        str | None,
        typer.Option(
            help="first stops at a success; best, nearest and last spend all steps. Default: "
            "nearest for methods that look for the closest success, else last with --transfer-to, "
            "else first."
        ),
    ] = None,
    through: Annotated[
        list[str] | None,
        typer.Option(
            help=f"Search on the network behind a change of its input: {', '.join(_THROUGH)}. "
            "Repeatable; pictures go through the first one first."
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(help="Pictures for admix to mix in; default: the first of those attacked."),
    ] = None,
    transfer_to: Annotated[
        list[str] | None,
        typer.Option(help="Another network: how many that fool this one fool it too? Repeatable."),
    ] = None,
    on_grid: Annotated[
        bool, typer.Option("--8bit", help="Only 8-bit pictures, which survive being saved.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="The same bytes whatever the neighbours; slower.")
    ] = False,
    plain: Annotated[
        bool,
        typer.Option(
            "--plain",
            help="Search on the network as it is, not on a copy prepared for speed. The plain one "
            "has the last word on every success in any case.",
        ),
    ] = False,
    batch_size: Annotated[int, typer.Option(help="Pictures at once.")] = 128,
    max_seconds: Annotated[
        float | None, typer.Option(help="Stop searching then; what was found by then is kept.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Directory for the results.")] = Path("out"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Fool a network on labelled pictures, and say how often and how closely it worked.

    [bold]Examples:[/]
      fluoroscope attack pgd --model digits-cnn --images digits --limit 100 --eps 0.1
      fluoroscope attack deepfool --model digits-cnn --images digits --limit 50
      fluoroscope attack bim -m digits-cnn --images digits:7 --eps 0.3 --to least-likely
      fluoroscope attack patch -m digits-cnn --images digits --to 3 --fit-on 500
      fluoroscope attack mi-fgsm -m ONE --images FOLDER --eps 16/255 --through di --transfer-to TWO
    """
    from fluoroscope.attacks import registry
    from fluoroscope.attacks.parts import attack_parts, fit_to
    from fluoroscope.attacks.universal.fitting import Fitted
    from fluoroscope.data.imageset import load_images
    from fluoroscope.errors import InvalidParameterError
    from fluoroscope.files import output_directory
    from fluoroscope.models.wrappers.prepared import prepare

    given = _parameters(param) | ({} if steps is None else {"steps": steps})
    data = load_images(images, split, channels=model.channels)
    data = data.take(limit) if limit else data
    mixed = "admix" in (method, *(through or []))
    if pool is not None and not mixed:
        raise InvalidParameterError(
            f"pool is {pool!r}, but nothing is mixed in; expected admix as the method or --through"
        )

    def others() -> "Tensor":
        source = data if pool is None else load_images(pool, channels=model.channels)
        return next(source.take(_POOL).batches(_POOL, fit=model.preprocessing)).images

    if method == "admix":
        given = {"pool": others()} | given
    given |= {} if starts is None else {"starts": None}  # refused if the method has none
    chosen = registry.attack(method, eps=eps, norm=norm, **given)
    if starts is not None:
        chosen = replace(chosen, starts=_pool(starts, model))  # type: ignore[type-var]
    targets = [_target(model, name) for name in transfer_to or []]
    if targets and not chosen.minimum_norm:
        keep = keep or "last"
    model = _through(model if plain else prepare(model), chosen, through or [], seed, others)
    seen, data = _apart(method, chosen, data, fit_on)
    directory = output_directory(out)
    output, summary, began = Output(json), _Summary(model, targets), time.perf_counter()
    searches = len(data) * (model.num_classes if to == "all" else 1)
    with _interruptible() as interrupted:

        def over() -> bool:
            late = max_seconds is not None and time.perf_counter() - began > max_seconds
            return late or interrupted()

        if isinstance(chosen, Fitted):
            with output.counting(chosen.epochs, f"fit {method}") as count:
                told = _Epochs(count, chosen.epochs)
                chosen, learnt = fit_to(
                    model, chosen, seen, to=to, seed=seed, batch_size=batch_size,
                    on_batch=told.step, cancelled=over,
                )  # fmt: skip
            summary.made(chosen.save_made(directory, method), learnt, told.passes, bool(fit_on))
        with output.counting(searches, method) as count:
            done = _Progress(count)
            for number, result in enumerate(
                attack_parts(
                    model,
                    chosen,
                    data,
                    to=to,
                    seed=seed,
                    restarts=restarts,
                    keep=keep,
                    grid=8 if on_grid else None,
                    exact=exact,
                    batch_size=batch_size,
                    on_step=done.step,
                    cancelled=over,
                )
            ):
                summary.add(result, result.save(directory, f"part-{number:05}"))
                done.part(result)
                if over():
                    break
    summary.report(output, chosen, directory, time.perf_counter() - began)
    output.json(summary.describe(method, data.name, to, time.perf_counter() - began))
    if interrupted():
        raise typer.Abort


def _apart(
    method: str, chosen: "Method", data: "ImageSet", fit_on: int | None
) -> "tuple[ImageSet, ImageSet]":
    """The pictures to learn from, and those to attack."""
    from fluoroscope.attacks.universal.fitting import Fitted
    from fluoroscope.errors import InvalidParameterError

    if fit_on is None:
        return data, data
    if not isinstance(chosen, Fitted):
        raise InvalidParameterError(
            f"fit-on is {fit_on}; {method} makes nothing that is for all pictures: leave it out, "
            "or choose universal or patch"
        )
    if fit_on >= len(data):
        raise InvalidParameterError(
            f"fit-on is {fit_on} of {len(data)} picture(s); expected fewer, so that some are left "
            "to be attacked"
        )
    return data.take(fit_on), data.select(range(fit_on, len(data)))


class _Epochs:
    """Times that the pictures to learn from have been gone through."""

    def __init__(self, count: Any, epochs: int) -> None:
        self._count, self._epochs = count, epochs
        self.passes = 0

    def step(self, step: "FitStep") -> None:
        passes = step.number * self._epochs // step.total
        self._count(passes - self.passes, f"{step.success:.0%} of the last batch")
        self.passes = passes


class _Progress:
    """Pictures done with; those that needed no search are counted when their part ends."""

    def __init__(self, count: Any) -> None:
        self._count, self._within, self._passes = count, 0, 0

    def step(self, step: "Step") -> None:
        finished = int(step.done.sum())
        self._within += finished
        self._passes += len(step.indices)
        self._count(finished, f"{self._passes} evaluations")

    def part(self, result: "AttackResult") -> None:
        self._count(len(result.images) - self._within, f"{self._passes} evaluations")
        self._within = 0


class _Summary:
    """What is kept of the parts: numbers, and a few pictures."""

    def __init__(self, model: "Classifier", targets: "list[Classifier]") -> None:
        self._labels = model.labels
        self._transfers = [_Transfer(target) for target in targets]
        self._rows: dict[str, list[Any]] = {}
        self._pairs: list[Pair] = []
        self._paths: list[Path] = []
        self._parts = 0
        self._record: dict[str, Any] = {}
        self._fitted: dict[str, Any] = {}

    def made(self, paths: list[Path], pictures: int, epochs: int, apart: bool) -> None:
        """What was made for all pictures before any was attacked."""
        self._paths += paths
        self._fitted = {"pictures": pictures, "epochs": epochs, "others_attacked": apart}

    def add(self, result: "AttackResult", paths: list[Path]) -> None:
        for name, column in result.rows().items():
            self._rows.setdefault(name, []).extend(column)
        for transfer in self._transfers:
            transfer.add(result)
        self._parts += 1
        notes = self._record.get("notes", [])
        self._record = result.record | {"notes": [*notes, *result.notes]}
        for pair in result.pairs(self._labels, _SHOWN - len(self._pairs)):
            self._pairs.append(pair)

    def report(self, output: Output, method: "Method", directory: Path, seconds: float) -> None:
        from fluoroscope.pictures.curves import success_curve
        from fluoroscope.pictures.maps import write_figure
        from fluoroscope.pictures.pairs import pair_figure

        numbers = self._numbers()
        targeted = self._record["targeted"]
        searched = numbers["searched"]
        output.table(
            [f"{self._record['attack']} against {self._record['model']}", ">"],
            [
                ["pictures × classes to reach" if targeted else "pictures", numbers["count"]],
                ["read so before" if targeted else "read wrong before", numbers["at_start"]],
                [
                    "led there" if targeted else "fooled",
                    f"{numbers['fooled']} of {searched} ({100 * numbers['success_rate']:.1f} %)",
                ],
                [f"median {method.threat.name} distance", _number(numbers["median_distance"])],
                ["forward passes a picture", f"{numbers['forwards_mean']:.1f}"],
                ["backward passes a picture", f"{numbers['backwards_mean']:.1f}"],
                *(transfer.row(targeted=targeted) for transfer in self._transfers),
                ["not finished", numbers["unfinished"]],
                ["seconds", f"{seconds:.1f}"],
            ],
        )
        if self._fitted:
            output.say(
                f"learnt from {self._fitted['pictures']} picture(s), {self._fitted['epochs']} "
                "forward and backward pass(es) each, which the table leaves out"
                + ("" if self._fitted["others_attacked"] else "; it is judged on the same pictures")
            )
        for note in dict.fromkeys(self._record["notes"]):
            output.say(f"note: {note}")
        if self._pairs:
            self._paths.append(write_figure(directory / "pictures.png", pair_figure(self._pairs)))
        if method.minimum_norm and searched:
            curve = success_curve(
                numbers["distances"],
                searched,
                norm=method.threat.name,
                title=self._record["attack"],
            )
            self._paths.append(write_figure(directory / "curve.png", curve))
        output.wrote(self._paths)
        output.say(
            f"wrote {directory}/part-*.parquet, .safetensors, .json: {self._parts} part(s), a row "
            "for each picture"
        )

    def describe(self, method: str, data: str, to: str | None, seconds: float) -> dict[str, Any]:
        numbers = self._numbers()
        del numbers["distances"]
        return {
            "method": method,
            "data": data,
            "to": to,
            **numbers,
            "transfer": [transfer.describe() for transfer in self._transfers],
            "seconds": seconds,
            **({"fitted": self._fitted} if self._fitted else {}),
            "record": self._record,
        }

    def _numbers(self) -> dict[str, Any]:
        rows = self._rows
        found = zip(rows["success"], rows["at_start"], rows["distance"], strict=True)
        far = sorted(distance for success, already, distance in found if success and not already)
        count, already = len(rows["success"]), sum(rows["at_start"])
        return {
            "count": count,
            "at_start": already,
            "searched": count - already,
            "fooled": len(far),
            "success_rate": len(far) / (count - already) if count > already else 0.0,
            "median_distance": far[len(far) // 2] if far else None,
            "forwards_mean": sum(rows["forwards"]) / count,
            "backwards_mean": sum(rows["backwards"]) / count,
            "unfinished": count - sum(rows["finished"]),
            "distances": far,
        }


class _Transfer:
    """How many of the pictures that fool one network fool another."""

    def __init__(self, target: "Classifier") -> None:
        self._target, self._before, self._count, self._fooled = target, 0, 0, 0

    def add(self, result: "AttackResult") -> None:
        rows = result.success & ~result.at_start
        if not bool(rows.any()):
            return
        already, then = (
            (self._read(images[rows]) == result.classes[rows]) == result.record["targeted"]
            for images in (result.originals, result.images)
        )
        self._before += int(already.sum())
        self._count += int((~already).sum())
        self._fooled += int((then & ~already).sum())

    def _read(self, images: "Tensor") -> "Tensor":
        target = self._target
        return fs.predict(target, images.to(target.device, target.dtype)).winners.cpu()

    def row(self, *, targeted: bool) -> list[Any]:
        rate = f" ({100 * self._fooled / self._count:.1f} %)" if self._count else ""
        before = f"; {self._before} read so before" if self._before else ""
        did = "are read so by" if targeted else "fool"
        return [
            f"of these {did} {self._target.name}",
            f"{self._fooled} of {self._count}{rate}{before}",
        ]

    def describe(self) -> dict[str, Any]:
        return {
            "model": self._target.name,
            "model_sha256": self._target.fingerprint(),
            "at_start": self._before,
            "searched": self._count,
            "fooled": self._fooled,
            "success_rate": self._fooled / self._count if self._count else None,
        }


def _target(model: "Classifier", name: str) -> "Classifier":
    """Another network with the same classes, which sees all of what the first one sees."""
    from fluoroscope.models.wrappers.ensemble import uncropped

    target = fs.load_model(name, device=str(model.device))
    fs.Ensemble([model, target])  # refuses networks of other classes, channels or types
    return uncropped(target)


def _through(
    model: "Classifier",
    method: "Method",
    names: list[str],
    seed: int,
    pool: "Callable[[], Tensor]",
) -> "Classifier":
    """The network behind these changes of its input."""
    from fluoroscope.errors import InvalidParameterError

    for name in reversed(names):
        if name not in _THROUGH:
            raise InvalidParameterError(
                f"through is {name!r}; expected one of {', '.join(_THROUGH)}"
            )
        if method.access != "gradient":
            raise InvalidParameterError(
                f"through is {name}, but {type(method).__name__} reads no gradient; expected an "
                "attack that does, such as mi-fgsm"
            )
        model = _THROUGH[name](model, seed, pool)
    return model


@contextmanager
def _interruptible() -> "Iterator[Any]":
    """The first Ctrl-C is remembered and asked for; a second one ends everything at once."""
    asked = False

    def remember(*_: object) -> None:
        nonlocal asked
        asked = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    before = signal.signal(signal.SIGINT, remember)
    try:
        yield lambda: asked
    finally:
        signal.signal(signal.SIGINT, before)


def _parameters(given: list[str] | None) -> dict[str, Any]:
    from fluoroscope.errors import InvalidParameterError

    found = {}
    for text in given or []:
        name, equals, value = text.partition("=")
        if not (name and equals):
            raise InvalidParameterError(f"param is {text!r}; expected NAME=VALUE")
        try:
            found[name.replace("-", "_")] = json_text.loads(value)
        except json_text.JSONDecodeError:
            found[name.replace("-", "_")] = value
    return found


def _pool(source: str, model: "Classifier") -> "Tensor":
    import torch

    from fluoroscope.data.imageset import load_images

    pictures = load_images(source, channels=model.channels)
    return torch.cat([batch.images for batch in pictures.batches(fit=model.preprocessing)])


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
