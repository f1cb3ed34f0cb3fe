"""What every command says of itself: the same holds for each that comes."""

import os
import pty
import re
import select
import shlex
import shutil
import subprocess
import sys
import time
from functools import lru_cache
from pathlib import Path

import pytest
from support.pictures import write_kaggle_zip
from support.program import process
from typer.main import get_command
from typer.testing import CliRunner

import catsdogs
from catsdogs.cli.app import app

COMMANDS = get_command(app).commands


HELP = """
import sys
from catsdogs.cli import main
for name in sys.argv[1:]:
    sys.argv[1:] = [name, "--help"]
    try:
        main()
    except SystemExit:
        print("ENDED")
"""


def lines_of(said):
    return [line.rstrip() for line in said.splitlines() if line.strip()]


@lru_cache
def help_of(*names, columns):
    """Return the lines of each command's help, which a new process prints, as the width is decided when it starts."""
    environment = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    arguments = [sys.executable, "-c", HELP, *names]
    environment["COLUMNS"] = str(columns)
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=environment)
    *helps, rest = done.stdout.split("ENDED\n")
    assert (len(helps), rest) == (len(names), "")
    return dict(zip(names, map(lines_of, helps), strict=True))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_opens_with_a_sentence_and_ends_with_an_example(name):
    command = COMMANDS[name]
    assert re.match(r"[A-Z][^\n]*[^.]\.(\n|$)", command.help)
    assert command.epilog.startswith(f"Example: catsdogs {name}")
    for parameter in command.params:
        assert parameter.help, parameter.name
    usage, sentence, *_, example = help_of(*COMMANDS, columns=80)[name]
    assert usage.strip().startswith(f"Usage: catsdogs {name} ")
    assert sentence.strip() in command.help
    assert example.strip() == command.epilog


def prepare_folder(folder, weights, draw, encode, zipped):
    """Fill a folder with all that examples name, and the artifacts of a run."""
    data = folder / "dogs-vs-cats-redux-kernels-edition.zip"
    write_kaggle_zip(data, draw, encode, zipped, train=40, test=4)
    (folder / "photographs").mkdir()
    for number in range(8):
        for kind in ("cat", "dog"):
            place = folder / "cats-dogs-testing" / kind
            place.mkdir(parents=True, exist_ok=True)
            draw(number).save(place / f"{number}.png")
            draw(number).save(folder / f"photographs/{kind}.{number}.jpg")
    (folder / "dogs").mkdir()
    shutil.copy(folder / "photographs/dog.1.jpg", folder / "dogs")
    shutil.copy(folder / "photographs/cat.1.jpg", folder / "cat.jpg")
    catsdogs.run(data, artifacts=folder / "artifacts", weights=str(weights))
    return folder


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, tiny_backbone, draw, encode, zipped):
    return prepare_folder(tmp_path_factory.mktemp("prepared"), tiny_backbone, draw, encode, zipped)


@pytest.fixture(scope="module")
def prepared_with_keras(tmp_path_factory, keras_backbone, draw, encode, zipped):
    return prepare_folder(tmp_path_factory.mktemp("prepared"), keras_backbone, draw, encode, zipped)


def run_example(name, monkeypatch, folder, weights):
    monkeypatch.chdir(folder)
    monkeypatch.setenv("CATSDOGS_WEIGHTS", str(weights))
    program, *arguments = shlex.split(COMMANDS[name].epilog.removeprefix("Example: "))
    assert program == "catsdogs"
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.exception) == (0, None), done.output
    assert done.stdout


SLOW = ("bench", "demo", "export")


@pytest.mark.parametrize("name", [name for name in COMMANDS if name not in SLOW])
def test_the_example_in_a_command_s_help_runs(name, prepared, monkeypatch, tiny_backbone):
    run_example(name, monkeypatch, prepared, tiny_backbone)


@pytest.mark.slow
@pytest.mark.parametrize("name", SLOW)
def test_the_example_of_a_slow_command_runs(name, prepared_with_keras, monkeypatch, keras_backbone):
    run_example(name, monkeypatch, prepared_with_keras, keras_backbone)


@pytest.mark.parametrize("columns", [40, 80, pytest.param(200, marks=pytest.mark.slow)])
def test_help_fits_the_terminal_and_cuts_no_option_off(columns):
    for name, lines in help_of(*COMMANDS, columns=columns).items():
        assert max(map(len, lines)) <= columns
        for parameter in COMMANDS[name].params:
            wanted = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
            assert any(re.search(rf"(?<![\w-]){wanted}(?![\w-])", line) for line in lines), (name, wanted)


def test_options_stand_in_groups():
    lines = help_of(*COMMANDS, columns=80)
    groups = [re.search(r"─ (\w+) ─", line)[1] for line in lines["run"] if line.startswith("╭")]
    assert groups == ["Arguments", "Options", "Features"]
    assert "Training" in " ".join(lines["train"])


@pytest.mark.parametrize("program", [pytest.param(("-m", "catsdogs"), marks=pytest.mark.slow), ("cli.py",)])
def test_however_it_is_started_it_calls_itself_catsdogs(program):
    usage, *_ = lines_of(process("--help", program=program).stdout)
    assert usage.strip() == "Usage: catsdogs [OPTIONS] COMMAND [ARGS]..."


def test_the_program_completes_what_bash_asks_it_for():
    asked = {"_CATSDOGS_COMPLETE": "complete_bash", "COMP_WORDS": "catsdogs tr", "COMP_CWORD": "1"}
    assert process(**asked).stdout.split() == ["train"]


@pytest.mark.slow
def test_completion_installs_itself_into_bash_and_completes(tmp_path):
    bash = shutil.which("bash")
    if bash is None:
        pytest.skip("there is no bash")
    environment = os.environ | {
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PS1": "$ ",
        "TERM": "dumb",
    }
    install = [bash, "--norc", "-c", "catsdogs --install-completion; exit $?"]
    done = subprocess.run(install, env=environment, capture_output=True, text=True, check=True)
    assert "bash completion installed" in done.stdout
    (tmp_path / "photographs").mkdir()
    inside, outside = pty.openpty()
    shell = subprocess.Popen(
        [bash, "--rcfile", tmp_path / ".bashrc", "-i"],
        stdin=outside,
        stdout=outside,
        stderr=outside,
        env=environment,
        cwd=tmp_path,
        start_new_session=True,
    )
    os.close(outside)

    def typed(keys, wanted):
        os.write(inside, keys)
        said, end = b"", time.monotonic() + 30
        while wanted not in said and time.monotonic() < end:
            if select.select([inside], [], [], 1)[0]:
                said += os.read(inside, 4096)
        return said

    try:
        assert b"catsdogs train " in typed(b"catsdogs tr\t", b"train ")
        assert b"--learning-curve " in typed(b"--le\t", b"--learning-curve ")
        assert b"photographs/" in typed(b"\x15catsdogs run ph\t", b"photographs/")
    finally:
        os.write(inside, b"\x15exit\n")
        shell.wait(30)
        os.close(inside)
