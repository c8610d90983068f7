"""``fluoroscope train``: train any network on labelled pictures, or make a built-in one anew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.options import (
    DATA,
    DATA_HELP,
    MODEL_HELP,
    NETWORK,
    OUT,
    Json,
    Limit,
    Seed,
    statements,
    with_statements,
)
from fluoroscope.cli.output import Output, earlier_run, one_line, stopped
from fluoroscope.cli.train_options import with_recipe_options
from fluoroscope.cli.waiting import waiting
from fluoroscope.training.names import RECIPES
from fluoroscope.words import count, number, percent

if TYPE_CHECKING:
    from fluoroscope.training.job.history import Point
    from fluoroscope.training.job.run import TrainingRun
    from fluoroscope.training.trainer.step import FitStep

_LEARNING, _HARDENING = "How it learns", "Against attacks"
_RECIPES = "; ".join(f"{name}: {about.summary}" for name, about in RECIPES.items())


@with_statements
@with_recipe_options
def train(
    architecture: Annotated[str, typer.Argument(help=MODEL_HELP)],
    data: Annotated[
        str,
        typer.Option(
            *DATA,
            help=f"{DATA_HELP} With the splits train and test, or a fifth is kept to judge by.",
        ),
    ],
    stated: dict[str, Any],
    options: dict[str, Any],
    from_scratch: Annotated[
        bool,
        typer.Option(
            "--from-scratch",
            help="Random weights for a torchvision/ or timm/ network, with the data's classes; "
            "default: its published weights.",
            rich_help_panel="The network",
        ),
    ] = False,
    limit: Limit = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help=f"What is learnt. {_RECIPES}; default: the classes alone.",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    epochs: Annotated[
        int | None,
        typer.Option(
            help="How often every picture is seen; default: 10, of a built-in its own.",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(
            "--batch-size",
            help="Pictures in an update; default: 64, of a built-in its own.",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    learning_rate: Annotated[
        float | None,
        typer.Option(
            help="The highest, of Adam; default: 0.001, a tenth from weights that are there, of a "
            "built-in its own.",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    weight_decay: Annotated[
        float | None,
        typer.Option(
            help="Default: 0.01, of a built-in its own.",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    augment: Annotated[
        str | None,
        typer.Option(
            help="Change each batch: none, flip (left to right), shift, or flip,shift; default: "
            "none, and digits rewritten for a built-in.",
            rich_help_panel=_LEARNING,
        ),
    ] = None,
    adversarial: Annotated[
        str | None,
        typer.Option(
            help="Learn from pictures moved against the network: fgsm, pgd, trades, mart, latent "
            "(of an invertible one, eps in L2), or an attack that follows a gradient (fluoroscope "
            "attacks); default: the recipe's.",
            rich_help_panel=_HARDENING,
        ),
    ] = None,
    eps: Annotated[
        str | None,
        typer.Option(
            help="How far a pixel may move then: 0.3 or 8/255; of an attack, in its usual norm.",
            rich_help_panel=_HARDENING,
        ),
    ] = None,
    adversarial_steps: Annotated[
        int | None,
        typer.Option(
            help="Steps to each moved picture; default: pgd 7, others 10.",
            rich_help_panel=_HARDENING,
        ),
    ] = None,
    ramp: Annotated[
        float | None,
        typer.Option(
            help="Share of the training over which eps grows from 0; default: 0.35.",
            rich_help_panel=_HARDENING,
        ),
    ] = None,
    targeted: Annotated[
        bool,
        typer.Option(
            "--targeted",
            help="Move each picture towards a class drawn for it, by an attack that can.",
            rich_help_panel=_HARDENING,
        ),
    ] = False,
    processes: Annotated[
        int,
        typer.Option(
            help="So many learn at once on this machine, each from its share of every batch; as "
            "many as a launcher such as torchrun started.",
            rich_help_panel=_LEARNING,
        ),
    ] = 1,
    out: Annotated[Path, typer.Option(*OUT, help="Directory for weights and record.")] = Path(
        "out/train"
    ),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Train a network on labelled pictures, judge it, and write weights and record.

    A training that was broken off goes on when the same command is given again.

    [bold]Examples:[/]
      fluoroscope train python:nets:make -d photos --augment flip,shift
      fluoroscope train torchvision/resnet18 --from-scratch -d photos --input-size 64
      fluoroscope train digits-cnn -d path/to/mnist --adversarial pgd --eps 0.3
      fluoroscope train digits-cnn -d path/to/mnist --recipe exclude
      fluoroscope train digits-cnn -d path/to/mnist --recipe consistent --adversarial fgsm --eps 0.2
      fluoroscope train digits-cnn -d path/to/mnist --recipe gates
      fluoroscope train digits-cnn -d path/to/mnist --recipe selective --weight 5
      fluoroscope train invertible -d path/to/mnist
    """
    from fluoroscope.training.names import Chosen, check_chosen, recipe_for

    moving: dict[str, Any] = {
        "eps": eps,
        "adversarial_steps": adversarial_steps,
        "ramp": ramp,
        "targeted": targeted or None,
    }
    given = {name: value for name, value in moving.items() if value is not None}
    if recipe is not None or options:
        check_chosen(Chosen(recipe_for(architecture, recipe), adversarial, {**options, **given}))
    waiting.says("importing PyTorch")
    from fluoroscope.engine.memory import keep_freed_memory
    from fluoroscope.training.job.network import file_name

    waiting.says(f"opening {one_line(data)}")
    keep_freed_memory()
    output = Output(json)
    output.ready()
    run = _run(recipe)(
        architecture,
        data,
        out=out,
        limit=limit,
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        augment=augment,
        seed=seed,
        adversarial=adversarial,
        **moving,
        processes=processes,
        **({"recipe": recipe, "options": options} if recipe != "exclude" else options),
        from_scratch=from_scratch,
        watch=lambda done, total: waiting.says(f"decoding pictures: {done:,} of {total:,}"),
        typed={name: value for name, value in stated.items() if value != NETWORK[name][1]},
        **statements(**stated),
    )
    if not run.first:  # of a launcher's processes the first alone speaks and writes
        for _ in run:
            pass
        return
    for note in run.notes:
        output.note(note)
    if run.held_out_of_each:
        output.say(_held_out(run.held_out_of_each))
    earlier_run(output, run.out / f"{file_name(run.name)}.json")
    if run.behind:
        output.say(f"going on after step {run.behind} of an earlier run")
    total, behind = len(run) + max(0, run.behind - 1), run.behind
    at, short = behind, ""
    try:
        with output.telling(), output.measuring() as move:
            for step in run:
                at = step.number
                if step.held_out is not None:
                    short = _shortly(step)
                    epoch = terms_of(run.history.epochs[-1])
                    output.say(f"epoch {step.epoch}: loss {epoch}, {_judged(step)}")
                # The accuracies first: of a narrow terminal's line the end is cut.
                right = short or f"{percent(step.accuracy)} of the batch"
                move(at / total, f"epoch {step.epoch}: {right}, loss {terms_of(step)}")
    except KeyboardInterrupt:
        stopped(output, run.checkpoint, at, total)
        raise
    result = run.result
    accuracy = result.record["accuracy"]
    built_in = accuracy.get("built_in_pictures")
    output.say(
        f"{architecture} classifies {100 * accuracy['test']:.2f} % of {data} correctly"
        + ("" if built_in is None else f" and {100 * built_in:.2f} % of the built-in pictures")
    )
    hardened = result.record.get("adversarial", {})
    for judged in hardened.get("test", []):
        output.say(
            f"within {_ball(hardened | judged, eps)} of {judged['pictures']} test pictures "
            f"{100 * judged['accuracy']:.1f} % survive {_attack(judged)} "
            f"({count(judged['steps'], 'step')}, {count(judged['restarts'], 'start')})"
        )
    if "note" in hardened:
        output.note(hardened["note"])
    for line in _excluded(run):
        output.say(line)
    files = [
        result.weights.with_suffix(suffix)
        for suffix in (".safetensors", ".json", ".curves.png", ".curves.csv")
    ]
    for line in [*_gated(result.record), *_selective(result.record)]:
        output.say(line)
    output.wrote([*files, *result.beside, *filter(None, [result.best])])
    if run.data.flatters:
        output.note(run.data.flatters)
    if run.next_command:
        output.say(f"look into it: {run.next_command}")
    if run.latent_command:
        output.say(f"and into its latent: {run.latent_command}")
    output.json(result.record)


def terms_of(step: "FitStep | Point") -> str:
    """``2.31``, or ``2.31 (clean 1.2, divergence 1.11)``: of a batch, or the means of an epoch."""
    parts = ", ".join(f"{name} {value:.3g}" for name, value in step.terms.items())
    return f"{step.loss:.4f}" + (f" ({parts})" if parts else "")


def _judged(step: "FitStep") -> str:
    attacked = step.held_out_adversarial
    return f"held out {100 * (step.held_out or 0):.2f} %" + (
        "" if attacked is None else f", attacked {100 * attacked:.1f} %"
    )


def _shortly(step: "FitStep") -> str:
    """``held out 95.0 %, attacked 61.2 %``."""
    attacked = step.held_out_adversarial
    return f"held out {percent(step.held_out or 0)}" + (
        "" if attacked is None else f", attacked {percent(attacked)}"
    )


def _run(recipe: str | None) -> "type[TrainingRun]":
    """The job of a recipe."""
    if recipe == "exclude":
        from fluoroscope.inversion.exclusion.run import ExclusionRun

        return ExclusionRun
    from fluoroscope.training.job.run import TrainingRun

    return TrainingRun


def _attack(judged: dict[str, Any]) -> str:
    """``APGD on the difference of logits ratio``; the cross-entropy goes without saying."""
    another = " on the difference of logits ratio" if judged.get("loss") == "dlr" else ""
    return f"{judged['attack']}{another}"


def _ball(judged: dict[str, Any], typed: str | None) -> str:
    """How far pictures were moved, as it was typed: in the largest change of a pixel unless it is
    said.
    """
    norm = {"linf": "", "l1": " in L1", "l2": " in L2"}[judged["norm"]]
    return f"{typed or format(judged['eps'], 'g')}{norm}"


def _held_out(many: dict[str, int]) -> str:
    """How many training pictures of each class judge the epochs."""
    least, most = min(many.values()), max(many.values())
    each = f"{most} of each" if least == most else f"{least} to {most} of each"
    return (
        f"{count(sum(many.values()), 'training picture')}, drawn at random, {each} of "
        f"{count(len(many), 'class', 'classes')}, are held out to judge every epoch"
    )


def _gated(record: dict[str, Any]) -> list[str]:
    """What is said of gates, where there are some."""
    found = record.get("gates")
    if found is None:
        return []
    classes = count(found["classes"], "class", "classes")
    told = ""
    if found["mutual_information"] is not None:
        told = (
            f"; a filter tells {number(found['mutual_information'])} nats of a class, "
            f"{number(found['by_chance'])} with labels dealt at random"
        )
    return [
        f"each of {found['filters']} filters of the layer {found['layer']} is open to "
        f"{number(found['classes_per_filter'])} of {classes} on average: density "
        f"{number(found['density'])}{told}"
    ]


def _selective(record: dict[str, Any]) -> list[str]:
    """What is said of units with a class of their own, where there are some."""
    found = record.get("selective")
    if found is None:
        return []
    units = count(found["units"], "unit")
    by_chance = found["units"] / found["classes"]
    return [
        f"{found['answer_most_to_their_own']} of {units} of the layer {found['layer']} answer most "
        f"to their own class, {number(by_chance)} would by chance; their selectivity for it is "
        f"{number(found['selectivity'])} on average, from -1 to 1, on "
        f"{count(found['pictures'], 'test picture')}"
    ]


def _excluded(run: "TrainingRun") -> list[str]:
    """What is said of the class for none of the others, where there is one."""
    found = getattr(run, "found", None)
    if found is None:
        return []
    from fluoroscope.inversion.exclusion.detection import describe_in_words

    assert found.excluded is not None
    return [
        f"its last class is for what is none of the others: {percent(found.excluded.value)} of the "
        "test pictures are predicted as it",
        *describe_in_words(found),
        "load it by the architecture's name with --checkpoint",
    ]
