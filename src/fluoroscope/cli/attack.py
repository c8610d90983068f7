"""``fluoroscope attack`` and ``fluoroscope attacks``: fool a network, and list the ways."""

import time
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.attack_options import (
    THROUGH,
    apart,
    behind,
    other_pictures,
    parameters,
    picture_mask,
    transfer_target,
)
from fluoroscope.cli.attack_report import Summary
from fluoroscope.cli.display import with_display
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.options import (
    BatchSize,
    First,
    Invert,
    Json,
    Limit,
    MaybeData,
    MaybeImage,
    Norm,
    Out,
    Param,
    Plain,
    Seed,
    Split,
    Steps,
    just_one,
    open_picture,
    open_pictures,
    prepared,
    with_model,
)
from fluoroscope.cli.output import Output
from fluoroscope.words import count as counted

if TYPE_CHECKING:
    from fluoroscope.attacks.result import AttackResult
    from fluoroscope.attacks.universal.fitting import FitStep
    from fluoroscope.engine.stream import Step
    from fluoroscope.models.classifier import Classifier


def attacks(
    method: Annotated[
        str | None, typer.Argument(help="Only this one, with its parameters.")
    ] = None,
    json: Json = None,
) -> None:
    """List the attacks, or show one: what it reads, norms, passes, parameters, paper."""
    from fluoroscope.attacks.catalogue import catalogue, no_attack

    output, known = Output(json), catalogue()
    if method is not None and method not in known:
        raise no_attack(method, known)
    found = [*known.values()] if method is None else [known[method]]
    output.json(found)
    if json == "-":
        return
    if method is not None:
        _show(output, found[0])
        return
    for family, several in groupby(found, key=lambda each: each["family"]):
        output.table(
            [family, "reads", "norms", "finds", "paper"],
            (
                [
                    each["name"],
                    each["access"],
                    " ".join(each["norms"]),
                    "closest" if each["minimum_norm"] else "any",
                    each["paper"],
                ]
                for each in several
            ),
        )
    output.say(
        "finds: the closest success, or any within eps. One with its parameters: fluoroscope "
        "attacks METHOD"
    )


def _show(output: Output, attack: dict[str, Any]) -> None:
    """One attack and its parameters."""
    goals = "away from a class" + (", or towards one" if attack["can_target"] else " only")
    bounded = " within eps" if attack["norms"] != ["none"] else ""
    finds = "the closest success" if attack["minimum_norm"] else f"any success{bounded}"
    parameters = [f"{name} = {value}" for name, value in attack["parameters"].items()]
    output.table(
        [attack["name"], attack["paper"]],
        [
            ["what", " ".join(attack["summary"].replace("``", "").split())],
            ["family", attack["family"]],
            ["reads", attack["access"]],
            ["norms", " ".join(attack["norms"])],
            ["a step", attack["cost"]],
            ["finds", f"{finds}; {goals}"],
            ["parameters", "\n".join(parameters) or "none"],
            ["in Python", f"fluoroscope.attacks.{attack['class']}"],
        ],
    )


@with_model
@with_display
def attack(
    method: Annotated[
        str, typer.Argument(help="See: fluoroscope attacks. Joined by | each attacks what is left.")
    ],
    model: "Classifier",
    data: MaybeData = None,
    image: MaybeImage = None,
    split: Split = None,
    limit: Limit = None,
    first: First = False,
    invert: Invert = False,
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
    norm: Norm = None,
    to: Annotated[
        str | None,
        typer.Option(help="Towards a class instead of away: a label, random, least-likely, all."),
    ] = None,
    steps: Steps = None,
    restarts: Annotated[int, typer.Option(help="Searches for each picture not yet fooled.")] = 1,
    others: Annotated[
        str | None,
        typer.Option(
            help="Other pictures, named as for --data: to begin from (methods that read "
            "decisions), to mix in (admix), to resemble (feature-adversary)."
        ),
    ] = None,
    param: Param = None,
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
            help=f"Search on the network behind a change of its input: {', '.join(THROUGH)}. "
            "Repeatable; pictures go through the first one first."
        ),
    ] = None,
    transfer_to: Annotated[
        list[str] | None,
        typer.Option(help="Another network: how many that fool this one fool it too? Repeatable."),
    ] = None,
    mask: Annotated[
        str | None,
        typer.Option(help="A picture that is white where pixels may change, black elsewhere."),
    ] = None,
    on_grid: Annotated[
        bool, typer.Option("--8bit", help="Only 8-bit pictures, which survive being saved.")
    ] = False,
    exact: Annotated[
        bool, typer.Option("--exact", help="The same bytes whatever the neighbours; slower.")
    ] = False,
    plain: Plain = False,
    batch_size: BatchSize = 128,
    max_seconds: Annotated[
        float | None, typer.Option(help="Stop searching then; what was found by then is kept.")
    ] = None,
    out: Out = Path("out/attack"),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Fool a network on labelled pictures, and say how often and how closely it worked.

    [bold]Examples:[/]
      fluoroscope attack pgd -m digits-cnn -d digits --limit 100 --eps 0.1
      fluoroscope attack deepfool --model digits-cnn --data digits --limit 50
      fluoroscope attack bim -m digits-cnn -i digits:7 --eps 0.3 --to random
      fluoroscope attack patch -m digits-cnn -d digits --to 3 --fit-on 500
      fluoroscope attack mi-fgsm -m ONE -d FOLDER --eps 16/255 --transfer-to TWO
    """
    from fluoroscope.attacks import registry
    from fluoroscope.attacks.parts import attack_parts, fit_to, part_name, search_length
    from fluoroscope.attacks.universal.fitting import Fitted
    from fluoroscope.files import output_directory

    given = parameters(param) | ({} if steps is None else {"steps": steps})
    just_one(data, image, split=split, limit=limit, first=first)
    if data is None:
        images = open_picture(str(image), model, seed, invert=invert)
    else:
        images = open_pictures(data, split, limit, model.channels, first, invert)
    held, load_others = other_pictures(method, others, through or [], images, model)
    chosen = registry.attack(method, eps=eps, norm=norm, **given | held)
    free = None if mask is None else picture_mask(mask, model)
    targets = [transfer_target(model, name) for name in transfer_to or []]
    if targets and not chosen.minimum_norm:
        keep = keep or "last"
    model = behind(prepared(model, images, plain), chosen, through or [], seed, load_others)
    seen, images = apart(method, chosen, images, fit_on)
    directory = output_directory(out)
    output, began = Output(json), time.perf_counter()
    summary = Summary(model, targets, labelled=bool(images.class_counts()))
    searches = len(images) * (model.num_classes if to == "all" else 1)
    with interruptible() as interrupted:

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
            done = _Progress(count, search_length(chosen) * restarts)
            for number, result in enumerate(
                attack_parts(
                    model,
                    chosen,
                    images,
                    to=to,
                    seed=seed,
                    restarts=restarts,
                    keep=keep,
                    grid=8 if on_grid else None,
                    mask=free,
                    exact=exact,
                    batch_size=batch_size,
                    on_step=done.step,
                    cancelled=over,
                )
            ):
                if not number:
                    summary.begin(directory)
                summary.add(result, result.save(directory, part_name(number)))
                done.part(result)
                if over():
                    break
    summary.report(output, chosen, directory, time.perf_counter() - began)
    if data is not None:
        output.say(images.describe_classes())
    output.json(summary.describe(method, images.name, to, time.perf_counter() - began))
    if interrupted():
        raise typer.Abort


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

    def __init__(self, count: Any, length: int) -> None:
        self._count, self._length, self._passes = count, length, 0
        self._finished, self._within = 0, 0.0

    def step(self, step: "Step") -> None:
        self._passes += len(step.indices)
        step = step.ends()
        self._finished += int(step.done.sum())
        # Those under way count by the share of their search that is behind.
        going = ((step.numbers + 1).double() / self._length).clamp(max=0.99)[~step.done]
        self._move(self._finished + float(going.sum()))

    def part(self, result: "AttackResult") -> None:
        self._move(len(result.images))
        self._finished, self._within = 0, 0.0

    def _move(self, within: float) -> None:
        self._count(max(0.0, within - self._within), counted(self._passes, "evaluation"))
        self._within = max(self._within, within)
