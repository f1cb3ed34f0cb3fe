"""The example in each command's help runs, also with each option that all commands share."""

import json
import logging
import shlex
import shutil
from importlib.util import find_spec

import pytest
from support.pictures import write_kaggle_zip
from support.program import command, process
from typer.main import get_command

import catsdogs
from catsdogs.cli.app import app

COMMANDS = get_command(app).commands

SLOW = ("bench", "demo", "export")

PARQUET = ("score", "subset")

MARKS = dict.fromkeys(SLOW, pytest.mark.slow)
MARKS |= dict.fromkeys(PARQUET, pytest.mark.skipif(find_spec("pyarrow") is None, reason="needs the extra parquet"))

NAMES = [pytest.param(name, marks=MARKS.get(name, ())) for name in COMMANDS]

RESULTS = ("predict", "similar", "evaluate", "info", "bench")
"""Commands whose text is their result, and not a summary of what they did."""


def prepare_folder(folder, weights, draw, encode, zipped):
    """Fill a folder with all that examples name, and the artifacts of a run."""
    data = folder / "dogs-vs-cats-redux-kernels-edition.zip"
    write_kaggle_zip(data, draw, encode, zipped, train=40, test=4)
    (folder / "photographs").mkdir()
    for number in range(10):
        for kind in ("cat", "dog"):
            place = folder / "cats-dogs-testing" / kind
            place.mkdir(parents=True, exist_ok=True)
            draw(number).save(place / f"{number}.png")
            draw(number).save(folder / f"photographs/{kind}.{number}.jpg")
    (folder / "dogs").mkdir()
    shutil.copy(folder / "photographs/dog.1.jpg", folder / "dogs")
    shutil.copy(folder / "photographs/cat.1.jpg", folder / "cat.jpg")
    catsdogs.run(data, artifacts=folder / "artifacts", weights=str(weights))
    for number in (1, 2):
        catsdogs.extract(data, artifacts=folder / f"parts/{number}", weights=str(weights), part=f"{number}/2")
    if find_spec("pyarrow"):
        catsdogs.extract(data, artifacts=folder / "artifacts", weights=str(weights), parquet=folder / "rows")
    (folder / "verdicts.csv").write_text("id,label\ncat.1,dog\ndog.1,keep\n")
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, tiny_backbone, draw, encode, zipped):
    return prepare_folder(tmp_path_factory.mktemp("prepared"), tiny_backbone, draw, encode, zipped)


@pytest.fixture(scope="module")
def prepared_with_keras(tmp_path_factory, keras_backbone, draw, encode, zipped):
    return prepare_folder(tmp_path_factory.mktemp("prepared"), keras_backbone, draw, encode, zipped)


@pytest.fixture
def run_example(request):
    """Run the example of a command with more options, in a folder where it has not been run with them yet."""

    def run(name, *options):
        slow = name in SLOW  # these need Keras
        folder = request.getfixturevalue("prepared_with_keras" if slow else "prepared")
        weights = request.getfixturevalue("keras_backbone" if slow else "tiny_backbone")
        (folder / "walkthrough.ipynb").unlink(missing_ok=True)
        (folder / "artifacts/corrections.csv").unlink(missing_ok=True)  # with it the head would be stale
        program, *arguments = shlex.split(COMMANDS[name].epilog.removeprefix("Example: "))
        assert program == "catsdogs"
        return command(*arguments, *options, folder=folder, CATSDOGS_WEIGHTS=str(weights))

    return run


@pytest.mark.parametrize("name", NAMES)
def test_the_example_in_a_command_s_help_runs(name, run_example):
    done = run_example(name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout


@pytest.mark.parametrize("name", NAMES)
def test_with_json_and_verbose_stdout_is_json_and_stderr_the_log(name, run_example):
    done = run_example(name, "--json", "-v")
    assert done.returncode == 0
    assert isinstance(json.loads(done.stdout), list if name in ("predict", "review", "similar") else dict)
    logged = [line.split(" ", 1)[0] for line in done.stderr.splitlines()]
    assert set(logged) <= {"DEBUG", "INFO", "WARNING"}
    if name in ("run", "extract", "train", "correct", "submit", "report", "review", "export", "prepare", "demo"):
        assert "INFO" in logged
    assert logging.getLogger("catsdogs").handlers == []


@pytest.mark.parametrize("name", NAMES)
def test_quiet_leaves_results_and_no_summary(name, run_example):
    done = run_example(name, "-q")
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (name in RESULTS)


VERIFY = """
import logging, sys, catsdogs, catsdogs.cli
def verify(artifacts):
    logging.getLogger("catsdogs.some.module").info("logged")
    logging.getLogger("catsdogs.some.module").warning("warned")
    return catsdogs.Verification({"train": 1}, False, False, problems)
*sys.argv[1:], problems = "verify", sys.argv[1], tuple(sys.argv[2:])
catsdogs.verify = verify
catsdogs.cli.main()
"""


@pytest.mark.parametrize(
    ("option", "logged"),
    [
        ("-q", "warning: warned\n"),
        ("--json", "warning: warned\n"),
        ("-v", "INFO catsdogs.some.module: logged\nWARNING catsdogs.some.module: warned\n"),
    ],
)
def test_warnings_are_always_shown_and_the_rest_of_the_log_if_verbose(option, logged):
    assert process(option, program=("-c", VERIFY)).stderr == logged


def test_quiet_shows_problems_and_not_that_there_are_none():
    assert process("-q", program=("-c", VERIFY)).stdout == ""
    done = process("-q", "a file is damaged", program=("-c", VERIFY))
    assert (done.returncode, done.stdout) == (1, "problem     a file is damaged\n")
