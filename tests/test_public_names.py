"""What a package says it has is there: names whose modules are imported when they are asked for."""

import pkgutil
from importlib import import_module

import pytest

import fluoroscope

PACKAGES = [
    "fluoroscope",
    *(
        one.name
        for one in pkgutil.walk_packages(fluoroscope.__path__, "fluoroscope.")
        if one.ispkg and hasattr(import_module(one.name), "__all__")
    ),
]


def test_packages_are_found() -> None:
    assert {"fluoroscope.training", "fluoroscope.depth", "fluoroscope.neurons"} <= set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_leads_somewhere(package: str) -> None:
    module = import_module(package)
    homes = getattr(module, "_HOMES", {})
    assert set(homes) <= set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name) is not None
        assert name in dir(module)
