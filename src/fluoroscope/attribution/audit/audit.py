"""The door of the audit: it checks what is given, makes the looks in order, and the verdicts.

First every method is looked at on a few pictures, which is what verdicts are made of; then maps of
all pictures are scored beside controls; then the network forgets, a share of its layers at a time.
Each of these is a part that is kept on disk, so that an audit goes on where it stopped.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fluoroscope.attribution.audit.bench import Bench, traces
from fluoroscope.attribution.audit.computed import computed, computed_on
from fluoroscope.attribution.audit.course import (
    SCORED_PASSES,
    Course,
    Progress,
    compared_at,
)
from fluoroscope.attribution.audit.faithfulness import (
    ROAD_SHARES,
    STEPS,
    Faithfulness,
    below_random,
    rivals,
    stacked,
    summed_up,
    telling,
    unstacked,
)
from fluoroscope.attribution.audit.looks import PICTURES, Evidence, look
from fluoroscope.attribution.audit.parts import Parts
from fluoroscope.attribution.audit.randomise import (
    STAGES,
    Likeness,
    Stage,
    failed,
    insensitive,
    likeness,
    of_no_class,
    twin,
)
from fluoroscope.attribution.audit.result import Audit, Audited
from fluoroscope.attribution.audit.subjects import (
    CancelledError,
    Named,
    OfFunction,
    Subject,
    subjects,
)
from fluoroscope.attribution.audit.verdict import Verdict, judge_all
from fluoroscope.attribution.classes import Targets, as_targets
from fluoroscope.attribution.method import Method
from fluoroscope.attribution.metrics import Informative, controls
from fluoroscope.attribution.names import METHODS
from fluoroscope.engine import randomness
from fluoroscope.engine.first_look import first_look, notes_of, remind
from fluoroscope.engine.predict import check_batch_size, predict, suitable_batch
from fluoroscope.engine.provenance import provenance
from fluoroscope.errors import InvalidParameterError
from fluoroscope.models.classifier import Classifier, as_classifier, tensor_bytes
from fluoroscope.models.wrappers.randomised import random_state_aside
from fluoroscope.notices import collected
from fluoroscope.pictures.checks import check_images
from fluoroscope.words import count, listed


def audit(
    model: Classifier | nn.Module,
    images: Tensor,
    classes: Targets | None = None,
    *,
    methods: Iterable[str | Method] | Mapping[str, Named] | None = None,
    seed: int = 0,
    numbers: Tensor | None = None,
    batch_size: int | None = None,
    out: str | Path | None = None,
    randomisation: bool = True,
    faithfulness: bool = True,
    scored_passes: float = SCORED_PASSES,
    on_progress: Callable[[Progress], None] | None = None,
    on_verdict: Callable[[Verdict], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Audit:
    """Which attribution methods can be believed on this network, and why the others cannot.

    Of each method the verdict is *valid*, *partly*, *the same map as* another, or *not valid here*,
    with its reasons; see :mod:`fluoroscope.attribution.audit.verdict`. Beside it stand how much its
    maps change when the network forgets what it learnt, and how well they name the pixels that it
    depends on, with those of maps that know nothing of the network.

    Args:
        model: the network under study.
        images: ``(N, C, H, W)`` or one ``(C, H, W)``, in ``[0, 1]``. Verdicts come of the first 4,
            scores of all; 32 do.
        classes: what is explained, as for :func:`fluoroscope.attribute`; by default the predicted
            class.
        methods: names or methods; or names of one's own with a function of network, images and
            classes that returns maps, alone or with the promise it makes: ``{"mine": (explain,
            "completeness")}``, of a black baseline; the function's network is a
            :class:`Classifier`, whose ``module`` is the PyTorch one. By default every method of
            ours.
        seed: for everything random.
        numbers: ``(N,)``, which pictures of their data set these are; by default 0 and up.
        batch_size: images evaluated at once; by default 64, fewer large ones on a processor.
        out: a directory in which parts are kept, so that an audit of the same network, pictures and
            settings goes on there; functions of one's own are looked at anew.
        randomisation: whether the network is made to forget.
        faithfulness: whether maps are scored.
        scored_passes: what a method may take, in passes, for maps that are scored: one that takes
            many for a picture is scored on fewer pictures.
        on_progress: called as it goes on.
        on_verdict: called with what is to be said of a method once it was looked at; what other
            methods and its scores tell may change that by the end.
        cancelled: asked between looks, and within long ones; once true, what there is comes back.

    Raises:
        InvalidImagesError, UnknownLabelError, InvalidParameterError: what was given is unusable.
        NoGradientError: the logits do not depend differentiably on the pixels.
    """
    model = as_classifier(model).plain
    batch = check_images(images, model.channels).to(model.device, model.dtype)
    if not len(batch):
        raise InvalidParameterError("images are empty; expected one picture or more")
    size = suitable_batch(batch) if batch_size is None else check_batch_size(batch_size)
    seed = randomness.as_seed(seed)
    todo = subjects(methods, size, cancelled)
    numbers = torch.arange(len(batch), device="cpu") if numbers is None else numbers
    if numbers.shape != (len(batch),):
        raise InvalidParameterError(
            f"numbers have shape {tuple(numbers.shape)}; expected ({len(batch)},), one each"
        )
    # What draws takes turns with other threads, a part of the audit at a time.
    with random_state_aside(batch.device):
        remind(model)
        first_look(model, batch)
        if classes is None:
            classes = predict(model, batch, batch_size=size).winners
        targets = as_targets(model, classes, batch)
        bench = Bench(model, batch, targets, numbers, seed)
        of = {
            **provenance(model),
            "computed": asdict(computed(model, batch.shape[1:])),
            "computed_here": asdict(computed_on(bench)),
            "images": hashlib.sha256(tensor_bytes(batch)).hexdigest(),
            "pictures": len(batch),
            "classes": targets.tolist(),
            "numbers": numbers.tolist(),
            "seed": seed,
        }
    parts = Parts(None if out is None else Path(out), of)
    made = _Audit(
        bench, todo, parts, size, cancelled, Course(todo, bench, on_progress, scored_passes)
    )
    with parts.open():
        made.all(randomisation=randomisation, faithfulness=faithfulness, on_verdict=on_verdict)
    graph, rows = bench.graph, made.rows()
    told = made.told({row.verdict.method for row in rows if row.verdict.sound})
    return Audit(
        rows=rows,
        controls=made.control_scores(),
        telling={name: str(each) for name, each in told.items()},
        informative=tuple(name for name, each in told.items() if each.informative),
        non_linear=dict(graph.non_linear) if graph else {},
        record={
            **of,
            "methods": {one.name: one.statement for one in todo},
            "looked_at": min(PICTURES, len(batch)),
            "steps": STEPS,
            "road_shares": list(ROAD_SHARES),
            "stages": [[stage.order, stage.share] for stage in STAGES] if randomisation else [],
        },
        notes=(*notes_of(model), *made.notes(), *_unranked(told, rows)),
        complete=made.complete,
    )


@dataclass
class _Known:
    """What is known of one method."""

    subject: Subject
    evidence: Evidence
    maps: Tensor | None
    scores: dict[str, Tensor] | None = None
    random: tuple[Likeness, ...] = ()

    @property
    def unfit(self) -> bool:
        """Whether it is asked for no more maps: it changes the network, or they are not finite."""
        return bool(self.evidence.traces or self.evidence.not_finite)


class _Audit:
    """An audit under way."""

    def __init__(
        self,
        bench: Bench,
        todo: list[Subject],
        parts: Parts,
        batch_size: int,
        cancelled: Callable[[], bool] | None,
        course: Course,
    ) -> None:
        self._bench, self._todo, self._parts, self._size = bench, todo, parts, batch_size
        self._cancelled, self._course = cancelled, course
        self._few = bench.first(PICTURES)
        self._known: dict[str, _Known] = {}
        self._controls: dict[str, dict[str, Tensor]] = {}
        self._before: dict[str, Any] | None = None
        self._saturated = 0
        self.complete = False

    def all(
        self,
        *,
        randomisation: bool,
        faithfulness: bool,
        on_verdict: Callable[[Verdict], None] | None,
    ) -> None:
        """Every look, until somebody does not want to wait."""
        self._saturated = self._few.saturated
        self._course.plan(randomisation=randomisation, faithfulness=faithfulness)
        try:
            for subject in self._todo:
                self._look(subject)
                if on_verdict is not None:
                    on_verdict(self.rows()[-1].verdict)
            if faithfulness:
                self._score()
            if randomisation:
                for stage in STAGES:
                    self._forget(stage)
        except CancelledError:
            return
        self.complete = True

    def rows(self) -> tuple[Audited, ...]:
        """A method each."""
        verdicts = judge_all(
            {name: known.evidence for name, known in self._known.items()},
            {name: known.maps for name, known in self._known.items()},
            self._bench.graph,
            {
                name: below_random(known.scores or {}, self._controls, self._bench.seed)
                for name, known in self._known.items()
            },
        )
        return tuple(
            Audited(
                replace(
                    verdicts[name],
                    remarks=(
                        *verdicts[name].remarks,
                        *of_no_class(name),
                        *insensitive(known.random),
                    ),
                ),
                known.evidence,
                known.random,
                summed_up(known.scores or {}, self._bench.seed),
                rivals(known.scores or {}, self._controls),
            )
            for name, known in self._known.items()
        )

    def control_scores(self) -> dict[str, Any]:
        """Of maps that know nothing of the network."""
        return {
            name: summed_up(scores, self._bench.seed) for name, scores in self._controls.items()
        }

    def told(self, sound: set[str]) -> dict[str, Informative]:
        """By metric, whether it tells the sound ones of the methods from controls."""
        scores = {name: known.scores for name, known in self._known.items()}
        if not self.complete and self._unscored():  # the best of some is not the best
            return {}
        ones = {name: each for name, each in scores.items() if each and name in sound}
        return telling(ones, self._controls, self._bench.seed)

    def notes(self) -> list[str]:
        """What a reader should know of the audit."""
        found = []
        if not self.complete:
            found.append("The audit was stopped before all looks were made.")
            if self._controls and (missing := self._unscored()):
                found.append(
                    f"Maps of {len(self._known) - missing} of {count(len(self._known), 'method')} "
                    "were scored by then, so nothing is said of the metrics."
                )
        if self._bench.graph is not None and self._bench.graph.unknown:
            names = ", ".join(self._bench.graph.unknown)
            found.append(
                "The network has functions with a way back of their own, into which no rule sees: "
                f"not covered: {names}."
            )
        if many := self._saturated:
            found.append(
                f"On {many} of {count(len(self._few), 'picture')} the softmax of the logits is "
                "saturated: the network is as certain as its precision can say. What explains a "
                "probability, as RISE does, finds little or nothing there."
            )
        if self._known and (quick := [*filter(None, map(_quickened, self._todo))]):
            found.append(f"For speed some were looked at with fewer probes: {listed(quick)}.")
        gaps = [failed(known.random) for known in self._known.values()]
        return [*found, *dict.fromkeys(gap for gap in gaps if gap)]

    def _unscored(self) -> int:
        """Methods of which maps were to be scored, and were not."""
        ones = self._known.values()
        return sum(one.maps is not None and not one.unfit and not one.scores for one in ones)

    def _look(self, subject: Subject) -> None:
        self._stop()

        def make() -> tuple[Any, dict[str, Tensor]]:
            self._before = self._before or traces(self._bench.model)
            evidence, maps = look(subject, self._few, self._before)
            if evidence.traces:
                self._before = None  # it is another network now
            return evidence.describe(), {} if maps is None else {"maps": maps.contiguous()}

        values, tensors = self._part(subject, "look", f"{subject.name}: checks", {}, make)
        evidence = Evidence.of(values)
        self._known[subject.name] = _Known(subject, evidence, tensors.get("maps"))
        self._course.learn(subject.name, evidence.passes)

    def _score(self) -> None:
        bench = self._bench
        judge_ = Faithfulness(bench, self._size)
        for name, maps in controls(bench.images, seed=bench.seed, numbers=bench.numbers).items():
            self._stop()
            self._course.at(f"scores of the control {name}", f"score control {name}")
            of = {"control": name, "steps": STEPS, "road": ROAD_SHARES}
            kept = self._parts.get(f"score-control-{name}", of)
            if kept is None:
                with collected(), random_state_aside(bench.images.device):
                    kept = stacked(judge_.scores(maps)), {}
                self._parts.put(f"score-control-{name}", of, *kept)
            self._controls[name] = unstacked(kept[0])
        for known in self._known.values():
            if known.maps is None or known.unfit:
                continue
            self._stop()
            known.scores = self._scores(known, judge_)

    def _scores(self, known: _Known, judge_: Faithfulness) -> dict[str, Tensor]:
        subject = known.subject
        bench = self._bench.first(self._course.scored(known.evidence.passes))

        def make() -> tuple[Any, dict[str, Tensor]]:
            with collected():
                made = subject.maps(
                    bench.model, bench.images, bench.classes, bench.numbers, bench.seed
                )
                return stacked(judge_.scores(made.maps)), {}

        of = {"steps": STEPS, "road": ROAD_SHARES, "count": len(bench)}
        values, _ = self._part(subject, "score", f"{subject.name}: scores", of, make)
        return unstacked(values)

    def _forget(self, stage: Stage) -> None:
        random: list[Classifier] = []
        for known in self._known.values():
            if known.maps is None or known.unfit:
                continue
            self._stop()
            subject, maps = known.subject, known.maps
            if not compared_at(known.evidence.passes, stage):
                continue
            few = self._few.first(self._course.compared(known.evidence.passes))

            def make(
                subject: Subject = subject, maps: Tensor = maps, few: Bench = few
            ) -> tuple[Any, dict[str, Tensor]]:
                if not random:
                    random.append(twin(self._bench, stage))
                found = likeness(subject, few, stage, random[0], maps[: len(few)])
                return found.describe(), {}

            what = f"{subject.name}: {stage.words} drawn anew"
            of = {"stage": [stage.order, stage.share], "count": len(few)}
            values, _ = self._part(subject, stage.name, what, of, make)
            known.random = (*known.random, Likeness(**values))

    def _part(
        self,
        subject: Subject,
        kind: str,
        words: str,
        of: Mapping[str, Any],
        make: Callable[[], tuple[Any, dict[str, Tensor]]],
    ) -> tuple[Any, dict[str, Tensor]]:
        """What was kept of this, or what is made now and kept."""
        self._course.at(words, f"{kind} {subject.name}")
        name, of = f"{kind}-{subject.name}", {**of, "kind": kind, "method": subject.statement}
        known = isinstance(subject, OfFunction)
        kept = None if known else self._parts.get(name, of)
        if kept is None:
            with random_state_aside(self._bench.images.device):
                kept = make()
            if not known:
                self._parts.put(name, of, *kept)
        return kept

    def _stop(self) -> None:
        if self._cancelled is not None and self._cancelled():
            raise CancelledError


def _unranked(told: Mapping[str, Informative], rows: Iterable[Audited]) -> list[str]:
    """Why the scores rank nothing, if they do not."""
    scored = [row for row in rows if row.scores]
    if scored and not any(row.verdict.sound for row in scored):
        return ["Of the scored methods none is valid, so none is held against the controls."]
    if told and not any(each.informative for each in told.values()):
        return [
            "No metric tells a method from maps that know nothing of the network here, so the "
            "valid ones are not ranked."
        ]
    return []


def _quickened(subject: Subject) -> str:
    """With which options a method was looked at in place of its own, in words."""
    about = METHODS.get(subject.name)
    options = subject.statement.get("options", {})
    if about is None or not about.quick or any(options[n] != v for n, v in about.quick.items()):
        return ""
    return f"{subject.name} ({', '.join(f'{name} {value}' for name, value in about.quick.items())})"
