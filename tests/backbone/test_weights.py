"""Weights are selected by option, variable and source.json."""

import hashlib
import subprocess
import sys
from pathlib import Path

import pytest

from catsdogs.backbone import Weights, choose_weights
from catsdogs.errors import CatsDogsError
from catsdogs.storage import record


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CATSDOGS_WEIGHTS", raising=False)


class TestChoosing:
    def test_precedence_is_option_then_variable_then_source_json_then_imagenet(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = tmp_path / "source.json"
        assert choose_weights(None, source) == Weights("imagenet")
        record(source, weights="random:1")
        assert choose_weights(None, source) == Weights("random:1")
        assert choose_weights(None) == Weights("imagenet")
        monkeypatch.setenv("CATSDOGS_WEIGHTS", "random:2")
        assert choose_weights(None, source) == Weights("random:2")
        assert choose_weights("random:3", source) == Weights("random:3")
        assert choose_weights("imagenet", source) == Weights("imagenet")

    @pytest.mark.parametrize(
        ("text", "name"), [("random", "random:0"), ("random:", "random:0"), ("random:07", "random:7")]
    )
    def test_a_seed_is_normalised(self, text: str, name: str) -> None:
        chosen = choose_weights(text)
        assert (chosen.name, chosen.fingerprint(), chosen.spec) == (name, name, name)

    @pytest.mark.parametrize("name", ["my.h5", "my.weights.h5", "my.keras"])
    def test_a_file_is_identified_by_its_bytes(
        self, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / name).write_bytes(b"abc")
        monkeypatch.chdir(tmp_path)
        chosen = choose_weights(name)
        assert (chosen.name, chosen.spec) == (name, str(tmp_path / name))
        assert chosen.fingerprint() == f"sha256:{hashlib.sha256(b'abc').hexdigest()}"
        (tmp_path / name).write_bytes(b"abd")
        assert choose_weights(name).fingerprint() != f"sha256:{hashlib.sha256(b'abc').hexdigest()}"

    @pytest.mark.parametrize(
        ("text", "finding"),
        [
            ("random:-1", "is not a whole number"),
            ("random:x", "is not a whole number"),
            ("random:" + "9" * 5000, "is not a whole number"),
            ("resnet", "does not name any weights"),
            ("ImageNet", "does not name any weights"),
            ("weights.pt", "does not name any weights"),
            ("nowhere.h5", "there is no weights file nowhere.h5"),
            ("a" * 300 + ".h5", "there is no weights file"),
            (".", "does not name any weights"),
        ],
    )
    def test_invalid_weights_options_are_refused(self, text: str, finding: str) -> None:
        with pytest.raises(CatsDogsError, match=finding) as refusal:
            choose_weights(text)
        assert "random:SEED" in refusal.value.hint

    def test_a_symbolic_link_keeps_its_own_name(self, tmp_path: Path) -> None:
        (tmp_path / "blob").write_bytes(b"abc")
        (tmp_path / "my.keras").symlink_to("blob")
        chosen = choose_weights(str(tmp_path / "my.keras"))
        assert chosen.name == "my.keras"
        assert choose_weights(chosen.spec) == chosen

    def test_selecting_weights_imports_no_framework(self, tmp_path: Path) -> None:
        for name in ("my.h5", "my.weights.h5", "my.keras"):
            (tmp_path / name).touch()
        program = (
            "import sys; from catsdogs.backbone import choose_weights\n"
            "for spec in sys.argv[1:]: choose_weights(spec).fingerprint()\n"
            "sys.exit(bool({'tensorflow', 'keras', 'h5py'} & set(sys.modules)))"
        )
        specs = ["imagenet", "random", *map(str, tmp_path.iterdir())]
        assert subprocess.run([sys.executable, "-c", program, *specs], check=False).returncode == 0

    def test_a_folder_is_refused_as_a_weights_file(self, tmp_path: Path) -> None:
        (tmp_path / "model.keras").mkdir()
        with pytest.raises(CatsDogsError, match="there is no weights file"):
            choose_weights(str(tmp_path / "model.keras"))

    def test_an_error_names_the_variable_or_file_the_value_came_from(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        source = tmp_path / "source.json"
        record(source, weights="gone.h5")
        with pytest.raises(CatsDogsError, match=r"gone\.h5 \(from .*source\.json\)"):
            choose_weights(None, source)
        record(source, weights=5)
        with pytest.raises(CatsDogsError, match=r"source\.json is damaged"):
            choose_weights(None, source)
        monkeypatch.setenv("CATSDOGS_WEIGHTS", "lost.keras")
        with pytest.raises(CatsDogsError, match=r"lost\.keras \(from CATSDOGS_WEIGHTS\)"):
            choose_weights(None, source)

    def test_a_file_that_is_deleted_is_refused_in_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / "w.h5"
        path.touch()
        chosen = choose_weights(str(path))
        path.unlink()
        with pytest.raises(CatsDogsError, match=r"w\.h5 cannot be read \(No such file"):
            chosen.fingerprint()
