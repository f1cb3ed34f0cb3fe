"""A running or killed extraction does not change the cache, and all other commands still work."""

import shutil
import signal

import numpy as np
import pytest
from support.backbone import write_backbone
from support.program import command, end, stopped

import catsdogs
from catsdogs import ComputeOptions, info, load_features


@pytest.fixture(scope="module")
def made(tmp_path_factory, tiny_backbone, draw, encode, write_folder):
    """A folder with data/, the artifacts/ of a run on it, and more/, which has twenty more images."""
    folder = tmp_path_factory.mktemp("made")
    names = [f"train/{kind}.{n}.jpg" for kind in ("cat", "dog") for n in range(12)]
    names += [f"test/{n}.jpg" for n in range(1, 7)]
    images = {name: encode(draw(seed), "JPEG") for seed, name in enumerate(names)}
    more = {f"train/cat.{n}.jpg": encode(draw(n), "JPEG") for n in range(100, 120)}
    catsdogs.run(write_folder(folder / "data", images), artifacts=folder / "artifacts", weights=str(tiny_backbone))
    write_folder(folder / "more", images | more)
    return folder


@pytest.fixture
def artifacts(made, tmp_path):
    return shutil.copytree(made / "artifacts", tmp_path / "artifacts")


@pytest.fixture(scope="module")
def whole(made, tmp_path_factory, tiny_backbone):
    """Return the cache of an uninterrupted run on more/."""
    artifacts = tmp_path_factory.mktemp("whole")
    catsdogs.extract(made / "more", artifacts=artifacts, weights=str(tiny_backbone))
    return tree(artifacts / "features")


def tree(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def use_everything(artifacts, made, *, running):
    """Run everything that reads features; check that they equal those in `made`, and that shards have rows."""
    for split in ("train", "test"):
        found, before = load_features(artifacts, split=split), load_features(made / "artifacts", split=split)
        assert (found.features.tobytes(), found.digest) == (before.features.tobytes(), before.digest)
    for name in ("train", "submit", "report", "verify"):
        done = command(name, "--artifacts", artifacts)
        assert (done.returncode, done.stderr) == (0, ""), (name, done.stderr)
    image = made / "data/test/1.jpg"
    assert command("predict", image, "--artifacts", artifacts).stdout.endswith(f"  {image}\n")
    for name in ("head.npz", "submission.csv"):
        assert (artifacts / name).read_bytes() == (made / "artifacts" / name).read_bytes()
    assert (info(artifacts).shards, info(artifacts).stale) == (10, ())
    listed = command("info", "--artifacts", artifacts).stdout
    assert "10 rows of an unfinished run" in listed
    assert "features/shards" not in listed  # hundreds of files
    if running:
        refused = command("extract", made / "more", "--artifacts", artifacts)
        assert f"{artifacts} is being written by another run, process" in refused.stderr


def test_during_and_after_a_killed_extraction_old_features_are_usable(made, artifacts, whole):
    with stopped("extract", made / "more", "--artifacts", artifacts) as run:
        use_everything(artifacts, made, running=True)
        assert end(run, signal.SIGKILL) == (-signal.SIGKILL, "")
    use_everything(artifacts, made, running=False)
    done = command("extract", made / "more", "--artifacts", artifacts)
    assert "10 computed with tiny.keras" in done.stdout, done.stderr
    assert tree(artifacts / "features") == whole


def test_a_head_is_trained_while_another_process_holds_the_features(made, artifacts, whole):
    """If no duplicates are stored, it finds them but cannot store them."""
    for name in ("duplicates.npy", "duplicates.json"):
        (artifacts / "features" / name).unlink()
    with stopped("extract", made / "more", "--artifacts", artifacts):
        assert command("train", "--artifacts", artifacts).returncode == 0
    assert (artifacts / "head.npz").read_bytes() == (made / "artifacts/head.npz").read_bytes()
    assert catsdogs.extract(made / "more", artifacts=artifacts).computed == 10
    assert tree(artifacts / "features") == whole


def test_before_the_first_commit_rows_in_shards_are_counted(made, tmp_path, tiny_backbone, whole):
    arguments = ("extract", made / "more", "--artifacts", tmp_path / "new", "--weights", tiny_backbone)
    with stopped(*arguments):
        for name in ("info", "train"):
            refused = command(name, "--artifacts", tmp_path / "new").stderr
            assert "yet; 10 computed rows are in shards. Run catsdogs " in refused
            assert len(refused.splitlines()) == 1
    assert "40 computed" in command(*arguments).stdout
    assert tree(tmp_path / "new/features") == whole


@pytest.mark.parametrize(("kind", "kept"), [(signal.SIGTERM, 15), (signal.SIGINT, 15), (signal.SIGKILL, 10)])
def test_a_terminated_process_writes_every_row_that_waits(kind, kept, made, artifacts, whole):
    said = "interrupted: finished work is kept. Rerun the command to continue.\n" if kind == signal.SIGINT else ""
    with stopped("extract", made / "more", "--artifacts", artifacts) as run:
        assert end(run, kind) == (130 if kind == signal.SIGINT else -kind, said)
    assert info(artifacts).shards == kept
    assert catsdogs.extract(made / "more", artifacts=artifacts).computed == 20 - kept
    assert tree(artifacts / "features") == whole


def test_a_view_added_to_one_split_survives_a_kill_of_the_run(made, artifacts, tmp_path):
    views, before = ComputeOptions(views=["224", "160"]), load_features(artifacts)
    with stopped("extract", made / "more/train", "--artifacts", artifacts, "--views", "224,160") as run:
        assert end(run, signal.SIGKILL)[0] == -signal.SIGKILL
    assert load_features(artifacts).views == ("224",)
    waiting = info(artifacts).shards
    done = catsdogs.extract(made / "more/train", artifacts=artifacts, compute=views)
    assert (done.computed, waiting) == (44 - waiting, 10)
    after = load_features(artifacts)
    assert (after.views, after.features.shape) == (("160", "224"), (44, 4096))
    np.testing.assert_array_equal(after.features[np.isin(after.ids, before.ids), 2048:], before.features)
    with pytest.raises(catsdogs.CatsDogsError, match=r"the test features .* do not have view 160"):
        load_features(artifacts, split="test")
    assert catsdogs.extract(made / "more", artifacts=artifacts, compute=views).computed == 6
    weights = info(artifacts).source["weights"]
    catsdogs.extract(made / "more", artifacts=tmp_path / "fresh", weights=weights, compute=views)
    assert tree(artifacts / "features") == tree(tmp_path / "fresh/features")


def test_a_killed_prune_by_other_weights_keeps_the_old_cache(made, artifacts, tmp_path, tiny_backbone):
    other, before = write_backbone(tmp_path / "other.keras", seed=1), tree(artifacts / "features")
    pruning = ("extract", made / "data", "--artifacts", artifacts, "--weights", other, "--prune")
    with stopped(*pruning) as run:
        use_everything(artifacts, made, running=True)
        assert end(run, signal.SIGKILL)[0] == -signal.SIGKILL
    assert catsdogs.extract(made / "data", artifacts=artifacts).computed == 0
    now = tree(artifacts / "features")
    assert {name: of for name, of in now.items() if "shards" not in name} == before
    assert catsdogs.verify(artifacts).problems == ()
    assert "20 computed with other.keras" in command(*pruning).stdout
    catsdogs.extract(made / "data", artifacts=tmp_path / "fresh", weights=str(other))
    assert tree(artifacts / "features") == tree(tmp_path / "fresh/features")
