import csv
import io
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager

import numpy as np
import pytest
from support.program import command, process

import catsdogs
from catsdogs import CatsDogsError, import_features


@pytest.fixture(scope="module")
def data(tmp_path_factory, draw, encode, write_folder):
    images = {f"train/cat.{n}.jpg": encode(draw(n), "JPEG") for n in range(10)}
    images |= {f"train/dog.{n}.jpg": encode(draw(100 + n), "JPEG") for n in range(11)}
    images |= {f"test/{n}.jpg": encode(draw(200 + n), "JPEG") for n in range(1, 4)}
    images |= {"train/dog.1.jpg": b"no image", "test/2.jpg": b"", "train/Thumbs.db": b"", "train/.DS_Store": b""}
    return write_folder(tmp_path_factory.mktemp("data"), images)


@pytest.fixture(scope="module")
def artifacts(tmp_path_factory, data, tiny_backbone):
    folder = tmp_path_factory.mktemp("artifacts")
    done = command("run", data, "--artifacts", folder, "--weights", tiny_backbone)
    assert done.returncode == 0, done.stderr
    (folder / "said.json").write_text(json.dumps([done.stdout, done.stderr]))
    return folder


@pytest.fixture(scope="module")
def features(tmp_path_factory):
    """Artifacts of features that were imported, both splits, and a head."""
    folder = tmp_path_factory.mktemp("features")
    labels = np.arange(40) % 2
    values = np.random.default_rng(0).random((40, 2048)).astype(np.float32) + labels[:, np.newaxis]
    import_features([str(n) for n in range(40)], labels, views={"224": values}, artifacts=folder)
    import_features(["1", "2"], None, views={"224": values[:2]}, artifacts=folder, split="test")
    catsdogs.train(folder)
    return folder


def test_run_says_what_was_done_and_where_to_look_and_nothing_else(artifacts):
    stdout, stderr = json.loads((artifacts / "said.json").read_text())
    assert stderr == ""
    for said in (
        "24 (21 train, 3 test), 2 unreadable",
        "dog.1: not a JPEG",
        "2: the file is empty",
        "skipped     2 hidden, or left by the operating system",
        "22 computed with tiny.keras",
        "out of fold",
        "3 rows, clipped to [",
        str(artifacts / "metrics.json"),
        str(artifacts / "submission.csv"),
    ):
        assert said in stdout
    assert "\x1b" not in stdout


def test_the_summary_fits_80_columns_but_for_paths_and_what_is_to_be_copied(artifacts):
    stdout, _ = json.loads((artifacts / "said.json").read_text())
    assert [line for line in stdout.splitlines() if len(line) > 80 and str(artifacts) not in line] == []


def test_a_second_run_says_that_nothing_was_computed(artifacts, data):
    done = command("run", data, "--artifacts", artifacts)
    assert done.returncode == 0
    assert "none computed: all were cached" in done.stdout
    assert "trained earlier, still valid" in done.stdout


def test_a_part_without_images_is_not_said_to_be_cached(data, tiny_backbone, tmp_path):
    done = command("extract", data, "--part", "1/999", "--artifacts", tmp_path / "a", "--weights", tiny_backbone)
    assert "none computed: there is no readable image" in done.stdout, done.stderr


def test_random_weights_are_said_to_be_for_testing(tmp_path):
    from catsdogs.cli.summaries import extraction_lines
    from catsdogs.commands.extract import Extraction
    from catsdogs.sources import Scan

    done = Extraction(
        images={"test": 1},
        unreadable={},
        computed=1,
        skipped=0,
        scan=Scan(("cat", "dog"), {}, {}, (), (), None),
        classes=("cat", "dog"),
        backbone="random:0",
        engine="openvino",
        precision="bfloat16",
    )
    assert any("for testing and timing only" in text for _, text in extraction_lines(done, tmp_path))


LOADED = """
import sys
from catsdogs.cli import main
for arguments in [*map(str.split, sys.argv[1:])]:
    sys.argv[1:] = arguments
    try:
        main()
    except SystemExit as ended:
        assert not ended.code, (arguments, ended.code)
print("LOADED", *sys.modules)
"""


def loaded(*commands):
    done = process(*commands, program=("-c", LOADED))
    assert done.returncode == 0, done.stderr
    modules = set(done.stdout.rpartition("LOADED")[2].split())
    assert "catsdogs" in modules
    return modules


def test_help_imports_no_numpy():
    assert not loaded("--help", "--version") & {"numpy", "sklearn", "PIL", "tensorflow"}


def test_the_start_of_the_program_imports_no_rich():
    assert "rich" not in loaded("--version")


def test_what_needs_no_images_imports_neither_keras_nor_tensorflow(features):
    commands = [f"{name} --artifacts {features}" for name in ("train", "submit", "report", "info", "verify")]
    assert not loaded(*commands) & {"tensorflow", "keras", "h5py"}


def test_training_imports_no_decoders(features):
    assert not loaded(f"train --artifacts {features}") & {"PIL.Image", "_catsdogs_pillow"}


def test_json_is_a_list_and_the_exit_code_tells_of_the_unreadable(artifacts, data):
    paths = [data / "train/cat.1.jpg", data / "test/2.jpg", data / "train/dog.2.jpg"]
    done = command("predict", *paths, "--artifacts", artifacts, "--json")
    assert (done.returncode, done.stderr) == (1, "")
    answers = json.loads(done.stdout)
    assert [answer["image"] for answer in answers] == [str(path) for path in paths]
    assert [set(answer) for answer in answers] == [
        {"image", "label", "probability"},
        {"image", "label", "probability", "reason"},
        {"image", "label", "probability"},
    ]
    assert answers[1] == {"image": str(paths[1]), "label": None, "probability": None, "reason": "the file is empty"}
    for answer in (answers[0], answers[2]):
        assert answer["label"] == ("dog" if answer["probability"] > 0.5 else "cat")


def test_predictions_in_a_pipe_are_a_line_an_image(artifacts, data):
    done = command("predict", data / "train/cat.1.jpg", "--artifacts", artifacts)
    assert done.returncode == 0
    assert re.fullmatch(r"(cat|dog) +\d+\.\d\d%  .*cat\.1\.jpg\n", done.stdout)


@contextmanager
def standard_input(path):
    """Put a file in the place of the process's own standard input."""
    kept = os.dup(0)
    with path.open("rb") as file:
        os.dup2(file.fileno(), 0)
    try:
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


def test_files_zips_and_a_pipe_become_sorted_csv_with_the_unreadable_last(artifacts, data, tmp_path, zipped):
    (tmp_path / "some.zip").write_bytes(
        zipped({f"pets/{n}.jpg": (data / f"train/dog.{n}.jpg").read_bytes() for n in (10, 9)})
    )
    (tmp_path / "bad.zip").write_bytes(b"no zip")
    given = [tmp_path / "bad.zip", "-", data / "test/2.jpg", tmp_path / "some.zip", data / "train/cat.1.jpg"]
    with standard_input(data / "train/cat.1.jpg"):
        done = command("predict", *given, "--csv", "--sort", "--artifacts", artifacts)
    assert (done.returncode, done.stderr) == (1, "")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    *sure, empty, bad = rows
    assert (empty["image"], empty["reason"]) == (str(data / "test/2.jpg"), "the file is empty")
    assert bad["image"] == str(tmp_path / "bad.zip")
    assert "is not a zip" in bad["reason"]
    certainties = [abs(float(row["probability"]) - 0.5) for row in sure]
    assert certainties == sorted(certainties)
    assert {row["image"] for row in sure} == {
        *("-", str(data / "train/cat.1.jpg"), f"{tmp_path}/some.zip/pets/9.jpg", f"{tmp_path}/some.zip/pets/10.jpg")
    }
    by_image = {row["image"]: row["probability"] for row in sure}
    # The place of a row among others changes the rounding of its similarities to the landmarks.
    assert float(by_image["-"]) == pytest.approx(float(by_image[str(data / "train/cat.1.jpg")]), abs=1e-6)


@contextmanager
def pipe_of(path):
    """Return the path of a pipe with the content of a file, as the shell's ``<(cat FILE)`` is."""
    end, writer = os.pipe()
    os.write(writer, path.read_bytes())
    os.close(writer)
    try:
        yield f"/dev/fd/{end}"
    finally:
        os.close(end)


def test_a_pipe_of_the_shell_is_an_image_and_as_data_an_error_of_one_line(artifacts, data, tmp_path):
    path = data / "train/cat.1.jpg"
    options = ("--artifacts", artifacts, "--json")
    with pipe_of(path) as pipe:
        (found,) = json.loads(command("predict", pipe, *options).stdout)
    (expected,) = json.loads(command("predict", path, *options).stdout)
    assert found == expected | {"image": pipe}
    with pipe_of(path) as pipe:
        found = command("similar", pipe, *options, "--html", tmp_path / "page.html")
    assert json.loads(found.stdout) == json.loads(command("similar", path, *options).stdout)
    page = (tmp_path / "page.html").read_text()
    assert (pipe in page, "no thumbnail" in page) == (True, False)
    with pipe_of(path) as pipe:
        done = command("extract", pipe, "--artifacts", tmp_path / "a")
    said = (
        f"error: {pipe} cannot be read (it is not a regular file). Give a folder or a regular file that you may read.\n"
    )
    assert (done.returncode, done.stderr) == (1, said)


def test_train_names_submit_as_next_step_only_if_there_are_images_to_submit(features, tmp_path):
    from catsdogs.cli.summaries import training_lines

    done = catsdogs.Training(catsdogs.info(features).metrics, 0, 1.0)
    train = catsdogs.load_features(features)
    import_features(train.ids, train.labels, views={"224": train.features}, artifacts=tmp_path)
    for folder, commands in ((features, ["submit", "report", "predict"]), (tmp_path, ["report", "predict"])):
        texts = [text for _, text in training_lines(done, folder)]
        assert [text.split()[1] for text in texts[-len(commands) :]] == commands
        assert sum(text.startswith("catsdogs ") for text in texts) == len(commands)


def test_info_as_json_is_what_the_library_returns(features):
    done = command("info", "--artifacts", features, "--json")
    assert json.loads(done.stdout) == catsdogs.info(features).to_dict()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "nowhere"], "error: nowhere does not exist. Give the path of a folder or a zip of images.\n"),
        *(
            (
                [*name.split(), "--artifacts", "EMPTY"],
                "Run catsdogs run DATA, catsdogs extract DATA, or catsdogs demo.\n",
            )
            for name in ("train", "submit", "report", "info", "verify", "predict cat.jpg")
        ),
        (["extract", "EMPTY", "--weights", "none.h5"], "FILE.weights.h5 or FILE.keras.\n"),
    ],
)
def test_an_error_of_the_user_is_one_line_and_exit_code_1(tmp_path, arguments, said):
    arguments = [str(tmp_path) if argument == "EMPTY" else argument for argument in arguments]
    done = command(*arguments)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: ")
    assert done.stderr.endswith(said)
    assert done.stderr.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--version"], 0, f"catsdogs {catsdogs.__version__}\n"),
        (["verify", "--artifacts", "nowhere"], 1, ""),
        (["bark"], 2, ""),
    ],
)
def test_exit_codes_are_0_1_for_errors_and_2_for_wrong_usage(arguments, code, said):
    done = process(*arguments)
    assert (done.returncode, done.stdout) == (code, said)
    assert bool(done.stderr) == bool(code)
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bark"], "no such command 'bark'. See catsdogs --help."),
        (["trian"], "no such command 'trian'. Did you mean 'train'? See catsdogs --help."),
        (["run"], "missing argument 'DATA'. See catsdogs run --help."),
        (["predict"], "missing argument 'IMAGE'. See catsdogs predict --help."),
        (["verify", "--bark"], "no such option: --bark. See catsdogs verify --help."),
        (["run", "DATA", "--engine", "abacus"], "invalid value for '--engine': 'abacus' is not one of 'auto', "),
        (["run", "DATA", "--precision", "int4"], "invalid value for '--precision'"),
        (["export", "savedmodel"], "invalid value for 'FORMAT'"),
        (["export", "keras", "--out", "network.h5", "--artifacts", "DATA"], "network.h5 does not end with .keras"),
        (
            ["submit", "--clip", "some"],
            "invalid value for '--clip': 'some' is not a number. See catsdogs submit --help.",
        ),
        (["bench", "DATA", "--plan", "1e9"], "invalid value for '--plan': '1e9' is not a whole number. See "),
        (["submit", "--clip", "nan"], "the clip must be at least 0 and less than 0.5. Got nan"),
        (["submit", "--clip", "3"], "the clip must be at least 0 and less than 0.5. Got 3.0"),
        (["train", "--holdout", "2"], "the holdout is 2.0. Give a fraction"),
        (["run", "DATA", "--views", "abc", "--weights", "random"], "'abc' is not a view"),
        (["run", "DATA", "--classes", "a"], "'a' cannot be the classes"),
        (["run", "DATA", "--classes", ","], "',' cannot be the classes"),
        (["run", "DATA", "more"], "got unexpected extra arguments (more). See catsdogs run --help."),
        (["export", "keras", "--out"], "option '--out' requires an argument. See catsdogs export --help."),
        (["train", "--nested=yes"], "option '--nested' does not take a value. See catsdogs train --help."),
        (["run", "DATA", "--weights", "nonsense"], "nonsense does not name any weights"),
        (["run", "DATA", "--weights", "random:x"], "the seed of random:x is not a whole number"),
        (["run", "DATA", "--engine", "jax", "--precision", "int8", "--weights", "random"], "jax does not support int8"),
        (["predict", "cat.jpg", "--json", "--csv"], "--json and --csv exclude each other. Give one of them."),
        (["prepare", "DATA", "OUT", "--seed", "-1"], "the seed is -1"),
        (["bench", "DATA", "--images", "0"], "the number of images is 0"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(arguments, said, data, tmp_path):
    (tmp_path / "DATA").symlink_to(data)
    done = command(*(tmp_path / "DATA" if argument == "DATA" else argument for argument in arguments))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {said}")
    assert done.stderr.endswith(".\n")
    assert done.stderr.count("\n") == 1


def test_without_a_command_the_help_is_shown_and_the_exit_code_is_2():
    done = command()
    assert done.returncode == 2
    assert "Usage: catsdogs" in done.stdout


def test_a_variable_shows_the_traceback():
    with pytest.raises(CatsDogsError, match="exclude each other"):
        command("predict", "x", "--json", "--csv", CATSDOGS_DEBUG="1")


def test_names_of_files_cannot_send_escape_codes_to_the_terminal(artifacts, tmp_path):
    path = tmp_path / "\x1b[31mred\x1b]0;title\x07.jpg"
    path.write_bytes(b"no image")
    done = command("predict", tmp_path, "--artifacts", artifacts)
    assert done.returncode == 1
    assert "\x1b" not in done.stdout + done.stderr
    assert r"\x1b[31mred" in done.stdout


def test_names_that_the_terminal_s_encoding_lacks_are_escaped(artifacts, tmp_path):
    path = tmp_path / "猫.jpg"
    path.write_bytes(b"")
    done = command("predict", path, "--artifacts", artifacts, PYTHONIOENCODING="ascii")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout == f"unreadable  {tmp_path}/\\u732b.jpg: the file is empty\n"


def test_every_name_of_the_api_is_documented_and_every_command_is_one_of_them():
    from typer.main import get_command

    from catsdogs.cli.app import app

    for name in catsdogs.__all__:
        assert getattr(catsdogs, name).__doc__, name
    functions = {command.callback.__name__ for command in get_command(app).commands.values()}
    assert functions <= set(catsdogs.__all__)


def test_verify_reports_ok_or_each_problem_and_its_exit_code(features, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(features, folder)
    (folder / "submission.csv").unlink(missing_ok=True)
    done = command("verify", "--artifacts", folder)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == [
        "OK          40 train, 2 test images, every row matches its checksum",
        "            head unchanged, and made from these features",
    ]
    os.truncate(folder / "features/test/224.npy", 1000)
    done = command("verify", "--artifacts", folder)
    assert (done.returncode, done.stderr) == (1, "")
    assert re.fullmatch(
        r"problem +\S+224\.npy is missing or damaged\. Run catsdogs extract with the same images, or import.*\n",
        done.stdout,
    )


def test_a_second_run_says_who_writes_or_waits_for_it(features):
    code = "import sys, catsdogs\nwith catsdogs.lock(sys.argv[1]): print('held', flush=True); sys.stdin.read()"
    holder = subprocess.Popen(
        [sys.executable, "-c", code, features], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with holder:
        assert holder.stdout.readline() == "held\n"
        for name in ("submit", "verify"):
            done = command(name, "--artifacts", features)
            assert (done.returncode, done.stderr.count("\n")) == (1, 1)
            assert f"is being written by another run, process {holder.pid} on" in done.stderr
        release = threading.Timer(0.2, holder.stdin.close)
        release.start()
        assert command("submit", "--artifacts", features, "--wait").returncode == 0
        release.join()


def test_info_wraps_its_long_lines_to_the_width_at_that_time_and_loses_nothing(features):
    texts = set()
    for columns in (50, 80, 200):
        lines = command("info", "--artifacts", features, COLUMNS=str(columns)).stdout.splitlines()
        wrapped = lines[1 : next(n for n, line in enumerate(lines) if line.startswith("timings"))]
        assert max(map(len, wrapped)) <= columns
        texts.add("".join("".join(wrapped).split()))
    assert len(texts) == 1


@pytest.mark.parametrize("arguments", [("extract", ""), ("predict", "a.jpg", ""), ("info", "--artifacts=")])
def test_an_empty_argument_is_not_the_current_folder(arguments):
    done = command(*arguments)
    assert done.returncode == 2
    assert "An argument is empty" in done.stderr
