"""Are the pages complete: every link, artifact, public name, variable and command?"""

import re

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


def test_the_api_page_has_every_public_name():
    page = (ROOT / "docs/reference/api.md").read_text()
    assert sorted(re.findall(r"^\.\. auto\w+:: (\w+)", page, re.MULTILINE)) == sorted(catsdogs.__all__)


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
