"""The API is what its description says, and the description is shown without anybody's help."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from typing import Any

import hypothesis
import pytest

import fluoroscope as fs
from fluoroscope.studio.app import create_app
from fluoroscope.studio.doors.docs import render
from fluoroscope.studio.guard.guard import Guard
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.studio import Studio
from tests.studio.conftest import Served


@pytest.fixture
def doors() -> Iterator[list[Any]]:
    """The doors of a studio in this process, behind its guard, by its own description."""
    import schemathesis  # in the one process that asks for it: it takes its time

    studio = Studio(
        Networks({}),
        Pictures({"digits": lambda channels: fs.load_images("digits", channels=channels)}),
    )
    app = Guard(create_app(studio), hosts=["testserver"])
    schema = schemathesis.openapi.from_asgi("/api/openapi.json", app)
    yield [found.ok() for found in schema.get_all_operations()]
    studio.close()


def test_whatever_is_asked_the_answer_is_one_that_is_described(doors: list[Any]) -> None:
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi import checks as openapi

    checks = [
        not_a_server_error, openapi.status_code_conformance, openapi.content_type_conformance,
        openapi.response_schema_conformance,
    ]  # fmt: skip
    assert len(doors) > 12
    for door in doors:

        @hypothesis.given(case=door.as_strategy())
        @hypothesis.settings(
            max_examples=10,
            deadline=None,
            derandomize=True,
            database=None,
            suppress_health_check=list(hypothesis.HealthCheck),
        )
        def ask(case: Any) -> None:
            case.call_and_validate(checks=checks)

        ask()


def test_every_refusal_is_described_and_nothing_of_the_library_that_checks(served: Served) -> None:
    found = served.client.get("/api/openapi.json").json()
    assert "HTTPValidationError" not in str(found)
    refusal = {"$ref": "#/components/responses/Problem"}
    for path, methods in found["paths"].items():
        for method, door in methods.items():
            assert door["responses"]["4XX"] == refusal, (method, path)
            assert door["summary"], (method, path)
    assert {"POST api/jobs", "DELETE api/jobs/{identifier}"} <= {
        f"{method.upper()} {path[1:]}"
        for path, methods in found["paths"].items()
        for method in methods
    }


class _Loaded(HTMLParser):
    """What a page would load, and what it would run."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = dict(attributes)
        if tag in ("script", "iframe", "object", "style") or any(
            name == "style" or name.startswith("on") for name in given
        ):
            self.found.append(f"<{tag}>")
        for name in ("src", "href"):
            if name in given and (tag == "link" or name == "src"):
                self.found.append(str(given[name]))


def test_the_page_of_the_description_loads_nothing_of_others(served: Served) -> None:
    page = served.client.get("/api/docs")
    assert page.headers["content-type"].startswith("text/html")
    loaded = _Loaded()
    loaded.feed(page.text)
    assert loaded.found == ["data:,", "docs.css"]
    assert served.client.get("/api/docs.css").headers["content-type"].startswith("text/css")
    described = served.client.get("/api/openapi.json").json()
    for path in described["paths"]:
        assert f"<code>{path[1:]}</code>" in page.text
    for name in described["components"]["schemas"]:
        assert f'id="{name}"' in page.text
    links = set(re.findall(r'href="#(\w+)"', page.text))
    assert links <= set(re.findall(r'id="(\w+)"', page.text))
    assert "MorphRequest" in links


def test_what_the_description_says_is_no_markup() -> None:
    made = {
        "info": {"title": "<b>", "version": "1", "description": "`<i>` and **<u>**"},
        "tags": [{"name": "one", "description": "<script>"}],
        "paths": {},
        "components": {"schemas": {"<s>": {"description": "<em>", "properties": {}}}},
    }
    page = render(made)
    assert "<code>&lt;i&gt;</code> and <strong>&lt;u&gt;</strong>" in page
    for tag in ("<b>", "<i>", "<u>", "<script>", "<s>", "<em>"):
        assert tag not in page
