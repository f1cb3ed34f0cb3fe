import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import catsdogs
from catsdogs import CatsDogsError, load_features, prepare
from catsdogs.cli.summaries import preparation_lines
from catsdogs.images.decoding import decode
from catsdogs.locks import RESULTS, write_lock

GOLDEN = Path(__file__).parents[1] / "images/golden"
TRAINING, TESTING = "cats-dogs-training", "cats-dogs-testing"


def tree(root):
    """Return {path: bytes} of what is not hidden."""
    files = [path for path in root.rglob("[!.]*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in files}


def pictures_in(root):
    return sorted(str(path.relative_to(root)) for path in root.rglob("*.png"))


def table(root):
    with (root / "prepared.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def kaggle(draw, encode):
    """Kaggle's files, of 20 cats, 20 dogs and two test images."""
    images = {
        f"train/{kind}.{n}.jpg": encode(draw(n + first), "JPEG")
        for kind, first in (("cat", 0), ("dog", 100))
        for n in range(20)
    }
    return images | {f"test/{n}.jpg": encode(draw(200 + n), "JPEG") for n in (1, 2)}


@pytest.fixture
def data(tmp_path, kaggle, write_folder):
    return write_folder(tmp_path / "data", kaggle)


def test_the_folders_are_those_of_2017_and_the_numbers_those_of_the_originals(data, tmp_path):
    done = prepare(data, tmp_path / "out")
    assert (done.images, done.written, done.renumbered) == ({"train": 34, "test": 6}, 40, 0)
    assert (done.unlabelled, done.skipped, done.unreadable, done.classes) == (2, 0, {}, ("cat", "dog"))
    found = [path.split("/") for path in pictures_in(tmp_path / "out")]
    assert [sum(folder == of for folder, _, _ in found) for of in (TRAINING, TESTING)] == [34, 6]
    for kind in ("cat", "dog"):
        assert sorted(int(name[:-4]) for _, of, name in found if of == kind) == list(range(20))
        assert sum((folder, of) == (TESTING, kind) for folder, of, _ in found) == 3
    assert {path.name for path in (tmp_path / "out").iterdir() if path.name[0] != "."} == {
        TRAINING,
        TESTING,
        "prepared.csv",
        "prepared.json",
    }
    for row in table(tmp_path / "out"):
        _, kind, number = row["picture"].split("/")
        assert row["original"] == f"train/{kind}.{number[:-4]}.jpg"
    facts = json.loads((tmp_path / "out/prepared.json").read_text())
    assert (facts["seed"], facts["held_out"], facts["size"], facts["classes"]) == (0, 0.15, 224, ["cat", "dog"])


def test_pictures_of_every_form_are_the_pixels_that_features_are_computed_of(tmp_path):
    data = tmp_path / "data/cat"
    data.mkdir(parents=True)
    originals = sorted(path for path in GOLDEN.iterdir() if path.suffix != ".npz")
    for number, path in enumerate(originals):
        shutil.copy(path, data / f"{number}{path.suffix}")
    assert prepare(tmp_path / "data", tmp_path / "out").unreadable == {}
    for number, path in enumerate(originals):
        (picture,) = (tmp_path / "out").glob(f"*/cat/{number}.png")
        with Image.open(picture) as image:
            assert (image.format, image.mode, image.size) == ("PNG", "RGB", (224, 224))
        assert np.array_equal(decode(picture.read_bytes()), decode(path.read_bytes())), path.name


def test_features_are_bit_identical_to_those_of_the_originals(data, tmp_path, tiny_backbone):
    prepare(data, tmp_path / "out")
    catsdogs.extract(data, artifacts=tmp_path / "of-originals", weights=str(tiny_backbone))
    catsdogs.extract(tmp_path / "out", artifacts=tmp_path / "of-pngs", weights=str(tiny_backbone))
    originals = load_features(tmp_path / "of-originals")
    expected = dict(zip(originals.ids.tolist(), originals.features, strict=True))
    parts = [load_features(tmp_path / "of-pngs", split=split) for split in ("train", "test")]
    found = {name: row for part in parts for name, row in zip(part.ids.tolist(), part.features, strict=True)}
    assert found.keys() == expected.keys()
    assert all(found[name].tobytes() == expected[name].tobytes() for name in expected)
    assert all(("dog" in name) == label for part in parts for name, label in zip(part.ids, part.labels, strict=True))


def test_what_is_prepared_is_run_and_evaluated_apart_and_together(data, tmp_path, tiny_backbone):
    prepare(data, tmp_path / "out")
    done = catsdogs.run(tmp_path / "out" / TRAINING, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))
    assert (done.extraction.images, done.extraction.unreadable) == ({"train": 34}, {"train": {}})
    scored = catsdogs.evaluate(tmp_path / "out" / TESTING, artifacts=tmp_path / "artifacts")
    assert (scored.images, scored.seen, scored.unreadable) == (6, 0, {})
    together = catsdogs.run(tmp_path / "out", artifacts=tmp_path / "artifacts")
    assert (together.extraction.images, together.extraction.computed) == ({"train": 34, "test": 6}, 6)
    assert together.metrics.test.log_loss == pytest.approx(scored.scores.log_loss)


def test_a_zip_and_a_folder_give_the_same_and_one_goes_on_with_the_other(data, tmp_path, kaggle, zipped):
    prepare(data, tmp_path / "out")
    expected = tree(tmp_path / "out")
    (tmp_path / "data.zip").write_bytes(zipped(kaggle))
    assert prepare(tmp_path / "data.zip", tmp_path / "out").written == 0
    assert tree(tmp_path / "out") == expected
    prepare(tmp_path / "data.zip", tmp_path / "of-zip")
    assert tree(tmp_path / "of-zip") == expected


def test_only_what_is_not_there_or_not_whole_is_made_again(data, tmp_path):
    out = tmp_path / "out"
    prepare(data, out)
    expected, pictures = tree(out), pictures_in(out)
    gone, cut, flipped, other, without_end = (out / name for name in pictures[:5])
    content = flipped.read_bytes()
    gone.unlink()
    os.truncate(cut, 1000)
    middle = len(content) // 2
    flipped.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    Image.new("RGB", (223, 224)).save(other)
    os.truncate(without_end, without_end.stat().st_size - 4)
    times = {name: (out / name).stat().st_mtime_ns for name in pictures[5:]}
    assert prepare(data, out).written == 5
    assert tree(out) == expected
    assert {name: (out / name).stat().st_mtime_ns for name in pictures[5:]} == times
    assert prepare(data, out).written == 0


def test_another_seed_other_images_or_classes_do_not_mix_with_what_is_there(data, tmp_path, draw, encode):
    out = tmp_path / "out"
    prepare(data, out, seed=1)
    expected = tree(out)
    with pytest.raises(CatsDogsError, match=r"has a split with seed 1.*or --seed 1 to continue"):
        prepare(data, out)
    (data / "train/cat.20.jpg").write_bytes(encode(draw(20), "JPEG"))
    with pytest.raises(CatsDogsError, match=r"has a split made with other images or classes.*another"):
        prepare(data, out, seed=1)
    (data / "train/cat.20.jpg").unlink()
    shutil.copy(data / "train/cat.1.jpg", data / "train/cat.0.jpg")
    with pytest.raises(CatsDogsError, match="other images"):
        prepare(data, out, seed=1)
    facts = out / "prepared.json"
    facts.write_text(facts.read_text().replace('"format": 1', '"format": 2'))
    with pytest.raises(CatsDogsError, match="another version of catsdogs or of Pillow"):
        prepare(data, out, seed=1)
    facts.write_bytes(expected["prepared.json"])
    assert tree(out) == expected


def test_a_folder_of_which_nobody_knows_the_split_is_left_alone(data, tmp_path, draw):
    (tmp_path / "out" / TRAINING / "cat").mkdir(parents=True)
    draw(0).save(tmp_path / "out" / TRAINING / "cat/7.png")
    before = tree(tmp_path / "out")
    for facts in (None, "{}", "no JSON"):
        if facts:
            (tmp_path / "out/prepared.json").write_text(facts)
        with pytest.raises(CatsDogsError, match=r"(no prepared\.json|is damaged).*Give another OUT"):
            prepare(data, tmp_path / "out")
        (tmp_path / "out/prepared.json").unlink(missing_ok=True)
    assert tree(tmp_path / "out") == before


def test_two_seeds_give_two_splits_of_the_same_pictures(data, tmp_path):
    for seed in (0, 1):
        prepare(data, tmp_path / str(seed), seed=seed)
    found = [pictures_in(tmp_path / str(seed)) for seed in (0, 1)]
    assert found[0] != found[1]
    first, second = (sorted(name.split("/", 1)[1] for name in names) for names in found)
    assert first == second


def test_where_originals_share_a_number_or_have_none_nothing_is_lost(tmp_path, draw, encode, write_folder):
    stems = ["7", "07", "tom", "holiday 7", "=1+1", "a,b", "12345678901234567890"]
    images = {f"{kind}s/{stem}.png": encode(draw(n)) for kind in ("cat", "dog") for n, stem in enumerate(stems)}
    images |= {"cats/7.png": encode(draw(0)), "cats/sub/70.jpg": encode(draw(50), "JPEG")}
    data = write_folder(tmp_path / "data", images)
    done = prepare(data, tmp_path / "out")
    assert (sum(done.images.values()), done.written, done.renumbered) == (15, 15, 10)
    assert any("10 with a new number" in text for _, text in preparation_lines(done))
    rows = table(tmp_path / "out")
    assert {row["original"] for row in rows} == set(images)
    for row in rows:
        made = (tmp_path / "out" / row["picture"]).read_bytes()
        assert np.array_equal(decode(made), decode(images[row["original"]])), row


def test_other_classes_keep_their_own_names(tmp_path, draw, encode, write_folder, tiny_backbone):
    images = {
        f"{kind}/{n}.png": encode(draw(n + first)) for kind, first in (("Ants", 0), ("Bees", 100)) for n in range(14)
    }
    images |= {f"wasps/{n}.png": encode(draw(300 + n)) for n in (1, 2)}
    data = write_folder(tmp_path / "data", images)
    with pytest.raises(CatsDogsError, match="Select two of them"):
        prepare(data, tmp_path / "out")
    done = prepare(data, tmp_path / "out", classes="Ants,Bees")
    assert (done.classes, done.images, done.skipped) == (("Ants", "Bees"), {"train": 24, "test": 4}, 2)
    assert {name.split("/")[1] for name in pictures_in(tmp_path / "out")} == {"Ants", "Bees"}
    ran = catsdogs.run(tmp_path / "out", artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))
    assert (ran.extraction.classes, ran.metrics.test.images) == (("Ants", "Bees"), 4)


def test_unreadable_originals_are_named_and_left_out_and_the_others_are_made(data, tmp_path):
    (data / "train/cat.3.jpg").write_bytes(b"no image")
    (data / "train/dog.5.jpg").unlink()
    (data / "train/dog.5.jpg").symlink_to(tmp_path / "nowhere")
    done = prepare(data, tmp_path / "out")
    bad = {str(data / "train/cat.3.jpg"): "not a JPEG", str(data / "train/dog.5.jpg"): "No such file"}
    assert done.unreadable.keys() == bad.keys()
    assert all(bad[name] in reason for name, reason in done.unreadable.items())
    assert (done.written, sum(done.images.values())) == (38, 38)
    rows = {row["original"]: row for row in table(tmp_path / "out")}
    assert len(rows) == 40
    for name in ("train/cat.3.jpg", "train/dog.5.jpg"):
        assert rows[name]["picture"] == ""
        assert rows[name]["unreadable"] in done.unreadable.values()
    said = "\n".join(text for _, text in preparation_lines(done))
    assert "cat.3.jpg: not a JPEG" in said
    again = prepare(data, tmp_path / "out")
    assert (again.written, again.unreadable) == (0, done.unreadable)


def test_an_original_that_changes_after_the_split_was_drawn_is_a_reason(data, tmp_path):
    def change(step, done, total):
        if (step, done) == ("reading images", total):
            (data / "train/cat.7.jpg").write_bytes(b"another")

    done = prepare(data, tmp_path / "out", progress=change)
    assert done.unreadable == {str(data / "train/cat.7.jpg"): "it changed while it was read"}


def test_what_cannot_be_prepared_is_said_and_nothing_is_written(data, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    before = tree(tmp_path)
    for arguments, said in [
        ((data / "test", tmp_path / "out"), "none of the 2 images in .* is labelled cat or dog"),
        ((data, data / "out"), "is inside .*Give a folder elsewhere"),
        ((data, data), "is inside"),
        ((data / "train", data), "contains .*Give a folder elsewhere"),
        ((data, tmp_path / "file"), "is not a folder"),
        ((tmp_path / "nowhere", tmp_path / "out"), "nowhere does not exist"),
    ]:
        with pytest.raises(CatsDogsError, match=said):
            prepare(*arguments)
    with pytest.raises(CatsDogsError, match="the seed is -1"):
        prepare(data, tmp_path / "out", seed=-1)
    assert tree(tmp_path) == before
    assert not (tmp_path / "out").exists()


def test_who_comes_second_is_told_to_wait_or_to_give_another_folder(data, tmp_path):
    code = "import sys, catsdogs; catsdogs.prepare(*sys.argv[1:])"
    with write_lock(tmp_path / "out", RESULTS):
        command = [sys.executable, "-c", code, data, tmp_path / "out"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert f"is being written by another run, process {os.getpid()}" in done.stderr
        assert done.stderr.endswith("with --wait, or give another OUT.\n")
    assert pictures_in(tmp_path / "out") == []


KILLED = """
import itertools, os, pathlib, signal, sys, catsdogs
replace, pictures = pathlib.Path.replace, itertools.count()
def stop_at_half(path, target):
    if ".png" in path.name and next(pictures) == 10:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)
    return replace(path, target)
pathlib.Path.replace = stop_at_half
catsdogs.prepare(*sys.argv[1:])
"""
"""`prepare`, killed while it writes the eleventh picture."""


def test_after_a_kill_midway_all_is_whole_and_it_goes_on_to_the_same_bytes(data, tmp_path):
    prepare(data, tmp_path / "fresh")
    expected, out = tree(tmp_path / "fresh"), tmp_path / "out"
    two_threads = os.environ | {"LOKY_MAX_CPU_COUNT": "2"}
    killed = subprocess.run([sys.executable, "-c", KILLED, data, out], capture_output=True, env=two_threads)
    assert (killed.returncode, killed.stderr) == (-signal.SIGKILL, b"")
    left = {name: content for name, content in tree(out).items() if not name.endswith(".new")}
    assert left.items() <= expected.items()
    made = len(pictures_in(out))
    assert 9 <= made < 40
    assert prepare(data, out).written == 40 - made
    assert tree(out) == expected


@pytest.mark.slow
def test_after_kills_at_random_moments_it_goes_on_to_the_same_bytes(tmp_path, draw, encode, write_folder):
    images = {f"{kind}.{n}.jpg": encode(draw(n, (300, 200)), "JPEG") for kind in ("cat", "dog") for n in range(150)}
    data, out = write_folder(tmp_path / "data", images), tmp_path / "out"
    prepare(data, tmp_path / "fresh")
    expected, draws, stopped_at = tree(tmp_path / "fresh"), random.Random(0), []
    command = [sys.executable, "-m", "catsdogs", "prepare", str(data), str(out)]
    for kind in (signal.SIGKILL, signal.SIGINT, signal.SIGKILL, signal.SIGTERM, signal.SIGKILL):
        process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        before = len(pictures_in(out))
        while process.poll() is None and len(pictures_in(out)) <= before:
            time.sleep(0.005)
        time.sleep(draws.uniform(0, 0.1))
        process.send_signal(kind)
        process.wait(60)
        left = tree(out)
        stopped_at.append(len(pictures_in(out)))
        whole = {name: content for name, content in left.items() if not name.endswith(".new")}
        assert whole.items() <= expected.items()
    assert any(0 < count < 300 for count in stopped_at)
    done = prepare(data, out)
    assert done.written == 300 - stopped_at[-1]
    assert tree(out) == expected
