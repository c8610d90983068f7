"""``python -m benchmarks [NAME …]`` writes the sections of those names, or all, to the page."""

import argparse
import time
from pathlib import Path

from benchmarks import (
    ablation,
    attribution,
    cluster,
    corruptions,
    evaluation,
    families,
    inversion,
    neurons,
    peers,
    relaxation,
    scale,
    speed,
    startup,
    studio,
    training,
)
from benchmarks.page import PAGE, Scale, Skipped

HEAD = """# Benchmarks

Written by `make bench`; nothing in it is typed by hand. Every figure is a ratio to something
measured in the same run: the ways are run in turn, the ratio is taken in each turn, and the median
of the turns is shown with its quartiles.
"""

SECTIONS = {
    "passes": speed.passes,
    "differences": speed.differences,
    "first-look": speed.first_look,
    "start": startup.start,
    "pgd-digits": peers.pgd_digits,
    "pgd-resnet18": peers.pgd_resnet18,
    "pgd-mobilenet": peers.pgd_mobilenet,
    "apgd-resnet18": peers.apgd_resnet18,
    "apgd-mobilenet": peers.apgd_mobilenet,
    "verdict-cnn": peers.verdict_cnn,
    "verdict-robust": peers.verdict_robust,
    "autoattack": peers.autoattack,
    "minimum-norm": peers.minimum_norm,
    **families.SECTIONS,
    **evaluation.SECTIONS,
    **relaxation.SECTIONS,
    **attribution.SECTIONS,
    **inversion.SECTIONS,
    **neurons.SECTIONS,
    **ablation.SECTIONS,
    **training.SECTIONS,
    "memory": speed.memory,
    "preparation": speed.preparation,
    "corruptions": corruptions.corruptions,
    "studio": studio.studio,
    **cluster.SECTIONS,
    "scale": scale.scale,
}
HEADS = {scale.PAGE: scale.HEAD}


def main() -> None:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SECTIONS)}")
    parser.add_argument("--repeats", type=int, help="turns of every way")
    parser.add_argument("--steps", type=int, help="steps of the attacks")
    parser.add_argument("--limit", type=int, help="images")
    parser.add_argument(
        "--anew", action="append", default=[], choices=evaluation.WAYS, metavar="PLAN",
        help="a plan whose kept verdicts are made anew; again for more of them",
    )  # fmt: skip
    parser.add_argument(
        "--kept", action="store_true", help="of verdicts, show those that are kept and make none"
    )
    parser.add_argument("--page", type=Path, help=f"the file written instead of {PAGE}")
    given = parser.parse_args()
    unknown = [name for name in given.names if name not in SECTIONS]
    if unknown:
        parser.error(f"no section {unknown[0]!r}; expected {', '.join(SECTIONS)}")
    size = Scale(given.repeats, given.steps, given.limit, tuple(given.anew), given.kept)
    for name in given.names or SECTIONS:
        began = time.perf_counter()
        try:
            section = SECTIONS[name](size)
        except Skipped as why:
            print(f"skipped the section {name}: {why}")
            continue
        head = HEADS.get(section.page, HEAD)
        section.page = given.page or section.page
        section.measured(time.perf_counter() - began)
        section.write(head)
        print(f"wrote the section {name} of {section.page}", flush=True)


if __name__ == "__main__":
    main()
