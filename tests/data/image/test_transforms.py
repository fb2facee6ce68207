import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxdl.data.image.mixup import CutMix, Mixup
from jaxdl.data.image.resize import RandomResizedCrop, ResizeCrop
from jaxdl.data.image.transforms import (
    Cutout,
    RandomAffine,
    RandomCrop,
    RandomErasing,
    RandomFlip,
    apply,
)
from jaxdl.data.random import Draws, shuffled
from jaxdl.errors import UserError

KEEP_SIZE = [
    RandomCrop(2),
    RandomCrop(3, mode="reflect"),
    RandomFlip(),
    RandomAffine(degrees=20, translate=2, scale=(0.8, 1.2), shear=10),
    Cutout(5),
    RandomErasing(),
]
ALL = [*KEEP_SIZE, RandomResizedCrop(9), ResizeCrop(10, 8)]


def images(count=32, height=12, width=10, channels=3, seed=0):
    return np.random.default_rng(seed).integers(1, 256, (count, height, width, channels), np.uint8)


def run(transform, image, seed=0, first=0):
    positions = np.arange(first, first + len(image))
    return transform({"image": image, "label": positions}, Draws(seed, positions))["image"]


@pytest.mark.parametrize("transform", ALL, ids=repr)
@pytest.mark.parametrize("channels", [1, 3])
def test_transforms_are_independent_of_the_batch(transform, channels):
    image = images(channels=channels)
    before = image.copy()
    expected = run(transform, image)
    single = np.concatenate([run(transform, image[row : row + 1], first=row) for row in range(len(image))])
    np.testing.assert_array_equal(expected, single)
    np.testing.assert_array_equal(image, before)
    assert expected.dtype == np.uint8


@pytest.mark.parametrize("transform", KEEP_SIZE, ids=repr)
def test_transforms_keep_the_shape_and_change_with_the_seed(transform):
    image = images()
    assert run(transform, image).shape == image.shape
    assert (run(transform, image, seed=0) != run(transform, image, seed=1)).any()


def test_a_crop_translates_by_at_most_the_padding():
    image = images(200, 6, 6, 1)
    padded = np.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)))
    moved = run(RandomCrop(1), image)
    shifts = set()
    for number in range(len(image)):
        hits = [
            (y, x) for y in range(3) for x in range(3) if (padded[number, y : y + 6, x : x + 6] == moved[number]).all()
        ]
        assert len(hits) == 1
        shifts.add(hits[0])
    assert len(shifts) == 9


def test_an_unknown_padding_mode_is_a_user_error():
    with pytest.raises(UserError, match="reflect"):
        RandomCrop(2, mode="wrap")


def test_a_flip_mirrors_about_half_of_the_images():
    image = images(400)
    flipped = run(RandomFlip(), image)
    mirrored = (flipped == image[:, :, ::-1]).all((1, 2, 3))
    unchanged = (flipped == image).all((1, 2, 3))
    assert (mirrored ^ unchanged).all()
    assert 150 < mirrored.sum() < 250


def test_an_identity_affine_keeps_the_image_and_180_degrees_reverse_both_axes():
    image = images(4, 8, 8, 1)
    np.testing.assert_array_equal(run(RandomAffine(), image), image)

    class Half(Draws):
        def between(self, low, high):
            return np.full(len(image), high)

    turned = RandomAffine(degrees=180)({"image": image}, Half(0, np.arange(4)))["image"]
    np.testing.assert_array_equal(turned, image[:, ::-1, ::-1])
    # Down by 1 and right by 1, filled with 0.
    shifted = RandomAffine(translate=1)({"image": image}, Half(0, np.arange(4)))["image"]
    np.testing.assert_array_equal(shifted[:, 1:, 1:], image[:, :-1, :-1])
    assert (shifted[:, 0] == 0).all()
    assert (shifted[:, :, 0] == 0).all()


def test_a_magnified_image_is_interpolated():
    image = np.zeros((1, 5, 5, 1), np.uint8)
    image[0, 2, 2] = 200
    doubled = run(RandomAffine(scale=(2.0, 2.0)), image)[0, :, :, 0]
    assert doubled[2, 2] == 200
    assert doubled[2, 1] == doubled[1, 2] == doubled[2, 3] == 100
    assert doubled[1, 1] == 50


def test_cutout_and_erasing_set_a_rectangle_to_zero():
    image = images(300, 12, 12, 1)
    holes = run(Cutout(4), image) == 0
    assert (holes.sum((1, 2, 3)) <= 16).all()
    assert (holes.sum((1, 2, 3)) >= 4).all()
    erased = run(RandomErasing(probability=0.5, area=(0.1, 0.2)), image) == 0
    covered = erased.mean((1, 2, 3))
    hit = covered > 0
    assert 100 < hit.sum() < 200
    assert covered[hit].min() > 0.05
    assert covered[hit].max() < 0.27


def test_resized_crops_have_the_requested_size():
    ramp = np.tile(np.arange(60, dtype=np.uint8)[None, :, None], (40, 1, 3))[None]
    # The 20x20 middle of the image at half its size.
    middle = ResizeCrop(resize=20, size=10)({"image": ramp}, Draws(0, np.arange(1)))["image"]
    assert middle.shape == (1, 10, 10, 3)
    np.testing.assert_allclose(middle[0, 5, :, 0], 20.5 + 2 * np.arange(10), atol=1)
    crops = np.concatenate([run(RandomResizedCrop(10), ramp, first=number) for number in range(20)])
    assert crops.shape == (20, 10, 10, 3)
    assert len(np.unique(crops.reshape(20, -1), axis=0)) > 15


def test_a_resized_crop_falls_back_to_the_centre():
    line = np.tile(np.arange(100, dtype=np.uint8)[None, :, None], (4, 1, 1))[None]
    crop = RandomResizedCrop(4, scale=(1.0, 1.0))({"image": line}, Draws(0, np.arange(1)))["image"]
    assert 40 < crop.mean() < 60


@pytest.mark.parametrize("mix", [Mixup(0.4), CutMix(1.0)], ids=repr)
def test_mixing_reports_the_partner_and_its_weight(mix):
    count = 500
    positions = np.arange(count)
    black = {"image": np.zeros((count, 8, 8, 1), np.uint8), "label": np.zeros(count, np.int32)}
    white = {"image": np.full((count, 8, 8, 1), 255, np.uint8), "label": np.ones(count, np.int32)}
    mixed = mix(black, white, Draws(0, positions))
    assert mixed["image"].dtype == np.uint8
    assert mixed["mix_weight"].dtype == np.float32
    np.testing.assert_array_equal(mixed["label"], 0)
    np.testing.assert_array_equal(mixed["mix_label"], 1)
    np.testing.assert_allclose(mixed["image"].mean((1, 2, 3)) / 255, mixed["mix_weight"], atol=0.003)
    assert mixed["mix_weight"].std() > 0.1
    part = mix(
        {name: value[7:8] for name, value in black.items()},
        {name: value[7:8] for name, value in white.items()},
        Draws(0, positions[7:8]),
    )
    np.testing.assert_array_equal(part["image"][0], mixed["image"][7])


def test_mixup_weights_follow_the_beta_distribution():
    count = 4000
    batch = {"image": np.zeros((count, 1, 1, 1), np.uint8), "label": np.zeros(count, np.int32)}
    share = Mixup(0.5)(batch, batch, Draws(3, np.arange(count)))["mix_weight"]
    assert abs(share.mean() - 0.5) < 0.03
    assert abs(share.var() - 1 / (4 * (2 * 0.5 + 1))) < 0.01  # of Beta(a, a): 1 / (4 (2 a + 1))


def test_alpha_must_be_positive():
    with pytest.raises(UserError, match="alpha"):
        Mixup(0.0)


def test_boxes_and_masks_are_not_mixed():
    batch = {"image": np.zeros((1, 4, 4, 1), np.uint8), "mask": np.zeros((1, 4, 4), np.uint8)}
    for mix in (Mixup(0.4), CutMix(1.0)):
        with pytest.raises(UserError, match="has 'mask'"):
            mix(batch, batch, Draws(0, np.arange(1)))


def test_draws_are_uniform_and_independent_of_their_neighbours():
    positions = np.array([5, 0, 2**40, 77])
    draws = Draws(1, positions)
    uniforms, block = draws.uniform(), draws.uniform(3)
    assert block.shape == (4, 3)
    single = Draws(1, positions[2:3])
    assert single.uniform()[0] == uniforms[2]
    np.testing.assert_array_equal(single.uniform(3)[0], block[2])
    part = Draws(1, positions).rows(slice(1, 3))
    np.testing.assert_array_equal(part.uniform(), uniforms[1:3])
    np.testing.assert_array_equal(part.fold(4).uniform(), Draws(1, positions).fold(4).uniform()[1:3])
    many_uniforms = Draws(0, np.arange(100_000)).uniform()
    counts, _ = np.histogram(many_uniforms, bins=20, range=(0, 1))
    assert abs(counts - 5000).max() < 350  # five standard errors
    assert abs(np.corrcoef(many_uniforms[:-1], many_uniforms[1:])[0, 1]) < 0.02
    assert abs(np.corrcoef(many_uniforms, Draws(1, np.arange(100_000)).uniform())[0, 1]) < 0.02


def test_integers_stay_within_their_bounds_and_reach_both():
    numbers = Draws(0, np.arange(2000)).integers(-2, 3)
    assert sorted(set(numbers.tolist())) == [-2, -1, 0, 1, 2]


def test_transforms_in_a_list_draw_independently():
    image = images(50)
    flipped = apply((RandomFlip(), RandomFlip()), {"image": image}, Draws(0, np.arange(50)))["image"]
    assert (flipped != image).any()


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 700), seed=st.integers(-(2**40), 2**40), epoch=st.integers(0, 2**20))
def test_every_epoch_is_a_permutation(count, seed, epoch):
    order = shuffled(epoch * count + np.arange(count), count, seed)
    np.testing.assert_array_equal(np.sort(order), np.arange(count))


def test_permutations_are_uniform_and_differ_between_epochs_and_seeds():
    count, epochs = 7, 7000
    order = shuffled(np.arange(count * epochs), count, seed=0).reshape(epochs, count)
    for place in range(count):
        counts = np.bincount(order[:, place], minlength=count)
        assert abs(counts - epochs / count).max() < 150  # five standard errors
    follows = np.zeros((count, count), int)
    np.add.at(follows, (order[:, 0], order[:, 1]), 1)
    assert abs(follows[~np.eye(count, dtype=bool)] - epochs / 42).max() < 65
    large = [shuffled(np.arange(50_000) + 50_000 * epoch, 50_000, seed) for seed, epoch in [(0, 0), (0, 1), (1, 0)]]
    for a, b in [(0, 1), (0, 2), (1, 2)]:
        assert (large[a] == large[b]).sum() < 12
        assert abs(np.corrcoef(large[a], large[b])[0, 1]) < 0.03
    assert abs(np.corrcoef(large[0][:-1], large[0][1:])[0, 1]) < 0.03


def test_draws_and_orders_match_recorded_values():
    """Recorded results and the split of `digits` depend on the values."""
    assert shuffled(np.arange(95, 105), 100, 0).tolist() == [73, 83, 95, 56, 19, 74, 42, 95, 16, 45]
    assert shuffled(np.array([2**40]), 10**9, 7).tolist() == [371543951]
    uniform = Draws(0, np.array([0, 1, 2**40])).fold(3).uniform(2)
    expected = [[0.9302874638535357, 0.8138721652232379], [0.15042323357908993, 0.28600991778158336]]
    assert uniform[:2].tolist() == expected
