"""Fit a network to labelled images, as a stream of steps."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fluoroscope.engine.classes import Given
from fluoroscope.errors import InvalidImagesError, InvalidParameterError
from fluoroscope.files import user_path
from fluoroscope.hashing import as_seed
from fluoroscope.notices import tell_all
from fluoroscope.training.trainer.books import Books, training_identity
from fluoroscope.training.trainer.classification import (
    Classification,
    batch_for,
    judge,
    kind_of,
    pixels_for,
)
from fluoroscope.training.trainer.companion import Companion, Running, begun, check_one_judges
from fluoroscope.training.trainer.recipe import Recipe, pace
from fluoroscope.training.trainer.second import Drawn, SecondSource
from fluoroscope.training.trainer.step import (
    FitStep,
    Loss,
    Moment,
    Ready,
    Task,
    learning,
    named_terms,
    prepare,
    summed,
)
from fluoroscope.training.trainer.together import (
    Alone,
    by_launcher,
    check_processes,
    is_first,
    launched,
    of_shares,
)
from fluoroscope.training.trainer.workers import with_workers
from fluoroscope.words import count


def cross_entropy(
    module: nn.Module, images: Tensor, labels: Tensor, moment: Moment | None = None
) -> tuple[Tensor, Tensor]:
    """The loss of a batch and its logits ``(N, classes)``; the same at every moment."""
    logits = module(images)
    return F.cross_entropy(logits, labels), logits


def fit(
    module: nn.Module,
    images: Tensor,
    labels: Given,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    held_out: tuple[Tensor, Given] | None = None,
    loss: Loss | Companion = cross_entropy,
    beside: Sequence[Companion | Running] = (),
    second: SecondSource | None = None,
    task: Task | None = None,
    checkpoint: str | Path | None = None,
    processes: int = 1,
) -> FitStep:
    """Train a module in place and return its last step; `fit_stream` with nobody watching."""
    *_, last = fit_stream(
        module,
        images,
        labels,
        recipe,
        seed=seed,
        held_out=held_out,
        loss=loss,
        beside=beside,
        second=second,
        task=task,
        checkpoint=checkpoint,
        processes=processes,
    )
    return last


def fit_stream(
    module: nn.Module,
    images: Tensor,
    labels: Given,
    recipe: Recipe | None = None,
    *,
    seed: int = 0,
    held_out: tuple[Tensor, Given] | None = None,
    loss: Loss | Companion = cross_entropy,
    beside: Sequence[Companion | Running] = (),
    second: SecondSource | None = None,
    task: Task | None = None,
    checkpoint: str | Path | None = None,
    processes: int = 1,
) -> Iterator[FitStep]:
    """Train a module in place, yielding each step; drop the iterator at any time to stop.

    Only weights that collect gradients are trained. It learns in training mode, whatever it was
    found in; only a batch norm that is in evaluation mode within a part in training mode keeps its
    statistics, as a frozen one does when a network is fine-tuned. At every yield the module is in
    the mode it was found in, without gradients, and torch's random state is untouched: the same
    seed and machine give the same weights whatever else is drawn.

    With a ``checkpoint`` the training is written there after every epoch, and every minute. If the
    file is there already, the training goes on from it, beginning with a repeat of the step it
    tells of, and ends with the weights of one that was never broken off. It stays at the end.

    Args:
        module: maps ``(N, C, H, W)`` to logits ``(N, classes)``; it is given what ``images`` holds.
        images: ``(N, C, H, W)``, floats in ``[0, 1]`` or 8-bit; batches go to the module's device.
        labels: the class of each: whole numbers ``(N,)`` in a tensor, array or sequence, or one-hot
            rows; for another ``task``, its targets.
        recipe: how long and how fast; by default ``Recipe()``.
        seed: for the order, the augmentation and dropout.
        held_out: images and labels on which each epoch is judged.
        loss: what is lowered; settings with ``begin``, such as a loss with weights of its own, are
            begun here.
        beside: what goes along with the training, such as an average of the weights.
        second: more pictures, of which a share of each batch is made; those of ``images`` are seen
            once an epoch all the same.
        task: what is learnt; by default classes.
        checkpoint: a file, in a directory that is there.
        processes: so many learn, each from its share of every batch: this one and others of its
            machine that end with it, or those that a launcher such as torchrun started. The result
            is that of one process within rounding, but for batch norm and dropout, which see and
            draw for a share alone.

    Raises:
        InvalidImagesError: images that are none, or that the module does not take.
        InvalidParameterError: labels that do not fit, nothing to train, a loss that overflows, or
            the checkpoint of another training.
        ModelFormatError: a checkpoint that cannot be read.
        ModelOutputError: the module does not return logits.
        ClusterError: one of several processes died.
        MissingExtraError: several processes without the extra ``cluster``.
    """
    if not isinstance(module, nn.Module):
        raise InvalidParameterError(
            f"the network is {kind_of(module)}; expected a torch.nn.Module: of a Classifier, its "
            ".module"
        )
    weights = [weight for weight in module.parameters() if weight.requires_grad]
    if not weights:
        raise InvalidParameterError(
            "no weight of the network is trainable; expected some: module.requires_grad_(True)"
        )
    task = task or Classification()
    targets, classes = task.check(module, images, labels)
    judges = None if held_out is None else (held_out[0], task.check(module, *held_out)[0])
    recipe, seed = recipe or Recipe(), as_seed(seed)
    processes = check_processes(processes, weights[0].device)
    if second is not None:
        second = _checked(second, module, images, recipe, task)
    books = None
    if checkpoint is not None:
        identity = training_identity(
            module, images, targets, recipe, seed, loss, beside, second, processes
        )
        books = Books(user_path(checkpoint), identity)
    lowered, *companions = (begun(one, module, classes) for one in (loss, *beside))
    running = [one for one in (lowered, *companions) if isinstance(one, Running)]
    check_one_judges(running)
    # Those that only look on come last: what they keep is no part of what a checkpoint must have.
    running.sort(key=lambda one: one.watches)
    for one in running:
        one.meet(module, pixels_for(images[:1], weights[0]))
    if processes > 1 and is_first(processes):
        tell_all(of_shares(module), stacklevel=2)
    job = _Job(
        module, weights, images, targets, recipe, seed, judges, lowered, running, task, second
    )
    return job.steps(books, processes)


def _checked(
    second: SecondSource, module: nn.Module, images: Tensor, recipe: Recipe, task: Task
) -> SecondSource:
    """The second source, its labels as targets."""
    second.of_batch(recipe)
    second.fits(images)
    try:
        targets, _ = task.check(module, second.images, second.labels)
    except (InvalidImagesError, InvalidParameterError) as problem:
        raise type(problem)(f"of the second source, {problem}") from problem
    return replace(second, labels=targets)


@dataclass
class _Job:
    """One training: what is learnt from, and all that goes along with it."""

    module: nn.Module
    weights: list[nn.Parameter]
    images: Tensor
    targets: Tensor
    recipe: Recipe
    seed: int
    held_out: tuple[Tensor, Tensor] | None
    loss: Loss
    running: Sequence[Running]
    task: Task
    second: SecondSource | None

    def steps(self, books: Books | None, processes: int) -> Iterator[FitStep]:
        optimizer, behind, start = self._optimizer(), 0, perf_counter()
        if books is not None and books.found is not None:
            books.restore(self.module, optimizer, self.running)
            behind, start = books.found.number, start - books.found.seconds
            if behind == self._total:
                self._end()
            yield books.found
        if behind < self._total:
            with self._together(processes) as group:
                yield from self._steps(optimizer, behind, start, books, group)

    def in_share(self, group: Alone) -> Iterator[FitStep]:
        """The same steps in another process, which goes out from what the first one has."""
        yield from self._steps(self._optimizer(), 0, perf_counter(), None, group)

    @property
    def _of_first(self) -> Recipe:
        """How the pictures of the first source are learnt from."""
        return self.recipe if self.second is None else self.second.first(self.recipe)

    @property
    def _total(self) -> int:
        return self._of_first.steps(len(self.images))

    def _together(self, processes: int) -> AbstractContextManager[Alone]:
        if processes == 1:
            return nullcontext(Alone())
        if (environment := launched()) is not None:
            return by_launcher(environment, self.weights[0].device)
        running = [one for one in self.running if not one.watches]
        return with_workers(replace(self, held_out=None, running=running), processes)

    def _steps(
        self,
        optimizer: torch.optim.Optimizer,
        behind: int,
        start: float,
        books: Books | None,
        group: Alone,
    ) -> Iterator[FitStep]:
        recipe, second, total, number = self._of_first, self.second, self._total, 0
        if second is not None:
            drawn = Drawn(len(second.images), self.seed)
        rng = torch.Generator().manual_seed(self.seed)
        behind = group.begin(self.module, optimizer, self.running, behind)
        for epoch in range(1, recipe.epochs + 1):
            batches = recipe.batches(torch.randperm(len(self.images), generator=rng, device="cpu"))
            for position, chosen in enumerate(batches, 1):
                number += 1
                if second is not None:
                    more = drawn.take(second.beside(len(chosen), self.recipe))
                    chosen = torch.cat([chosen, len(self.images) + more])
                # Also for a step that lies behind: the next one draws after it.
                step_seed = int(torch.randint(2**62, (), generator=rng, device="cpu"))
                if number <= behind:
                    continue
                rate = recipe.learning_rate * pace(number, total)
                for learnt in optimizer.param_groups:
                    learnt["lr"] = rate * learnt["pace"]
                moment = Moment(chosen, epoch, number / total, self.seed, group.mean)
                with group.at_work():
                    terms, accuracy = self._learn(optimizer, step_seed, moment, number, group)
                epoch_ends = position == len(batches)
                step = FitStep(
                    number=number,
                    epoch=epoch,
                    loss=math.fsum(terms.values()),
                    accuracy=accuracy,
                    learning_rate=rate,
                    seconds=perf_counter() - start,
                    held_out=self._judge() if epoch_ends and group.rank == 0 else None,
                    terms=terms if len(terms) > 1 else {},
                )
                if group.rank == 0:
                    step = self._looked_at(step)
                group.looked(self.running)
                if epoch_ends:
                    group.compare(self.module, self.running, number)
                if books is not None and group.rank == 0:
                    books.note(self.module, optimizer, self.running, step, now=epoch_ends)
                if number == total:
                    self._end()
                yield step

    def _end(self) -> None:
        for one in self.running:
            one.end(self.module)

    def _optimizer(self) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [
            {"params": self.weights, "pace": 1.0, "weight_decay": self.recipe.weight_decay}
        ]
        for one in self.running:
            if own := one.parameters():
                groups.append({"params": own, "pace": one.rate, "weight_decay": 0.0})
        return torch.optim.AdamW(groups)

    def _learn(
        self,
        optimizer: torch.optim.Optimizer,
        seed: int,
        moment: Moment,
        number: int,
        group: Alone,
    ) -> tuple[dict[str, float], float]:
        """One update: the terms of the loss by name, and how right the batch was before it."""
        module, weight, chosen = self.module, self.weights[0], moment.indices
        with learning(module, seed, weight.device):
            batch, targets = self._batch(chosen, weight)
            if self.recipe.augment is not None:
                batch = self.recipe.augment(batch, targets)
            share = group.share(len(batch), seed, weight.device)
            batch, targets = batch[share].contiguous(), targets[share]
            moment = replace(moment, indices=chosen[share])
            with ExitStack() as around:
                value, terms, right = self._lowered(around, batch, targets, moment, number, group)
                value.backward()
            group.gradients(optimizer)
            optimizer.step()
            optimizer.zero_grad()
            group.statistics(module)
            for one in self.running:
                one.after(module, moment)
            return terms, right

    def _batch(self, chosen: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        """The pictures of these numbers and their targets, those of the second source last."""
        second, first = self.second, chosen[chosen < len(self.images)]
        batch, targets = batch_for(self.images[first], self.targets[first], like)
        if second is None:
            return batch, targets
        others = chosen[len(first) :] - len(self.images)
        labels = cast(Tensor, second.labels)
        more, theirs = batch_for(second.images[others], labels[others], like)
        return torch.cat([batch, more]), torch.cat([targets, theirs])

    def _lowered(
        self,
        around: ExitStack,
        batch: Tensor,
        targets: Tensor,
        moment: Moment,
        number: int,
        group: Alone,
    ) -> tuple[Tensor, dict[str, float], float]:
        """What is lowered, its terms by name, and how right the answer to the batch is."""
        try:
            ready = prepare(self.loss, self.module, batch, targets, moment)
            for one in self.running:
                asked = partial(_asked, ready)
                around.enter_context(one.perturbed(self.module, asked, moment))
            given, answer = ready()
        except ValueError as problem:
            if "more than 1 value per channel" not in str(problem):
                raise
            raise InvalidParameterError(
                f"batches are of {count(len(batch), 'picture')}, and the network normalises over a "
                "batch; expected 2 or more: a larger batch_size=, or more pictures"
            ) from problem
        named = named_terms(given)
        right = self.task.right(answer.detach(), targets).mean().item()
        *means, right = group.means([*(term.item() for term in named.values()), right])
        terms = dict(zip(named, means, strict=True))
        for name, term in terms.items():
            if not math.isfinite(term):
                which = "the loss" if len(terms) == 1 else f"the term {name} of the loss"
                raise InvalidParameterError(
                    f"{which} is {term} at step {number}; expected a finite number: "
                    + self._mend(number)
                )
        return summed(given), terms, right

    def _mend(self, number: int) -> str:
        """What to do about a loss that is no number at this step."""
        if number > 1:
            return f"lower the learning rate ({self.recipe.learning_rate:g})"
        return (
            "nothing was learnt yet, so look for what is not finite in the network's weights or in "
            "the loss, such as the logarithm of 0"
        )

    def _looked_at(self, step: FitStep) -> FitStep:
        for one in self.running:
            if one.due(step):
                with self._judged() if one.watches else nullcontext():
                    step = one.look(self.module, step)
        return step

    def _judge(self) -> float | None:
        if self.held_out is None:
            return None
        with self._judged():
            return judge(self.task, self.module, *self.held_out)

    @contextmanager
    def _judged(self) -> Iterator[None]:
        with ExitStack() as inside:
            for one in self.running:
                inside.enter_context(one.judged(self.module))
            yield


def _asked(ready: Ready) -> Tensor:
    return summed(ready()[0])
