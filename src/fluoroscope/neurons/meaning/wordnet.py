"""Classes in WordNet, through the library ``wn`` and whatever data of it are on this machine.

A class goes by its number in WordNet (``n02123045``, where the lexicon keeps those of WordNet 3.0),
or by its names: the noun that most of them stand for, and of several the most usual.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from fluoroscope.errors import InvalidParameterError, MissingExtraError
from fluoroscope.words import count, some

_OTHERWISE = "or take another similarity: weights, confusion, or a file with a tree of the classes"


def find_in_wordnet(labels: Sequence[str]) -> tuple[dict[str, list[str]], list[str], str]:
    """What lies above what, the node of each class, and which lexicon that is of.

    Raises:
        MissingExtraError: the library is not installed.
        InvalidParameterError: its data are not here, or lack some classes.
    """
    lexicon, specifier = _open()
    found = [_synset(lexicon, label) for label in labels]
    lacking = [label for label, one in zip(labels, found, strict=True) if one is None]
    if lacking:
        raise InvalidParameterError(
            f"similarity is wordnet, and {specifier} has no noun for {len(lacking)} of "
            f"{count(len(labels), 'class', 'classes')} ({some(lacking, 5)}); name the classes in "
            f"its words, {_OTHERWISE}"
        )
    above: dict[str, list[str]] = {}
    edge = [one for one in found if one is not None]
    while edge:
        one = edge.pop()
        if one.id not in above:
            uppers = one.hypernyms() + one.get_related("instance_hypernym")
            above[one.id] = [upper.id for upper in uppers]
            edge += uppers
    return above, [one.id for one in found if one is not None], specifier


def _open() -> tuple[Any, str]:
    try:
        import wn
    except ImportError as error:
        raise MissingExtraError(
            "similarity is wordnet, which needs the library wn: pip install "
            f"'fluoroscope[wordnet]', {_OTHERWISE}"
        ) from error
    try:
        # Only to look would make an empty one in the user's home.
        there = wn.lexicons() if wn.config.database_path.is_file() else ()
        english = [one for one in there if one.language.split("-")[0] == "en"]
    except wn.Error as error:
        raise InvalidParameterError(
            f"similarity is wordnet, and its data cannot be read ({error}); fetch them anew "
            f"(python -m wn download omw-en:1.4), {_OTHERWISE}"
        ) from error
    if not english:
        raise InvalidParameterError(
            "similarity is wordnet, and no English lexicon of it is on this machine; fetch one "
            f"(python -m wn download omw-en:1.4), {_OTHERWISE}"
        )
    # The one whose numbers are those by which ImageNet's classes are known, where it is there.
    chosen = next((one for one in english if one.id == "omw-en"), english[0])
    return wn.Wordnet(chosen.specifier()), chosen.specifier()


def _synset(lexicon: Any, label: str) -> Any:
    """The noun that a class is; ``None`` if there is none."""
    import wn

    if len(label) == 9 and label[0] == "n" and label[1:].isdecimal():
        try:
            return lexicon.synset(f"omw-en-{label[1:]}-n")
        except wn.Error:
            return None
    votes: Counter[str] = Counter()
    by_id = {}
    # The first of several with as many votes is the most usual sense of the first name.
    for name in dict.fromkeys(part.strip().replace("_", " ") for part in label.split(",")):
        for one in lexicon.synsets(name, pos="n") if name else ():
            votes[one.id] += 1
            by_id[one.id] = one
    return by_id[votes.most_common(1)[0][0]] if votes else None
