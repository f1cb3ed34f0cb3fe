"""Is docs/explanation/promises.md true: are there the tests that it names, and does each promise have a quick one?"""

import ast
import re
from pathlib import Path

import pytest

import catsdogs

ROOT = Path(catsdogs.__file__).parent.parent
README = (ROOT / "README.md").read_text()
TABLE = (ROOT / "docs/explanation/promises.md").read_text()


def rows(text):
    """Return the cells of each row of a table, its head left out."""
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("| ").split(" | ")] for line in lines[1:]]


def marks(test):
    """Return what a test is decorated with, as text."""
    return " ".join(ast.unparse(decorator) for decorator in test.decorator_list)


@pytest.fixture(scope="module")
def tests():
    """The decorators of every test by its name, those of its class before them."""
    found = {}
    for path in (ROOT / "tests").rglob("test_*.py"):
        tree = ast.parse(path.read_text())
        whole = "slow" if re.search(r"^pytestmark = .*slow", path.read_text(), re.MULTILINE) else ""
        for node in tree.body:
            inner = node.body if isinstance(node, ast.ClassDef) else [node]
            above = marks(node) if isinstance(node, ast.ClassDef) else ""
            for test in inner:
                if isinstance(test, ast.FunctionDef) and test.name.startswith("test_"):
                    found[test.name] = f"{whole} {above} {marks(test)}"
    return found


def is_slow(decorators):
    """Whether a test is slow as a whole, and not only with some of its parameters."""
    return re.search(r"(^|\s)(pytest\.)?mark\.slow|^slow", re.sub(r"parametrize\(.*\)", "", decorators)) is not None


def test_every_promise_names_existing_tests(tests):
    for promise, _, kept_by in rows(TABLE):
        named = re.findall(r"`(test_\w+)`(\*?)", kept_by)
        assert named, promise
        for name, slow in named:
            assert name in tests, name
            assert is_slow(tests[name]) == bool(slow), name


def test_every_promise_has_a_quick_test():
    assert len(rows(TABLE)) > 12
    for promise, _, kept_by in rows(TABLE):
        assert re.search(r"`test_\w+`(?!\*)", kept_by), promise


def test_the_readme_names_no_test():
    assert re.findall(r"\btest_\w+", README) == []
