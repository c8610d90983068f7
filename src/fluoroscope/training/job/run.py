"""The whole job behind ``fluoroscope train``: load, fit, judge, write.

The weights in the package are the product of this; the record beside them says of what. They are
from when the last training pictures were held out, not a share of every class.
"""

import json
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from time import perf_counter
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.engine.labels import Seen
from fluoroscope.engine.provenance import provenance
from fluoroscope.engine.threats import Linf
from fluoroscope.errors import InvalidParameterError, UnknownDataError
from fluoroscope.files import atomic_path, output_directory
from fluoroscope.hashing import as_seed
from fluoroscope.models.builtin import DIGITS
from fluoroscope.models.classifier import Classifier
from fluoroscope.models.invertible.network import InvertibleNetwork
from fluoroscope.models.invertible.stated import statement
from fluoroscope.models.names import BUILTIN, UNTRAINED
from fluoroscope.pictures.maps import write_figure
from fluoroscope.tensor_files import write_tensors
from fluoroscope.training.beside.watching import Watch as HeldOutWatch
from fluoroscope.training.beside.watching import Watching
from fluoroscope.training.job.augmentation import augmentation, rewrite
from fluoroscope.training.job.history import History, Keeping
from fluoroscope.training.job.judging import can_judge, under_attack
from fluoroscope.training.job.learnt_from import LearntFrom
from fluoroscope.training.job.network import file_name, in_the_datas_words, network_to_train
from fluoroscope.training.job.pictures import Watch, classes_of, decode, nobody, open_parts
from fluoroscope.training.job.shape import check_invertible, shape_of
from fluoroscope.training.job.shares import share_of_each
from fluoroscope.training.job.trained import BUILT_IN_NOTE, NOTE, Trained, curves_of, write_weights
from fluoroscope.training.job.words import spoken
from fluoroscope.training.losses.adversarial import AdversarialLoss, PGDLoss
from fluoroscope.training.losses.attacked import AttackLoss
from fluoroscope.training.losses.by_name import adversarial_loss
from fluoroscope.training.losses.multi_norm import MultiNormLoss
from fluoroscope.training.names import MOVING, Chosen, check_chosen, check_recipe, recipe_for
from fluoroscope.training.recipes import Asked, made, second_source
from fluoroscope.training.trainer.checkpoint import describe, read_step
from fluoroscope.training.trainer.classification import accuracy
from fluoroscope.training.trainer.companion import Companion, Running, begun
from fluoroscope.training.trainer.fitting import cross_entropy, fit_stream, training_identity
from fluoroscope.training.trainer.preprocessed import as_learner
from fluoroscope.training.trainer.recipe import Recipe
from fluoroscope.training.trainer.second import SecondSource, also_in
from fluoroscope.training.trainer.step import FitStep, Loss
from fluoroscope.training.trainer.together import check_processes, is_first
from fluoroscope.words import count

RECIPES = {
    "digits-linear": Recipe(epochs=30, batch_size=256, learning_rate=4e-3, augment=rewrite),
    "digits-cnn": Recipe(
        epochs=12,
        batch_size=128,
        learning_rate=3e-3,
        weight_decay=0.02,
        augment=partial(rewrite, coarse=0.5, shake=0.5),
    ),
    "digits-robust": Recipe(epochs=12, batch_size=64, learning_rate=4e-3),
    # Bounded layers change by what their weights' directions do, and take a higher rate.
    "invertible": Recipe(epochs=10, batch_size=64, learning_rate=1e-2, weight_decay=0.01),
}
# What the recipes lower where it is not the plain cross-entropy.
LOSSES: dict[str, AdversarialLoss] = {
    "digits-robust": PGDLoss(threat=Linf(0.3), steps=7, ramp=0.35)
}
# Of every other network; a tenth of the rate where it starts from weights that are there.
USUAL = Recipe(epochs=10, batch_size=64, learning_rate=1e-3, weight_decay=0.01)
# At most so many of the training pictures, and at most a tenth, judge each epoch instead: of every
# class the same share, drawn at random.
HELD_OUT = 2000
# Seconds after which the curves are drawn again, and how many times longer than drawing took.
CURVES_EVERY, CURVES_COST = 60.0, 20.0
# The share of the steps over which the radius grows, where nobody says another.
RAMP = 0.35


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
        out: the directory for ``NAME.safetensors`` and ``NAME.json``.
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
        moved_by = None if moves else _moved_by(adversarial, moving)
        unshaped = architecture in UNTRAINED and stated.get("checkpoint") is None
        found = None
        if from_scratch or unshaped:
            found = open_parts(data, stated.get("channels"), limit)
        known = self.labels if found is None else _classes_in(found.train)
        model = network_to_train(
            architecture,
            seed,
            built_in=known if unshaped else self.labels,
            stated=stated,
            from_scratch=known if from_scratch else None,
            shape=shape_of(found.train, known, stated, options) if found and unshaped else None,
        )
        check_invertible(wanted, model.module, model.name)
        if unshaped:  # as many channels as the network has
            found = None
        found = found or open_parts(data, model.channels, limit)
        self._parts = found
        self.classifier = in_the_datas_words(model, found.train.labels)
        self.labels = self.classifier.labels
        self.built_in = isinstance(architecture, str) and architecture in BUILTIN
        self._named = isinstance(architecture, str | Path)
        self.name: str = str(architecture) if self._named else self.classifier.name
        """Of the network, as it was given."""
        self._learner = as_learner(self.classifier)
        if moved_by is None and loss is None:
            moved_by = LOSSES.get(self.name) if self.built_in else None
        judged = moved_by is not None and can_judge(moved_by.threat)
        self.adversarial: AdversarialLoss | AttackLoss | None = moved_by if judged else None
        """What moves pictures within a ball, in which the network is judged, too."""
        self.recipe = self._recipe(
            {
                "epochs": epochs,
                "batch_size": batch_size,
                "learning_rate": learning_rate,
                "weight_decay": weight_decay,
            },
            augment,
        )
        classes = classes_of(found.train, self.classifier)
        test_classes = classes_of(found.test, self.classifier)
        self.out = output_directory(out)
        asked = Asked(
            self.classifier,
            self._learner,
            options | given,
            moved_by,
            seed,
            self._other,
            self.recipe.epochs,
        )
        lowered, along = made(wanted, asked) if loss is None else (loss, [])
        self.second: SecondSource | None = second_source(asked, self.recipe)
        """More pictures, of which a share of each batch is made."""
        many = len(self.labels)
        self._lowered: Loss = begun(lowered, self._learner, many)
        self.beside: list[Running] = [begun(one, self._learner, many) for one in (*along, *beside)]
        """What goes along, begun."""
        self._typed = dict(typed if typed is not None else stated)
        self._data = data
        self._options: list[tuple[str, Any]] = [
            ("data", data),
            ("limit", limit),
            ("from_scratch", from_scratch),
            *((name, value) for name, value in self._typed.items()),
            ("epochs", epochs),
            ("batch_size", batch_size),
            ("learning_rate", learning_rate),
            ("weight_decay", weight_decay),
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
        self._read(classes, test_classes, watch)
        self._watching: Watching | None = None
        held_out = self._held_out
        hardened = self._hardened
        if hardened is not None and held_out is not None:
            settings = HeldOutWatch(
                images=held_out[0],
                labels=held_out[1],
                threat=hardened.threat,
                ramp=hardened.ramp,
            )
            self._watching = settings.begin(self._learner, many)
            self.beside.append(self._watching)
        if self._learner is not self.classifier.module or self.classifier.weights_from:
            self.beside.insert(0, LearntFrom.of(self.classifier).begin(self._learner, many))
        self.history: Keeping = History().begin(self._learner, many)
        """How it went so far."""
        self.beside.append(self.history)
        self._result: Trained | None = None
        self.checkpoint: Path = self.out / f"{file_name(self.name)}.checkpoint.safetensors"
        """Where it stands, as long as it goes on."""
        step = read_step(
            self.checkpoint,
            training_identity(
                self._learner,
                *self._kept,
                self.recipe,
                seed,
                self._loss,
                self.beside,
                self.second,
                processes,
            ),
        )
        self.behind: int = 0 if step is None else step["number"]
        """Steps that an earlier run of the same training made."""

    def _recipe(self, given: Mapping[str, Any], augment: str | None) -> Recipe:
        """The architecture's, with what is given in place of its own."""
        usual = RECIPES[self.name] if self._named and self.name in RECIPES else USUAL
        if self.classifier.weights_from:
            usual = replace(usual, learning_rate=usual.learning_rate / 10)
        changes = {name: value for name, value in given.items() if value is not None}
        if augment is not None:
            changes["augment"] = augmentation(augment)
        return replace(usual, **changes)

    def _read(self, classes: Tensor, test_classes: Tensor, watch: Watch) -> None:
        """Decode what is learnt from and what judges; of the first those that judge come last."""
        train, test = self._parts.train, self._parts.test
        judges = share_of_each(classes, min(HELD_OUT, len(classes) // 10), self.seed)
        learnt = torch.ones_like(classes, dtype=torch.bool).index_fill(0, judges, False)
        order = torch.cat([learnt.nonzero()[:, 0], judges])
        self._judges = len(judges)
        total = len(train) + len(test)
        images, digest = decode(
            train, self.classifier, order, self.out, lambda done, _: watch(done, total)
        )
        digest.update(classes.numpy().data)
        self._train_sha256: str = digest.hexdigest()
        self._train = images, classes[order]
        everything = torch.arange(len(test), device="cpu")
        tests, _ = decode(
            test,
            self.classifier,
            everything,
            self.out,
            lambda done, _: watch(len(train) + done, total),
        )
        self._test = tests, test_classes

    def _other(self, data: Any) -> tuple[Tensor, Tensor]:
        """Other labelled data as this network sees them: 8-bit images, and its classes."""
        pictures = data if isinstance(data, ImageSet) else _split_or_all(data, self.classifier)
        classes = classes_of(pictures, self.classifier)
        order = torch.arange(len(classes), device="cpu")
        return decode(pictures.with_labels(), self.classifier, order, self.out)[0], classes

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the data."""
        of_parts = (*self._parts.train.notes, *self._parts.test.notes)
        others = filter(None, [self._parts.note, self._leak])
        missing = Seen.of(self.classifier, self._train[1]).notes
        return tuple(dict.fromkeys([*of_parts, *others, *missing]))

    @cached_property
    def _leak(self) -> str | None:
        """What is to be said where the second source holds pictures that judge."""
        if self.second is None:
            return None
        held_out, _ = self._held_out or (self._test[0][:0], None)
        known = {
            "held-out": also_in(held_out, self.second.images),
            "test": also_in(self._test[0], self.second.images),
        }
        found = [count(many, f"{kind} picture") for kind, many in known.items() if many]
        if not found:
            return None
        return (
            f"the second source holds {' and '.join(found)}, bit for bit: the network learns from "
            "what it is judged by, and its accuracies flatter it; take them out of it"
        )

    @property
    def command(self) -> str:
        """What makes this training again at a command line; empty where none can."""
        if not (self._named and isinstance(self._data, str | Path)):
            return ""
        words = spoken(self._options)
        return shlex.join(["fluoroscope", "train", self.name, *words])

    @property
    def next_command(self) -> str:
        """What looks at the trained network at a command line; empty where none can."""
        if not (self._named and isinstance(self._data, str | Path)):
            return ""
        weights = self.out / f"{file_name(self.name)}.safetensors"
        kept = {
            name: value for name, value in self._typed.items() if not name.startswith("checkpoint")
        }
        pictures = [
            ("data", self._data),
            ("split", None if self._parts.drawn else self._parts.test.split),
        ]
        stated = [("model", self.name), ("checkpoint", weights), *kept.items()]
        return shlex.join(["fluoroscope", "xray", *spoken([*stated, *pictures])])

    def __len__(self) -> int:
        """How many steps there will be; the last of an earlier run is seen again."""
        total = self._total
        return total - self.behind + 1 if self.behind else total

    def __iter__(self) -> Iterator[FitStep]:
        seconds, drawn, cost = 0.0, perf_counter(), 0.0
        for step in self._steps(self._held_out):
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
        return self._lowered

    def _steps(self, held_out: tuple[Tensor, Tensor] | None) -> Iterator[FitStep]:
        return fit_stream(
            self._learner,
            *self._kept,
            self.recipe,
            seed=self.seed,
            held_out=held_out,
            loss=self._loss,
            beside=self.beside,
            second=self.second,
            checkpoint=self.checkpoint,
            processes=self._processes,
        )

    @property
    def _total(self) -> int:
        """How many steps the whole training has."""
        recipe = self.recipe if self.second is None else self.second.first(self.recipe)
        return recipe.steps(len(self._kept[0]))

    @property
    def _hardened(self) -> AdversarialLoss | AttackLoss | MultiNormLoss | None:
        """What pictures are moved by, where they are."""
        settings = getattr(self._lowered, "settings", None)
        return settings if isinstance(settings, MultiNormLoss) else self.adversarial

    def _ended(self) -> None:
        """The result is written."""

    def _more_options(self) -> list[tuple[str, Any]]:
        """Options of the command."""
        return []

    def _more_record(self) -> dict[str, Any]:
        """Of the record."""
        return {}

    def _about_weights(self) -> dict[str, str] | None:
        """What the file of the weights states in its head."""
        if isinstance(self.classifier.module, InvertibleNetwork):
            return statement(self.classifier)
        return None if self.built_in else {"labels": json.dumps(self.labels)}

    @property
    def _kept(self) -> tuple[Tensor, Tensor]:
        """What is learnt from."""
        images, labels = self._train
        kept = len(images) - self._judges
        return images[:kept], labels[:kept]

    @property
    def _held_out(self) -> tuple[Tensor, Tensor] | None:
        images, labels = self._train
        kept = len(images) - self._judges
        return (images[kept:], labels[kept:]) if self._judges else None

    @property
    def held_out_of_each(self) -> dict[str, int]:
        """By class, how many training pictures judge each epoch and are not learnt from."""
        held_out = self._held_out
        if held_out is None:
            return {}
        many = held_out[1].bincount(minlength=len(self.labels)).tolist()
        return {label: each for label, each in zip(self.labels, many, strict=True) if each}

    def _write(self, seconds: float) -> Trained:
        weights = self.out / f"{file_name(self.name)}.safetensors"
        record = self._record(seconds)
        state, best = self.classifier.module.state_dict(), None
        if self._watching is not None and self._doubts:
            best = weights.with_suffix(".best.safetensors")
            # The learner may have the network behind its preprocessing.
            before = dict(zip(state, self._watching.best.values(), strict=True))
            write_tensors(best, before, self._about_weights())
        beside = [path for one in self._running for path in one.write(weights, self.labels)]
        write_weights(weights, state, record, self._about_weights())
        history = tuple(self.history.points)
        return Trained(self.classifier, record, weights, history, best, tuple(beside))

    @property
    def _doubts(self) -> tuple[str, ...]:
        return () if self._watching is None else self._watching.doubts

    def _draw(self) -> None:
        """The curves so far, as a picture and as numbers, beside the weights."""
        if not self.history.points:
            return
        total = self._total
        figure = curves_of(self.history, total, self.recipe.epochs, self.name)
        path = self.out / f"{file_name(self.name)}.curves.png"
        write_figure(path, figure)
        with atomic_path(path.with_suffix(".csv")) as draft:
            draft.write_text(self.history.csv(), encoding="utf-8")

    def _record(self, seconds: float) -> dict[str, Any]:
        recipe = asdict(self.recipe) | {"augment": describe(self.recipe.augment)}
        reached = {"test": accuracy(self._learner, *self._test)}
        apart = self.built_in and self._data != "digits"
        if apart:
            reached["built_in_pictures"] = accuracy(self._learner, *self._other("digits"))
        hardened = self._hardened
        return {
            "name": self.name,
            "command": self.command,
            "seed": self.seed,
            "recipe": recipe,
            **(
                {"adversarial": under_attack(self.classifier, self._test, hardened, self.seed)}
                if hardened is not None
                else {}
            ),
            **self._lowered_record(),
            **self._findings(),
            **self._more_record(),
            "data": {
                "name": self._parts.train.name,
                "train": len(self._train[0]),
                "held_out": self._judges,
                "held_out_of_each": self.held_out_of_each,
                "test": len(self._test[0]),
                "test_drawn": self._parts.drawn,
                "train_sha256": self._train_sha256,
            },
            "accuracy": reached,
            "history": self.history.describe(),
            "note": BUILT_IN_NOTE if apart else NOTE,
            "parameters": sum(weight.numel() for weight in self._learner.parameters()),
            "seconds": round(seconds, 1),
            "date": datetime.now(UTC).date().isoformat(),
            **provenance(self.classifier),
        }

    @property
    def _running(self) -> list[Running]:
        """What was begun for this training, the loss among it where it has weights of its own."""
        return [one for one in (self._lowered, *self.beside) if isinstance(one, Running)]

    def _findings(self) -> dict[str, Any]:
        """What came of what was begun."""
        found: dict[str, Any] = {}
        for one in self._running:
            found |= one.findings(self.classifier, *self._test)
        return found

    def _lowered_record(self) -> dict[str, Any]:
        """What was lowered and what went along, where that is more than the usual."""
        lowered = getattr(self._lowered, "settings", self._lowered)
        usual = lowered is self.adversarial or lowered is cross_entropy
        along = [
            describe(one)
            for one in self.beside
            if not (one.watches or isinstance(one.settings, LearntFrom))
        ]
        found: dict[str, Any] = {} if usual else {"loss": describe(self._lowered)}
        layer = getattr(self._lowered, "layer", None)
        if layer is not None:  # the one that was found, where nobody named one
            found["loss"] |= {"layer": layer}
        if along:
            found["beside"] = along
        if self.second is not None:
            found["second"] = self.second.describe() | {"note": self._leak}
        if self._doubts:
            found["doubts"] = list(self._doubts)
        return found


def _moved_by(
    adversarial: str | None, moving: Mapping[str, Any]
) -> AdversarialLoss | AttackLoss | None:
    """How pictures are moved against the network, where that is asked for."""
    if adversarial is not None:
        ramp = moving["ramp"]
        usual = 0.0 if moving["eps"] is None else RAMP  # of no bound, which cannot grow
        return adversarial_loss(
            adversarial,
            moving["eps"],
            steps=moving["adversarial_steps"],
            ramp=usual if ramp is None else ramp,
            targeted=bool(moving["targeted"]),
        )
    for name, value in moving.items():
        if value is not None:
            raise InvalidParameterError(
                f"{name} is {value}, but no adversarial training was asked for; expected "
                "--adversarial pgd, fgsm or trades beside it"
            )
    return None


def _classes_in(pictures: ImageSet) -> tuple[str, ...]:
    """The names of the data's classes, or numbers."""
    numbers = pictures.class_numbers()
    assert numbers is not None
    return pictures.labels or tuple(map(str, range(int(numbers.max()) + 1)))


def _split_or_all(data: Any, model: Classifier) -> ImageSet:
    try:
        return load_images(data, "train", channels=model.channels)
    except UnknownDataError:
        return load_images(data, channels=model.channels)
