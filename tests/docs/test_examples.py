"""Do the examples of the documentation and the README run, and do they print what the pages show?"""

import os
import re
import shutil
import sys
from functools import partial
from importlib.util import find_spec

import examples
import pytest
from support import program
from support.program import IN_PROCESS, ROOT

import catsdogs
from catsdogs.sample import write_sample

SLOW = [page for page in examples.PAGES if any(example.mark == "slow" for example in examples.read(page))]


def name_of(page):
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    """A folder with all images that the pages name."""
    folder = tmp_path_factory.mktemp("images")
    examples.prepare(folder, train=40, test=4)
    return folder


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory, images, tiny_backbone):
    """The artifacts of a run on them."""
    folder = tmp_path_factory.mktemp("made")
    catsdogs.run(images / examples.KAGGLE, artifacts=folder / "artifacts", weights=str(tiny_backbone))
    return folder


def command(*arguments):
    """Run a command in the current folder, and return what it prints."""
    done = program.command(*arguments, folder=".")
    assert done.returncode == 0, (arguments, done.stderr)
    return done.stdout


def put_program_on_path(folder, monkeypatch):
    """Write a program `catsdogs` that knows the backbone of NumPy, for lines that Bash runs."""
    script = folder / "catsdogs"
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{IN_PROCESS}" "$@"\n')
    script.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(ROOT / "tests")]))


BY_BACKBONE = re.compile(r"computed with|engine |logistic regression on|random weights|be low|^dupl|^\w+ +[\d.]+% ")
"""Lines that depend on the backbone, which is one of NumPy here."""


def shape(printed):
    """Return the lines that a command prints, without numbers; of those that depend on the backbone, nothing."""
    lines = [line for line in printed.splitlines() if line not in ("", "...") and not BY_BACKBONE.search(line)]
    return [re.sub(r"[+-]?\d[\d.,e-]*", "0", re.sub(r"(jpg,)\w+", r"\1class", line)) for line in lines]


def run_page(page, *, slow):
    namespace = {}
    for example in examples.read(page):
        if example.mark is None or (slow and example.mark == "slow"):
            printed = examples.run(example, namespace, command)
            if example.output is not None:
                assert example.output.strip(), "run docs/examples.py"
                shown, now = shape(example.output), shape(printed)
                assert shown == (now[: len(shown)] if example.output.endswith("...\n") else now), example.code


@pytest.mark.parametrize("page", examples.PAGES, ids=name_of)
def test_examples_run_and_print_what_the_page_shows(page, tmp_path, images, artifacts, tiny_backbone, monkeypatch):
    folder = shutil.copytree(images, tmp_path / "folder")
    if examples.needs_artifacts(page):
        shutil.copytree(artifacts, folder, dirs_exist_ok=True)
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CATSDOGS_WEIGHTS", str(tiny_backbone))
    monkeypatch.setattr("catsdogs.commands.demo.write_sample", partial(write_sample, train=40, test=8))
    put_program_on_path(tmp_path, monkeypatch)
    run_page(page, slow=False)


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, ("onnx", "onnxruntime", "tf2onnx"))), reason="needs the extra onnx")
@pytest.mark.parametrize("page", SLOW, ids=name_of)
def test_slow_examples_run_too(page, tmp_path, images, keras_backbone, monkeypatch):
    monkeypatch.chdir(shutil.copytree(images, tmp_path / "folder"))
    monkeypatch.setenv("CATSDOGS_WEIGHTS", str(keras_backbone))
    catsdogs.run(examples.KAGGLE)
    run_page(page, slow=True)


@pytest.mark.parametrize("page", examples.PAGES, ids=name_of)
def test_every_block_is_run_or_says_why_not(page):
    text = page.read_text()
    fences = re.findall(r"^ *```(\S+)", text, re.MULTILINE)
    assert set(fences) <= {"sh", "python", "text", "{include}", "{image}", "{eval-rst}"}
    found = examples.read(page)
    assert len(found) == fences.count("sh") + fences.count("python")
    assert text.count("<!-- ") == sum(example.mark is not None for example in found)
    assert all(example.code.strip() for example in found)


def test_most_examples_are_run():
    marks = [example.mark for page in examples.PAGES for example in examples.read(page)]
    assert marks.count(None) > 30
