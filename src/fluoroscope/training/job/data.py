"""The data of a training as its network sees them: what is learnt from, and what judges."""

from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from fluoroscope.data.imageset import ImageSet, load_images
from fluoroscope.engine.labels import Seen
from fluoroscope.errors import PictureError, UnknownDataError, UnknownLabelError
from fluoroscope.models.classifier import Classifier
from fluoroscope.training.job.pictures import MEMORY, Parts, Watch, classes_of, decode
from fluoroscope.training.job.shares import share_of_each
from fluoroscope.training.trainer.second import SecondSource, also_in
from fluoroscope.words import count

# At most so many of the training pictures, and at most a tenth, judge each epoch instead: of every
# class the same share, drawn at random.
HELD_OUT = 2000
# So many classes are named in a note.
_NAMED = 5


class Data:
    """Images are 8-bit ``(N, C, H, W)``, labels the network's classes ``(N,)``.

    Raises:
        InvalidImagesError, UnknownLabelError: labels that are not the network's.
    """

    second: SecondSource | None = None
    """More pictures to learn from, of which a share of each batch is made."""
    train: tuple[Tensor, Tensor]
    """Those of the training part; the last of them judge each epoch and are not learnt from."""
    train_sha256: str
    """Of them in the order of the data, and of their classes."""
    judges: int
    """How many of them judge."""
    test: tuple[Tensor, Tensor]
    """What judges the network at the end."""

    def __init__(self, parts: Parts, model: Classifier) -> None:
        self.parts, self._model = parts, model
        try:
            self._classes = classes_of(parts.train, model), classes_of(parts.test, model)
        except UnknownLabelError as problem:
            names = parts.train.labels
            if names is None or len(names) >= model.num_classes:
                raise
            raise UnknownLabelError(
                f"{problem}; or give it {len(names)} outputs, one for each class to learn"
            ) from problem

    def read(self, folder: Path, seed: int, watch: Watch) -> None:
        """Decode both parts; the seed says which pictures judge each epoch.

        Raises:
            PictureError: some are damaged; of all it is said how many, and how to go on.
        """
        try:
            self._read(folder, seed, watch)
        except PictureError as problem:
            raise _damaged((self.parts.train, self.parts.test), problem) from problem

    def _read(self, folder: Path, seed: int, watch: Watch) -> None:
        (train, test), (classes, test_classes) = (self.parts.train, self.parts.test), self._classes
        judges = share_of_each(classes, min(HELD_OUT, len(classes) // 10), seed)
        learnt = torch.ones_like(classes, dtype=torch.bool).index_fill(0, judges, False)
        order = torch.cat([learnt.nonzero()[:, 0], judges])
        self.judges = len(judges)
        total = len(train) + len(test)
        images, digest = decode(
            train, self._model, order, folder, lambda done, _: watch(done, total)
        )
        digest.update(classes.numpy().data)
        self.train_sha256 = digest.hexdigest()
        self.train = images, classes[order]
        everything = torch.arange(len(test), device="cpu")
        tests, _ = decode(
            test, self._model, everything, folder, lambda done, _: watch(len(train) + done, total)
        )
        self.test = tests, test_classes

    def other(self, data: Any, folder: Path) -> tuple[Tensor, Tensor]:
        """Other labelled data: images and labels."""
        pictures = data if isinstance(data, ImageSet) else _split_or_all(data, self._model)
        classes = classes_of(pictures, self._model)
        order = torch.arange(len(classes), device="cpu")
        return decode(pictures.with_labels(), self._model, order, folder)[0], classes

    @property
    def kept(self) -> tuple[Tensor, Tensor]:
        """What is learnt from."""
        images, labels = self.train
        kept = len(images) - self.judges
        return images[:kept], labels[:kept]

    @property
    def held_out(self) -> tuple[Tensor, Tensor] | None:
        """What judges each epoch."""
        images, labels = self.train
        kept = len(images) - self.judges
        return (images[kept:], labels[kept:]) if self.judges else None

    @property
    def held_out_of_each(self) -> dict[str, int]:
        """By class, how many training pictures judge each epoch and are not learnt from."""
        if self.held_out is None:
            return {}
        names = self._model.labels
        many = self.held_out[1].bincount(minlength=len(names)).tolist()
        return {label: each for label, each in zip(names, many, strict=True) if each}

    @property
    def keeps_test(self) -> bool:
        """Whether the test pictures are to be kept beside the weights: nothing else tells them from
        those that were learnt from. Those of more channels than a PNG has, or too many, are not.
        """
        images = self.test[0]
        return self.parts.drawn and images.shape[1] in (1, 3) and images.numel() <= MEMORY

    @property
    def flatters(self) -> str | None:
        """What is to be said of a look at the whole data where the test was drawn from it and is
        not kept."""
        if not self.parts.drawn or self.keeps_test:
            return None
        return (
            f"{self.parts.train.name} holds the {count(len(self.parts.train), 'picture')} that "
            "were learnt from, too: what is measured on all of it flatters the network; its "
            "accuracy on the others stands in the record"
        )

    @property
    def unjudged(self) -> tuple[str, ...]:
        """What is to be said of classes with too few pictures to judge them."""
        names = self._model.labels
        learnt = self.kept[1].bincount(minlength=len(names))
        judges = {"test pictures": self.test[1]}
        if self.held_out is not None:
            judges = {"pictures held out to judge every epoch": self.held_out[1], **judges}
        found = []
        for kind, labels in judges.items():
            none = (learnt > 0) & (labels.bincount(minlength=len(names)) == 0)
            which = none.nonzero()[:, 0].tolist()
            if which:
                told = ", ".join(
                    f"{names[one]!r} ({count(int(learnt[one]), 'picture')} to learn from)"
                    for one in which[:_NAMED]
                )
                more = f" and {len(which) - _NAMED:,} more" if len(which) > _NAMED else ""
                found.append(
                    f"none of the {kind} is of {told}{more}: accuracy there says nothing of "
                    f"{'it' if len(which) == 1 else 'these classes'}"
                )
        return tuple(found)

    @property
    def notes(self) -> tuple[str, ...]:
        """What is to be said of the data."""
        of_parts = (*self.parts.train.notes, *self.parts.test.notes)
        others = filter(None, [self.parts.note, self.leak, *self.unjudged])
        missing = Seen.of(self._model, self.train[1]).notes
        return tuple(dict.fromkeys([*of_parts, *others, *missing]))

    @cached_property
    def leak(self) -> str | None:
        """What is to be said where the second source holds pictures that judge."""
        if self.second is None:
            return None
        held_out, _ = self.held_out or (self.test[0][:0], None)
        known = {
            "held-out": also_in(held_out, self.second.images),
            "test": also_in(self.test[0], self.second.images),
        }
        found = [count(many, f"{kind} picture") for kind, many in known.items() if many]
        if not found:
            return None
        return (
            f"the second source holds {' and '.join(found)}, bit for bit: the network learns from "
            "what it is judged by, and its accuracies flatter it; take them out of it"
        )


def _damaged(parts: tuple[ImageSet, ...], first: PictureError) -> PictureError:
    """What is wrong with the first damaged picture, and how many others are."""
    names = []
    for pictures in parts:
        for number in range(len(pictures)):
            try:
                _ = pictures[number].image
            except PictureError as problem:
                names.append(str(problem).partition(" cannot be read")[0])
    if not names:
        return first
    named = ", ".join(names[:_NAMED]) + (" ..." if len(names) > _NAMED else "")
    return PictureError(
        f"{first}; {count(len(names), 'picture')} of {sum(map(len, parts)):,} cannot be read: move "
        f"{named} out of the data to learn from the others"
    )


def _split_or_all(data: Any, model: Classifier) -> ImageSet:
    try:
        return load_images(data, "train", channels=model.channels)
    except UnknownDataError:
        return load_images(data, channels=model.channels)
