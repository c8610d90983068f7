"""One call, one page: what a network sees, how it fails, and what to do."""

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.classes import Given
from fluoroscope.engine.labels import labelled
from fluoroscope.engine.numbers import as_seconds
from fluoroscope.engine.threats import Threat, as_threat, usual_threat
from fluoroscope.errors import FluoroscopeError, InvalidParameterError, StorageError
from fluoroscope.evaluation.check import Check, Outcome
from fluoroscope.evaluation.requirements import Requirements, as_requirements
from fluoroscope.files import atomic_path, disk_full, in_use, output_directory, user_path
from fluoroscope.inversion.measures.assess import as_judge
from fluoroscope.models.classifier import Classifier, as_classifier
from fluoroscope.pictures import html as notebook
from fluoroscope.report.blocks import Gallery, Text
from fluoroscope.report.page import Missing, Shown, render
from fluoroscope.report.phases import Phases
from fluoroscope.report.registry import Section
from fluoroscope.report.sections import find_sections
from fluoroscope.report.study import Study
from fluoroscope.report.subject import MARKED, LeftOutError, Stated, Tell
from fluoroscope.words import count, sentence

_log = logging.getLogger(__name__)


@dataclass(frozen=True, repr=False)
class Report(notebook.Shown):
    """An X-ray: a page, and its findings."""

    html: str
    """The page, complete in itself."""
    title: str
    sections: tuple[Shown, ...]
    record: dict[str, Any]
    """Network, data, threat model, seed, versions and hardware, as plain values."""
    requirements: tuple[Outcome, ...] = ()
    """How what was required of the verdict came out."""
    trust: tuple[Check, ...] = ()
    """What was found on whether it can be trusted."""

    @property
    def missing(self) -> dict[str, str]:
        """The sections that could not be made, and why."""
        return {one.name: one.missing.why for one in self.sections if one.missing}

    @property
    def summary(self) -> str:
        """The first sentence of the page."""
        blocks = [block for one in self.sections for block in one.blocks]
        leads = [one.text for one in blocks if isinstance(one, Text) and one.kind == "lead"]
        return leads[0] if leads else self.title

    @property
    def draws(self) -> bool:
        """Whether there are pictures on it."""
        return any(isinstance(block, Gallery) for one in self.sections for block in one.blocks)

    def _line(self) -> str:
        left_out = f", {len(self.missing)} left out" if self.missing else ""
        return (
            f"{self.title}: {self.summary} "
            f"({count(len(self.sections), 'section')}{left_out}; save(path) writes the page)"
        )

    def _view(self) -> Iterator[notebook.Html]:
        yield notebook.page(self.html, self.title)

    def describe(self) -> dict[str, Any]:
        """The findings of each section as plain values."""
        return {
            "record": self.record,
            "sections": {one.name: one.data for one in self.sections if not one.missing},
            "missing": self.missing,
            "requirements": [one.describe() for one in self.requirements],
        }

    def save(self, path: str | Path) -> Path:
        """Write the page; whole or not at all.

        Raises:
            InvalidParameterError, StorageError: it cannot be written there.
        """
        path = user_path(path)
        output_directory(path.parent)
        with atomic_path(path) as draft:
            draft.write_text(self.html, "utf-8")
        return path


def xray(
    model: Classifier | nn.Module,
    images: ImageSet | Tensor,
    labels: Given | None = None,
    *,
    threat: Threat | str | None = None,
    sections: Sequence[str] | None = None,
    budget: float | str | None = None,
    run: str | Path | None = None,
    seed: int = 0,
    slices: Sequence[str] = (),
    require: str | Requirements | None = None,
    grid: int | None = None,
    at_chance: bool = False,
    second: Classifier | nn.Module | None = None,
    title: str | None = None,
    model_version: str | None = None,
    data_description: str | None = None,
    command: str | None = None,
    named: str | None = None,
    on_progress: Tell | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Report:
    """Look through a network and tell on one page what it sees, how it fails, and what to do.

    Args:
        model: the network under study. If it was prepared for speed, the plain one has the last
            word on every success.
        images: labelled pictures, or a batch ``(N, C, H, W)`` in ``[0, 1]``.
        labels: the true class of each ``(N,)``, for a batch: indices, names or one-hot rows.
        threat: how far an image may move: a threat model, or such as ``"linf:8/255"``; by default
            :func:`~fluoroscope.engine.threats.usual_threat`.
        sections: which sections, by name; by default all.
        budget: how long it may take, in seconds or as ``"10m"``; what there was no time for is left
            out, and it says so.
        run: a directory in which findings are kept. The same call goes on where it was stopped.
        seed: for everything random; what is random of a sample depends on it and the
            sample's index alone.
        slices: columns of the data, such as ``"camera"``, whose values' accuracies stand beside
            those of all; see :attr:`.ImageSet.columns`.
        require: what the verdict must say, such as ``"robust>=0.6 class.low>=80%"``; how that came
            out is in :attr:`Report.requirements`. See :class:`.Requirements`.
        grid: 8 for 8-bit pictures alone, as for :func:`~fluoroscope.evaluate`. Otherwise the
            verdict in 8 bits stands beside the one in floating point.
        at_chance: go on with a network whose clean accuracy is at chance level; the page says so.
        second: another network of the same classes, trained independently, that says what it sees
            in the portraits, and on which a trust check makes pictures; by default of a built-in
            network another one, and of others none.
        title: of the page; by default network and data.
        model_version: what the network's version is called, to stand beside its hashes.
        data_description: what the pictures are: where they come from, how they were chosen.
        command: how to repeat it, as the page is to say.
        named: the options that name network and pictures on the command line, for the commands that
            the page advises; by default it advises calls of the library.
        on_progress: called with what is being done and the share of all work that is done.
        cancelled: asked at every step; once true, the report is of what was found so far.

    Raises:
        UnknownLabelError, InvalidImagesError: labels that are missing or not the network's.
        InvalidParameterError: no such section, a budget that is none, a directory in use, or a
            second network that is the first or has other classes.
        StorageError: the disk is full, or refuses.
        ChanceLevelError: the clean accuracy is at chance level.
    """
    model = as_classifier(model)
    chosen = find_sections(sections)
    required = as_requirements(require)
    if required is not None and all(one.name != "verdict" for one in chosen):
        raise InvalidParameterError(
            "require= asks for a verdict, and sections= leaves it out; expected the section "
            "verdict among them"
        )
    judge = None if second is None else as_judge(model, as_classifier(second))
    seconds = None if budget is None else as_seconds(budget)
    data = labelled(model, images, labels)
    study = Study(
        model,
        data,
        usual_threat(model, data) if threat is None else as_threat(threat),
        seed=seed,
        directory=None if run is None else user_path(run),
        seconds=seconds,
        grid=grid,
        stated=Stated(*(_said(one) for one in (title, model_version, data_description))),
        command=command or "",
        named=named or "",
        called="model, images" + (", labels" if labels is not None else ""),
        tell=on_progress,
        phases=Phases(one.name for one in chosen),
        cancelled=cancelled,
        slices=slices,
        required=required,
        second=judge,
    )
    with nullcontext() if study.directory is None else in_use(study.directory):
        if not at_chance:
            study.check()
        shown = {one.name: _made(one, study) for one in sorted(chosen, key=lambda each: each.cost)}
        ordered = tuple(shown[one.name] for one in chosen)
        outcomes, checks = _judged(study, shown)
        page = render(study.title, study.about, ordered)
        return Report(page, study.title, ordered, study.record, outcomes, checks)


def _judged(
    study: Study, shown: Mapping[str, Shown]
) -> tuple[tuple[Outcome, ...], tuple[Check, ...]]:
    """How the requirements came out, and the trust checks: also where there is no verdict."""
    if study.required is None:
        return (), ()
    if study.judged is not None:
        return study.judged.requirements, study.judged.trust
    missing = shown["verdict"].missing
    why = "there is no verdict" + (f": {missing.why}" if missing else "")
    return tuple(Outcome(one.text, "cannot be shown", why) for one in study.required.items), ()


def _said(text: str | None) -> str | None:
    """Text on one line, or nothing where there is none."""
    return " ".join(str(text).split()) or None if text is not None else None


def _made(one: Section, study: Study) -> Shown:
    try:
        if not one.free:
            study.go_on(one.title)
        study.marked = False
        content = one.build(study)
    except LeftOutError as reason:
        missing = Missing("This section was left out.", sentence(reason))
    except StorageError:
        raise  # What was not kept is no section's fault, and all others would meet it too.
    except FluoroscopeError as problem:
        missing = Missing("This section could not be made.", sentence(problem))
    except Exception as problem:
        if disk_full(problem):
            raise StorageError(
                f"{one.title}: the disk is full ({problem}); make room, and give the same command "
                "again"
            ) from problem
        # One section's fault must not cost the reader all the others.
        _log.warning("the section %s failed", one.name, exc_info=True)
        missing = Missing(
            "This section could not be made, by a fault of Fluoroscope.",
            sentence(f"{type(problem).__name__}: {problem}"),
        )
    else:
        study.data[one.name] = content.data
        marks = [Text(MARKED, "note")] if study.marked else []
        return Shown(one.name, one.title, [*content.blocks, *marks], content.data)
    return Shown(one.name, one.title, (), {}, missing)
