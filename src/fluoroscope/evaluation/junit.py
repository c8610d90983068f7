"""JUnit XML, which services of continuous integration read: a test case for each requirement on a
verdict, and for each check whether it can be trusted.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from fluoroscope.errors import MissingExtraError
from fluoroscope.evaluation.check import Check, Outcome
from fluoroscope.files import atomic_path, output_directory, user_path
from fluoroscope.models.labels import printable

if TYPE_CHECKING:
    from junitparser import TestCase

# Of a case's words; names in them may be of any length.
_LONGEST = 2000


def require_junit() -> None:
    """See whether it can be written, before anything long begins.

    Raises:
        MissingExtraError: ``junitparser`` is not installed.
    """
    try:
        import junitparser  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            "writing JUnit XML needs the junitparser library; install it with "
            "pip install 'fluoroscope[ci]'"
        ) from error


def write_junit(
    path: str | Path, title: str, outcomes: Sequence[Outcome], checks: Sequence[Check] = ()
) -> Path:
    """Write how requirements and trust checks came out; whole or not at all.

    A requirement that is not met, and a check that fails, is a failure; a requirement that cannot
    be shown is an error. A check that warns is passed, with what it says beside it.

    Args:
        path: the file.
        title: of the suite: the network and the data.
        outcomes: of the requirements.
        checks: whether the robust accuracy can be trusted.

    Raises:
        MissingExtraError: ``junitparser`` is not installed.
        InvalidParameterError, StorageError: it cannot be written there.
    """
    require_junit()
    from junitparser import JUnitXml, TestSuite

    suite = TestSuite(_text(title))
    for case in (*_requirements(outcomes), *_checks(checks)):
        suite.add_testcase(case)
    report = JUnitXml("fluoroscope")
    report.add_testsuite(suite)
    path = user_path(path)
    output_directory(path.parent)
    with atomic_path(path) as draft:
        report.write(str(draft), pretty=True)
    return path


def _requirements(outcomes: Sequence[Outcome]) -> "Iterator[TestCase]":
    from junitparser import Error, Failure, TestCase

    for one in outcomes:
        case, words = TestCase(_text(one.text), "fluoroscope.requirements"), _text(one.words)
        if one.status == "not met":
            case.result = [Failure(words, one.status)]
        elif one.status == "cannot be shown":
            case.result = [Error(words, one.status)]
        else:
            case.system_out = words
        yield case


def _checks(checks: Sequence[Check]) -> "Iterator[TestCase]":
    from junitparser import Failure, Skipped, TestCase

    for one in checks:
        case, words = TestCase(_text(one.name), "fluoroscope.trust"), _text(one.words)
        if one.status == "fail":
            case.result = [Failure(words, one.status)]
        elif one.status in ("not applicable", "not made"):
            case.result = [Skipped(words, one.status)]
        else:
            case.system_out = words if one.status == "pass" else f"{one.status}: {words}"
        yield case


def _text(words: str) -> str:
    """What XML can hold: signs that are printed."""
    return printable(words)[:_LONGEST]
