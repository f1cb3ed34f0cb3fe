"""Which weights a user means."""

import hashlib
from pathlib import Path

import pytest

from catsdogs.artifacts import Artifacts
from catsdogs.backbone import Weights, choose_weights
from catsdogs.errors import CatsDogsError
from catsdogs.storage import record


@pytest.fixture(autouse=True)
def _no_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CATSDOGS_WEIGHTS", raising=False)


class TestChoosing:
    def test_an_option_beats_the_variable_beats_the_note_beats_imagenet(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        artifacts = Artifacts(tmp_path)
        assert choose_weights(None, artifacts) == Weights("imagenet")
        record(artifacts.source, weights="random:1")
        assert choose_weights(None, artifacts).seed == 1
        assert choose_weights(None) == Weights("imagenet")
        monkeypatch.setenv("CATSDOGS_WEIGHTS", "random:2")
        assert choose_weights(None, artifacts).seed == 2
        assert choose_weights("random:3", artifacts).seed == 3
        assert choose_weights("imagenet", artifacts) == Weights("imagenet")

    @pytest.mark.parametrize(
        ("text", "name"), [("random", "random:0"), ("random:", "random:0"), ("random:07", "random:7")]
    )
    def test_a_seed_has_one_spelling(self, text: str, name: str) -> None:
        chosen = choose_weights(text)
        assert (chosen.name, chosen.fingerprint(), chosen.spec) == (name, name, name)

    @pytest.mark.parametrize("name", ["my.h5", "my.weights.h5", "my.keras"])
    def test_a_file_is_known_by_its_name_and_its_bytes(
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
            ("random:-1", "no whole number"),
            ("random:x", "no whole number"),
            ("random:" + "9" * 5000, "no whole number"),
            ("resnet", "names no weights"),
            ("ImageNet", "names no weights"),
            ("weights.pt", "names no weights"),
            ("nowhere.h5", "there is no weights file nowhere.h5"),
            ("a" * 300 + ".h5", "cannot be reached"),
            ("~nobody_at_all/w.h5", "cannot be reached"),
            (".", "names no weights"),
        ],
    )
    def test_what_names_no_weights_is_refused(self, text: str, finding: str) -> None:
        with pytest.raises(CatsDogsError, match=finding) as refusal:
            choose_weights(text)
        assert "random:SEED" in refusal.value.hint

    def test_a_folder_is_no_weights_file(self, tmp_path: Path) -> None:
        (tmp_path / "model.keras").mkdir()
        with pytest.raises(CatsDogsError, match="there is no weights file"):
            choose_weights(str(tmp_path / "model.keras"))

    def test_a_refusal_names_the_variable_or_the_note_that_asked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        artifacts = Artifacts(tmp_path)
        record(artifacts.source, weights="gone.h5")
        with pytest.raises(CatsDogsError, match=r"gone\.h5 \(from .*source\.json\)"):
            choose_weights(None, artifacts)
        record(artifacts.source, weights=5)
        with pytest.raises(CatsDogsError, match=r"source\.json is damaged"):
            choose_weights(None, artifacts)
        monkeypatch.setenv("CATSDOGS_WEIGHTS", "lost.keras")
        with pytest.raises(CatsDogsError, match=r"lost\.keras \(from CATSDOGS_WEIGHTS\)"):
            choose_weights(None, artifacts)

    def test_a_file_that_goes_away_is_one_line(self, tmp_path: Path) -> None:
        path = tmp_path / "w.h5"
        path.touch()
        chosen = choose_weights(str(path))
        path.unlink()
        with pytest.raises(CatsDogsError, match=r"w\.h5 cannot be read \(No such file"):
            chosen.fingerprint()
