"""Are the pages complete: every link, artifact, public name, variable and command?"""

import inspect
import re
from typing import get_args, get_type_hints

import pytest
from support.program import ROOT
from typer.main import get_command

import catsdogs
from catsdogs.cli.app import app

README = ROOT / "README.md"
DOCS = sorted((ROOT / "docs").rglob("*.md"))
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", ROOT / "artifacts/README.md", *DOCS]


def test_the_readme_is_at_most_120_lines():
    assert len(README.read_text().splitlines()) <= 120


@pytest.mark.parametrize("name", get_command(app).commands)
def test_the_readme_lists_every_command(name):
    assert re.search(rf"^\| .*`{name}[` ].* \|", README.read_text(), re.MULTILINE)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_file_that_a_page_points_to_is_there(page):
    for target in re.findall(r"(?:\]\(|src=\"|srcset=\"|\{image\} )([^)#\"\s]+)", page.read_text()):
        assert "://" in target or (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_no_page_names_a_path_of_the_machine_that_made_it(page):
    assert not re.search(r"(?<![\w.~/])/(tmp|home|root|work|var|Users)\b", page.read_text())


def test_every_artifact_of_a_run_is_described(tmp_path, tiny_backbone, draw, write_folder, encode):
    names = [f"train/{kind}.{number}.jpg" for kind in ("cat", "dog") for number in range(10)] + ["test/1.jpg"]
    write_folder(tmp_path, {name: encode(draw(seed), "JPEG") for seed, name in enumerate(names)})
    catsdogs.run(tmp_path, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))
    described = (ROOT / "artifacts/README.md").read_text()
    files = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert len(files) > 15
    assert [path.name for path in files if f"{path.name}`" not in described] == []


def test_the_api_page_has_every_public_name_and_every_class_of_a_result():
    public = {getattr(catsdogs, name) for name in catsdogs.__all__}
    parts = set().union(*(classes_in(get_type_hints(of)["return"]) for of in public if inspect.isfunction(of)))
    names = [*catsdogs.__all__, *(f"{of.__module__}.{of.__name__}" for of in parts - public)]
    page = (ROOT / "docs/reference/api.md").read_text()
    assert sorted(re.findall(r"^\.\. auto\w+:: ([\w.]+)", page, re.MULTILINE)) == sorted(names)


def classes_in(hint):
    """Return the classes of the package in a type, and in the types of their attributes."""
    found = set().union(*map(classes_in, get_args(hint)))
    if inspect.isclass(hint) and hint.__module__.startswith("catsdogs."):
        found |= {hint}.union(*map(classes_in, get_type_hints(hint).values()))
    return found


def test_each_row_of_the_page_of_reports_has_a_test_that_is_there():
    page = (ROOT / "docs/project/reports.md").read_text()
    rows = re.findall(r"^\| .* \| ([^|]*) \|$", page, re.MULTILINE)
    code = "".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    assert len(rows) > 60
    for last in set(rows) - {"tests", "test"}:
        names = re.findall(r"`(\w+)`", last)
        assert names, last
        assert [name for name in names if f"def {name}(" not in code] == []


def test_every_variable_that_the_code_names_is_described():
    code = "".join(path.read_text() for path in (ROOT / "catsdogs").rglob("*.py"))
    names = set(re.findall(r"environ(?:\.get|\.setdefault)\(\s*\"(\w+)\"|_VARIABLE = \"(\w+)\"", code))
    page = (ROOT / "docs/reference/environment.md").read_text()
    assert len(names) > 5
    assert [name for pair in names for name in pair if name and f"`{name}" not in page] == []
