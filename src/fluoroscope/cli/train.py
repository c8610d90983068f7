"""``fluoroscope train``: make one of the built-in networks anew."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.options import DATA, OUT, Json, Seed
from fluoroscope.cli.output import Output, one_line
from fluoroscope.cli.waiting import waiting
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import count, percent

if TYPE_CHECKING:
    from fluoroscope.training.run import TrainingRun


def train(
    architecture: Annotated[
        str, typer.Argument(help="digits-linear, digits-cnn or digits-robust.")
    ],
    data: Annotated[
        str, typer.Option(*DATA, help="Pictures with the splits train and test: MNIST.")
    ],
    epochs: Annotated[
        int | None, typer.Option(help="How often every picture is seen; default: the recipe's.")
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            help="exclude: learn one class more, none of these, from noise and from what the "
            "network itself takes for digits; default: the architecture's own."
        ),
    ] = None,
    outside: Annotated[
        list[str] | None,
        typer.Option(
            help="With --recipe exclude: other pictures, to be told from digits at the end. "
            "Repeatable."
        ),
    ] = None,
    adversarial: Annotated[
        str | None,
        typer.Option(
            help="Learn from pictures moved against the network: fgsm, pgd or trades; default: the "
            "recipe's."
        ),
    ] = None,
    eps: Annotated[
        str | None, typer.Option(help="How far a pixel may move then: 0.3 or 8/255.")
    ] = None,
    adversarial_steps: Annotated[
        int | None, typer.Option(help="Steps to each moved picture; default: pgd 7, trades 10.")
    ] = None,
    ramp: Annotated[
        float | None,
        typer.Option(help="Share of the training over which eps grows from 0; default: 0.35."),
    ] = None,
    out: Annotated[Path, typer.Option(*OUT, help="Directory for weights and record.")] = Path(
        "out/train"
    ),
    seed: Seed = 0,
    json: Json = None,
) -> None:
    """Train a network on handwritten digits, judge it, and write weights and record.

    A training that was broken off goes on when the same command is given again.

    [bold]Examples:[/]
      fluoroscope train digits-linear --data path/to/mnist
      fluoroscope train digits-cnn -d path/to/mnist --adversarial pgd --eps 0.3
      fluoroscope train digits-cnn -d path/to/mnist --recipe exclude
    """
    waiting.says("importing PyTorch")
    from fluoroscope.engine.memory import keep_freed_memory
    from fluoroscope.training.run import TrainingRun

    waiting.says(f"opening {one_line(data)}")
    keep_freed_memory()
    output = Output(json)
    hardening: dict[str, Any] = {
        "adversarial": adversarial, "eps": eps, "adversarial_steps": adversarial_steps,
        "ramp": ramp,
    }  # fmt: skip
    run: TrainingRun
    if recipe is None:
        if outside:
            raise InvalidParameterError(
                f"outside is {outside[0]!r}, and nothing is excluded; expected --recipe exclude "
                "beside it"
            )
        run = TrainingRun(architecture, data, out=out, epochs=epochs, seed=seed, **hardening)
    elif recipe == "exclude":
        from fluoroscope.inversion.exclusion.run import ExclusionRun

        for name, value in hardening.items():
            if value is not None:
                raise InvalidParameterError(
                    f"{name} is {value}, and recipe exclude learns from no moved pictures; "
                    "expected one of the two"
                )
        run = ExclusionRun(
            architecture, data, out=out, epochs=epochs, seed=seed, outside=outside or ()
        )
    else:
        raise InvalidParameterError(
            f"recipe is {recipe!r}; expected exclude, or none for the architecture's own"
        )
    if run.held_out_of_each:
        output.say(_held_out(run.held_out_of_each))
    if run.behind:
        output.say(f"going on after step {run.behind} of an earlier run")
    for step in output.progress(run, len(run), f"training {architecture}"):
        if step.held_out is not None:
            attacked = step.held_out_adversarial
            output.say(
                f"epoch {step.epoch}: loss {step.loss:.4f}, held-out pictures classified correctly "
                f"{100 * step.held_out:.2f} %"
                + ("" if attacked is None else f", under attack {100 * attacked:.1f} %")
            )
    result = run.result
    accuracy = result.record["accuracy"]
    output.say(
        f"{architecture} classifies {100 * accuracy['test']:.2f} % of {data} correctly and "
        f"{100 * accuracy['built_in_pictures']:.2f} % of the built-in pictures"
    )
    hardened = result.record.get("adversarial", {})
    for judged in hardened.get("test", []):
        output.say(
            f"within {hardened['eps']:g} of {judged['pictures']} test pictures "
            f"{100 * judged['accuracy']:.1f} % survive {judged['attack']} "
            f"({count(judged['steps'], 'step')}, {count(judged['restarts'], 'start')})"
        )
    for line in _excluded(run):
        output.say(line)
    output.wrote([result.weights, result.weights.with_suffix(".json")])
    output.json(result.record)


def _held_out(many: dict[str, int]) -> str:
    """How many training pictures of each class judge the epochs."""
    least, most = min(many.values()), max(many.values())
    each = f"{most} of each" if least == most else f"{least} to {most} of each"
    return (
        f"{count(sum(many.values()), 'training picture')}, drawn at random, {each} of "
        f"{count(len(many), 'class', 'classes')}, are held out to judge every epoch"
    )


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
