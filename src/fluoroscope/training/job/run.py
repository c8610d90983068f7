"""The whole job behind ``fluoroscope train``: load, fit, judge, write.

The weights in the package are the product of this; the record beside them says of what. They are
from when the last training pictures were held out, not a share of every class.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any

from torch import Tensor, nn

from fluoroscope.data.kept_pictures import write_pictures
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import FluoroscopeError, InvalidParameterError
from fluoroscope.files import atomic_path, output_directory
from fluoroscope.hashing import as_seed
from fluoroscope.models.builtin import DIGITS
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.invertible.network import InvertibleNetwork
from fluoroscope.models.invertible.stated import statement
from fluoroscope.models.names import BUILTIN
from fluoroscope.pictures.maps import write_figure
from fluoroscope.tensor_files import write_tensors
from fluoroscope.training.beside.watching import Watch as HeldOutWatch
from fluoroscope.training.beside.watching import Watching
from fluoroscope.training.job.data import Data
from fluoroscope.training.job.defaults import LOSSES, moved_by, recipe_of
from fluoroscope.training.job.history import History, Keeping
from fluoroscope.training.job.judging import can_judge, under_attack
from fluoroscope.training.job.learnt_from import LearntFrom
from fluoroscope.training.job.network import file_name, network_and_data
from fluoroscope.training.job.pictures import Watch, nobody
from fluoroscope.training.job.record import of_data, of_findings, of_lowered
from fluoroscope.training.job.shape import check_invertible
from fluoroscope.training.job.trained import BUILT_IN_NOTE, NOTE, Trained, curves_of, write_weights
from fluoroscope.training.job.words import command
from fluoroscope.training.losses.adversarial import AdversarialLoss
from fluoroscope.training.losses.attacked import AttackLoss
from fluoroscope.training.losses.moved import MovedLoss
from fluoroscope.training.losses.multi_norm import MultiNormLoss
from fluoroscope.training.names import MOVING, Chosen, check_chosen, check_recipe, recipe_for
from fluoroscope.training.recipes import Asked, made, second_source
from fluoroscope.training.trainer.books import training_identity
from fluoroscope.training.trainer.checkpoint import describe, read_step
from fluoroscope.training.trainer.classification import accuracy
from fluoroscope.training.trainer.companion import Companion, Running, begun
from fluoroscope.training.trainer.fitting import fit_stream
from fluoroscope.training.trainer.preprocessed import as_learner
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.step import FitStep, Loss
from fluoroscope.training.trainer.together import check_processes, is_first

# Seconds after which the curves are drawn again, and how many times longer than drawing took.
CURVES_EVERY, CURVES_COST = 60.0, 20.0


def train(
    architecture: str | Path | nn.Module | Classifier,
    data: Any,
    *,
    out: str | Path,
    **settings: Any,
) -> Trained:
    """Train a network and write it; a `TrainingRun` of these settings with nobody watching."""
    run = TrainingRun(architecture, data, out=out, **settings)
    for _ in run:
        pass
    return run.result


class TrainingRun:
    """One training of a network: iterate for its steps, then take its ``result``.

    After the last step the network is judged on the test pictures, a built-in one on the built-in
    pictures too, and written to ``out`` under its own names of weights. A run that is broken off
    leaves ``NAME.checkpoint.safetensors`` there, and the same run goes on from it, to the weights
    of one that was never broken off.

    A network by name is built under the seed and ends in evaluation mode, its weights without
    gradients. A module of yours is trained in place: of it the weights that collect gradients
    change, and buffers such as batch norm's; its modes and flags stay.

    Args:
        architecture: ``digits-linear``, ``digits-cnn`` or ``digits-robust``, untrained;
            ``invertible``, made for the data; or what
            `load_model` takes, but for programs that cannot be trained: a function of yours,
            ``torchvision/NAME``, ``timm/NAME``, a directory, a `Classifier` or a module.
        data: labelled pictures as `load_images` takes them, or what it gave: with the splits
            ``train`` and ``test`` (or ``validation``), or a fifth of every class is kept from the
            training to judge it.
        out: the directory for ``NAME.safetensors`` and ``NAME.json``, and ``NAME.test.parquet``:
            the pictures that judged the network, where they were kept from the training.
        epochs, batch_size, learning_rate, weight_decay: by default what the architecture's recipe
            says, or for other networks 10, 64, 1e-3 and 0.01; a tenth of that rate where the
            training starts from published weights or a ``checkpoint``.
        augment: ``"none"``, ``"flip"``, ``"shift"`` or ``"flip,shift"``: changes each batch; by
            default what the recipe says, which for other networks is none.
        seed: for everything random.
        adversarial: ``fgsm``, ``pgd``, ``trades``, ``mart``, or the name of an attack that follows
            a gradient, to learn from pictures moved against the network; by default what the recipe
            says: ``pgd`` within 0.3 for ``digits-robust``, and clean pictures for the others.
        eps: how far a pixel may move, such as 0.3 or ``"8/255"``; none without ``adversarial``.
        adversarial_steps: of the search for each moved picture; by default the method's own.
        ramp: share of the steps over which ``eps`` grows from 0; by default 0.35.
        targeted: move each picture towards a class drawn for it, by an attack that can.
        recipe: the name of another way to learn, of ``training.names.RECIPES``.
        options: the recipe's own and those of what goes along, by name.
        loss: what is lowered, in place of a recipe.
        beside: what goes along with the training.
        limit: at most so many pictures of each part, drawn evenly over classes that lie in order.
        from_scratch: random weights for a ``torchvision/`` or ``timm/`` network, with as many
            classes as the data have; needs no network connection.
        processes: so many learn, each from its share of every batch, as `fit_stream` says. Of
            those that a launcher started the first alone writes and has a result.
        watch: told how many pictures are decoded, and of how many.
        typed: what was typed of the network at a command line, where that differs from ``stated``.
        stated: what `load_model` is told of a network: ``mean``, ``input_size``, ``checkpoint`` ...

    Raises:
        UnknownModelError, ModelFormatError, HubUnreachableError, MissingExtraError: no such
            network, or one that cannot be loaded; a checkpoint that cannot be read.
        UnknownDataError: no such data.
        InvalidImagesError, UnknownLabelError: labels that are missing, all the same, or not the
            network's; pictures that it does not take.
        InvalidParameterError: a network that cannot be trained, a directory that cannot be written
            to, settings that do not go together, or the checkpoint of another run.
        StorageError: no room for the decoded pictures.
    """

    labels: tuple[str, ...] = DIGITS
    """Of the network's outputs."""

    def __init__(
        self,
        architecture: str | Path | nn.Module | Classifier,
        data: Any,
        *,
        out: str | Path,
        epochs: int | None = None,
        batch_size: int | None = None,
        learning_rate: float | None = None,
        weight_decay: float | None = None,
        augment: str | None = None,
        seed: int = 0,
        adversarial: str | None = None,
        eps: float | str | None = None,
        adversarial_steps: int | None = None,
        ramp: float | None = None,
        targeted: bool | None = None,
        recipe: str | None = None,
        options: Mapping[str, Any] | None = None,
        loss: Loss | Companion | None = None,
        beside: Sequence[Companion | Running] = (),
        limit: int | None = None,
        from_scratch: bool = False,
        processes: int = 1,
        watch: Watch = nobody,
        typed: Mapping[str, Any] | None = None,
        **stated: Any,
    ) -> None:
        self.seed = seed = as_seed(seed)
        options = {name: value for name, value in (options or {}).items() if value is not None}
        moving = dict(zip(MOVING, (eps, adversarial_steps, ramp, targeted or None), strict=True))
        if loss is not None and (recipe or adversarial):
            raise InvalidParameterError(
                f"loss was given beside {recipe or adversarial!r}; expected one of the two"
            )
        wanted = recipe_for(architecture, recipe)
        given = {name: value for name, value in moving.items() if value not in (None, False)}
        check_chosen(Chosen(wanted, adversarial, options | given))
        self._processes = check_processes(processes)
        self.first: bool = is_first(processes)
        """Whether this is the first of several processes, which judges and writes, or alone."""
        moves = recipe is not None and check_recipe(recipe).moved == "itself"
        moved = None if moves else moved_by(adversarial, moving)
        self.classifier, parts = network_and_data(
            architecture,
            data,
            seed,
            built_in=self.labels,
            stated=stated,
            options=options,
            limit=limit,
            from_scratch=from_scratch,
        )
        check_invertible(wanted, self.classifier.module, self.classifier.name)
        self.labels = self.classifier.labels
        self.built_in: bool = isinstance(architecture, str) and architecture in BUILTIN
        """Whether it is one of the package's own."""
        self._named = isinstance(architecture, str | Path)
        self.name: str = str(architecture) if self._named else self.classifier.name
        """Of the network, as it was given."""
        self.learner: nn.Module = as_learner(self.classifier)
        """What is trained of it: from images in ``[0, 1]`` to logits."""
        if moved is None and loss is None:
            moved = LOSSES.get(self.name) if self.built_in else None
        self._moved = moves or moved is not None or isinstance(loss, MovedLoss)
        judged = moved is not None and can_judge(moved.threat)
        self.adversarial: AdversarialLoss | AttackLoss | None = moved if judged else None
        """What moves pictures within a ball, in which the network is judged, too."""
        pace: dict[str, Any] = {
            "epochs": epochs,
            "batch_size": batch_size,
            "learning_rate": learning_rate,
            "weight_decay": weight_decay,
        }
        self.recipe: Recipe = recipe_of(
            self.name if self._named else None, self.classifier, pace, augment
        )
        """How long and how fast it learns."""
        self.data: Data = Data(parts, self.classifier)
        """What is learnt from, and what judges."""
        self.out = output_directory(out)
        asked = Asked(
            self.classifier,
            self.learner,
            options | given,
            moved,
            seed,
            partial(self.data.other, folder=self.out),
            self.recipe.epochs,
        )
        lowered, along = made(wanted, asked) if loss is None else (loss, [])
        self.data.second = second_source(asked, self.recipe)
        self.lowered: Loss = self._begun(lowered)
        """The loss, begun."""
        self.beside: list[Running] = [self._begun(one) for one in (*along, *beside)]
        """What goes along, begun."""
        self._typed = dict(typed if typed is not None else stated)
        self.given_data: Any = data
        """The data as they were named."""
        self._options: list[tuple[str, Any]] = [
            ("data", data),
            ("limit", limit),
            ("from_scratch", from_scratch),
            *self._typed.items(),
            *pace.items(),
            ("augment", augment),
            ("seed", seed),
            ("recipe", recipe),
            ("adversarial", adversarial),
            *moving.items(),
            *options.items(),
            ("processes", None if processes == 1 else processes),
            *self._more_options(),
            ("out", out),
        ]
        try:
            self.data.read(self.out, seed, watch)
        except FluoroscopeError:
            if not any(self.out.iterdir()):  # nothing was made
                self.out.rmdir()
            raise
        self._watching = self._begun_watch()
        if self._watching is not None:
            self.beside.append(self._watching)
        if self.learner is not self.classifier.module or self.classifier.weights_from:
            self.beside.insert(0, self._begun(LearntFrom.of(self.classifier)))
        self.history: Keeping = self._begun(History())
        """How it went so far."""
        self.beside.append(self.history)
        self._result: Trained | None = None
        self.checkpoint: Path = self.out / f"{file_name(self.name)}.checkpoint.safetensors"
        """Where it stands, as long as it goes on."""
        step = read_step(self.checkpoint, self._identity())
        self.behind: int = 0 if step is None else step["number"]
        """Steps that an earlier run of the same training made."""

    def _begun(self, one: Any) -> Any:
        return begun(one, self.learner, len(self.labels))

    def _begun_watch(self) -> Watching | None:
        """What watches how the network stands against moved pictures that judge."""
        hardened, held_out = self.hardened, self.data.held_out
        if hardened is None or held_out is None:
            return None
        images, labels = held_out
        settings = HeldOutWatch(
            images=images, labels=labels, threat=hardened.threat, ramp=hardened.ramp
        )
        return settings.begin(self.learner, len(self.labels))

    def _identity(self) -> dict[str, Any]:
        return training_identity(
            self.learner,
            *self.data.kept,
            self.recipe,
            self.seed,
            self._loss,
            self.beside,
            self.data.second,
            self._processes,
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the data."""
        return self.data.notes

    @property
    def held_out_of_each(self) -> dict[str, int]:
        """By class, how many training pictures judge each epoch and are not learnt from."""
        return self.data.held_out_of_each

    @property
    def command(self) -> str:
        """What makes this training again at a command line; empty where none can."""
        if not (self._named and isinstance(self.given_data, str | Path)):
            return ""
        return command("train", self.name, options=self._options)

    @property
    def next_command(self) -> str:
        """What looks at the trained network at a command line; empty where none can."""
        data, split = self._to_look_at
        if data is None:
            return ""
        return command("xray", options=[*self._to_load, ("data", data), ("split", split)])

    @property
    def latent_command(self) -> str:
        """What looks into the latent of an invertible network; empty of any other."""
        data, split = self._to_look_at
        if data is None or not isinstance(self.classifier.module, InvertibleNetwork):
            return ""
        image = ":".join(map(str, filter(None, [data, split, "0"])))
        return command("latent", options=[*self._to_load, ("image", image)])

    @property
    def _to_load(self) -> list[tuple[str, Any]]:
        """The trained network as options of a command."""
        kept = {
            name: value for name, value in self._typed.items() if not name.startswith("checkpoint")
        }
        return [("model", self.name), ("checkpoint", self._weights), *kept.items()]

    @property
    def _to_look_at(self) -> tuple[str | Path | None, str | None]:
        """Data and split that judge it, of a command; none where no command can name both."""
        if not (self._named and isinstance(self.given_data, str | Path)):
            return None, None
        if self.data.keeps_test:
            return self._kept_test, None
        parts = self.data.parts
        return self.given_data, None if parts.drawn else parts.test.split

    @property
    def _weights(self) -> Path:
        return self.out / f"{file_name(self.name)}.safetensors"

    @property
    def _kept_test(self) -> Path:
        """Where test pictures that were drawn from the data are kept."""
        return self._weights.with_suffix(".test.parquet")

    def __len__(self) -> int:
        """How many steps there will be; the last of an earlier run is seen again."""
        total = self._total
        return total - self.behind + 1 if self.behind else total

    def __iter__(self) -> Iterator[FitStep]:
        seconds, drawn, cost = 0.0, perf_counter(), 0.0
        for step in self._steps(self.data.held_out):
            seconds = step.seconds
            now = perf_counter()
            if self.first and now - drawn > max(CURVES_EVERY, CURVES_COST * cost):
                self._draw()
                drawn = perf_counter()
                cost = drawn - now
            yield step
        if self._named:
            self.classifier.module.eval().requires_grad_(False)
        if not self.first:
            return
        self._result = self._write(seconds)
        self._draw()
        self.checkpoint.unlink(missing_ok=True)
        self._ended()

    @property
    def result(self) -> Trained:
        """The trained network; there is one after the last step."""
        if self._result is None:
            raise InvalidParameterError(
                "the network is not trained yet; iterate over the run first"
            )
        return self._result

    # What another way of training says differently.

    @property
    def _loss(self) -> Loss:
        return self.lowered

    def _steps(self, held_out: tuple[Tensor, Tensor] | None) -> Iterator[FitStep]:
        return fit_stream(
            self.learner,
            *self.data.kept,
            self.recipe,
            seed=self.seed,
            held_out=held_out,
            loss=self._loss,
            beside=self.beside,
            second=self.data.second,
            checkpoint=self.checkpoint,
            processes=self._processes,
        )

    @property
    def _total(self) -> int:
        """How many steps the whole training has."""
        recipe = self.recipe if self.data.second is None else self.data.second.first(self.recipe)
        return recipe.steps(len(self.data.kept[0]))

    @property
    def hardened(self) -> AdversarialLoss | AttackLoss | MultiNormLoss | None:
        """What pictures are moved by, where they are."""
        settings = getattr(self.lowered, "settings", None)
        return settings if isinstance(settings, MultiNormLoss) else self.adversarial

    def _ended(self) -> None:
        """The result is written."""

    def _more_options(self) -> list[tuple[str, Any]]:
        """Options of the command."""
        return []

    def more_record(self) -> dict[str, Any]:
        """Of the record."""
        return {}

    def _about_weights(self) -> dict[str, str] | None:
        """What the file of the weights states in its head."""
        if isinstance(self.classifier.module, InvertibleNetwork):
            return statement(self.classifier)
        return None if self.built_in else {"labels": json.dumps(self.labels)}

    def _write(self, seconds: float) -> Trained:
        weights, record = self._weights, self._record(seconds)
        state, best = self.classifier.module.state_dict(), None
        if self._watching is not None and self.doubts:
            best = weights.with_suffix(".best.safetensors")
            # The learner may have the network behind its preprocessing.
            before = dict(zip(state, self._watching.best.values(), strict=True))
            write_tensors(best, before, self._about_weights())
        beside = [path for one in self.running for path in one.write(weights, self.labels)]
        if self.data.keeps_test:
            write_pictures(self._kept_test, *self.data.test, self.labels)
            beside.append(self._kept_test)
        write_weights(weights, state, record, self._about_weights())
        history = tuple(self.history.points)
        return Trained(self.classifier, record, weights, history, best, tuple(beside))

    @property
    def doubts(self) -> tuple[str, ...]:
        """What the watch says of how the network learnt."""
        return () if self._watching is None else self._watching.doubts

    def _draw(self) -> None:
        """The curves so far, as a picture and as numbers, beside the weights."""
        if not self.history.points:
            return
        total = self._total
        figure = curves_of(
            self.history,
            total,
            self.recipe.epochs,
            self.name,
            moved=self._moved,
            ramp=0.0 if self.hardened is None else self.hardened.ramp,
        )
        path = self.out / f"{file_name(self.name)}.curves.png"
        write_figure(path, figure)
        with atomic_path(path.with_suffix(".csv")) as draft:
            draft.write_text(self.history.csv(), encoding="utf-8")

    def _record(self, seconds: float) -> dict[str, Any]:
        """The record of a training that has ended; its network is judged here."""
        recipe = asdict(self.recipe) | {"augment": describe(self.recipe.augment)}
        data, hardened = self.data, self.hardened
        reached = {"test": accuracy(self.learner, *data.test)}
        apart = self.built_in and self.given_data != "digits"
        if apart:
            reached["built_in_pictures"] = accuracy(self.learner, *data.other("digits", self.out))
        return {
            "name": self.name,
            "command": self.command,
            "seed": self.seed,
            "recipe": recipe,
            **(
                {"adversarial": under_attack(self.classifier, data.test, hardened, self.seed)}
                if hardened is not None
                else {}
            ),
            **of_lowered(self.lowered, self.adversarial, self.beside, data),
            **of_findings(self.running, self.classifier, data),
            **self.more_record(),
            "data": of_data(data, self._kept_test),
            "accuracy": reached,
            "history": self.history.describe(),
            "note": BUILT_IN_NOTE if apart else NOTE,
            "parameters": sum(weight.numel() for weight in self.learner.parameters()),
            "seconds": round(seconds, 1),
            "date": datetime.now(UTC).date().isoformat(),
            **provenance(self.classifier),
        }

    @property
    def running(self) -> list[Running]:
        """What was begun for this training, the loss among it where it has weights of its own."""
        return [one for one in (self.lowered, *self.beside) if isinstance(one, Running)]
