import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

import catsdogs
from catsdogs import CatsDogsError, import_features, load_features
from catsdogs.cache import Cache, Duplicates, group_images, load_duplicates, read_duplicates
from catsdogs.cache.groups import connected_groups
from catsdogs.cache.neighbours import find_pairs
from catsdogs.cache.ratio_test import RatioTest

N_FEATURES = 2048


def unlike(n, seed=0):
    """Draw features of unrelated images."""
    return np.random.default_rng(seed).gamma(0.5, size=(n, N_FEATURES)).astype(np.float32)


def opened(artifacts):
    return Cache(artifacts / "features")


def groups_of(artifacts, features, **options):
    cache = opened(artifacts)
    return group_images(cache, features, load_duplicates(cache, **options))


def nearly(features, seed=1):
    return (features * np.random.default_rng(seed).normal(1, 0.05, features.shape)).astype(np.float32)


def digests_of(n):
    return np.random.default_rng(2).integers(0, 256, (n, 16), np.uint8)


def pairs_of(features, digests=None):
    first, second, similarity = find_pairs(digests_of(len(features)) if digests is None else digests, features)
    return dict(zip(zip(first.tolist(), second.tolist(), strict=True), similarity.tolist(), strict=True))


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A cache of 300 training and 100 test images: 0, 1 and 2 are one image, and so are 3 and 4, 5 and a test image."""
    folder = tmp_path_factory.mktemp("made")
    train, test = unlike(300), unlike(100, seed=3)
    train[1], train[2] = train[0], nearly(train[0])
    train[4] = nearly(train[3])
    test[7] = nearly(train[5])
    ids, labels = [f"image{number}" for number in range(300)], np.arange(300) % 2
    import_features(ids, labels, views={"224": train}, artifacts=folder)
    import_features(
        [f"test{number}" for number in range(100)], None, views={"224": test}, artifacts=folder, split="test"
    )
    return folder


@pytest.fixture
def imported(made, tmp_path):
    return shutil.copytree(made, tmp_path / "artifacts")


def test_unrelated_images_are_not_pairs():
    assert pairs_of(unlike(300)) == {}


@pytest.mark.parametrize("offset", [0, 1000])
def test_near_duplicates_are_found_if_all_features_are_nearly_parallel(offset):
    features = unlike(300) + np.float32(offset)
    features[[250, 251]] = nearly(features[[10, 20]] - np.float32(offset)) + np.float32(offset)
    found = pairs_of(features)
    assert set(found) == {(10, 250), (20, 251)}
    assert all(0.9 < similarity < 1 for similarity in found.values())


def test_a_component_with_nearly_all_variance_does_not_change_the_pairs():
    random = np.random.default_rng(0)
    features = unlike(300) + 100 * random.random((300, 1), np.float32) @ random.random((1, N_FEATURES), np.float32)
    features[250] = features[10] + 0.05 * random.standard_normal(N_FEATURES)
    assert set(pairs_of(features)) == {(10, 250)}


@pytest.mark.parametrize("dimensions", [0, 1, 2, 3, 5, 8])
def test_features_that_do_not_distinguish_images_make_no_pairs(dimensions):
    random = np.random.default_rng(0)
    features = random.standard_normal((300, dimensions)) @ random.standard_normal((dimensions, N_FEATURES))
    assert pairs_of((1 + features).astype(np.float32)) == {}


def film(length, scenes):
    """Draw features of 300 images, of which the first `length` are the frames of a film, each nearly as the next."""
    features, at = unlike(300), np.linspace(0, scenes, length, endpoint=False)[:, np.newaxis]
    scene, share = at.astype(int).ravel(), at % 1
    shown = unlike(scenes + 1, seed=4)
    features[:length] = (1 - share) * shown[scene] + share * shown[scene + 1]
    return features


def groups_by(features, digests=None):
    first, second, _ = find_pairs(digests_of(len(features)) if digests is None else digests, features)
    return connected_groups(len(features), first, second)


def test_the_frames_of_a_film_are_one_group():
    groups = groups_by(film(40, 2))
    assert len(set(groups[:40].tolist())) == 1
    assert len(set(groups.tolist())) == 300 - 39


def test_frames_that_move_by_steps_of_random_size_are_one_group_per_film():
    random = np.random.default_rng(0)
    steps = random.standard_normal((4, 120, 1024)) * random.uniform(0.3, 1, (4, 120, 1)) * 0.35
    films = random.standard_normal((4, 1, 1024)) + np.cumsum(steps, axis=1)
    films *= np.sqrt(1024) / np.linalg.norm(films, axis=2, keepdims=True)
    features = random.standard_normal((1280, N_FEATURES)).astype(np.float32)
    scale = (1 + np.arange(N_FEATURES)) ** -0.5
    features[:480, :1024] = films.reshape(480, 1024)
    features[:480, 1024:] = np.repeat(features[:480:120, 1024:], 120, axis=0)
    groups = groups_by((features * scale).astype(np.float32))
    assert [len(set(groups[start : start + 120].tolist())) for start in range(0, 480, 120)] == [1, 1, 1, 1]
    assert len(set(groups.tolist())) == 4 + 800


@pytest.mark.parametrize(("films", "frames", "links"), [(2, 120, 0.9), (4, 120, 0.95), (12, 40, 1)])
def test_films_are_groups_in_a_set_of_nothing_else(films, frames, links):
    random = np.random.default_rng(films)
    scenes = random.gamma(0.5, size=(films, 5, 1, N_FEATURES)) + 0.3 * random.gamma(0.5, size=(films, 1, 1, N_FEATURES))
    at = np.linspace(0, 4, frames)[:, np.newaxis]
    frame = sum(np.maximum(0, 1 - abs(at - place)) * scenes[:, place] for place in range(5))
    features = (frame * random.normal(1, 0.1, frame.shape)).reshape(-1, N_FEATURES).astype(np.float32)
    groups, film = groups_by(features), np.repeat(np.arange(films), frames)
    same = groups[1:] == groups[:-1]
    assert np.mean(same[film[1:] == film[:-1]]) >= links
    assert not np.any(same[film[1:] != film[:-1]])
    assert len(set(zip(groups.tolist(), film.tolist(), strict=True))) == len(set(groups.tolist()))
    assert np.bincount(groups).max() <= len(groups) // 10


@pytest.mark.parametrize("dimensions", [3, 8, 30])
def test_images_that_features_hardly_tell_apart_are_no_films(dimensions):
    random = np.random.default_rng(0)
    features = random.standard_normal((300, dimensions)) @ random.standard_normal((dimensions, N_FEATURES))
    assert len(set(groups_by(features.astype(np.float32)).tolist())) > 290


def test_a_film_of_more_than_a_fifth_of_the_images_is_cut_into_long_pieces():
    groups = groups_by(film(150, 6))
    pieces = np.unique(groups[:150])
    assert 3 <= len(pieces) <= 8
    assert np.bincount(groups).max() <= 300 // 5
    assert np.sum(groups[:149] != groups[1:150]) == len(pieces) - 1


@pytest.mark.parametrize(
    ("pictures", "copies", "others"),
    [
        *((60, 2, 0), (30, 4, 0), (20, 12, 0), (12, 12, 0), (20, 12, 800)),
        *(pytest.param(*case, 800, marks=pytest.mark.slow) for case in ((60, 2), (30, 4), (12, 12))),
    ],
)
@pytest.mark.parametrize("noise", [0.02, 0.15])
def test_copies_share_a_group_in_small_sets_and_in_large_groups(pictures, copies, others, noise):
    random = np.random.default_rng(0)
    features = np.repeat(unlike(pictures), copies, axis=0)
    features = (features * random.normal(1, noise, features.shape)).astype(np.float32)
    groups = groups_by(np.concatenate([features, unlike(others, seed=1)]))
    wanted = np.concatenate([np.repeat(np.arange(pictures), copies), pictures + np.arange(others)])
    assert len(set(groups.tolist())) == pictures + others
    assert len(set(zip(groups.tolist(), wanted.tolist(), strict=True))) == pictures + others


def test_a_large_group_has_one_pair_less_than_images():
    features = unlike(300)
    features[100:150] = nearly(features[[10] * 50])
    assert len(pairs_of(features)) == 50


@pytest.mark.parametrize("n", [40, 120, 500])
def test_copies_of_one_picture_are_one_group_even_if_most_images_are(n):
    features = unlike(n)
    features[: n * 3 // 4] = nearly(features[[0] * (n * 3 // 4)])
    groups = groups_by(features)
    assert np.bincount(groups).max() == n * 3 // 4


@pytest.mark.parametrize("scale", [1e-40, 1e-20, 1e20, 1e37])
def test_the_scale_of_the_features_does_not_matter(scale):
    features = unlike(200).clip(1e-3)
    features[100] = nearly(features[10])
    assert set(pairs_of((features.astype(np.float64) * scale).astype(np.float32))) == {(10, 100)}


@pytest.mark.parametrize("n", [0, 1, 2, 3])
def test_too_few_images_for_the_ratio_test_make_no_pairs(n):
    assert pairs_of(unlike(n)) == {}


def test_each_of_several_identical_images_is_paired_with_the_first():
    features, digests = unlike(300), digests_of(300)
    features[100:200], digests[100:200] = features[50], digests[50]
    features[250] = nearly(features[50])
    found = pairs_of(features, digests)
    assert {pair for pair, similarity in found.items() if similarity == 1} == {(50, row) for row in range(100, 200)}
    assert {pair for pair, similarity in found.items() if similarity < 1} == {(50, 250)}


def crowd(n):
    """Draw features of images of 20 kinds, with 100 copies, some of them near-duplicates, and 40 frames of a film."""
    random = np.random.default_rng(0)
    latent = random.standard_normal((n, 64)) + random.standard_normal((20, 64))[random.integers(0, 20, n)]
    features = np.maximum(latent @ random.standard_normal((64, 256)), 0)
    # From so like that all methods find them to so unlike that none does; and a film, each frame like the next.
    strength = np.linspace(0.02, 0.6, 100)[:, np.newaxis]
    features[100:200] = features[:100] * random.normal(1, strength, (100, 256))
    features[200:240] = features[200] + np.linspace(0, 0.5, 40)[:, np.newaxis] * features[201]
    return features.astype(np.float32)


def in_film(row):
    return 200 <= row < 240


def pairs_by_comparing_all_with_all(features):
    """Return the pairs by definition, for at most 2,048 images without the film."""
    centred = features.astype(np.float64) - features.mean(axis=0, dtype=np.float64)
    _, deviations, components = np.linalg.svd(centred, full_matrices=False)
    points = centred @ components[:128].T / np.sqrt(deviations[:128])
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    distances = 1 - points @ points.T
    np.fill_diagonal(distances, np.inf)
    near = distances < 0.15 * np.sort(distances, axis=1)[:, 9:10]
    pairs = np.argwhere(np.triu(near & near.T))
    return {(a, b) for a, b in pairs.tolist() if not in_film(a)}


def test_the_pairs_equal_those_of_a_complete_comparison():
    features = crowd(2000)
    wanted = pairs_by_comparing_all_with_all(features)
    assert 50 < len(wanted) < 95
    assert {pair for pair in pairs_of(features) if not in_film(pair[0])} == wanted


def test_pairs_depend_on_neither_the_order_of_the_images_nor_the_threads(monkeypatch):
    features, digests, order = crowd(3000), digests_of(3000), np.random.default_rng(5).permutation(3000)
    there = pairs_of(features, digests)
    monkeypatch.setattr("catsdogs.threads.cpu_count", lambda: 5)
    again = pairs_of(features[order], digests[order])
    assert {tuple(sorted(order[list(pair)].tolist())): similarity for pair, similarity in again.items()} == there
    assert 50 < len(there) < 95


def test_four_times_the_images_are_compared_eight_times_as_often(monkeypatch):
    compared, find_near = [], RatioTest.find_near

    def count(test, points, rows, other_points, other_rows):
        if points is not other_points:  # not in the sample, whose size is fixed
            compared[-1] += len(points) * len(other_points)
        return find_near(test, points, rows, other_points, other_rows)

    monkeypatch.setattr(RatioTest, "find_near", count)
    for n in (1500, 6000):
        compared.append(0)
        assert pairs_of(np.random.default_rng(0).standard_normal((n, 64)).astype(np.float32)) == {}
    assert compared[1] < 9 * compared[0] < 9 * 1500**2 / 3


def test_without_features_only_identical_images_are_pairs():
    digests = digests_of(300)
    digests[[20, 30, 299]] = digests[[10, 10, 0]]
    first, second, similarity = find_pairs(digests)
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(0, 299), (10, 20), (10, 30)]
    assert similarity.tolist() == [1, 1, 1]


def test_pairs_are_stored_beside_the_features_and_open_with_numpy(imported):
    pairs = np.load(imported / "features/duplicates.npy", allow_pickle=False)
    ends = [tuple(row) for row in pairs[["split", "id", "other_split", "other_id"]].tolist()]
    assert ends == [
        ("train", "image0", "train", "image1"),
        ("train", "image0", "train", "image2"),
        ("train", "image3", "train", "image4"),
        ("train", "image5", "test", "test7"),
    ]
    assert (pairs["similarity"] == 1).tolist() == [True, False, False, False]
    assert pairs[["label", "other_label"]].tolist() == [(0, 1), (0, 0), (1, 0), (1, -1)]
    assert Duplicates(pairs, near=True).counts() == {
        "pairs": 4,
        "identical": 1,
        "across_classes": 2,
        "contradictory": 1,
        "across_splits": 1,
        "near": True,
    }
    assert catsdogs.info(imported).duplicates == Duplicates(pairs, near=True).counts()


def test_identical_images_are_found_without_reading_features(imported):
    both = load_duplicates(opened(imported)).pairs
    for path in [*(imported / "features").glob("duplicates.*"), *(imported / "features").rglob("224.npy")]:
        path.unlink()
    identical = load_duplicates(opened(imported), near=False).pairs
    assert identical[["id", "other_id"]].tolist() == [("image0", "image1")]
    assert identical.tolist() == both[both["similarity"] == 1].tolist()
    assert json.loads((imported / "features/duplicates.json").read_text())["near"] is False
    assert read_duplicates(opened(imported)).pairs.tolist() == identical.tolist()
    with pytest.raises(CatsDogsError, match=r"224\.npy is missing or damaged"):
        load_duplicates(opened(imported), near=True)


def test_unreadable_images_are_not_duplicates_of_each_other(tmp_path, write_folder, draw, encode, tiny_backbone):
    files = {f"train/cat.{number}.png": encode(draw(number)) for number in range(3)}
    files |= {f"train/dog.{number}.png": content for number, content in enumerate([b"no image", b"no image"])}
    files["train/dog.3.png"] = files["train/cat.2.png"]
    data = write_folder(tmp_path / "data", files)
    catsdogs.extract(data, artifacts=tmp_path / "artifacts", weights=str(tiny_backbone))
    (tmp_path / "artifacts/features/duplicates.json").unlink()
    found = load_duplicates(opened(tmp_path / "artifacts"), near=False).pairs
    assert found[["id", "other_id"]].tolist() == [("cat.2", "dog.3")]


def test_near_duplicates_are_added_to_stored_identical_images(imported):
    files = sorted((imported / "features").glob("duplicates.*"))
    with_near = [path.read_bytes() for path in files]
    assert [len(load_duplicates(opened(imported), near=near).pairs) for near in (True, False)] == [4, 1]
    assert len(set(groups_of(imported, load_features(imported), near=False)[:5].tolist())) == 4
    assert [path.read_bytes() for path in files] == with_near
    files[0].unlink()
    features = load_features(imported)
    assert len(set(groups_of(imported, features, near=False)[:5].tolist())) == 4
    assert len(read_duplicates(opened(imported)).pairs) == 1
    assert len(set(groups_of(imported, features)[:5].tolist())) == 2
    assert [path.read_bytes() for path in files] == with_near


def test_images_connected_by_pairs_of_the_split_share_a_group(imported):
    groups = groups_of(imported, load_features(imported))
    assert groups.shape == (300,)
    assert len(set(groups[:3].tolist())) == len(set(groups[3:5].tolist())) == 1
    assert len(set(groups.tolist())) == 300 - 3


def damage(content):
    return content[:-1] + bytes([content[-1] ^ 1])


@pytest.mark.parametrize("name", ["duplicates.npy", "duplicates.json"])
@pytest.mark.parametrize("change", [damage, lambda content: b"", lambda content: b"{}", None])
def test_missing_or_damaged_pairs_are_restored_to_the_same_bytes(imported, name, change):
    path = imported / "features" / name
    before = path.read_bytes()
    if change:
        path.write_bytes(change(before))
    else:
        path.unlink()
    assert read_duplicates(opened(imported)) is None
    assert catsdogs.info(imported).duplicates == {}
    groups_of(imported, load_features(imported))
    assert path.read_bytes() == before


def test_pairs_of_other_features_are_stale(imported):
    old = {path: path.read_bytes() for path in (imported / "features").glob("duplicates.*")}
    more = unlike(101, seed=3)
    more[100] = more[50]
    import_features(
        [f"test{number}" for number in range(101)], None, views={"224": more}, artifacts=imported, split="test"
    )
    assert ("test50", "test100") in load_duplicates(opened(imported)).pairs[["id", "other_id"]].tolist()
    for path, content in old.items():
        path.write_bytes(content)
    assert read_duplicates(opened(imported)) is None
    assert ("test50", "test100") in load_duplicates(opened(imported)).pairs[["id", "other_id"]].tolist()


def test_stored_pairs_are_not_searched_for_again(imported):
    told = []
    load_duplicates(opened(imported), progress=lambda *step: told.append(step))
    assert told == []
    (imported / "features/duplicates.json").unlink()
    load_duplicates(opened(imported), progress=lambda *step: told.append(step))
    assert ("searching for duplicates", 399, 399) in told


def test_a_recompressed_copy_is_found_among_extracted_images(tmp_path, draw, encode, write_folder, tiny_backbone):
    files = {
        f"train/{kind}.{number}.jpg": encode(draw(number + 100 * (kind == "dog")), "JPEG", quality=95)
        for kind in ("cat", "dog")
        for number in range(60)
    }
    again = Image.open(io.BytesIO(files["train/cat.5.jpg"]))
    files["train/dog.99.jpg"] = encode(again, "JPEG", quality=85)
    files["test/1.jpg"] = files["train/dog.7.jpg"]
    files["train/cat.98.jpg"] = files["test/2.jpg"] = b"this is no image"
    done = catsdogs.extract(
        write_folder(tmp_path / "data", files), artifacts=tmp_path / "artifacts", weights=str(tiny_backbone)
    )
    pairs = load_duplicates(opened(tmp_path / "artifacts")).pairs
    assert pairs[["id", "other_id"]].tolist() == [("cat.5", "dog.99"), ("dog.7", "1")]
    counts = {"pairs": 2, "identical": 1, "across_classes": 1, "contradictory": 0, "across_splits": 1, "near": True}
    assert done.duplicates == counts


def test_features_that_the_cache_no_longer_has_are_not_grouped(imported):
    old = load_features(imported)
    changed, labels = old.features.copy(), np.arange(300) % 2
    changed[1] = unlike(1, seed=4)
    import_features(old.ids.tolist(), labels, views={"224": changed}, artifacts=imported)
    with pytest.raises(CatsDogsError, match=r"features has changed while it was read\. Run the same"):
        groups_of(imported, old)
    groups = groups_of(imported, load_features(imported)).tolist()
    assert groups[0] == groups[2] != groups[1]
    assert groups[3] == groups[4]
