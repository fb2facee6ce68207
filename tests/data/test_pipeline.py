import itertools

import numpy as np
import pytest

from jaxdl.data.dataset import Data
from jaxdl.data.image.mixup import CutMix, Mixup
from jaxdl.data.image.resize import RandomResizedCrop
from jaxdl.data.image.transforms import RandomCrop, RandomFlip
from jaxdl.data.pipeline import Batches, eval_batches, eval_count
from jaxdl.data.source import ColumnSource, ExampleSource, JoinedSource
from jaxdl.data.synthetic.images import MockImages
from jaxdl.errors import UserError

MOCK = MockImages(shape=(8, 8, 1), examples=50)
AUGMENT = (RandomCrop(2), RandomFlip())


class Rows:
    """Column source whose examples are read one at a time, as from files."""

    def __init__(self, source):
        self.source = source

    def __len__(self):
        return len(self.source)

    def __getitem__(self, index):
        return {name: value[0] for name, value in self.source.read(np.array([index])).items()}


def streaming(source):
    return ExampleSource(Rows(source), range(len(source)), source.fingerprint, source.names)


def data(**fields):
    return Data(**({"train": MOCK, "evals": {}, "batch_size": 12, "augment": AUGMENT} | fields))


def assert_same(actual, expected):
    assert sorted(actual) == sorted(expected)
    for name, value in actual.items():
        np.testing.assert_array_equal(value, expected[name], err_msg=name)
        assert value.dtype == expected[name].dtype


def take(batches, start, count):
    iterator = batches.iterate(start)
    taken_batches = list(itertools.islice(iterator, count))
    iterator.close()
    return taken_batches


def test_a_batch_has_features_weight_and_index():
    source = MOCK.load()
    batch = Batches(source, data(augment=()), seed=0).at(3)
    assert {name: (value.shape, str(value.dtype)) for name, value in batch.items()} == {
        "image": ((12, 8, 8, 1), "uint8"),
        "label": ((12,), "int32"),
        "index": ((12,), "int32"),
        "weight": ((12,), "float32"),
    }
    assert (batch["weight"] == 1).all()
    np.testing.assert_array_equal(batch["image"], source.read(batch["index"])["image"])


@pytest.mark.parametrize("mix", [None, Mixup(0.3), CutMix(1.0)], ids=repr)
@pytest.mark.parametrize(("threads", "workers"), [(0, 0), (3, 0)])
def test_streaming_and_in_memory_batches_are_identical(mix, threads, workers):
    source = MOCK.load()
    in_memory = Batches(source, data(mix=mix), seed=1)
    single = Batches(streaming(source), data(mix=mix, threads=threads, workers=workers), seed=1)
    for (step, batch), expected in zip(take(single, 2, 5), range(2, 7)):
        assert step == expected
        assert_same(batch, in_memory.at(step))
        assert_same(batch, single.at(step))


def test_worker_processes_give_the_same_batches():
    source = MOCK.load()
    batches = Batches(streaming(source), data(workers=2), seed=1)
    for step, batch in take(batches, 3, 4):
        assert_same(batch, batches.at(step))


def test_a_resumed_run_gets_the_same_batches():
    batches = Batches(MOCK.load(), data(), seed=0)
    uninterrupted = dict(take(batches, 0, 9))
    for start in (1, 4, 8):
        step, batch = take(batches, start, 1)[0]
        assert step == start
        assert_same(batch, uninterrupted[start])


@pytest.mark.parametrize("processes", [2, 4])
@pytest.mark.parametrize("stream", [False, True])
def test_processes_produce_slices_of_the_global_batch(processes, stream):
    source = streaming(MOCK.load()) if stream else MOCK.load()
    settings = data(mix=Mixup(0.2), threads=2)
    global_batch = Batches(source, settings, seed=0).at(5)
    size = 12 // processes
    for process in range(processes):
        rows = slice(process * size, (process + 1) * size)
        ((_, part),) = take(Batches(source, settings, seed=0, rows=rows), 5, 1)
        assert_same(part, {name: value[rows] for name, value in global_batch.items()})


def test_every_example_occurs_exactly_once_an_epoch():
    batches = Batches(MOCK.load(), data(), seed=0)
    indices = np.concatenate([batches.at(step)["index"] for step in range(25)])  # 300 positions, 6 epochs of 50
    epochs = indices.reshape(6, 50)
    np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(50), (6, 1)))
    assert len({tuple(epoch) for epoch in epochs}) == 6


def test_the_seed_changes_order_and_transforms():
    first, second = (Batches(MOCK.load(), data(), seed=seed).at(0) for seed in (0, 1))
    assert (first["index"] != second["index"]).any()


def test_transforms_differ_between_epochs():
    source = ColumnSource({"image": MOCK.load().columns["image"][:1]}, "one example")
    batch = Batches(source, data(batch_size=30), seed=0).at(0)
    assert len(np.unique(batch["image"].reshape(30, -1), axis=0)) > 10


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("threads", [0, 2])
def test_evaluation_covers_every_example_once_and_pads_the_last_batch(stream, threads):
    source = streaming(MOCK.load()) if stream else MOCK.load()
    batches = list(eval_batches(source, 16, threads=threads))
    assert len(batches) == eval_count(source, 16) == 4
    assert all(batch["image"].shape == (16, 8, 8, 1) for batch in batches)
    joined = {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}
    np.testing.assert_array_equal(joined["index"], [*range(50), *[-1] * 14])
    np.testing.assert_array_equal(joined["weight"], [1] * 50 + [0] * 14)
    np.testing.assert_array_equal(joined["image"][:50], source.read(np.arange(50))["image"])
    np.testing.assert_array_equal(joined["image"][50:], source.read(np.zeros(14, int))["image"])


def test_evaluation_splits_over_processes_and_repeats_itself():
    source = MOCK.load()
    expected = list(eval_batches(source, 16, AUGMENT))
    halves = [list(eval_batches(source, 16, AUGMENT, rows=slice(8 * part, 8 * part + 8))) for part in range(2)]
    for batch, left, right in zip(expected, *halves):
        for name, value in batch.items():
            np.testing.assert_array_equal(value, np.concatenate([left[name], right[name]]))
    for size in (1, 50, 64):
        images = np.concatenate([batch["image"] for batch in eval_batches(source, size, AUGMENT)])[:50]
        np.testing.assert_array_equal(images, np.concatenate([batch["image"] for batch in expected])[:50])


def test_images_of_different_sizes_need_resizing():
    class Growing:
        def __len__(self):
            return 6

        def __getitem__(self, index):
            image = np.full((8 + index, 9, 3), index, np.uint8)
            return {"image": image, "label": index, "file": f"{index}.png", "captions": np.array(["a"] * (1 + index))}

    source = ExampleSource(Growing(), range(6), "growing")
    with pytest.raises(UserError, match="RandomResizedCrop"):
        Batches(source, data(batch_size=6, augment=()), seed=0).at(0)
    batch = Batches(source, data(batch_size=6, augment=(RandomResizedCrop(5),)), seed=0).at(0)
    assert batch["image"].shape == (6, 5, 5, 3)
    assert batch["label"].dtype == np.int32
    assert not {"file", "captions"} & set(batch)  # text cannot be put on a device


def test_an_error_in_a_transform_reaches_the_reader():
    def broken(batch, draws):
        raise UserError("this transform is broken")

    with pytest.raises(UserError, match="broken"):
        next(Batches(MOCK.load(), data(augment=(broken,)), seed=0).iterate(0))


def test_joined_sources_read_across_their_borders():
    parts = (MOCK.load(), MockImages(shape=(8, 8, 1), examples=7, split="more").load())
    joined = JoinedSource(parts, "both")
    assert len(joined) == 57
    images = joined.read(np.array([55, 0, 49, 50, 3]))["image"]
    head, tail = (part.columns["image"] for part in parts)
    np.testing.assert_array_equal(images, np.stack([tail[5], head[0], head[49], tail[0], head[3]]))


def test_numbers_beyond_32_bits_are_refused():
    source = ExampleSource([{"id": 2**40}], range(1), "large")
    with pytest.raises(UserError, match="features"):
        source.read(np.array([0]))


def test_invalid_batch_sizes_are_refused():
    with pytest.raises(UserError, match="batch_size"):
        data(batch_size=0)
    with pytest.raises(UserError, match="workers"):
        data(workers=-1)


def test_the_seed_of_transforms_changes_no_order():
    source = MOCK.load()
    first, second = (Batches(source, data(), seed=0, augment=seed).at(0) for seed in (None, 1))
    np.testing.assert_array_equal(first["index"], second["index"])
    assert np.any(first["image"] != second["image"])
    np.testing.assert_array_equal(Batches(source, data(), seed=0, augment=0).at(0)["image"], first["image"])
