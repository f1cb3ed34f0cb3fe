import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

import catsdogs

ROOT = Path(catsdogs.__file__).parent.parent


def texts(svg):
    return "\n".join(
        "".join(text.itertext()).replace("\xa0", " ")
        for text in ElementTree.fromstring(svg).iter()
        if text.tag.endswith("}text")
    )


def must_be_a_recording(svg):
    said = texts(svg)
    for part in ("catsdogs demo --weights", "40 test images", "catsdogs predict cat.0.jpg", "3 images: ", "▀"):
        assert part in said
    assert not re.search(r"(?<![\w.])/(tmp|home|root|work|var|Users)", svg)
    assert set(re.findall(r"https?://[^\s\"'<)]+", svg)) <= {"http://www.w3.org/2000/svg", "https://www.textualize.io"}


def test_the_recording_in_the_readme_does_not_name_the_machine():
    must_be_a_recording((ROOT / "docs/recording.svg").read_text())


@pytest.mark.slow
def test_the_recording_can_be_made_again(tmp_path, keras_backbone):
    command = [sys.executable, ROOT / "docs/recording.py", tmp_path / "again.svg", "--weights", keras_backbone]
    subprocess.run(command, check=True)
    must_be_a_recording((tmp_path / "again.svg").read_text())
    assert "tiny.keras" in texts((tmp_path / "again.svg").read_text())
