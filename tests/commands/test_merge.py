import json
import shutil
import signal

import pytest
from support.backbone import write_backbone
from support.faults import killed_before
from support.program import command, end, stopped

import catsdogs
from catsdogs import CatsDogsError, OptionError, load_features
from catsdogs.cache import shards
from catsdogs.storage import to_sealed_json, unseal


@pytest.fixture(scope="module")
def computed(tmp_path_factory, compute):
    """Three parts."""
    folder = tmp_path_factory.mktemp("parts")
    for number in (1, 2, 3):
        compute(folder / str(number), part=f"{number}/3")
    return folder


@pytest.fixture
def parts(tmp_path, computed):
    """Three parts to change."""
    shutil.copytree(computed, tmp_path / "parts")
    return [tmp_path / "parts" / str(number) for number in (1, 2, 3)]


def tree(root):
    folder = root / "features"
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def shards_of(part):
    return sorted(part.glob("features/shards/*/*.npy"))


def test_parts_merge_into_the_bytes_of_one_machine(parts, whole, tmp_path):
    before = [tree(part) for part in parts]
    done = catsdogs.merge(tmp_path / "merged", parts[::-1])
    assert tree(tmp_path / "merged") == whole
    assert [tree(part) for part in parts] == before
    assert (done.images, done.parts, done.overlapping) == ({"train": 28, "test": 12}, 3, 0)
    assert (done.shards, done.repeated_shards, done.differing) == (sum(len(shards_of(part)) for part in parts), 0, 0)
    assert done.unreadable["train"].keys() == {"dog.3"}
    assert done.duplicates["identical"] == 1
    assert catsdogs.train(tmp_path / "merged").metrics.images == 27


def test_one_part_may_be_given_by_itself_and_none_is_one_line(compute, tmp_path):
    compute(tmp_path / "one", part="1/1")
    assert catsdogs.merge(tmp_path / "merged", str(tmp_path / "one")).parts == 1
    with pytest.raises(OptionError, match="no parts are given"):
        catsdogs.merge(tmp_path / "none", [])


def test_one_part_and_more_parts_than_images_merge_too(compute, whole, data, tmp_path):
    compute(tmp_path / "one", part="1/1")
    catsdogs.merge(tmp_path / "merged", [tmp_path / "one"])
    assert tree(tmp_path / "merged") == whole
    many = [tmp_path / f"of14/{number}" for number in range(1, 15)]
    for number, folder in enumerate(many, 1):
        compute(folder, data / "test", part=f"{number}/14")
    catsdogs.merge(tmp_path / "test", many)
    compute(tmp_path / "whole", data / "test")
    assert tree(tmp_path / "test") == tree(tmp_path / "whole")


def test_overlapping_parts_and_repeated_shards_are_counted(parts, compute, whole, tmp_path):
    compute(tmp_path / "half", part="2/2")
    copy = shutil.copytree(parts[0], tmp_path / "copy")
    done = catsdogs.merge(tmp_path / "merged", [*parts, tmp_path / "half", copy])
    assert (done.parts, done.overlapping) == (5, 20 + 13)
    assert done.repeated_shards == len(shards_of(copy))
    assert tree(tmp_path / "merged") == whole


def test_a_merge_adds_to_a_cache_and_keeps_its_rules(parts, compute, whole, data, tmp_path):
    compute(tmp_path / "merged", data / "train")
    catsdogs.merge(tmp_path / "merged", parts)
    assert tree(tmp_path / "merged").keys() == whole.keys()
    compute(tmp_path / "other", weights=other_weights(tmp_path))
    before = tree(tmp_path / "other")
    with pytest.raises(CatsDogsError, match=r"has 40 rows computed by other\.keras.*--prune"):
        catsdogs.merge(tmp_path / "other", parts)
    assert tree(tmp_path / "other") == before
    catsdogs.merge(tmp_path / "other", parts, prune=True)
    assert tree(tmp_path / "other") == whole


def change_an_image(part, compute, root, data):
    changed = shutil.copytree(data, root / "changed")
    (changed / "train/cat.1.jpg").write_bytes((changed / "train/cat.2.jpg").read_bytes())
    compute(root / "parts" / "4", changed, part="1/8")


def compute_otherwise(**options):
    """Return a change that computes the part again with other options."""

    def change(part, compute, root, data):
        shutil.rmtree(part)
        compute(part, part="2/3", **{name: option(root, data) for name, option in options.items()})

    return change


def other_weights(root, data=None):
    return str(write_backbone(root / "other.keras", seed=1))


def copy_foreign_shard(part, compute, root, data):
    compute(root / "x", part="1/1", weights=other_weights(root))
    shutil.copy(shards_of(root / "x")[0], shards_of(part)[0].parent)


def damage(path, position=-1):
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)


REFUSED = {
    "missing": (
        lambda part, *_: shutil.rmtree(part),
        r"the parts lack 13 of the 40 images: 2/3\. Give first the folder to write, then those of all",
    ),
    "empty": (
        lambda part, *_: [path.unlink() for path in part.glob("features/part*")],
        r"no finished part in .*parts/2\.",
    ),
    "weights": (
        compute_otherwise(weights=other_weights),
        r"2-of-3\.json has rows computed by other\.keras .*, but .*1-of-3\.json by tiny\.keras",
    ),
    "views": (
        compute_otherwise(compute=lambda root, data: catsdogs.ComputeOptions(views=["224m"])),
        r"2-of-3\.json has rows computed by .*view 224m\), but .* by .*view 224\)",
    ),
    "images": (
        compute_otherwise(data=lambda root, data: data / "train"),
        r"2-of-3\.json is a part of other images than .*1-of-3\.json",
    ),
    "bytes": (change_an_image, r"cat\.1 has other bytes in .*1-of-8\.json than in .*1-of-3\.json"),
    "shards gone": (
        lambda part, *_: [path.unlink() for path in shards_of(part)],
        r"2/features/shards lacks rows of 1[23] images of part 2/3, such as ",
    ),
    "shard of others": (copy_foreign_shard, r"\.224\.npy is damaged, or has rows of another provenance"),
    "row damaged": (
        lambda part, *_: damage(max(shards_of(part), key=lambda path: path.stat().st_size), 4000),
        r"lacks rows of 1 images of part 2/3",
    ),
    "table damaged": (lambda part, *_: damage(next(part.glob("features/part*")), 300), r"2-of-3\.json is damaged"),
}


@pytest.mark.parametrize(("change", "message"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_belong_together_is_named_and_nothing_is_written(change, message, parts, compute, data, tmp_path):
    change(parts[1], compute, tmp_path, data)
    given = sorted((tmp_path / "parts").iterdir())
    with pytest.raises(CatsDogsError, match=message) as refused:
        catsdogs.merge(tmp_path / "merged", given)
    assert "\n" not in str(refused.value)
    assert not (tmp_path / "merged/features").exists()


def test_shards_of_other_weights_beside_those_of_a_part_are_refused(parts, compute, tmp_path):
    compute(tmp_path / "x", part="2/3", weights=other_weights(tmp_path))
    shutil.copytree(tmp_path / "x/features/shards", parts[1] / "features/shards", dirs_exist_ok=True)
    with pytest.raises(CatsDogsError, match=r"2/features/shards has rows computed by other\.keras"):
        catsdogs.merge(tmp_path / "merged", parts)


def test_a_row_that_is_damaged_in_one_shard_is_taken_from_its_copy(parts, whole, tmp_path):
    copy = shutil.copytree(parts[1], tmp_path / "copy")
    damage(max(shards_of(parts[1]), key=lambda path: path.stat().st_size), 4000)
    catsdogs.merge(tmp_path / "merged", [*parts, copy])
    assert tree(tmp_path / "merged") == whole


@pytest.mark.parametrize(
    ("name", "ending"), [("mkdir", "train"), ("replace", "manifest.json.new"), ("replace", "224.npy.new")]
)
def test_a_merge_that_is_killed_can_be_repeated(name, ending, parts, whole, tmp_path):
    with killed_before(name, ending):
        catsdogs.merge(tmp_path / "merged", parts)
    catsdogs.merge(tmp_path / "merged", parts)
    assert tree(tmp_path / "merged") == whole


@pytest.mark.parametrize("kind", [signal.SIGKILL, pytest.param(signal.SIGINT, marks=pytest.mark.slow)])
def test_a_part_that_is_killed_goes_on_and_computes_no_row_again(
    kind, data, compute, parts, whole, tmp_path, tiny_backbone
):
    shutil.rmtree(parts[2])
    arguments = ["extract", data, "--part", "3/3", "--artifacts", parts[2], "--weights", tiny_backbone]
    with stopped(*arguments, rows=8) as run:
        end(run, kind)
    kept = shards.count_rows(parts[2] / "features")
    assert kept == (10 if kind == signal.SIGKILL else 14)
    with pytest.raises(CatsDogsError, match="no finished part"):
        catsdogs.merge(tmp_path / "merged", parts)
    assert compute(parts[2], part="3/3").computed == 14 - kept
    catsdogs.merge(tmp_path / "merged", parts)
    assert tree(tmp_path / "merged") == whole


def test_an_image_that_one_machine_could_not_read_is_taken_from_the_other(parts, compute, whole, tmp_path):
    table = next(parts[0].glob("features/part*"))
    content = json.loads(table.read_text())
    assert unseal(content)
    content["digests"][0], content["reasons"][0] = "0" * 32, "the file cannot be read: no permission"
    table.write_bytes(to_sealed_json(content))
    done = catsdogs.merge(tmp_path / "once", parts)
    assert done.unreadable["train"]["cat.0"] == "the file cannot be read: no permission"
    assert not load_features(tmp_path / "once").readable[0]
    compute(tmp_path / "again", part="1/8")
    catsdogs.merge(tmp_path / "merged", [*parts, tmp_path / "again"])
    assert tree(tmp_path / "merged") == whole


@pytest.mark.parametrize(
    "call",
    [
        *("info", "verify", "train", "submit", "report", "review", "export keras", "similar cat.1", "predict cat.jpg"),
        *("evaluate DATA", "correct --undo cat.1"),
    ],
)
def test_other_commands_say_that_a_part_is_no_cache(call, computed, data):
    arguments = (str(data) if argument == "DATA" else argument for argument in call.split())
    done = command(*arguments, "--artifacts", computed / "3")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"error: {computed / '3'} has no cache, but only part 3 of 3. "
        "Run catsdogs merge ARTIFACTS FROM... with the folders of all parts.\n"
    )


def test_a_part_and_a_cache_need_folders_of_their_own(parts, compute, whole, data, tmp_path):
    with pytest.raises(CatsDogsError, match="is the folder of a part"):
        catsdogs.merge(parts[0], parts)
    compute(tmp_path / "cached", data / "train")
    with pytest.raises(CatsDogsError, match="has a cache already"):
        compute(tmp_path / "cached", part="1/2")


def test_a_merge_that_is_refused_for_its_arguments_leaves_nothing_new(parts, tmp_path):
    (tmp_path / "existing").mkdir()
    (tmp_path / "existing/cat.jpg").touch()
    before = sorted(tmp_path.rglob("*"))
    for target in ("new", "existing"):
        for given, said in (([tmp_path / "typo"], "there is no finished part"), (parts[:2], "the parts lack 14")):
            with pytest.raises(CatsDogsError, match=said):
                catsdogs.merge(tmp_path / target, given)
            assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("option", [{"prune": True}, {"near_duplicates": False}])
def test_options_that_have_no_effect_on_a_part_are_refused(option, compute, tmp_path):
    with pytest.raises(OptionError, match="have no effect where no cache is written"):
        compute(tmp_path / "part", part="1/2", **option)
    assert not (tmp_path / "part").exists()


def test_a_dry_run_of_a_part_tells_what_it_would_compute(data, compute, tmp_path):
    arguments = ("extract", data, "--part", "3/4", "--artifacts", tmp_path / "part")
    said = command(*arguments, "--dry-run").stdout
    assert "part        3/4: 10 images (8 train, 2 test)\n" in said
    assert f"next        catsdogs extract {data} --part 3/4 --artifacts {tmp_path / 'part'}\n" in said
    assert json.loads(command(*arguments, "--dry-run", "--json").stdout)["part"] == {"train": 8, "test": 2}
    assert not (tmp_path / "part").exists()
    assert compute(tmp_path / "part", part="3/4").images == {"train": 8, "test": 2}
    compute(tmp_path / "cached", data / "test")
    done = command(*arguments[:-1], tmp_path / "cached", "--dry-run")
    assert (done.returncode, done.stderr.count("has a cache already")) == (1, 1)
    assert "is not a part" in command("extract", data, "--part", "5/4", "--dry-run").stderr


@pytest.mark.parametrize("part", ["0/3", "4/3", "1", "1/", "a/b", "-1/3", "1/3/5", 3, "\u0661/3"])
def test_what_is_no_part_is_refused(part, data, tmp_path):
    with pytest.raises(OptionError, match=r"is not a part\. Give K/N"):
        catsdogs.extract(data, artifacts=tmp_path / "artifacts", part=part)
    assert not (tmp_path / "artifacts").exists()


def test_the_commands_say_what_was_merged(data, tiny_backbone, whole, tmp_path):
    for number in (1, 2):
        done = command(
            "extract", data, "--part", f"{number}/2", "--artifacts", tmp_path / f"{number}", "--weights", tiny_backbone
        )
        assert done.returncode == 0, done.stderr
        assert f"part        {number}/2" in done.stdout
        assert "merge ARTIFACTS FROM..., with the folders of all parts" in done.stdout
        assert "duplicates" not in done.stdout
    done = command("merge", tmp_path / "merged", tmp_path / "1", tmp_path / "2")
    assert (done.returncode, done.stderr) == (0, "")
    assert "images      40 (28 train, 12 test), 1 unreadable" in done.stdout
    assert "parts       2; 0 images in more than one" in done.stdout
    assert f"next        catsdogs train --artifacts {tmp_path / 'merged'}" in done.stdout
    assert tree(tmp_path / "merged") == whole


def test_all_images_may_be_extracted_into_the_folder_of_a_part(parts, whole, compute):
    assert 0 < compute(parts[0]).computed < 38
    assert tree(parts[0]) == whole
