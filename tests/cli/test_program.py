"""What libraries write to standard error is not shown, unless it explains how the program ended."""

import signal
import subprocess
import sys

import pytest
from support.program import command, process

PROGRAM = """
import logging, os, subprocess, sys, warnings, catsdogs.cli
app = sys.modules["catsdogs.cli.program"]
def command(**settings):
    os.write(2, b"chatter\\n")
    subprocess.run("echo chatter of a child >&2", shell=True)
    exec(sys.argv[1])
app.app = command
app.main()
"""


def ended(code, **environment):
    """Return how the program ended whose only command writes to descriptor 2 and then does what `code` says."""
    return process(code, program=("-c", PROGRAM), **environment)


def test_what_libraries_write_is_not_shown_and_what_the_program_says_is():
    done = ended("print('ours', file=sys.stderr); logging.getLogger('catsdogs').warning('warned')")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "ours\nwarned\n")


def test_an_error_that_nobody_expected_shows_what_libraries_wrote():
    done = ended("1 / 0")
    assert done.returncode == 1
    assert done.stderr.startswith("chatter\nchatter of a child\nTraceback")


def test_an_error_that_is_explained_shows_nothing_else():
    done = ended("raise app.CatsDogsError('no', 'Give yes')")
    assert (done.returncode, done.stderr) == (1, "error: no. Give yes.\n")


def test_ctrl_c_is_one_line_whenever_it_comes():
    for code in ("raise KeyboardInterrupt", "sys.exit(130)"):
        done = ended(code)
        assert (done.returncode, done.stderr) == (
            130,
            "interrupted: finished work is kept. Rerun the command to continue.\n",
        )


@pytest.mark.parametrize("number", [signal.SIGABRT, signal.SIGSEGV, signal.SIGILL])
def test_a_crash_shows_where_python_was(number):
    done = ended(f"os.kill(os.getpid(), {number})")
    assert done.returncode == -number
    assert done.stderr.startswith("Fatal Python error")
    assert 'File "<string>", line 1 in <module>' in done.stderr


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_program_that_is_ended_from_outside_shows_nothing(number):
    done = ended(f"os.kill(os.getpid(), {number})")
    assert (done.returncode, done.stderr) == (-number, "")


def test_nothing_is_kept_back_from_those_who_look_for_a_fault():
    assert ended("0", CATSDOGS_DEBUG="1").stderr == "chatter\nchatter of a child\n"


def test_without_a_folder_for_temporary_files_all_is_shown():
    nowhere = "import tempfile; tempfile._candidate_tempdir_list = lambda: ['/nonexistent']\n"
    done = process("print('on')", program=("-c", nowhere + PROGRAM))
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "chatter\nchatter of a child\n")


def test_a_closed_standard_output_ends_nothing():
    code = "print('on'); sys.stdout.buffer.write(b'on'); print(os.isatty(1), file=sys.stderr)"
    closed = f'exec {sys.executable} -c "$1" "$2" >&-'
    done = subprocess.run(["/bin/sh", "-c", closed, "sh", PROGRAM, code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "False\n")


def test_a_closed_standard_error_ends_nothing_and_no_file_takes_its_place(tmp_path):
    code = "file = open(sys.argv[2], 'w'); print(file.fileno() > 2, file=sys.stderr); os.write(2, b'x'); print('on')"
    closed = f'exec {sys.executable} -c "$1" "$2" {tmp_path / "file"} 2>&-'
    done = subprocess.run(["/bin/sh", "-c", closed, "sh", PROGRAM, code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "on\n", "")
    assert (tmp_path / "file").read_text() == ""


@pytest.mark.parametrize("columns", ["0", "00", ""])
def test_a_width_of_no_columns_is_80(columns):
    assert ended("sys.modules['catsdogs.cli.console'].show([('name', 'text')])", COLUMNS=columns).stdout == (
        "name        text\n"
    )
    wrapped = "print(max(len(t) for _, t in sys.modules['catsdogs.cli.console'].wrapped([('', 'word ' * 99)])))"
    assert 60 <= int(ended(wrapped, COLUMNS=columns).stdout) <= 68


@pytest.mark.parametrize("error", ["EOFError('no data left')", "app.Abort() from EOFError('no data left')"])
def test_a_file_that_ends_too_early_is_one_line(error):
    done = ended(f"raise {error}")
    said = "error: a file or a stream ends too early (no data left). Fix this and rerun.\n"
    assert (done.returncode, done.stderr) == (1, said)


def test_a_full_disk_without_a_file_s_name_is_one_line():
    done = ended("raise OSError(28, 'No space left on device')")
    assert (done.returncode, done.stderr) == (1, "error: No space left on device. Fix this and rerun the command.\n")


def test_a_warning_is_one_line_without_escape_codes(tmp_path, encode, draw, tiny_backbone):
    (tmp_path / "\x1b[31mred").mkdir()
    (tmp_path / "\x1b[31mred/1.png").write_bytes(encode(draw(1)))
    arguments = ("extract", tmp_path / "\x1b[31mred", "--artifacts", tmp_path / "a", "--weights", tiny_backbone)
    done = command(*arguments)
    assert (done.returncode, done.stderr.count("\n")) == (0, 1)
    assert done.stderr.startswith("warning: no head can be trained on these images: there are no labelled")
    assert "red. Put them into folders" in done.stderr
    assert "\x1b" not in done.stderr
    assert "WARNING catsdogs.commands.scan: no head" in command(*arguments, "--verbose").stderr


@pytest.mark.parametrize(
    "environment", [{"LANG": "C", "LC_ALL": "C"}, {"PYTHONOPTIMIZE": "2"}, {"PYTHONHASHSEED": "7"}]
)
def test_the_environment_changes_nothing_that_is_said(environment):
    done = ended("raise app.CatsDogsError('no', 'Give yes')", **environment)
    assert (done.returncode, done.stderr) == (1, "error: no. Give yes.\n")
