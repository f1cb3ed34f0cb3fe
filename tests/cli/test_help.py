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
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

import catsdogs
from catsdogs.cli.app import app
from catsdogs.sample import write_sample

COMMANDS = get_command(app).commands


def help_of(*arguments, columns=80, program=("-m", "catsdogs")):
    """Return the lines that a new process prints, as the width is decided when it starts."""
    plain = {name: value for name, value in os.environ.items() if name not in ("FORCE_COLOR", "NO_COLOR")}
    done = subprocess.run(
        [sys.executable, *program, *arguments, "--help"],
        capture_output=True,
        text=True,
        check=True,
        env=plain | {"COLUMNS": str(columns)},
    )
    return [line.rstrip() for line in done.stdout.splitlines() if line.strip()]


@pytest.mark.parametrize("name", COMMANDS)
def test_the_help_of_a_command_opens_with_a_sentence_and_ends_with_an_example(name):
    command = COMMANDS[name]
    assert re.match(r"[A-Z][^\n]*[^.]\.(\n|$)", command.help)
    assert command.epilog.startswith(f"Example: catsdogs {name}")
    for parameter in command.params:
        assert parameter.help, parameter.name
    usage, sentence, *_, example = help_of(name)
    assert usage.strip().startswith(f"Usage: catsdogs {name} ")
    assert sentence.strip() in command.help
    assert example.strip() == command.epilog


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, tiny_backbone, draw):
    """A folder with all that examples name, and the artifacts of a run."""
    folder = tmp_path_factory.mktemp("prepared")
    write_sample(folder / "dogs-vs-cats-redux-kernels-edition.zip", train=40, test=4)
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
    catsdogs.run(
        folder / "dogs-vs-cats-redux-kernels-edition.zip", artifacts=folder / "artifacts", weights=str(tiny_backbone)
    )
    return folder


@pytest.mark.parametrize("name", COMMANDS)
def test_the_example_of_a_command_runs(name, prepared, tmp_path, monkeypatch, tiny_backbone):
    shutil.copytree(prepared, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("CATSDOGS_WEIGHTS", str(tiny_backbone))
    program, *arguments = shlex.split(COMMANDS[name].epilog.removeprefix("Example: "))
    assert program == "catsdogs"
    done = CliRunner().invoke(app, arguments)
    assert (done.exit_code, done.exception) == (0, None), done.output
    assert done.stdout


@pytest.mark.parametrize("columns", [40, 80, 200])
def test_help_fits_the_terminal_and_cuts_no_option_off(columns):
    for name in ("run", "train"):
        lines = help_of(name, columns=columns)
        assert max(map(len, lines)) <= columns
        for parameter in COMMANDS[name].params:
            wanted = parameter.opts[0] if parameter.param_type_name == "option" else parameter.metavar
            assert any(re.search(rf"(?<![\w-]){wanted}(?![\w-])", line) for line in lines), (name, wanted)


def test_options_stand_in_groups():
    lines = help_of("run")
    groups = [re.search(r"─ (\w+) ─", line)[1] for line in lines if line.startswith("╭")]
    assert groups == ["Arguments", "Options", "Features"]
    assert "Training" in " ".join(help_of("train"))


@pytest.mark.parametrize("program", [("-m", "catsdogs"), (str(Path(catsdogs.__file__).parent.parent / "cli.py"),)])
def test_however_it_is_started_it_calls_itself_catsdogs(program):
    usage, *_ = help_of(program=program)
    assert usage.strip() == "Usage: catsdogs [OPTIONS] COMMAND [ARGS]..."


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
