"""A picture under any attack of the library, live: what the network is asked about, and the end."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field
from torch import Tensor

from fluoroscope.attacks import registry
from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.parts import attack_parts, first_part, fit_to, other_pictures, part_size
from fluoroscope.attacks.result import AttackResult
from fluoroscope.attacks.universal.fitting import Fitted
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.grid import round_to_grid
from fluoroscope.engine.predict import predict
from fluoroscope.engine.stream import Step
from fluoroscope.engine.threats import pixel_distances
from fluoroscope.errors import InvalidParameterError, PictureError
from fluoroscope.notices import tell, tell_all
from fluoroscope.pictures.write import write_png
from fluoroscope.studio.command import command
from fluoroscope.studio.frames import frame
from fluoroscope.studio.kinds.attack_offer import check_size, expected_steps, offer
from fluoroscope.studio.kinds.kind import Kind, Name, Request
from fluoroscope.studio.kinds.readable import readable
from fluoroscope.studio.kinds.trajectory import Again, Trajectory, curve_csv
from fluoroscope.studio.kinds.usual_data import speaks_of
from fluoroscope.words import as_percent, count

if TYPE_CHECKING:
    from fluoroscope.models.classifier import Classifier
    from fluoroscope.studio.jobs.job import Job
    from fluoroscope.studio.studio import Studio

Parameter = Annotated[str, Field(pattern=r"^[a-z_]{1,40}$")]


class AttackRequest(Request):
    """An attack on one picture, in the words of `fluoroscope attack`."""

    kind: Literal["attack"]
    picture: Name
    attack: Name = Field(description="Its name; several joined by | attack what is left.")
    targeted: bool = Field(False, description="Towards a class, which `to` names.")
    to: Name | None = Field(None, description="The wanted class.")
    eps: str | None = Field(
        None, max_length=40, description="Such as `8/255`; attacks that look for the closest "
        "success go without.",
    )  # fmt: skip
    norm: Literal["linf", "l2", "l1", "l0", "none"] | None = None
    steps: int | None = Field(None, ge=1, le=100_000)
    params: dict[Parameter, bool | int | float | Annotated[str, Field(max_length=100)] | None] = (
        Field(default_factory=dict, max_length=20, description="The attack's own, by name.")
    )
    others: Name | None = Field(
        None, description="A data set on offer, for attacks that begin from other pictures, mix "
        "them in or are to resemble them.",
    )  # fmt: skip
    on_grid: bool = Field(False, description="Only pictures that a PNG holds.")


@dataclass(frozen=True)
class _Search:
    """One attack on one picture, to be made as often as anybody asks."""

    model: "Classifier"
    method: Method
    images: ImageSet
    """The one picture."""
    to: int | None
    on_grid: bool
    seed: int

    def run(self, on_step: Callable[[Step], None], over: Callable[[], bool]) -> AttackResult:
        [result] = attack_parts(
            self.model, self.method, self.images, to=self.to, seed=self.seed,
            grid=8 if self.on_grid else None, on_step=on_step, cancelled=over,
        )  # fmt: skip
        return result


def work(studio: "Studio", job: "Job", asked: AttackRequest) -> None:
    """Tell ``begin``, what the network was asked about, and at last the success that is kept."""
    model = studio.networks.own(asked.network)
    to = _target(model, asked)
    images, named = _picture(studio, asked, model, to)
    method = _method(studio, asked, model, images)
    original = first_part(model, images).to(model.device, model.dtype)
    if asked.on_grid:
        original = round_to_grid(original)
    job.tell(
        "begin",
        {
            "network": asked.network,
            "picture": asked.picture,
            "attack": asked.attack,
            "target": to,
            "norm": method.threat.name,
            "steps": expected_steps(method),
            "looks_through": _looks_through(method, model, asked.seed),
            "command": attack_command(studio, asked, to, named, original[0]),
        },
        frames={"original": frame(original[0].cpu())},
        matters=True,
    )
    trajectory = Trajectory(studio, job, original[0].cpu(), to, every=False)
    told = _Telling(trajectory, original)
    told.begin(model)
    if isinstance(method, Fitted):
        method, _ = fit_to(
            model, method, images, to=to, seed=asked.seed,
            batch_size=_BATCH, cancelled=job.cancelled,
            on_batch=lambda step: job.progress(step.number / step.total, "making it"),
        )  # fmt: skip
    search = _Search(model, method, images, to, asked.on_grid, asked.seed)
    job.picture_at = partial(_picture_at, search, told)
    result = search.run(told.step, job.cancelled)
    told.end(result)
    tell_all(result.notes)
    if trajectory.unseen:
        tell(f"the predicted class changed {count(trajectory.unseen, 'time')} more than is shown")
    _conclude(job, model, method, result, told)
    _leave_files(job, model, method, result)


_BATCH = 128
"""That of the command."""


class _Telling:
    """Counts what the network was asked about, and tells as much of it as can be seen."""

    def __init__(self, trajectory: Trajectory, original: Tensor) -> None:
        self._trajectory, self.original = trajectory, original
        self.number = 0
        """The newest step; 0 is the picture as it is."""
        self.found: Tensor | None = None
        """The success that is kept ``(C, H, W)``, where it is told as a step of its own."""
        self._left: Callable[[], None] | None = None
        self._last = original[0].cpu()

    def begin(self, model: "Classifier") -> None:
        found = predict(model, self.original)
        self._trajectory.tell(0, self._last, found.probabilities[0], None, (0, 0.0, 0.0))

    def step(self, step: Step) -> None:
        """Of several images that it was asked about at once, the last."""
        self.number += len(step.indices)
        last = step.ends()
        self._last = last.images[0]
        winner = int(last.answer.logits[0].argmax())
        tell = partial(self._tell, self.number, last)
        if self._trajectory.due(winner):
            self._left = None
            tell()
        else:
            self._left = tell

    def _tell(self, number: int, step: Step) -> None:
        l0, l2, linf = pixel_distances(step.images, self.original)
        objective = step.answer.objective
        self._trajectory.tell(
            number,
            step.images[0].cpu(),
            step.answer.logits[0].softmax(0).cpu(),
            None if objective is None else float(objective[0]),
            (int(l0), float(l2), float(linf)),
            reached=bool(step.reached[0]),
        )

    def end(self, result: AttackResult) -> None:
        """The last step, and the success that is kept where that is another."""
        if self._left is not None:
            self._left()
        image = result.images[0]
        led = bool(result.success[0]) and not bool(result.at_start[0])
        if not led or bool((image == self._last.cpu()).all()):
            return
        self.number, self.found = self.number + 1, image
        l0, l2, linf = pixel_distances(image[None], self.original.cpu())
        self._trajectory.tell(
            self.number, image, result.logits[0].softmax(0), None,
            (int(l0), float(l2), float(linf)), reached=True, result=True,
        )  # fmt: skip

    def step_of(self, image: Tensor) -> int | None:
        """The step whose picture ``(C, H, W)`` this is, of those that a verdict may be of."""
        if bool((image == self.original[0].cpu()).all()):
            return 0
        if self.found is not None or bool((image == self._last.cpu()).all()):
            return self.number
        return None


def _picture(
    studio: "Studio", asked: AttackRequest, model: "Classifier", to: int | None
) -> tuple[ImageSet, str]:
    """The picture, and the name by which a command makes the same of it.

    Where its label is no class of the network it goes without, as a file does.
    """
    images = studio.one(asked.picture, model)
    if to is not None or images.class_counts() is None:
        return images, asked.picture
    if speaks_of(model, images):
        return images, asked.picture
    tell(
        f"the labels of {images.name} are no classes of {model.name}: the picture is led away from "
        "what it is predicted as"
    )
    kept = studio.pictures.keep(studio.picture(asked.picture, model)[0])
    return studio.one(kept, model), kept


def _method(
    studio: "Studio", asked: AttackRequest, model: "Classifier", images: ImageSet
) -> Method:
    given = dict(asked.params) | ({} if asked.steps is None else {"steps": asked.steps})
    check_size(asked.attack, given)
    held = other_pictures(asked.attack)
    if asked.others is not None:
        if not held:
            raise InvalidParameterError(
                f"others is {asked.others!r}, but {asked.attack} takes no other pictures; expected "
                "nothing, or an attack that begins from them, mixes them in or is to resemble them"
            )
        images = studio.pictures.images(asked.others, model.channels)
    else:
        held = tuple(name for name in held if name == "pool")  # as the command does
    pictures = {name: _part(model, images) for name in held}
    return registry.attack(asked.attack, eps=asked.eps, norm=asked.norm, **given, **pictures)


def _part(model: "Classifier", images: ImageSet) -> Tensor:
    try:
        return first_part(model, images)
    except PictureError:
        return first_part(model, readable(images, part_size(model)))


def _target(model: "Classifier", asked: AttackRequest) -> int | None:
    if asked.targeted != (asked.to is not None):
        raise InvalidParameterError(
            "targeted is true, and there is no wanted class; expected a class in to"
            if asked.to is None
            else f"to is {asked.to!r}, and targeted is false; expected both, or neither"
        )
    return None if asked.to is None else model.find_class(asked.to)


def _looks_through(method: Method, model: "Classifier", seed: int) -> bool:
    """Whether what is told on the way is said by more than the network itself."""
    links: tuple[Method, ...] = getattr(method, "attacks", (method,))
    return any(type(link.surrogate(model, seed)) is not type(model) for link in links)


def _picture_at(search: _Search, told: _Telling, number: int) -> Tensor:
    """The picture of a step, searched for anew."""
    if number == 0:
        return told.original[0].cpu()
    if number == told.number and told.found is not None:
        return told.found
    again, asked, image = Again(number, told.number), 0, None

    def look(step: Step) -> None:
        nonlocal asked, image
        asked += len(step.indices)
        if asked == number:
            image = step.ends().images[0].cpu()

    search.run(look, lambda: asked >= number or again.late)
    return again.found(image)


def _conclude(
    job: "Job", model: "Classifier", method: Method, result: AttackResult, told: _Telling
) -> None:
    """Success, distance and passes, and whether the picture still fools once it is saved."""
    ends = _ends(result)
    forwards, backwards = int(result.forwards[0]), int(result.backwards[0])
    words = [result.in_words(method.threat)]
    if not bool(result.finished[0]):
        words.append("the search was stopped before its end")
    words.append(f"{count(forwards, 'pass', 'passes')} forward and {backwards:,} back")
    saved = _saved(model, result)
    if saved is not None:
        words.append(str(saved["words"]))
    job.conclude(
        summary="; ".join(words),
        success=ends["success"],
        at_start=bool(result.at_start[0]),
        distance=ends["distance"],
        norm=method.threat.name.replace("none", "l2"),
        forwards=forwards,
        backwards=backwards,
        became=ends["to"],
        probability=ends["to_probability"],
        step=told.step_of(result.images[0].cpu()),
        saved=saved,
    )


def _ends(result: AttackResult) -> dict[str, Any]:
    """What became of the picture; where nothing was found there is no distance."""
    ends = result.ends()
    return ends if ends["success"] else {**ends, "distance": None}


def _saved(model: "Classifier", result: AttackResult) -> dict[str, Any] | None:
    """What the network says of the success in the 8 bits of a PNG."""
    image = result.images[:1]
    if not bool(result.success[0]) or image.shape[1] not in (1, 3):
        return None
    probability, winner = predict(model, round_to_grid(image)).probabilities[0].max(0)
    same = int(winner) == int(result.classes[0])
    fools = same == bool(result.record["targeted"])
    said = f"{model.labels[int(winner)]} ({as_percent(float(probability))})"
    still = "still fools" if fools else "no longer fools: it"
    words = f"saved as a PNG, in 8 bits, it {still} is predicted as {said}"
    if fools:
        words = f"saved as a PNG, in 8 bits, it still succeeds: predicted as {said}"
    return {"fools": fools, "predicted_as": said, "words": words}


def _leave_files(job: "Job", model: "Classifier", method: Method, result: AttackResult) -> None:
    record = {
        **result.record,
        "picture": _ends(result),
        "summary": result.in_words(method.threat),
        "forwards": int(result.forwards[0]),
        "backwards": int(result.backwards[0]),
    }
    text = json.dumps(record, indent=1, ensure_ascii=False).encode()
    job.leave("attack.json", "application/json", text)
    job.leave("curve.csv", "text/csv", lambda: curve_csv(job, model.labels))
    if not bool((result.images == result.originals).all()):
        held = result.images.nbytes + result.originals.nbytes
        job.leave("attack.png", "image/png", partial(_slide, result), holds=held)


def _slide(result: AttackResult) -> bytes:
    with TemporaryDirectory() as directory:
        return write_png(Path(directory) / "slide.png", result.slide()).read_bytes()


def attack_command(
    studio: "Studio", asked: AttackRequest, to: int | None, picture: str, image: Tensor
) -> str:
    """The line that makes the same attack on this picture ``(C, H, W)``."""
    wanted = asked.to
    if wanted in ("random", "least-likely", "all"):  # words of the command
        wanted = str(to)
    return command(
        studio, "attack", asked.attack, network=asked.network,
        picture=picture, image=image,
        options={
            "eps": asked.eps,
            "norm": asked.norm,
            "to": wanted,
            "steps": asked.steps,
            "param": [f"{name}={_said(value)}" for name, value in asked.params.items()],
            "others": asked.others,
            "8bit": asked.on_grid,
            "plain": True,
            "seed": asked.seed or None,
        },
    )  # fmt: skip


def _said(value: object) -> str:
    """A parameter's value as the command reads it: JSON, or else text."""
    if not isinstance(value, str):
        return json.dumps(value)
    try:
        json.loads(value)
    except ValueError:
        return value
    return json.dumps(value)


ATTACK = Kind("attack", AttackRequest, work, offer)
