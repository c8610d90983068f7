"""What was found of a network and its pictures, each finding when a section first asks for it."""

import hashlib
import time
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, cast

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from fluoroscope.attacks.attack import Method
from fluoroscope.attacks.minimum_norm.fmn import FMN
from fluoroscope.data.imageset import ImageSet
from fluoroscope.engine.grid import nothing_between
from fluoroscope.engine.intervals import wilson
from fluoroscope.engine.labels import Seen, what_was_fed
from fluoroscope.engine.predict import predict
from fluoroscope.engine.threats import as_threat
from fluoroscope.errors import FluoroscopeError, ResultFormatError
from fluoroscope.evaluation.check import Check, Outcome
from fluoroscope.evaluation.class_map import ClassMap, class_map
from fluoroscope.evaluation.curve import Curve
from fluoroscope.evaluation.evaluate import evaluate
from fluoroscope.evaluation.history import ROUNDING
from fluoroscope.evaluation.level import Level
from fluoroscope.evaluation.plan import Plan, nearest
from fluoroscope.evaluation.plans import find_plan
from fluoroscope.evaluation.rows import CLEAN
from fluoroscope.evaluation.runs.run_directory import RunDirectory, data_hash
from fluoroscope.evaluation.slices import slices_of
from fluoroscope.evaluation.trust.checks import trust_checks
from fluoroscope.evaluation.trust.of_run import from_rows
from fluoroscope.evaluation.trust.transfer import second_networks
from fluoroscope.evaluation.verdict import Verdict, class_names
from fluoroscope.inversion.usual_judge import usual_judge
from fluoroscope.models.classifier import Classifier
from fluoroscope.notices import collected
from fluoroscope.report.findings import Closest, EightBits, Flipped, Reading
from fluoroscope.report.subject import LeftOutError, Subject
from fluoroscope.words import listed, sentence

BATCH = 64
# Pictures that are attacked together; between them the time that is left is looked at.
PART, PART_LARGE = 50, 8
# The share of the time left that the evaluation may take.
SHARE = 0.6
# And the search in 8 bits, of what is left then.
EIGHT_SHARE = 0.3
# And the trust checks, of what is left then; pictures that they look at, small and large.
TRUST_SHARE = 0.5
SOME, FEW = 32, 4
# And the map; pictures of each class that it leads away. Where passes last or classes are many:
# pictures in all, and classes that each is led to.
MAP_SHARE, MAP_PICTURES, MAP_CLASSES = 0.8, 5, 20
MAP_LARGE, MAP_TARGETS = 15, 4
VERDICT = "fast"
NEAREST_NORMS = ("linf", "l2", "l1")
# Steps of a search where pictures are large.
STEPS_LARGE = 12


class Study(Subject):
    """A network and labelled pictures, and what is known of them; see :class:`.Subject`."""

    @property
    def record(self) -> dict[str, Any]:
        """Everything needed to repeat it, as plain values."""
        return {
            **self.provenance,
            "data": {
                "name": self.images.name,
                "split": self.images.split,
                "count": len(self.images),
                "sha256": self.reading.sha256,
            },
            "threat": str(self.threat),
            "seed": self.seed,
            "grid": self.grid,
            "stated": asdict(self.stated),
            "model_files": self.model_files,
            "command": self.command,
            "shown_channels": self.shown,
            "cut": sorted(self.cut),
        }

    def check(self) -> None:
        """Refuse what no section could say anything true of.

        Raises:
            InvalidImagesError, UnknownLabelError, ChanceLevelError: see :func:`.xray`.
        """
        self.level.check(lambda: what_was_fed(self.model, *self.load(self.images.indices[:3])))

    @property
    def level(self) -> Level:
        """Whether the network tells the clean pictures from chance."""
        return Level(self.model).add(self.reading.labels, self.reading.winners)

    @property
    def seen(self) -> Seen:
        """How many pictures of which classes it is about."""
        return Seen.of(self.model, self.reading.labels)

    @property
    def reading(self) -> Reading:
        """How the network reads the clean pictures."""

        def look() -> dict[str, Tensor]:
            found: list[Tensor] = []
            digest = hashlib.sha256()
            for batch in self._batches(self.images, BATCH):
                self.tell("reading clean pictures", sum(map(len, found)) / len(self.images), "read")
                labels = self._as_numbers([batch])
                digest.update(data_hash(batch.images, labels).encode())
                logits = predict(self.model.plain, batch.images, batch_size=BATCH).logits.double()
                sure, winner = logits.softmax(1).max(1)
                own = logits.gather(1, labels[:, None])
                rank = (logits > own).sum(1)
                found.append(torch.stack((labels, winner, sure, rank), 1))
            labels, winner, sure, rank = torch.cat(found).unbind(1)
            return {
                "labels": labels.long(),
                "winners": winner.long(),
                "confidence": sure,
                "rank": rank.long(),
                "digest": torch.tensor(list(digest.digest()), dtype=torch.uint8, device="cpu"),
            }

        return Reading(**self.kept("clean", None, look))

    @property
    def plan(self) -> Plan:
        """Attacks for the smallest change of every picture, and for the verdict at the bound."""

        def make() -> Plan:
            stages = find_plan(VERDICT, self.threat).stages
            if self.threat.name in NEAREST_NORMS:
                closest = [one for one in find_plan("curve", self.threat).stages if one.everyone]
                if self.large:
                    closest = [replace(closest[0], attack=self._nearest())]
                stages = (*closest, *stages)
            return Plan("x-ray", stages)

        return self.once("plan", make)

    def _nearest(self) -> Method:
        """The search for the smallest change: the plan ``curve``'s first, or a shorter one."""
        found = nearest(as_threat(self.threat.name))
        return replace(cast(FMN, found), steps=STEPS_LARGE) if self.large else found

    @property
    def verdict(self) -> Verdict:
        """How many pictures it still classifies correctly under attack."""
        return self._evaluated[0]

    @property
    def eight_bits(self) -> EightBits | None:
        """What the verdict is in 8 bits; ``None`` where it is in 8 bits itself.

        Rounding what was found would leave out successes that a search on the grid finds, so those
        who were fooled are attacked again; who was not, counts as robust in both.
        """
        if self.grid is not None or self.threat.name not in NEAREST_NORMS:
            return None

        def search() -> EightBits:
            found, closest = self.verdict, self.closest
            within = closest.distances <= self.eps + ROUNDING
            fooled = closest.indices[within].tolist()
            robust = round(found.robust_accuracy * found.count)
            if not fooled or nothing_between(self.threat, 8) is not None:
                return EightBits(
                    len(fooled), len(fooled), 0, robust + len(fooled), found.count
                )  # fmt: skip
            self.go_on("The verdict in 8 bits")
            places = {index: place for place, index in enumerate(self.images.indices)}
            again = self.images.select([places[index] for index in fooled])
            plan = find_plan(VERDICT, self.threat)
            eight, _ = self._evaluate("8-bit", again, plan, 8, EIGHT_SHARE)
            holding = round(eight.robust_accuracy * eight.count)
            return EightBits(
                len(fooled), eight.count, eight.count - holding, robust + holding, found.count
            )  # fmt: skip

        return self.once("8 bits", search)

    @property
    def curve(self) -> Curve:
        """Accuracy at every bound.

        Raises:
            LeftOutError: the norm has no search for the smallest change.
        """
        found = self.verdict.curve
        if found is None:
            raise LeftOutError(
                f"in the norm {self.threat.name} there is no search for the smallest change; "
                f"choose {listed(NEAREST_NORMS, 'or')}"
            )
        return found

    @property
    def second_network(self) -> Classifier | None:
        """The second network, of a built-in one by default another that comes with it."""
        return self.second or self.once("second network", lambda: usual_judge(self.model.plain))

    @property
    def trust(self) -> tuple[Check, ...]:
        """Reasons to trust the verdict, or not to."""

        def look() -> tuple[Check, ...]:
            parts, plan = self._parts(), self.plan
            seen = from_rows(parts, plan)
            pictures = FEW if self.large else SOME
            right = self.reading.right.nonzero().squeeze(1)[:pictures].tolist()
            if not right:
                raise LeftOutError(
                    "no picture is classified correctly, so there is none to attack in earnest"
                )
            images, labels = self.load([self.images.indices[row] for row in right])
            ends = time.monotonic() + TRUST_SHARE * self.left()
            made: list[Check] = []
            beside: list[Check] = []
            try:
                others = second_networks(self.model, self.second_network, self.threat)
            except FluoroscopeError as why:  # its classes are in another order, say
                others = ()
                beside.append(Check("transfer", "not applicable", sentence(why)))

            def over() -> bool:
                return self.cancelled() or time.monotonic() > ends

            def note(check: Check) -> None:
                made.append(check)
                self.tell(f"can it be trusted: {check.name}", min(len(made) / 16, 1.0), "trust")

            found = trust_checks(
                self.model, images, labels, self.threat, second=others, plan=plan,
                pictures=pictures, seed=self.seed, on_check=note, cancelled=over,
            )  # fmt: skip
            if any(check.status == "not made" for check in found):
                self.cut.add("trust")
            return (*found, *beside, *seen)

        def as_rows() -> list[dict[str, Any]]:
            return [check.describe() for check in look()]

        second = self.second_network and self.second_network.plain.fingerprint()
        rows = self.written("trust", [str(self.threat), self.plan.describe(), second], as_rows)
        return tuple(Check(**row) for row in rows)

    def judge(self, checks: tuple[Check, ...]) -> tuple[Outcome, ...]:
        """How what is required of the verdict came out, with these trust checks."""
        if self.required is not None:
            right, labels = self.reading.right, self.reading.labels.tolist()
            names = class_names(labels, self.model.labels)
            # Clean, all pictures were looked at, whatever time there was to attack them.
            clean = replace(
                self.verdict, count=len(right), complete=True,
                clean_accuracy=float(right.double().mean()),
                clean_interval=wilson(int(right.sum()), len(right)),
                by_class=slices_of(names, right.numpy()),
            )  # fmt: skip
            self.judged = replace(self.verdict, trust=checks)
            outcomes = self.required.of(self.judged, clean)
            self.judged = replace(self.judged, requirements=outcomes)
        return () if self.judged is None else self.judged.requirements

    @property
    def class_map(self) -> ClassMap:
        """How far the classes lie from each other."""

        def search() -> ClassMap:
            file = self._file("map", self.threat.name, "json")
            if file is not None and file.exists():
                with suppress(ResultFormatError):
                    return ClassMap.load(file)
            ends = time.monotonic() + MAP_SHARE * self.left()
            images, pictures, targets = self.images, MAP_PICTURES, None
            if self.large or self.model.num_classes > MAP_CLASSES:
                right = self.reading.right.nonzero().squeeze(1)[:MAP_LARGE]
                images, pictures, targets = self.images.select(right), 1, MAP_TARGETS
            found = class_map(
                self.model, images, threat=self.threat.name, attack=self._nearest(),
                pictures=pictures, targets=targets, seed=self.seed, grid=self.grid, at_chance=True,
                on_progress=lambda now: self.tell(
                    "map between classes", now.done / now.total, "map"
                ),
                cancelled=lambda: self.cancelled() or time.monotonic() > ends,
            )  # fmt: skip
            if file is not None and found.complete:
                found.save(file.parent, file.stem)
            return found

        return self.once("map", search)

    def _parts(self) -> list[list[pa.Table]]:
        """The rows as the evaluation has them: all parts as one, stage by stage."""
        rows = self._evaluated[1]
        stages = [CLEAN, *(stage.name for stage in self.plan.stages)]
        tables = [rows.filter(pc.equal(rows["attack"], name)) for name in stages]
        return [[table for number, table in enumerate(tables) if len(table) or not number]]

    @property
    def closest(self) -> Closest:
        """The smallest change found of each picture."""

        def find() -> Closest:
            rows = self._evaluated[1]
            clean = rows.filter(pc.equal(rows["attack"], CLEAN))
            clean = clean.filter(pc.invert(clean["success"]))
            attacked = set(rows.filter(pc.not_equal(rows["attack"], CLEAN))["index"].to_pylist())
            best: dict[int, tuple[float, int, str]] = {}
            won = rows.filter(
                pc.and_(rows["success"], pc.not_equal(rows["attack"], CLEAN))
            ).to_pylist()
            for row in won:
                key = (row["distance"], row["prediction"], row["attack"])
                best[row["index"]] = min(best.get(row["index"], (inf, -1, "")), key)
            kept = [row for row in clean.to_pylist() if row["index"] in attacked]
            found = [best.get(row["index"], (inf, row["label"], "")) for row in kept]
            return Closest(
                torch.tensor([row["index"] for row in kept], dtype=torch.long, device="cpu"),
                torch.tensor([row["label"] for row in kept], dtype=torch.long, device="cpu"),
                torch.tensor([each[0] for each in found], dtype=torch.double, device="cpu"),
                torch.tensor([each[1] for each in found], dtype=torch.long, device="cpu"),
                tuple(each[2] for each in found),
            )

        return self.once("closest", find)

    def flipped(self, rows: Sequence[int]) -> dict[int, Flipped]:
        """The pictures in these rows of :attr:`closest` before and after their smallest change.

        The attack that found it is made once more on them: randomness belongs to the sample, so it
        finds the same.
        """
        closest = self.closest
        indices = closest.indices[list(rows)].tolist()

        def again() -> dict[str, Tensor]:
            images, labels = self.load(indices)
            after = images.clone()
            for stage in self.plan.stages:
                mine = [n for n, row in enumerate(rows) if closest.stages[row] == stage.name]
                if not mine:
                    continue
                self.tell("drawing what was found", 0.0, "draw")
                with collected():
                    found = stage.attack(
                        self.model, images[mine], labels[mine], keep=stage.keep,
                        restarts=stage.restarts, grid=self.grid, seed=self.seed,
                        numbers=torch.tensor([indices[n] for n in mine], device="cpu"),
                    )  # fmt: skip
                after[mine] = found.images.to(after)
            return {"before": images, "after": after}

        found = self.kept("flipped", [indices, self.plan.describe()], again)
        distance = self.threat.distance(found["after"] - found["before"])
        said = predict(self.model.plain, found["after"], batch_size=BATCH)
        sure, became = said.probabilities.max(1)
        return {
            row: Flipped(
                int(closest.indices[row]), int(closest.labels[row]), int(became[n]),
                float(sure[n]), float(distance[n]), found["before"][n], found["after"][n],
            )
            for n, row in enumerate(rows)
        }  # fmt: skip

    @property
    def _evaluated(self) -> tuple[Verdict, pa.Table]:
        return self.once(
            "evaluation",
            lambda: self._evaluate("evaluation", self.images, self.plan, self.grid, SHARE),
        )

    def _evaluate(
        self, name: str, images: ImageSet, plan: Plan, grid: int | None, share: float
    ) -> tuple[Verdict, pa.Table]:
        """A verdict and its rows, for which this share of the time left may be spent."""
        eight = name == "8-bit"
        doing, phase = ("attacking in 8 bits", "8-bit") if eight else ("attacking", "attack")
        with ExitStack() as stack:
            kept = self._file(name, [str(self.threat), plan.describe()], "run")
            place: Path | str = kept or stack.enter_context(
                TemporaryDirectory(prefix="fluoroscope-")
            )
            ends = time.monotonic() + share * self.left()
            verdict = evaluate(
                self.model, images, threat=self.threat, plan=plan, out=place, grid=grid,
                part=PART_LARGE if self.large else PART, seed=self.seed, at_chance=True,
                slices=self.slices if images is self.images else (),
                on_progress=lambda now: self.tell(
                    f"{doing}, {now.surviving} of {now.looked} survive", now.done, phase
                ),
                cancelled=self._cancelled,
                enough=lambda: time.monotonic() > ends,
            )  # fmt: skip
            return verdict, RunDirectory(Path(place)).tables()
