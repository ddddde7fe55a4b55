"""Picture files, batches of pictures, picture data sets."""
import gzip
import io
import math
import sys
import tarfile

import numpy as np
import pytest
import torch
from benchopt.benchmark import Benchmark
from PIL import Image

from benchmark_shine.bench.networks import build
from benchmark_shine.data import mnist, pictures as images
from benchmark_shine.data import readers
from benchmark_shine.problems import MDEQ, SmallDEQ


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def some_pictures(n=24, size=8, **augmentation):
    """Noise pictures of three classes, for training and test."""
    pixels = np.random.default_rng(0).integers(0, 256, (n, 3, size, size))
    part = pixels.astype(np.uint8), np.arange(n) % 3
    return images.pictures(part, part, **augmentation)


# ---------------------------------------------------------- augmentation


def test_crops_are_parts_of_the_padded_picture():
    x = torch.randn(50, 2, 6, 5, generator=generator())
    cut = images.crop(x, 2, generator(3))
    assert cut.shape == x.shape
    assert torch.equal(cut, images.crop(x, 2, generator(3)))
    assert not torch.equal(cut, images.crop(x, 2, generator(4)))
    padded = torch.nn.functional.pad(x, (2, 2, 2, 2))
    places = set()
    for i in range(50):
        found = [
            (r, c) for r in range(5) for c in range(5)
            if torch.equal(padded[i, :, r:r + 6, c:c + 5], cut[i])
        ]
        assert len(found) == 1
        places.update(found)
    assert len(places) > 15


def test_flips_are_of_half_the_pictures():
    x = torch.randn(200, 1, 3, 4, generator=generator())
    out = images.flip(x, generator(1))
    mirrored = [torch.equal(a, b.flip(2)) for a, b in zip(out, x)]
    kept = [torch.equal(a, b) for a, b in zip(out, x)]
    assert all(a != b for a, b in zip(mirrored, kept))
    assert 70 < sum(mirrored) < 130
    assert torch.equal(out, images.flip(x, generator(1)))


def test_pictures_are_normalised_and_augmented_in_training_only():
    train, test = some_pictures(n=60, padding=2, flips=True)
    x, y = train.batch(torch.arange(60))
    assert x.shape == (60, 3, 8, 8) and x.dtype == torch.float32
    assert x.mean(dim=(0, 2, 3)).tolist() == pytest.approx([0] * 3, abs=1e-5)
    assert x.std(dim=(0, 2, 3)).tolist() == pytest.approx([1] * 3, abs=1e-2)
    moved, same = (train.batch(torch.arange(60), generator(5))[0]
                   for _ in range(2))
    assert torch.equal(moved, same) and not torch.equal(moved, x)
    again, _ = test.batch(torch.arange(60), generator(5))
    assert torch.equal(again, x)
    assert torch.equal(y, torch.arange(60) % 3)


def test_smaller_pictures_are_averages():
    pixels = np.arange(16, dtype=np.uint8).reshape(1, 1, 4, 4)
    part = pixels, np.array([0])
    train, _ = images.pictures(part, part, 2)
    expected = pixels.reshape(2, 2, 2, 2).mean(axis=(1, 3)).round()
    assert train.pixels[0, 0].tolist() == expected.tolist()
    with pytest.raises(ValueError, match="size: must divide"):
        images.pictures(part, part, 3)


@pytest.mark.parametrize("width, height", [(500, 375), (40, 900), (900, 40)])
def test_random_parts_lie_in_the_picture(width, height):
    draws = torch.rand(100, 32, generator=generator()).tolist()
    for draw in draws:
        left, top, right, bottom = images.random_part(width, height, draw)
        assert 0 <= left < right <= width + 1e-9
        assert 0 <= top < bottom <= height + 1e-9
        ratio = (right - left) / (bottom - top)
        assert 3 / 4 - 1e-9 <= ratio <= 4 / 3 + 1e-9


# --------------------------------------------------------------- readers


def idx(array):
    head = bytes([0, 0, 8, array.ndim])
    return head + np.array(array.shape, ">u4").tobytes() + array.tobytes()


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_idx_round_trip(tmp_path, pack):
    array = np.arange(2 * 3 * 4, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "x-idx3-ubyte"
    path.write_bytes(pack(idx(array)))
    found = readers.read_idx(path)
    assert found.dtype == np.uint8 and np.array_equal(found, array)


GOOD = idx(np.arange(24, dtype=np.uint8).reshape(2, 3, 4))


@pytest.mark.parametrize("content", [
    b"", GOOD[:9], GOOD[:-1], GOOD + b"x", b"\0\0\x0d" + GOOD[3:],
    gzip.compress(GOOD)[:-9], b"\x1f\x8bnonsense",
    b"\0\0\x08\xff" + GOOD[4:], b"\0\0\x08\3" + b"\xff" * 20, None,
])
def test_bad_idx_files_are_named(tmp_path, content):
    path = tmp_path / "bad-idx"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ValueError, match="bad-idx") as error:
        readers.read_idx(path)
    assert "\n" not in str(error.value)


def test_idx_pair_must_go_together(tmp_path):
    (tmp_path / "x").write_bytes(idx(np.zeros((2, 3, 4), np.uint8)))
    (tmp_path / "y").write_bytes(idx(np.zeros(3, np.uint8)))
    with pytest.raises(ValueError, match="does not go with"):
        readers.read_idx_pictures(tmp_path / "x", tmp_path / "y")


def picture_folder(root, parts=("train", "test"), classes=("cat", "dog"),
                   size=(8, 8), n=3):
    """A folder of one-colour PNG files."""
    for part in parts:
        for i, name in enumerate(classes):
            folder = root / part / name
            folder.mkdir(parents=True)
            for j in range(n):
                colour = 40 * i, 10 * j, 7
                Image.new("RGB", size, colour).save(folder / f"{j}.png")
    return root


def test_folder_round_trip(tmp_path):
    root = picture_folder(tmp_path)
    (root / "train" / "cat" / "notes.txt").write_text("not a picture")
    (train, labels), _, n_classes = readers.two_folders(root)
    pixels = readers.read_pictures(train)
    assert n_classes == 2 and labels.tolist() == [0, 0, 0, 1, 1, 1]
    assert pixels.shape == (6, 3, 8, 8)
    assert pixels[4, :, 0, 0].tolist() == [40, 10, 7]


def cut_short(path):
    path.write_bytes(path.read_bytes()[:40])


def garbage(path):
    path.write_bytes(b"no picture at all")


def another_size(path):
    Image.new("RGB", (5, 8)).save(path)


@pytest.mark.parametrize("damage", [cut_short, garbage, another_size])
def test_bad_pictures_are_named(tmp_path, damage):
    root = picture_folder(tmp_path)
    damage(root / "train" / "dog" / "2.png")
    (train, _), _, _ = readers.two_folders(root)
    with pytest.raises(ValueError, match="2.png") as error:
        readers.read_pictures(train)
    assert "\n" not in str(error.value)


BYTES = np.arange(256, dtype=np.uint8).reshape(16, 16)
BITS = np.arange(64).reshape(8, 8) % 3 > 0
CLEAR = np.array([[[10, 20, 30, 255], [0, 0, 0, 0]]], np.uint8)


def palette():
    picture = Image.new("P", (2, 1))
    picture.putpalette([1, 2, 3, 200, 100, 50])
    picture.putdata([0, 1])
    return picture


@pytest.mark.parametrize("picture, expected", [
    (Image.fromarray(BYTES * np.uint16(257)), BYTES),
    (Image.fromarray(BYTES), BYTES),
    (Image.fromarray(BITS), BITS * 255),
    (palette(), [[[1, 2, 3], [200, 100, 50]]]),
    (Image.fromarray(CLEAR), [[[10, 20, 30], [255, 255, 255]]]),
    (Image.fromarray(CLEAR[..., ::3].copy(), "LA"), [[10, 255]]),
], ids=["16 bits", "8 bits", "1 bit", "palette", "RGBA", "LA"])
def test_pixels_are_those_of_the_file(picture, expected, tmp_path):
    picture.save(tmp_path / "x.png")
    found = np.asarray(readers.open_picture(tmp_path / "x.png"))
    expected = np.array(expected)
    if expected.ndim == 2:
        expected = np.repeat(expected[..., None], 3, axis=2)
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("suffix", ["png", "jpg"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_camera_that_is_turned(orientation, suffix, mode, tmp_path):
    picture = Image.new("L", (32, 16))
    picture.paste(255, (0, 0, 16, 8))  # the upper left quarter is white
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"x.{suffix}"
    picture.convert(mode).save(path, exif=exif)
    found = np.asarray(readers.open_picture(path))
    # EXIF's table: where row 0 and column 0 of the file are seen
    assert found.shape[:2] == ((16, 32) if orientation < 5 else (32, 16))
    down, right = orientation in (3, 4, 7, 8), orientation in (2, 3, 6, 7)
    white = found[-4 if down else 3, -4 if right else 3]
    assert white.min() > 240
    assert found[3 if down else -4, 3 if right else -4].max() < 15


def test_hidden_files_are_passed_over(tmp_path):
    root = picture_folder(tmp_path)
    before = readers.two_folders(root)
    for name in "._0.png", ".DS_Store", ".hidden.jpg":
        (root / "train" / "cat" / name).write_bytes(b"no picture")
        (root / "train" / name).mkdir()
    after = readers.two_folders(root)
    assert before[0][0] == after[0][0] and before[2] == after[2]


@pytest.mark.parametrize("size", [None, 6])
def test_pictures_are_cut_and_resized(size, tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[:, 1:-1] = 200
    wide = np.pad(pixels, ((0, 0), (4, 4), (0, 0)))
    paths = tmp_path / "1.png", tmp_path / "2.png"
    for path, array in zip(paths, (pixels, wide)):
        Image.fromarray(array).save(path)
    if size is None:
        with pytest.raises(ValueError, match="2.png: 16 × 8 pixels"):
            readers.read_pictures(paths)
    else:
        one, two = readers.read_pictures(paths, size).astype(int)
        assert one.shape == (3, size, size)
        assert (one[:, :, 1:-1] == 200).all() and (two[:, :, 0] < 80).all()
        assert abs(one - two).max() < 10


def checked(root, memory):
    paths, labels, _ = readers.list_folder(root / "train")
    return images.PictureFiles.checked(paths, labels, 2, 8, memory)


@pytest.mark.parametrize("damage", [
    cut_short, garbage,
    # in its body, which a look at the header would miss
    lambda path: path.write_bytes(path.read_bytes()[:-4000]),
])
@pytest.mark.parametrize("form", ["PNG", "JPEG"])
def test_a_damaged_picture_is_found_before_the_run(form, damage, tmp_path):
    root = picture_folder(tmp_path / "pictures")
    path = root / "train" / "cat" / "1.png"  # whatever it is
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(pixels).save(path, form)
    assert readers.checked_bytes(path) == path.read_bytes()
    checked(root, tmp_path / "memory")
    damage(path)
    with pytest.raises(ValueError, match="1.png: not a readable") as error:
        checked(root, tmp_path / "memory")
    assert "\n" not in str(error.value)


def test_a_picture_that_changes_during_the_run_is_named(tmp_path):
    root = picture_folder(tmp_path)
    files = checked(root, tmp_path / "memory")
    files.batch(torch.arange(6))
    Image.new("RGB", (9, 9)).save(root / "train" / "cat" / "1.png")
    files.batch(torch.tensor([0, 2, 3]))
    with pytest.raises(ValueError, match="1.png: this picture has changed"):
        files.batch(torch.tensor([0, 1]))


def test_a_folder_of_pictures_has_the_fingerprint_of_its_content(tmp_path):
    one = picture_folder(tmp_path / "one")
    two = picture_folder(tmp_path / "two")
    found = checked(one, tmp_path / "memory").fingerprint
    assert checked(two, tmp_path / "memory").fingerprint == found
    cat, dog = two / "train" / "cat", two / "train" / "dog"
    cat.rename(two / "x"), dog.rename(cat), (two / "x").rename(dog)
    assert checked(two, tmp_path / "memory").fingerprint != found


def test_bad_folders_are_named(tmp_path):
    with pytest.raises(ValueError, match="nowhere"):
        readers.list_folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no folders"):
        readers.list_folder(tmp_path)
    root = picture_folder(tmp_path)
    picture_folder(tmp_path, ("test",), ("fox",))
    with pytest.raises(ValueError, match=r"differ in their classes \(fox\)"):
        readers.two_folders(root)
    (root / "train" / "emu").mkdir()
    with pytest.raises(ValueError, match="emu: no pictures"):
        readers.list_folder(root / "train")


def cifar_archive(path, change=None):
    """A tiny archive of the official layout; change edits the members."""
    rng = np.random.default_rng(0)
    members = {}
    names = [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]
    for i, name in enumerate(names):
        rows = rng.integers(0, 256, (2, 3073)).astype(np.uint8)
        rows[:, 0] = i, i + 1
        members[f"cifar-10-batches-bin/{name}.bin"] = rows.tobytes()
    if change:
        change(members)
    with tarfile.open(path, "w:gz") as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def test_cifar_archive_round_trip(tmp_path):
    path = cifar_archive(tmp_path / "c.tar.gz")
    (x, y), (x_test, y_test) = readers.read_cifar10(path)
    assert x.shape == (10, 3, 32, 32) and x_test.shape == (2, 3, 32, 32)
    assert y.tolist() == [0, 1, 1, 2, 2, 3, 3, 4, 4, 5]
    assert y_test.tolist() == [5, 6]
    rng = np.random.default_rng(0)
    row = rng.integers(0, 256, (2, 3073)).astype(np.uint8)[0]
    assert x[0, 1, 2, 3] == row[1 + 1024 + 2 * 32 + 3]


def drop_member(members):
    del members["cifar-10-batches-bin/test_batch.bin"]


def cut_member(members):
    members["cifar-10-batches-bin/data_batch_2.bin"] = b"\0" * 3072


def bad_label(members):
    members["cifar-10-batches-bin/data_batch_2.bin"] = b"\x0a" * 3073


@pytest.mark.parametrize("change, keep", [
    (drop_member, None), (cut_member, None), (bad_label, None), (None, 0),
    (None, 50), (None, 3_000),
])
def test_bad_cifar_archives_are_named(tmp_path, change, keep):
    path = cifar_archive(tmp_path / "bad.tar.gz", change)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ValueError, match="bad.tar.gz") as error:
        readers.read_cifar10(path)
    assert "\n" not in str(error.value)


def test_a_random_part_is_where_its_numbers_say():
    # the least area, 8 %, square, a quarter across and three quarters down
    side = (0.08 * 100 * 80) ** 0.5
    left, top = 0.25 * (100 - side), 0.75 * (80 - side)
    found = images.random_part(100, 80, [0.0, 0.5, 0.25, 0.75] * 8)
    assert found == pytest.approx((left, top, left + side, top + side))


def test_the_centre_of_a_test_picture_is_cut(tmp_path):
    # seven eighths of 16 pixels are 14: one goes at each side
    pixels = np.random.RandomState(0).randint(0, 255, (16, 16, 3), np.uint8)
    images.Image.fromarray(pixels).save(tmp_path / "x.png")
    files = images.PictureFiles(
        (tmp_path / "x.png",), torch.zeros(1, dtype=torch.long), 1, 14
    )
    x = files.batch(torch.tensor([0]))[0][0].permute(1, 2, 0)
    x = x * torch.tensor(images.IMAGENET_STD)
    x = x + torch.tensor(images.IMAGENET_MEAN)
    assert np.array_equal(x.round().numpy(), pixels[1:-1, 1:-1])


def test_a_fixed_part_of_the_pictures():
    items, labels = np.arange(100) * 2, np.arange(100)
    first, chosen = readers.some(items, labels, 7)
    assert len(first) == 7 and np.array_equal(first, 2 * chosen)
    same, _ = readers.some(tuple(items), labels, 7)
    assert list(first) == list(same)
    everything, _ = readers.some(items, labels, 1_000)
    assert sorted(everything) == list(items)
    with pytest.raises(ValueError, match="n_train"):
        readers.some(items, labels, 0)


# -------------------------------------------------------------- data sets


@pytest.fixture(scope="module")
def datasets(root_dir):
    return {cls.name: cls for cls in Benchmark(root_dir).get_datasets()}


def test_digits_is_a_problem(datasets):
    problem = datasets["digits"].get_instance(width=12).get_data()["problem"]
    assert isinstance(problem, SmallDEQ) and problem.d == 12
    assert len(problem.train) + len(problem.test) == 1797
    theta, z = problem.start()
    equation = problem.draw(theta, z, 1)
    assert equation.g(z).shape == (64, 12)
    assert float(equation.loss(z)) == pytest.approx(math.log(10))


@pytest.fixture
def no_data(monkeypatch, tmp_path):
    """A machine without downloads."""
    monkeypatch.setenv("SCIKIT_LEARN_DATA", str(tmp_path / "sklearn"))

    def hide(cls):
        module = sys.modules[cls.__module__]
        empty = tmp_path / "empty"
        for where in module, mnist:
            for name in ("DEBIAN", "FASHION", "CACHE", "ARCHIVE"):
                if hasattr(where, name):
                    monkeypatch.setattr(where, name, empty / name)
    return hide


@pytest.mark.parametrize("name, how", [
    ("fashion_mnist", "apt-get install dataset-fashion-mnist"),
    ("cifar10", "benchopt prepare . -d cifar10"),
    ("imagenet", "path="),
    ("pictures", "path="),
])
def test_missing_data_say_how_to_get_them(datasets, no_data, name, how):
    no_data(datasets[name])
    found = datasets[name].get_instance().get_data()
    assert found["problem"] is None
    assert how in found["reason"] and "\n" not in found["reason"]


def test_fashion_mnist_from_idx_files(datasets, no_data, tmp_path):
    no_data(datasets["fashion_mnist"])
    rng = np.random.default_rng(0)
    mnist.DEBIAN.mkdir(parents=True)
    for part, n in (("train", 40), ("t10k", 10)):
        x = rng.integers(0, 256, (n, 28, 28)).astype(np.uint8)
        y = (np.arange(n) % 10).astype(np.uint8)
        for name, array in (("images-idx3", x), ("labels-idx1", y)):
            path = mnist.DEBIAN / f"{part}-{name}-ubyte.gz"
            path.write_bytes(gzip.compress(idx(array)))
    dataset = datasets["fashion_mnist"].get_instance(
        batch_size=8, epochs=1, unrolled_steps=0, n_train=30, n_test=None,
    )
    problem = dataset.get_data()["problem"]
    assert problem.train.shape == (1, 14, 14)
    assert len(problem.train) == 30 and len(problem.test) == 10
    path.write_bytes(path.read_bytes()[:-10])
    found = dataset.get_data()
    assert found["problem"] is None
    assert "t10k-labels-idx1-ubyte.gz" in found["reason"]


def test_cifar10_from_a_folder_and_from_the_archive(
        datasets, no_data, tmp_path):
    no_data(datasets["cifar10"])
    folder = picture_folder(tmp_path / "pictures", size=(16, 16), n=6)
    archive = cifar_archive(tmp_path / "c.tar.gz")
    for path, size, shape in (
            (folder, None, (3, 16, 16)), (archive, 8, (3, 8, 8))):
        problem = datasets["cifar10"].get_instance(
            path=str(path), network="tiny", size=size,
            batch_size=4, epochs=1, unrolled_steps=0,
        ).get_data()["problem"]
        assert isinstance(problem, MDEQ) and problem.train.shape == shape
    large = datasets["cifar10"].get_instance(
        path=str(folder), network="large", size=None, batch_size=4, epochs=1,
        unrolled_steps=0,
    ).get_data()["problem"]
    assert large.train.padding == 4 and large.train.flips
    assert not large.test.padding and not large.test.flips


def test_imagenet_from_a_folder(datasets, unremembered, tmp_path):
    root = picture_folder(tmp_path, ("train", "val"), size=(50, 40))
    problem = datasets["imagenet"].get_instance(
        path=str(root), size=32, batch_size=2, epochs=1, unrolled_steps=0,
    ).get_data()["problem"]
    x, y = problem.batch(1)
    assert x.shape == (2, 3, 32, 32) and x.dtype == torch.float32
    assert torch.equal(x, problem.batch(1)[0])
    still, labels = problem.test.batch(torch.tensor([0, 4]))
    assert labels.tolist() == [0, 1]
    mean, std = torch.tensor(images.IMAGENET_MEAN), torch.tensor(
        images.IMAGENET_STD)
    torch.testing.assert_close(
        still[1, :, 5, 5], (torch.tensor([40., 10, 7]) - mean) / std
    )


@pytest.fixture
def unremembered(datasets, monkeypatch, tmp_path):
    """No memory of pictures checked before."""
    module = sys.modules[datasets["imagenet"].__module__]
    monkeypatch.setattr(module, "CACHE", tmp_path / "cache")


@pytest.mark.parametrize("name, parts", [
    ("cifar10", ("train", "test")), ("imagenet", ("train", "val")),
    ("pictures", ("train", "test")), ("pictures", ("train", "val")),
    ("pictures", (".",)),
])
def test_picture_folders_are_known_by_their_content(
    name, parts, datasets, unremembered, tmp_path
):
    root = picture_folder(tmp_path / "mine", parts, n=10)

    def data(seed=0):
        return datasets[name].get_instance(
            path=str(root), network="dense", size=8, batch_size=4, epochs=1,
            unrolled_steps=0, seed=seed,
        ).get_data()

    first, again = data(), data(1)
    assert len(first["problem"].train) + len(first["problem"].test) == (
        20 * len(parts)
    )
    assert first["data_fingerprint"] == again["data_fingerprint"]
    Image.new("RGB", (8, 8), "red").save(root / parts[0] / "cat" / "1.png")
    assert data()["data_fingerprint"] != first["data_fingerprint"]
    (root / parts[0] / "cat" / "1.png").write_bytes(b"no picture")
    found = data()
    assert found["problem"] is None
    assert "1.png: not a readable picture" in found["reason"]


def test_a_folder_of_classes_keeps_a_fifth_of_each(datasets, tmp_path):
    root = picture_folder(tmp_path, (".",), n=10)
    problem = datasets["pictures"].get_instance(
        path=str(root), batch_size=4
    ).get_data()["problem"]
    assert torch.bincount(problem.train.labels).tolist() == [8, 8]
    assert torch.bincount(problem.test.labels).tolist() == [2, 2]


@pytest.mark.parametrize("settings, word", [
    ({"network": "huge"}, "network: 'huge'"), ({"device": "cuda:9"}, "cuda:9"),
    ({"epochs": 0}, "epochs"), ({"network": "large"}, "multiples of 8"),
])
def test_build_says_what_is_wrong(settings, word, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    train, test = some_pictures(size=12)
    with pytest.raises(ValueError, match=word):
        build(**{
            "network": "dense", "train": train, "test": test,
            "batch_size": 8,
        } | settings)
