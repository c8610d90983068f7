"""What came of reading two pictures in the latent: parts, shares, pictures, and a sheet of them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fluoroscope.files import atomic_set, user_path
from fluoroscope.invertible.parts import PARTS
from fluoroscope.pictures import html
from fluoroscope.words import class_names, count, network_name, number, percent

if TYPE_CHECKING:
    from PIL.Image import Image

# Channels that are told, those that differ most.
_CHANNELS = 6


@dataclass(frozen=True, kw_only=True, repr=False)
class LatentReading(html.Shown):
    """Two pictures, and what of their latents differs; all tensors are on the CPU."""

    before: Tensor
    """``(C, H, W)`` in ``[0, 1]``."""
    after: Tensor
    """The same of the other picture."""
    latents: Tensor
    """``(2, D)``"""
    parts: Tensor
    """``(3, D)`` float64, what the difference falls apart into, in the order of ``PARTS``."""
    pictures: Tensor
    """``(3, C, H, W)``, the first picture with each part alone added to its latent; as the inverse
    gives them, perhaps outside ``[0, 1]``."""
    logits: Tensor
    """``(5, classes)`` float64, of both pictures and of these three."""
    by_channel: Tensor
    """``(c,)`` float64, each channel's share of the squared difference."""
    by_place: Tensor
    """``(h, w)`` float64, each place's share."""
    lengths: Tensor
    """``(1 + blocks,)`` float64, how far both are apart in pixels and after each block."""
    record: dict[str, Any]
    """Classes, margins, shares, bounds, versions and the network's content hash, as plain
    values."""
    labels: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def classes(self) -> tuple[str, str]:
        """Whose margin it is: how far the first leads over the second."""
        here, there = self.record["classes"]
        return self.labels[here], self.labels[there]

    @property
    def shares(self) -> dict[str, float]:
        """Each part's share of the squared difference."""
        return dict(zip(PARTS, self.record["shares"], strict=True))

    @property
    def summary(self) -> str:
        """What of the latent differs, in a sentence or two."""
        record, names = self.record, self._names
        here, there = record["classes"]
        shares = self.shares
        chance = record["expected_shares"][0]
        margins = record["margins"]
        return (
            f"The margin of {names[here]} over {names[there]} went from {number(margins[0])} to "
            f"{number(margins[1])}. Of what differs in the latent {percent(shares[PARTS[0]])} lies "
            f"between both classes, where that margin is made (of a difference in no direction it "
            f"would be {percent(chance)}), {percent(shares[PARTS[1]])} between other classes, and "
            f"{percent(shares[PARTS[2]])} where the head does not look."
        )

    def describe(self) -> dict[str, Any]:
        """As plain values."""
        return {
            **self.record,
            "summary": self.summary,
            "labels": list(self.classes),
            "parts": [
                {
                    "part": name,
                    "share": share,
                    "expected": chance,
                    "predicted": self.labels[int(logits.argmax())],
                    "margin": margin,
                }
                for name, share, chance, logits, margin in zip(
                    PARTS,
                    self.record["shares"],
                    self.record["expected_shares"],
                    self.logits[2:],
                    self.record["margins"][2:],
                    strict=True,
                )
            ],
            "latent_channels": [
                {"channel": channel, "share": float(self.by_channel[channel])}
                for channel in self._channels
            ],
            "lengths": self.lengths.tolist(),
            "notes": list(self.notes),
        }

    def sheet(self) -> "Image":
        """Both pictures and the first with each part, over what each differs in."""
        from fluoroscope.pictures.maps import signed_map
        from fluoroscope.pictures.tile_sheet import Tile, tile_sheet

        shown = [self.before, self.after, *self.pictures]
        away = [one - self.before for one in shown]
        scale = max(float(one.abs().amax()) for one in away) or 1.0
        names, logits = self._names, self.logits
        told = [f"predicted as {names[int(one.argmax())]}" for one in logits]
        margin = [f"margin {number(one)}" for one in self.record["margins"]]
        beside = [
            "none: the first",
            "all of it",
            *(f"{percent(one)} of it" for one in self.record["shares"]),
        ]
        changes = [
            Tile(signed_map(one, scale=scale)[0], [beside[place]]) for place, one in enumerate(away)
        ]
        here, there = self.record["classes"]
        how = f": {self.record['how']}" if self.record["how"] else ""
        return tile_sheet(
            [
                [
                    Tile(one.clamp(0, 1), [told[place], margin[place]])
                    for place, one in enumerate(shown)
                ],
                changes,
            ],
            ["picture", "difference"],
            heads=["before", "after", *(f"+ {name}" for name in PARTS)],
            title=f"{names[here]} over {names[there]} in the latent of "
            f"{network_name(self.record.get('model', 'the network'))}" + how,
            foot="The three pictures at the right are the inverse of the first picture's latent "
            "with a part of what differs in the latent added; differences in pixels, on one scale: "
            "red is more, blue less",
        )

    def save(self, directory: str | Path) -> list[Path]:
        """Write ``latent.json``, ``latent.safetensors`` and ``latent.png``, all or none."""
        from json import dumps

        from safetensors.torch import save

        folder = user_path(directory)
        paths = [folder / f"latent.{kind}" for kind in ("json", "safetensors", "png")]
        tensors = {
            name: getattr(self, name).contiguous()
            for name in (
                "before", "after", "latents", "parts", "pictures", "logits", "by_channel",
                "by_place", "lengths",
            )
        }  # fmt: skip
        folder.mkdir(parents=True, exist_ok=True)
        with atomic_set(*paths) as drafts:
            drafts[0].write_text(
                dumps(self.describe(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8"
            )
            drafts[1].write_bytes(save(tensors))
            self.sheet().save(drafts[2], "PNG")
        return paths

    @property
    def _channels(self) -> list[int]:
        """Those that differ most."""
        found: list[int] = self.by_channel.argsort(descending=True, stable=True).tolist()
        return found[:_CHANNELS]

    @property
    def _names(self) -> list[str]:
        return class_names(self.labels)

    def _line(self) -> str:
        here, there = self.record["classes"]
        return (
            f"{self._names[here]} over {self._names[there]}: "
            f"{percent(self.record['shares'][0])} of the difference in the latent lies between "
            f"both classes, {percent(self.record['shares'][2])} is ignored"
        )

    def _view(self) -> Iterator[html.Html]:
        record = self.record
        yield html.paragraph(self.summary)
        shown = [self.before, self.after, *self.pictures]
        words = ["before", "after", *(f"before + {name}" for name in PARTS)]
        yield html.cards(
            [html.picture(one.clamp(0, 1), said)] for one, said in zip(shown, words, strict=True)
        )
        yield html.facts(
            [
                ("apart in pixels", number(record["distance"])),
                ("apart in the latent", number(record["latent_distance"])),
                ("bounds of their ratio", " and ".join(f"{one:.3g}×" for one in record["bounds"])),
                ("inverse off by", number(max(record["inverse_off"]))),
                ("the inverse took", count(max(record["rounds"]), "round")),
            ]
        )
        yield html.notes(self.notes)
