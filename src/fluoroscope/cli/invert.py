"""``fluoroscope invert``: what a network believes classes look like, many pictures of each."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from fluoroscope.cli.attack_options import parameters
from fluoroscope.cli.default_command import Default, WithDefault
from fluoroscope.cli.display import with_display
from fluoroscope.cli.interrupt import interruptible
from fluoroscope.cli.invert_assess import assess
from fluoroscope.cli.invert_attack import attack
from fluoroscope.cli.invert_counterfeit import counterfeit
from fluoroscope.cli.invert_leak import leak
from fluoroscope.cli.invert_list import list_, show
from fluoroscope.cli.invert_sample import sample
from fluoroscope.cli.options import OUT, Command, Json, Seed, sides_of, with_model
from fluoroscope.cli.output import Output, earlier_run, speak_of
from fluoroscope.errors import InvalidParameterError
from fluoroscope.words import count, duration, number, percent, some

if TYPE_CHECKING:
    from fluoroscope.inversion.generator.fitting import InversionStep
    from fluoroscope.inversion.generator.result import Inversion
    from fluoroscope.models.classifier import Classifier

invert = typer.Typer(
    name="invert",
    cls=WithDefault,
    help="Train a generator of pictures that a network classifies as asked; use and judge it.",
)
for _name, _command in (
    ("sample", sample),
    ("counterfeit", counterfeit),
    ("attack", attack),
    ("leak", leak),
    ("assess", assess),
    ("list", list_),
    ("show", show),
):
    invert.command(_name, cls=Command)(_command)

# Seconds between two pictures of the generator as it forms; how often a line is said without a bar.
_FORMING, _LINES = 4.0, 10
CHECKPOINT, FORMING, GALLERY = "checkpoint.safetensors", "forming.png", "gallery.png"


@invert.command("invert", cls=Default, hidden=True)
@with_model
@with_display
def train(
    model: "Classifier",
    classes: Annotated[
        list[str] | None,
        typer.Option("--class", "-c", help="Class to learn; repeatable. Default: all."),
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="See: fluoroscope invert list. Default: ours.")
    ] = None,
    conditioning: Annotated[
        str | None,
        typer.Option(help="How the generator is told the class. Default: the preset's."),
    ] = None,
    temperature: Annotated[
        float | None,
        typer.Option(help="Of soft vectors; default: what ten classes have at 1."),
    ] = None,
    confidence: Annotated[
        float | None, typer.Option(help="In its place: their largest entry, on average.")
    ] = None,
    weight: Annotated[
        list[str] | None,
        typer.Option("--weight", help="Of a term: kl=1, cosine=1. Repeatable; 0 leaves it out."),
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param", help="Another setting: dropout=0.5, growth=transposed. Repeatable."
        ),
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Batches; default: the preset's.")] = None,
    batch_size: Annotated[
        int | None,
        typer.Option(help="Pictures of a batch, which are compared; default: the preset's."),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option("--at-once", help="Pictures in the network at once, where memory is short."),
    ] = None,
    size: Annotated[
        str | None, typer.Option(help="Of the pictures, HEIGHTxWIDTH. Default: the network's.")
    ] = None,
    out: Annotated[
        Path, typer.Option(*OUT, help="Directory for the generator and its gallery.")
    ] = Path("out/invert"),
    seed: Seed = 0,
    json: Json = None,
) -> bool:
    """Train a generator of pictures that a network classifies as asked, and show what it makes.

    While it learns, forming.png shows what it makes.
    Stopped or killed, the same command goes on where it was.

    [bold]Examples:[/]
      fluoroscope invert -m digits-cnn --out out/invert
      fluoroscope invert -m digits-cnn --conditioning vector --temperature 0.5 --weight cosine=1
      fluoroscope invert sample out/invert -c 3 -n 20
      fluoroscope invert assess out/invert -m digits-cnn
    """
    from fluoroscope.files import output_directory, remove
    from fluoroscope.inversion.generator.invert import InversionRun

    options = given_settings(weight, param)
    output = Output(json)
    place = output_directory(out)
    output.ready()
    for name, value in (("temperature", temperature), ("confidence", confidence)):
        if value is not None:
            options[name] = value
    with output.telling():
        run = InversionRun(
            model,
            preset=preset,
            conditioning=conditioning,
            classes=classes or None,
            steps=steps,
            batch_size=batch_size,
            size=sides_of(size),
            seed=seed,
            at_once=at_once,
            checkpoint=place / CHECKPOINT,
            **options,
        )
        behind, steps_in_all = run.fitting.behind, run.settings.steps
        if behind:
            output.say(f"going on after step {behind} of an earlier run")
        # Of a training that is over already there is nothing more to form.
        earlier = earlier_run(output, place / "generator.json") if len(run) else ""
        forming = _Forming(place, model, earlier)
        soft = run.generator.conditioning.soft
        with interruptible() as interrupted, output.measuring() as move:
            for step in run:
                move(step.number / steps_in_all, state(step.row, soft))
                if step.number % max(1, steps_in_all // _LINES) == 0:
                    output.say(f"step {step.number} of {steps_in_all}: {state(step.row, soft)}")
                forming.look(step, soft)
                if interrupted():
                    run.cancel()
                    break
        if interrupted() and len(run):
            output.say(
                f"stopped after step {run.fitting.behind} of {steps_in_all}; the same command goes "
                "on from there"
            )
            raise typer.Abort
        found = run.result
    forming.remove()
    _report(output, found)
    written = [_gallery(place, found, model), *found.save(place)]
    remove(place / CHECKPOINT)  # all that it was for is done; another training may come here
    output.wrote(written)
    output.say(_judge_it(place, model))
    output.json(found.describe())
    return True


def given_settings(weight: list[str] | None, param: list[str] | None) -> dict[str, Any]:
    """Settings by name, and weights of terms among them."""
    from fluoroscope.inversion.generator.names import TERMS

    found = parameters(param)
    # What the library says of them is said of these options.
    named = {name: f"param {name}" for name in ("layer", *found)}
    speak_of(named | {name: f"weight {name}" for name in TERMS})
    for name, value in parameters(weight, "weight").items():
        known = name.replace("-", "_")
        if known not in TERMS:
            raise InvalidParameterError(
                f"weight is {name}={value}; expected one of {', '.join(TERMS)}"
            )
        found[known] = value
    return found


def state(row: dict[str, float], soft: bool) -> str:
    """Where a training stands: losses, and what the network says of the batch.

    Of codes that are one class both divergences are one number, which is said once.
    """
    terms = [
        f"{name.replace('_', ' ')} {number(row[name])}, "
        for name in ("kl", "cross_entropy")
        if name in row
    ]
    told = "".join(terms if soft else terms[:1])
    return f"{percent(row['accuracy'])} as asked, {told}all terms {number(row['loss'])}"


class _Forming:
    """The picture of what the generator makes while it learns."""

    def __init__(self, place: Path, model: "Classifier", earlier: str) -> None:
        self._path, self._model, self._earlier = place / FORMING, model, earlier
        self._last = time.monotonic() - _FORMING

    def look(self, step: "InversionStep", soft: bool) -> None:
        """Draw the batch now and then."""
        from fluoroscope.inversion.generator.sample_files import even_rows, sample_sheet
        from fluoroscope.pictures.write import write_png

        if time.monotonic() - self._last < _FORMING:
            return
        rows = even_rows(step.classes)
        sheet = sample_sheet(
            step.pictures[rows],
            step.classes[rows],
            self._model.labels,
            title=f"step {step.number} of {step.steps}: {state(step.row, soft)}",
            warning=self._earlier,
        )
        write_png(self._path, sheet)
        self._last = time.monotonic()

    def remove(self) -> None:
        """It has formed."""
        from fluoroscope.files import remove

        remove(self._path)


def _gallery(place: Path, found: "Inversion", model: "Classifier") -> Path:
    """Ten pictures of each class, and how sure the network is of each."""
    from fluoroscope.engine.predict import predict
    from fluoroscope.inversion.generator.sample_files import sample_sheet
    from fluoroscope.pictures.write import write_png

    made = found.sample(n=10)
    sure = predict(model, made.images).probabilities.gather(1, made.classes[:, None])[:, 0]
    sheet = sample_sheet(
        made.images,
        made.classes,
        made.labels,
        title=f"What {model.name} is asked to see, and the probability that it gives",
        confidence=sure,
        warning=collapsed(found) or "",
    )
    return write_png(place / GALLERY, sheet)


def collapsed(found: "Inversion") -> str | None:
    """A sentence where the pictures of a class hardly differ."""
    from fluoroscope.inversion.measures.flags import SAME_PIXELS

    spread, gone = found.record["judged"]["spread"], found.record["judged"].get("collapsed", [])
    if spread >= SAME_PIXELS:
        if not gone:
            return None
        classes = count(len(found.record["classes"]), "class", "classes")
        return (
            f"collapsed: of {len(gone):,} of {classes} all pictures are the same "
            f"({some(gone, 6)}); what is said of their number is said of one"
        )
    return (
        f"collapsed: the pictures of a class are the same (their pixels differ by "
        f"{number(spread)} of full white); what is said of their number is said of one"
    )


def _report(output: Output, found: "Inversion") -> None:
    from fluoroscope.inversion.generator.result import CAUTION

    record, judged = found.record, found.record["judged"]
    settings = record["settings"]
    problem = collapsed(found)
    if problem:
        output.say(problem)
    output.say(
        f"{percent(judged['accuracy'])} of {judged['pictures']:,} new samples are predicted as "
        f"asked, {percent(judged['confidence'])} sure on average; divergence from what was asked "
        f"{number(judged['kl'])} nats"
    )
    weights = [
        [name.replace("_", " "), number(value), _course(found, name)]
        for name, value in settings["weights"].items()
        if value
    ]
    output.table(
        ["term", "weight>", "first and last steps>"],
        weights,
        f"{settings['conditioning']}, {count(record['steps'], 'step')} of "
        f"{settings['batch_size']}, {duration(record['seconds'])}",
    )
    for note in found.notes:
        output.note(note)
    output.say(CAUTION)


def _judge_it(place: Path, model: "Classifier") -> str:
    """The command that says what they are worth."""
    from fluoroscope.inversion.usual_judge import OTHERS

    more = "" if model.name in OTHERS else " --second NETWORK --data DATA"
    given = shlex.join([str(place), "--model", model.name])
    return f"what they are worth: fluoroscope invert assess {given}{more}"


def _course(found: "Inversion", name: str) -> str:
    """The mean of a term over the first and over the last tenth of the steps."""
    values = [row[name] for row in found.curve if name in row]
    few = max(1, len(values) // 10)
    first, last = sum(values[:few]) / few, sum(values[-few:]) / few
    return f"{number(first)} → {number(last)}"
