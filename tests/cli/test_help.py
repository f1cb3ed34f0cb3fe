"""What every command says of itself: the same holds for each that comes."""

import os
import pty
import re
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import get_args

import pytest
from support.program import command, process
from typer.main import get_command

from catsdogs import choices
from catsdogs.backbone import ENGINES
from catsdogs.backbone.precisions import PRECISIONS
from catsdogs.cli.app import app
from catsdogs.commands.export import FORMATS

COMMANDS = get_command(app).commands


def lines_of(said):
    lines = re.sub("\x1b\\[[0-9;]*m", "", said).splitlines()  # where FORCE_COLOR is set
    return [line.rstrip() for line in lines if line.strip()]


def help_of(name, columns):
    """Return the lines of a command's help; the width is decided when it is printed."""
    done = command(name, "--help", COLUMNS=str(columns))
    assert (done.returncode, done.stderr) == (0, "")
    return lines_of(done.stdout)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_opens_with_a_sentence_and_ends_with_an_example(name):
    described = COMMANDS[name]
    assert re.fullmatch(r"[A-Z][^\n]*[^.]\.", described.help)
    assert described.epilog.startswith(f"Example: catsdogs {name}")
    usage, sentence, *_, example = help_of(name, columns=80)
    assert usage.strip().startswith(f"Usage: catsdogs {name} ")
    assert sentence.strip() == described.help
    assert example.strip() == described.epilog


@pytest.mark.parametrize("name", COMMANDS)
def test_each_option_is_one_line_of_80_columns_and_a_sentence(name):
    parameters = COMMANDS[name].params
    rows = [line for line in help_of(name, columns=80) if line.startswith("│")]
    assert len(rows) == len(parameters) + 1  # and --help
    for parameter in parameters:
        assert re.fullmatch(r"[A-Za-z][^\n]{0,44}\.", parameter.help), parameter.name


def test_each_command_is_one_line_in_the_list_of_80_columns():
    lines = lines_of(command("--help", COLUMNS="80").stdout)
    rows = lines[next(n for n, line in enumerate(lines) if "Commands" in line) + 1 : -1]
    assert [row.strip("│ ") for row in rows] == [f"{name:<9} {COMMANDS[name].help}" for name in COMMANDS]


@pytest.mark.parametrize("columns", [40, 59, 60, 80, 200])
def test_help_fits_the_terminal_and_cuts_no_option_off(columns):
    for name in COMMANDS:
        lines = help_of(name, columns)
        assert max(map(len, lines)) <= columns
        for parameter in COMMANDS[name].params:
            wanted = parameter.opts if parameter.param_type_name == "option" else [parameter.metavar]
            for each in wanted:
                assert any(re.search(rf"(?<![\w-]){each}(?![\w-])", line) for line in lines), (name, each)


def test_options_stand_in_groups():
    groups = [re.search(r"─ (\w+) ─", line)[1] for line in help_of("run", columns=80) if line.startswith("╭")]
    assert groups == ["Arguments", "Options", "Features"]
    assert "Training" in " ".join(help_of("train", columns=80))


@pytest.mark.parametrize("program", [pytest.param(("-m", "catsdogs"), marks=pytest.mark.slow), ("cli.py",)])
def test_however_it_is_started_it_calls_itself_catsdogs(program):
    usage, *_ = lines_of(process("--help", program=program).stdout)
    assert usage.strip() == "Usage: catsdogs [OPTIONS] COMMAND [ARGS]..."


def test_the_program_completes_what_bash_asks_it_for():
    def completed(words):
        asked = {"_CATSDOGS_COMPLETE": "complete_bash", "COMP_WORDS": words, "COMP_CWORD": str(words.count(" "))}
        return command(**asked).stdout.split()

    assert completed("catsdogs tr") == ["train"]
    assert completed("catsdogs run --engine ") == ["auto", "tensorflow", "openvino", "jax", "torch"]
    assert completed("catsdogs extract --precision b") == ["bfloat16"]
    assert completed("catsdogs export o") == ["onnx"]
    assert completed("catsdogs verify --ver") == ["--verbose"]


def test_what_completion_offers_is_what_the_library_knows():
    assert get_args(choices.EngineChoice) == ("auto", *ENGINES)
    assert get_args(choices.PrecisionChoice) == ("auto", *PRECISIONS)
    assert get_args(choices.ExportFormat) == tuple(FORMATS)


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
        said, end = b"", time.monotonic() + 120
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
        shell.wait(120)
        os.close(inside)
