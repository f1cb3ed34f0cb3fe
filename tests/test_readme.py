import contextlib
import io
import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from support.pictures import write_kaggle_zip
from typer.main import get_command

import catsdogs
from catsdogs.cli.app import app

ROOT = Path(catsdogs.__file__).parent.parent
README = (ROOT / "README.md").read_text()


API, ELSEWHERE, LOOK = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


def newcomer_s_folder(folder, draw, *made):
    """Write what the README's examples name."""
    write_kaggle_zip(folder / "dogs-vs-cats-redux-kernels-edition.zip", draw, *made, train=40, test=2)
    (folder / "test").mkdir()
    for number in (1, 2):
        draw(number).save(folder / f"test/{number}.jpg")
    return folder


@pytest.fixture(scope="module")
def ran(tmp_path_factory, tiny_backbone, draw, encode, zipped):
    """A newcomer's folder, and what the first example printed there."""
    folder = newcomer_s_folder(tmp_path_factory.mktemp("newcomer"), draw, encode, zipped)
    said = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(said):
        patch.chdir(folder)
        patch.setenv("CATSDOGS_WEIGHTS", str(tiny_backbone))
        exec(API, {})
    return folder, said.getvalue()


def test_the_python_example_runs_and_prints_what_it_says(ran):
    _, said = ran
    assert len(API.strip().splitlines()) <= 10
    assert re.search(r"^cat\.0 0 \(40, 2048\) float32$", said, re.MULTILINE)


def test_the_example_that_reads_the_artifacts_says_what_it_finds(ran, monkeypatch, capsys):
    monkeypatch.chdir(ran[0])
    exec(LOOK, {})
    said = capsys.readouterr().out
    assert re.search(r"^cat\.\d+ is the cat that looks most like a dog$", said, re.MULTILINE)
    assert re.search(r"^(cat|dog)\.\d+ is the least sharp$", said, re.MULTILINE)
    assert "LogisticRegression" in said


@pytest.mark.slow
@pytest.mark.skipif(not all(map(find_spec, ("onnx", "onnxruntime", "tf2onnx"))), reason="needs the extra onnx")
def test_the_example_for_other_programs_runs(tmp_path, monkeypatch, keras_backbone, draw, encode, zipped, capsys):
    monkeypatch.chdir(newcomer_s_folder(tmp_path, draw, encode, zipped))
    monkeypatch.setenv("CATSDOGS_WEIGHTS", str(keras_backbone))
    exec(API, {})
    capsys.readouterr()
    for form in ("keras", "onnx"):
        catsdogs.export(form)
    exec(ELSEWHERE, {})
    said = [float(number) for number in re.findall(r"\[\[(\S+?)\]\]", capsys.readouterr().out)]
    (answer,) = catsdogs.predict("test/1.jpg")
    assert said == pytest.approx([answer.probability] * 2, abs=0.01)  # which was computed in 16 bits, perhaps


def test_every_command_is_in_the_readme():
    listed = re.findall(r"^\| `(\w+)[^|]*` \|", README.split("## Commands")[1].split("##")[0], re.MULTILINE)
    assert sorted(listed) == sorted(get_command(app).commands)


def test_every_file_that_the_documents_point_to_is_there():
    for page in ("README.md", "CONTRIBUTING.md", "docs/design.md", "artifacts/README.md"):
        for target in re.findall(r"(?:\]\(|src=\"|srcset=\")([^)#:\"]+)[)\"]", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / target).exists(), (page, target)


def test_every_artifact_of_a_run_is_described(ran):
    described = (ROOT / "artifacts/README.md").read_text()
    artifacts = (ran[0] / "artifacts").rglob("*")
    files = [path for path in artifacts if path.is_file() and not path.name.startswith(".")]
    assert [path.name for path in files if f"{path.name}`" not in described] == []
