"""The page that the package holds is the one that its sources give, with what it owes to others."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
WEB = ROOT / "web"
PAGE = ROOT / "src" / "fluoroscope" / "studio" / "page"


def _files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _needs_node() -> None:
    said = ""
    if node := shutil.which("node"):
        said = subprocess.run([node, "--version"], capture_output=True, text=True).stdout
    numbers = tuple(map(int, re.findall(r"\d+", said)[:2]))
    if numbers < (20, 19):
        pytest.skip("Node 20.19 or newer is absent: the studio's page cannot be built")
    if not (WEB / "node_modules" / "vite").exists():
        pytest.skip("what builds the studio's page is not installed: make web")


def test_the_page_is_what_the_sources_give(tmp_path: Path) -> None:
    _needs_node()
    command = ["npm", "run", "--silent", "build", "--", "--logLevel", "warn", "--outDir"]
    done = subprocess.run(
        [*command, str(tmp_path / "page")], cwd=WEB, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    made, kept = _files(tmp_path / "page"), _files(PAGE)
    assert sorted(made) == sorted(kept), "make page"
    differing = [name for name in made if made[name] != kept[name]]
    assert not differing, "make page"


def test_every_package_in_the_page_has_its_licence_beside_it() -> None:
    beside = (PAGE / "licences.txt").read_text("utf-8")
    wanted = json.loads((WEB / "package.json").read_text("utf-8"))["dependencies"]
    sources = "\n".join(path.read_text("utf-8") for path in WEB.glob("src/**/*.ts*"))
    for name, version in wanted.items():
        if re.search(rf'from "{re.escape(name)}["/]', sources):
            assert f"{name} {version} (MIT)\n" in beside
    assert beside.count("Permission is hereby granted") == len(
        re.findall(r"^\S+ [\d.]+ \(MIT\)$", beside, re.MULTILINE)
    )


def test_the_lock_file_is_of_the_same_packages_and_names_no_registry() -> None:
    lock = json.loads((WEB / "package-lock.json").read_text("utf-8"))
    wanted = json.loads((WEB / "package.json").read_text("utf-8"))
    assert len(lock["packages"]) > 100
    for which in ("dependencies", "devDependencies"):
        assert lock["packages"][""][which] == wanted[which]
        for name, version in wanted[which].items():
            assert lock["packages"][f"node_modules/{name}"]["version"] == version
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or "integrity" in package, name


def test_the_page_names_nothing_of_another_origin() -> None:
    for name, content in _files(PAGE).items():
        if name == "licences.txt":
            continue
        text = content.decode("utf-8")
        # The names of XML are no addresses that anything is fetched from.
        addresses = set(re.findall(r"https?://[^\s\"'`)]+", text))
        assert {one for one in addresses if not one.startswith("http://www.w3.org/")} == set(), name
        if name.endswith(".html"):
            assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son\w+=", text)
            assert not re.search(r"(?:src|href)=\"/", text)
