"""Run the sources' experiments and write docs/reproductions.md.

``python -m reproductions [NAME ...]`` measures all sections or those named.
"""

import argparse
import sys
import time
from collections.abc import Callable
from inspect import signature

from benchmarks.page import Scale, Section
from reproductions import (
    attribution_audit,
    attribution_cams,
    attribution_completeness,
    attribution_conservation,
    attribution_peers,
    cifar,
    class_map,
    curve,
    differences,
    digits,
    fooling,
    goodfellow,
    imagenet,
    inversion_generators,
    inversion_imagenet,
    inversion_networks,
    inversion_ood,
    inversion_portraits,
    karpathy,
    linear,
    neurons_detection,
    neurons_findings,
    neurons_tracing,
    planted,
    queries,
    robustness_measures,
    training_consistent,
    training_depth,
    training_gates,
    training_invertible,
    training_robust,
    transfer,
    trust,
    universal,
)
from reproductions.sources import SHARED

SECTIONS: dict[str, Callable[..., Section]] = {
    "linear": linear.section,
    "goodfellow": goodfellow.section,
    "karpathy": karpathy.section,
    "digits": digits.section,
    "imagenet": imagenet.section,
    "fooling": fooling.section,
    "transfer": transfer.section,
    "cifar-networks": cifar.section,
    "transfer-matrix": robustness_measures.transfer_section,
    "corruption": robustness_measures.corruption_section,
    "queries": queries.section,
    "universal": universal.section,
    "trust": trust.section,
    "planted": planted.section,
    "curve": curve.section,
    "class-map": class_map.section,
    "differences": differences.section,
    "attribution-peers": attribution_peers.section,
    "attribution-captum": attribution_audit.captum_section,
    "attribution-honest": attribution_audit.honest_section,
    "attribution-scores": attribution_audit.scores_section,
    "attribution-cams": attribution_cams.section,
    "attribution-completeness": attribution_completeness.section,
    "attribution-conservation": attribution_conservation.section,
    "inversion-networks": inversion_networks.section,
    "inversion-digits": inversion_generators.digits_section,
    "inversion-cifar": inversion_generators.cifar_section,
    "inversion-ablation": inversion_generators.ablation_section,
    "inversion-portraits": inversion_portraits.section,
    "inversion-imagenet": inversion_imagenet.section,
    "inversion-ood": inversion_ood.section,
    "neurons-ablation": neurons_tracing.section,
    "neurons-cifar": neurons_findings.cifar_section,
    "neurons-imagenet": neurons_findings.imagenet_section,
    "neurons-detection": neurons_detection.section,
    "training-depth": training_depth.section,
    "training-consistent": training_consistent.section,
    "training-gates": training_gates.section,
    "training-invertible": training_invertible.section,
    "training-robust": training_robust.section,
}
HEAD = """# Reproductions

What the sources of this project reported, measured again. Written by `make reproductions`
(`python -m reproductions NAME` for one section); nothing in it is typed by hand. It reads MNIST, a
sample of ImageNet and four MobileNets from `../shared`.
"""


def main() -> None:
    """Measure, and put each section into the page as soon as it is done."""
    parser = argparse.ArgumentParser(prog="python -m reproductions", description=__doc__)
    parser.add_argument("names", nargs="*", choices=[[], *SECTIONS], default=[])
    parser.add_argument(
        "--steps",
        type=int,
        help="of each generator, or gradient passes of each portrait, where a section has any",
    )
    parser.add_argument(
        "--limit", type=int, help="training pictures, or classes, where a section has any"
    )
    given = parser.parse_args()
    names, scale = given.names or list(SECTIONS), Scale(steps=given.steps, limit=given.limit)
    if not SHARED.is_dir():
        sys.exit(f"{SHARED} is absent; the reproductions need its networks and data sets")
    for name in names:
        start = time.perf_counter()
        make = SECTIONS[name]
        section = make(scale) if signature(make).parameters else make()
        section.measured(time.perf_counter() - start)
        section.write(HEAD)
        print(f"wrote the section {name} of {section.page}")


if __name__ == "__main__":
    main()
