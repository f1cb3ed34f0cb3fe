import re
from importlib.util import find_spec
from pathlib import Path

import pytest
from typer.main import get_command

import catsdogs
from catsdogs.cli.app import app
from catsdogs.sample import write_sample

ROOT = Path(catsdogs.__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.fixture
def newcomer(tmp_path, monkeypatch, tiny_backbone, draw):
    """A folder with what the README's examples name."""
    write_sample(tmp_path / "dogs-vs-cats-redux-kernels-edition.zip", train=40, test=2)
    (tmp_path / "test").mkdir()
    for number in (1, 2):
        draw(number).save(tmp_path / f"test/{number}.jpg")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CATSDOGS_WEIGHTS", str(tiny_backbone))


def test_the_python_examples_run_and_print_what_they_say(newcomer, capsys):
    api, elsewhere, look = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len(api.strip().splitlines()) <= 10
    exec(api, {})
    assert re.search(r"^cat\.0 0 \(40, 2048\) float32$", capsys.readouterr().out, re.MULTILINE)
    if all(map(find_spec, ("onnx", "onnxruntime", "tf2onnx"))):
        for form in ("keras", "onnx"):
            catsdogs.export(form)
        exec(elsewhere, {})
        said = [float(number) for number in re.findall(r"\[\[(\S+?)\]\]", capsys.readouterr().out)]
        (answer,) = catsdogs.predict("test/1.jpg")
        assert said == pytest.approx([answer.probability] * 2, abs=0.01)  # which was computed in 16 bits, perhaps
    exec(look, {})
    said = capsys.readouterr().out
    assert re.search(r"^cat\.\d+ is the cat that looks most like a dog$", said, re.MULTILINE)
    assert "LogisticRegression" in said


def test_every_command_is_in_the_readme():
    listed = re.findall(r"^\| `(\w+)[^|]*` \|", README.split("## Commands")[1].split("##")[0], re.MULTILINE)
    assert sorted(listed) == sorted(get_command(app).commands)


def test_every_file_that_the_documents_point_to_is_there():
    for page in ("README.md", "CONTRIBUTING.md", "docs/design.md", "artifacts/README.md"):
        for target in re.findall(r"(?:\]\(|src=\"|srcset=\")([^)#:\"]+)[)\"]", (ROOT / page).read_text()):
            assert ((ROOT / page).parent / target).exists(), (page, target)


def test_every_artifact_of_a_run_is_described(newcomer, tmp_path):
    catsdogs.run("dogs-vs-cats-redux-kernels-edition.zip")
    described = (ROOT / "artifacts/README.md").read_text()
    files = [path for path in (tmp_path / "artifacts").rglob("*") if path.is_file() and not path.name.startswith(".")]
    assert [path.name for path in files if f"{path.name}`" not in described] == []
