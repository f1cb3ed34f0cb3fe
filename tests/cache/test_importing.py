import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.cache import flip, folder_in_memory, tree

import catsdogs
from catsdogs import CatsDogsError, import_features, load_features

IDS = ["cat.10", "dog.1", "cat.2"]
LABELS = [0, 1, 0]
FEATURES = np.random.default_rng(0).random((3, 2048), np.float32)
VIEWS = {"224": FEATURES, "224m": FEATURES[:, ::-1]}
ORDER = [2, 0, 1]
"""The natural order of IDS."""


def with_value(value):
    changed = FEATURES.astype(np.float64)
    changed[1, 2047] = value
    return {"224": changed}


def test_imported_features_are_loaded_in_natural_order(tmp_path):
    import_features(IDS, LABELS, views=VIEWS, artifacts=tmp_path, backbone="resnet50")
    found = load_features(tmp_path)
    assert found.ids.tolist() == ["cat.2", "cat.10", "dog.1"]
    assert found.labels.tolist() == [0, 0, 1]
    assert found.views == ("224", "224m")
    assert found.readable.all()
    assert (found.provenance.weights_name, found.provenance.engine) == ("resnet50", "imported")
    np.testing.assert_array_equal(found.features, np.hstack(list(VIEWS.values()))[ORDER])


def test_a_head_is_trained_on_imported_features(tmp_path):
    random = np.random.default_rng(1)
    labels = np.arange(40) % 2
    features = (random.normal(size=(40, 2048)) + labels[:, np.newaxis]).astype(np.float32)
    ids = [f"{('cat', 'dog')[label]}.{number}" for number, label in enumerate(labels)]
    import_features(ids, labels, views={"224": features}, artifacts=tmp_path)
    import_features(
        [str(number) for number in range(1, 41)], None, views={"224": features}, artifacts=tmp_path, split="test"
    )
    catsdogs.train(tmp_path)
    catsdogs.submit(tmp_path)
    rows = (tmp_path / "submission.csv").read_text().splitlines()[1:]
    answers = [float(row.split(",")[1]) > 0.5 for row in rows]
    assert np.mean(answers == (labels == 1)) > 0.9


@given(st.permutations(range(3)), st.permutations(list(VIEWS)))
def test_the_order_of_imported_rows_does_not_change_the_files(rows, views):
    with folder_in_memory() as one, folder_in_memory() as other:
        import_features(IDS, LABELS, views=VIEWS, artifacts=one)
        labels = np.array(LABELS)[rows]
        permuted = {view: VIEWS[view][rows] for view in views}
        import_features([IDS[row] for row in rows], labels, views=permuted, artifacts=other)
        assert tree(one) == tree(other)


@pytest.mark.parametrize(
    ("ids", "labels", "features"),
    [
        (np.array(IDS), np.array(LABELS, np.float64), FEATURES.astype(np.float64)),
        (tuple(IDS), np.array(LABELS, bool), FEATURES.tolist()),
        (np.array(IDS, object), np.array(LABELS, np.int64), FEATURES.astype(">f4")),
        (IDS, tuple(LABELS), np.asfortranarray(FEATURES)),
    ],
)
def test_equivalent_arguments_give_the_same_cache(tmp_path, ids, labels, features):
    import_features(IDS, LABELS, views={"224": FEATURES}, artifacts=tmp_path / "one")
    import_features(ids, labels, views={"224": features}, artifacts=tmp_path / "other")
    assert tree(tmp_path / "one") == tree(tmp_path / "other")


def test_the_largest_allowed_number_of_views_is_imported(tmp_path):
    views = {letter * 27: FEATURES for letter in "abcdef"} | {"x" * 31: FEATURES}
    assert sum(len(view) + 1 for view in views) == 200
    import_features(IDS, LABELS, views=views, artifacts=tmp_path)
    assert load_features(tmp_path).features.shape == (len(IDS), 7 * 2048)


def test_float64_is_rounded_to_float32(tmp_path):
    features = np.random.default_rng(0).random((3, 2048))
    import_features(IDS, LABELS, views={"224": features}, artifacts=tmp_path)
    np.testing.assert_array_equal(load_features(tmp_path).features, features.astype(np.float32)[ORDER])


def test_a_memory_mapped_array_is_imported(tmp_path):
    np.save(tmp_path / "features.npy", FEATURES)
    mapped = np.load(tmp_path / "features.npy", mmap_mode="r")
    import_features(IDS, LABELS, views={"224": mapped}, artifacts=tmp_path)
    np.testing.assert_array_equal(load_features(tmp_path).features, FEATURES[ORDER])


def test_odd_but_printable_ids_are_kept(tmp_path):
    ids = ["猫 1", "cafe\u0301", 'a,"b"', r"caf\xe9", "🐶", "../x", "-5", "می\u200cرود", "x" * 255]
    features = np.random.default_rng(0).random((len(ids), 2048), np.float32)
    import_features(ids, None, views={"224": features}, artifacts=tmp_path)
    found = load_features(tmp_path)
    assert set(found.ids.tolist()) == set(ids)
    for name, row in zip(found.ids.tolist(), found.features, strict=True):
        np.testing.assert_array_equal(row, features[ids.index(name)])


def test_ids_without_labels_are_unknown(tmp_path):
    import_features(IDS, None, views=VIEWS, artifacts=tmp_path, split="test")
    assert load_features(tmp_path, split="test").labels.tolist() == [-1, -1, -1]


def test_importing_the_same_again_writes_nothing(tmp_path):
    import_features(IDS, LABELS, views=VIEWS, artifacts=tmp_path)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "features").rglob("*")}
    import_features(IDS, LABELS, views=VIEWS, artifacts=tmp_path)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "features").rglob("*")} == before


def test_more_rows_and_a_second_split_are_added(tmp_path):
    import_features(IDS[:2], LABELS[:2], views={"224": FEATURES[:2]}, artifacts=tmp_path / "grown")
    for root in (tmp_path / "grown", tmp_path / "at once"):
        import_features(IDS, LABELS, views={"224": FEATURES}, artifacts=root)
        import_features(["1"], None, views={"224": FEATURES[:1]}, artifacts=root, split="test")
    assert tree(tmp_path / "grown") == tree(tmp_path / "at once")
    assert load_features(tmp_path / "grown", split="test").ids.tolist() == ["1"]


def test_changed_features_and_labels_replace_the_old_ones(tmp_path):
    import_features(IDS, LABELS, views={"224": FEATURES}, artifacts=tmp_path / "changed")
    changed = FEATURES.copy()
    changed[1] = 0
    for root in (tmp_path / "changed", tmp_path / "at once"):
        import_features(IDS, [0, 1, -1], views={"224": changed}, artifacts=root)
    assert tree(tmp_path / "changed") == tree(tmp_path / "at once")


def test_other_ids_and_labels_for_the_same_features_need_no_option(tmp_path):
    import_features(IDS, LABELS, views=VIEWS, artifacts=tmp_path / "changed")
    for root in (tmp_path / "changed", tmp_path / "at once"):
        import_features(["a", "b", "c"], [1, 0, 1], views=VIEWS, artifacts=root)
    assert tree(tmp_path / "changed") == tree(tmp_path / "at once")


@pytest.mark.parametrize("name", ["224.npy", "224.sums.npy", "digests.npy", "ids.npy", "labels.npy", "facts.npy"])
def test_importing_the_same_again_repairs_damage(tmp_path, name):
    import_features(IDS, LABELS, views=VIEWS, artifacts=tmp_path)
    whole = tree(tmp_path)
    flip(tmp_path / "features/train" / name, -1)
    with pytest.raises(CatsDogsError, match="or import the same features again"):
        load_features(tmp_path)
    import_features(IDS, LABELS, views=VIEWS, artifacts=tmp_path)
    assert tree(tmp_path) == whole


def test_imported_rows_are_not_kept_in_shards(tmp_path):
    import_features(IDS, LABELS, views=VIEWS, artifacts=tmp_path)
    assert not (tmp_path / "features/shards").exists()


def test_images_with_equal_features_have_equal_digests(tmp_path):
    import_features(IDS, LABELS, views={"224": FEATURES[[0, 1, 0]]}, artifacts=tmp_path)
    digests = load_features(tmp_path).digests
    assert digests[0].tobytes() == digests[1].tobytes() != digests[2].tobytes()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"ids": []}, "there are no ids. Give a sequence"),
        ({"ids": None}, "there are no ids. Give a sequence"),
        ({"ids": "abc"}, "there are no ids. Give a sequence"),
        ({"ids": ["a", "b", "a"]}, "the id a is given twice"),
        ({"ids": [1, 2, 3]}, "1 is not an id. Give text"),
        ({"ids": [b"a", b"b", b"c"]}, "b'a' is not an id"),
        ({"ids": ["a", "b", ""]}, "'' is not an id"),
        ({"ids": ["a", "b", None]}, "None is not an id"),
        ({"ids": ["a", "b", "c\0"]}, r"'c\x00' is not an id"),
        ({"ids": ["a", "b", "c\nd"]}, r"'c\nd' is not an id"),
        ({"ids": ["a", "b", "caf\udce9"]}, r"'caf\udce9' is not an id"),
        ({"ids": ["a", "b", "\ud800"]}, r"'\ud800' is not an id"),
        (
            {"ids": ["a", "b", "=1+1"]},
            "'=1+1' is not an id. Give text of 1 to 255 printable characters",
        ),
        ({"ids": ["a", "b", "c\u202e"]}, r"'c\u202e' is not an id"),
        ({"ids": ["a", "b", "c" * 256]}, "is not an id. Give text of 1 to 255"),
        ({"ids": np.array([["a", "b", "c"]])}, "is not an id"),
        ({"ids": ["a", "b"]}, "the labels have shape (3,), but there are 2 ids"),
        ({"labels": [0, 1]}, "the labels have shape (2,), but there are 3 ids"),
        ({"labels": [[0, 1, 0]]}, "the labels have shape (1, 3), but there are 3 ids"),
        ({"labels": 1}, "the labels have shape (), but there are 3 ids"),
        ({"labels": [0, 1, 2]}, "2 is not a label. Give 1 for the second class (dog)"),
        ({"labels": [0, 0.5, 1]}, "0.5 is not a label"),
        ({"labels": [0, 1, np.nan]}, "nan is not a label"),
        ({"labels": np.array([0, 1, 255], np.uint8)}, "255 is not a label"),
        ({"labels": ["cat", "dog", "cat"]}, "the dtype of the labels is <U3"),
        ({"labels": [0, 1, None]}, "the dtype of the labels is object"),
        ({"labels": [[0], 1, 0]}, "the labels cannot be converted to an array"),
        ({"views": {}}, "there are no features"),
        ({"views": None}, "there are no features"),
        ({"views": FEATURES}, "there are no features"),
        ({"views": {"224": FEATURES[:2]}}, "view 224 has shape (2, 2048). Give an array of shape (3, 2048)"),
        ({"views": {"224": FEATURES, "288": FEATURES[:, :2047]}}, "view 288 has shape (3, 2047)"),
        ({"views": {"224": FEATURES[0]}}, "view 224 has shape (2048,)"),
        ({"views": {"224": None}}, "the dtype of view 224 is object"),
        ({"views": {"224": FEATURES.astype(object)}}, "the dtype of view 224 is object"),
        ({"views": {"224": FEATURES.astype(str)}}, "the dtype of view 224 is <U32"),
        ({"views": {"224": FEATURES.astype(np.uint8)}}, "the dtype of view 224 is uint8"),
        ({"views": {"224": FEATURES.astype(complex)}}, "the dtype of view 224 is complex128"),
        ({"views": {"224": [[1.0], [1.0, 2.0]]}}, "view 224 cannot be converted to an array"),
        ({"views": with_value(np.nan)}, "view 224 has NaN or infinite values in row 1"),
        ({"views": with_value(-np.inf)}, "view 224 has NaN or infinite values in row 1"),
        ({"views": with_value(1e300)}, "view 224 has NaN or infinite values in row 1"),
        ({"views": {"": FEATURES}}, "'' cannot be the name of a view"),
        ({"views": {"../x": FEATURES}}, "'../x' cannot be the name of a view"),
        ({"views": {"224.sums": FEATURES}}, "'224.sums' cannot be the name of a view"),
        ({"views": {"224M": FEATURES}}, "'224M' cannot be the name of a view"),
        ({"views": {"224\n": FEATURES}}, r"'224\n' cannot be the name of a view"),
        ({"views": {"²": FEATURES}}, r"'\xb2' cannot be the name of a view"),
        ({"views": {"labels": FEATURES}}, "'labels' cannot be the name of a view"),
        ({"views": {224: FEATURES}}, "224 cannot be the name of a view"),
        ({"views": dict.fromkeys([c * 32 for c in "abcdefg"], FEATURES)}, "names of the views have 230 characters"),
        ({"split": "validation"}, "there is no split 'validation'. Give one of train, test"),
        ({"split": None}, "there is no split None"),
        ({"backbone": ""}, "'' cannot be the name of a backbone"),
        ({"backbone": "a\udce9"}, r"'a\udce9' cannot be the name of a backbone"),
    ],
)
def test_invalid_arguments_are_one_line_and_nothing_is_written(tmp_path, given, message):
    arguments = {"ids": IDS, "labels": LABELS, "views": VIEWS, "artifacts": tmp_path / "artifacts"} | given
    ids, labels, views = (arguments.pop(name) for name in ("ids", "labels", "views"))
    with pytest.raises(CatsDogsError, match=re.escape(message)) as caught:
        import_features(ids, labels, views=views, **arguments)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "artifacts").exists()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backbone": "another"}, r"has 3 rows computed by imported .* another .* would replace them"),
        ({"views": {"224": FEATURES}}, r"view 224, 224m\); imported .*view 224\) would replace them"),
        (
            {"ids": IDS[:1], "labels": [0], "views": {view: array[:1] for view, array in VIEWS.items()}},
            "would lose 2 of the 3 train images and all 1 train images of class dog",
        ),
    ],
)
def test_existing_features_are_not_replaced_by_other_features(tmp_path, given, message):
    import_features(IDS, LABELS, views=VIEWS, artifacts=tmp_path)
    before = tree(tmp_path)
    arguments = {"ids": IDS, "labels": LABELS, "views": VIEWS, "artifacts": tmp_path} | given
    with pytest.raises(CatsDogsError, match=message):
        import_features(**arguments)
    assert tree(tmp_path) == before


def test_damage_in_the_other_split_does_not_stop_an_import(tmp_path):
    import_features(IDS, LABELS, views=VIEWS, artifacts=tmp_path)
    path = tmp_path / "features/train/224.npy"
    path.write_bytes(path.read_bytes()[:-1])
    import_features(
        ["1", "2"], None, views={name: array[:2] for name, array in VIEWS.items()}, artifacts=tmp_path, split="test"
    )
    assert len(load_features(tmp_path, split="test").ids) == 2
    with pytest.raises(CatsDogsError, match=r"train/224\.npy is missing or damaged"):
        load_features(tmp_path)


BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "import_features.py"
COMPUTED = """
import numpy as np

def load(*names):
    return np.array(["cat.1", "dog.1"]), np.array([0, 1], np.int8), {name: np.ones((2, 2048)) for name in names}
"""


@pytest.mark.slow
def test_the_benchmark_imports_a_folder_of_features(tmp_path):
    (tmp_path / "features.py").write_text(COMPUTED)
    arguments = [str(tmp_path), str(tmp_path / "out"), "224", "224m"]
    done = subprocess.run([sys.executable, BENCHMARK, *arguments], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "train/224m.npy" in done.stdout
    found = load_features(tmp_path / "out")
    assert (found.ids.tolist(), found.features.shape) == (["cat.1", "dog.1"], (2, 4096))
