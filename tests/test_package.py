"""The package as a user installs it: built from what git holds, in an environment of its own."""

import json
import os
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
# Beside the code: what it reads when it runs.
DATA = {".json", ".svg", ".safetensors", ".html", ".css", ".js", ".png", ".typed"}


def tracked() -> list[str]:
    """The files that git holds."""
    listed = subprocess.run(
        ["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    return listed.stdout.splitlines()


def clean() -> dict[str, str]:
    """Variables that lead Python nowhere else."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The sdist of a clean checkout, and the wheel that is made of that sdist alone."""
    if not (ROOT / ".git").exists():
        pytest.skip("this is no checkout, and only git knows which files belong to it")
    checkout, built = (tmp_path_factory.mktemp(name) for name in ("checkout", "built"))
    for name in tracked():
        if (ROOT / name).exists():
            (checkout / name).parent.mkdir(parents=True, exist_ok=True)
            (checkout / name).write_bytes((ROOT / name).read_bytes())
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(built), "."]
    done = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:] + done.stdout[-2000:]
    [sdist], [wheel] = built.glob("*.tar.gz"), built.glob("*.whl")
    return sdist, wheel


@pytest.fixture(scope="module")
def installed(built: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment that holds the wheel, and sees this one's other packages."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True)
    [packages] = home.glob("lib/python*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "--python", str(home / "bin/python"), "install",
         "--no-deps", "--no-index", "--disable-pip-version-check", str(built[1])],
        check=True, env=clean(),
    )  # fmt: skip
    # A path alone: what an editable installation has put there is not followed.
    (packages / "dependencies.pth").write_text(sysconfig.get_paths()["purelib"] + "\n")
    return home


def run(home: Path, *command: str, cwd: Path) -> str:
    """What a command of the environment prints."""
    done = subprocess.run(
        [str(home / "bin" / command[0]), *command[1:]],
        cwd=cwd, env=clean(), capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_wheel_holds_the_package_with_its_data_and_nothing_else(
    built: tuple[Path, Path],
) -> None:
    ours = {
        name.removeprefix("src/")
        for name in tracked()
        if name.startswith("src/") and (ROOT / name).exists()
    }
    with zipfile.ZipFile(built[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    # Notes for developers beside the data need not travel.
    assert names <= ours
    assert {name for name in ours - names if not name.endswith(".md")} == set()
    assert {Path(name).suffix for name in names} <= DATA | {".py", ".txt", ".npz"}


def test_the_sdist_holds_what_the_wheel_is_made_of_and_no_tests(built: tuple[Path, Path]) -> None:
    with tarfile.open(built[0]) as sdist:
        names = {name.split("/", 1)[1] for name in sdist.getnames() if "/" in name}
    tops = {name.split("/")[0] for name in names}
    assert tops <= {
        "src", "LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff", "PKG-INFO", "setup.cfg",
        "pyproject.toml", "MANIFEST.in",
    }  # fmt: skip
    assert {"LICENSE", "README.md", "CHANGELOG.md", "CITATION.cff"} <= tops


def test_it_runs_where_it_is_installed(installed: Path, tmp_path: Path) -> None:
    where = run(installed, "python", "-c", "import fluoroscope; print(fluoroscope.__file__)",
                cwd=tmp_path)  # fmt: skip
    assert Path(where.strip()).is_relative_to(installed)
    page = tmp_path / "page.html"
    run(installed, "fluoroscope", "xray", "--model", "digits-cnn", "--data", "digits", "--limit",
        "20", "--sections", "clean,next", "--out", str(page), cwd=tmp_path)  # fmt: skip
    assert "</html>" in page.read_text("utf-8")


def test_the_page_of_the_studio_comes_with_it_and_needs_no_sources(
    built: tuple[Path, Path], installed: Path, tmp_path: Path
) -> None:
    pytest.importorskip("fastapi", reason="the extra studio is not installed")
    page = "src/fluoroscope/studio/page/"
    kept = {
        name.removeprefix(page): (ROOT / name).read_bytes()
        for name in tracked()
        if name.startswith(page)
    }
    with zipfile.ZipFile(built[1]) as wheel:
        for name, content in kept.items():
            assert wheel.read(f"{page.removeprefix('src/')}{name}") == content
        assert not [name for name in wheel.namelist() if name.startswith("web/")]
    served = run(installed, "python", "-c", _FETCH, *kept, cwd=tmp_path)
    assert json.loads(served) == {name: len(content) for name, content in kept.items()}


# Serves the page as it is installed: of each file that is named the bytes.
_FETCH = """
import json, sys
from starlette.testclient import TestClient
from fluoroscope.studio.app import create_app
from fluoroscope.studio.networks import Networks
from fluoroscope.studio.pictures import Pictures
from fluoroscope.studio.studio import Studio
with TestClient(create_app(Studio(Networks({}), Pictures({}))), "http://127.0.0.1") as client:
    assert client.get("/").content == client.get("/index.html").content
    answers = {name: client.get(f"/{name}") for name in sys.argv[1:]}
print(json.dumps({name: len(one.raise_for_status().content) for name, one in answers.items()}))
"""


def test_versions_agree(installed: Path, tmp_path: Path) -> None:
    asked = "import fluoroscope; print(fluoroscope.__version__)"
    number = run(installed, "python", "-c", asked, cwd=tmp_path).strip()
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    assert f"\nversion: {number}\n" in citation
    assert f"\n## {number}" in (ROOT / "CHANGELOG.md").read_text("utf-8")
