"""Corruptions: statistics against closed forms, draws per example, files, errors."""

# The return types of flax's init and apply, and the optional methods of a task, are not expressed in types.
# pyright: reportArgumentType=false

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage
from scipy.stats import norm

from jaxdl.errors import UserError
from jaxdl.tasks.parts.corruption import (
    Downsampling,
    GaussianBlur,
    GaussianNoise,
    MissingPixels,
    MissingRectangles,
    SaltAndPepper,
    ShotNoise,
)
from jaxdl.training.task import example_keys

ALL = (
    GaussianNoise((10.0, 60.0)),
    SaltAndPepper(0.2),
    ShotNoise(20.0),
    MissingRectangles(2, (0.05, 0.2)),
    MissingPixels((0.2, 0.6)),
    GaussianBlur(1.2, noise=3.0),
    Downsampling(2),
)
named = pytest.mark.parametrize("corruption", ALL, ids=lambda one: type(one).__name__)


def keys_of(count, seed=0):
    return example_keys(jax.random.key(seed), {"index": jnp.arange(count)})


def corrupt(corruption, image, seed=0):
    return jax.device_get(jax.jit(corruption)(keys_of(len(image), seed), image))


def flat(value, count=64, shape=(32, 32, 1)):
    return np.full((count, *shape), value, np.uint8)


def photographs(count=6, shape=(12, 16, 3), seed=0):
    return np.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=np.uint8)


@named
def test_corruptions_do_not_depend_on_the_batch(corruption):
    image, keys = photographs(), keys_of(6)
    corrupted, part = corrupt(corruption, image), jax.jit(corruption)(keys[2:5], image[2:5])
    np.testing.assert_allclose(part.image, corrupted.image[2:5], atol=1e-4)
    if corrupted.known is not None:
        np.testing.assert_array_equal(part.known, corrupted.known[2:5])
    redrawn = corrupt(corruption, image, seed=1)
    sample = corrupted.image if corrupted.known is None else corrupted.known
    other_sample = redrawn.image if redrawn.known is None else redrawn.known
    assert np.any(sample != other_sample) != isinstance(corruption, Downsampling)


@named
def test_corrupted_images_are_8_bit_values(corruption):
    image = photographs()
    corrupted = corrupt(corruption, image)
    assert corrupted.image.dtype == np.float32
    assert corrupted.image.shape == image.shape
    np.testing.assert_array_equal(corrupted.image, corrupted.image.astype(np.uint8))
    if corrupted.known is not None:
        assert corrupted.known.shape == (6, 12, 16, 1)
        assert set(np.unique(corrupted.known)) == {0.0, 1.0}
    else:
        # Files are read unchanged, except that small images are upsampled.
        from_files = corruption.read(
            corrupted.image[:, ::2, ::2] if isinstance(corruption, Downsampling) else corrupted.image
        )
        assert from_files.image.shape == image.shape
        if not isinstance(corruption, Downsampling):
            np.testing.assert_array_equal(from_files.image, corrupted.image)
        assert from_files.known is None


def test_gaussian_noise_has_its_mean_and_std():
    noise = corrupt(GaussianNoise(20.0, clip=False), flat(128)).image - 128
    assert abs(noise.mean()) < 4 * 20 / np.sqrt(noise.size)
    assert abs(noise.std() / 20 - 1) < 0.01
    neighbours = np.corrcoef(noise[:, 1:].ravel(), noise[:, :-1].ravel())[0, 1]
    assert abs(neighbours) < 0.02


def test_clipped_noise_has_the_mean_of_a_clipped_normal_distribution():
    corrupted = corrupt(GaussianNoise(50.0), flat(0)).image
    assert abs((corrupted == 0).mean() - norm.cdf(0.5 / 50)) < 0.01
    np.testing.assert_allclose(corrupted.mean(), 50 / np.sqrt(2 * np.pi), rtol=0.02)


def test_sigma_is_drawn_uniformly_from_a_pair():
    stds = corrupt(GaussianNoise((10.0, 30.0), clip=False), flat(128, count=400)).image.std((1, 2, 3))
    assert 9 < stds.min() < 11
    assert 29 < stds.max() < 32
    np.testing.assert_allclose(stds.mean(), 20, atol=4 * 20 / np.sqrt(12 * 400))


def test_salt_and_pepper_replaces_its_share_of_pixels():
    corrupted = corrupt(SaltAndPepper(0.3), flat(100, shape=(32, 32, 3))).image
    assert np.all(corrupted == corrupted[..., :1])
    for value, share in ((0, 0.15), (255, 0.15), (100, 0.7)):
        assert abs((corrupted[..., 0] == value).mean() - share) < 0.01


def test_shot_noise_has_the_variance_of_photon_counts():
    corrupted = corrupt(ShotNoise(100.0), flat(100)).image
    np.testing.assert_allclose(corrupted.mean(), 100, rtol=0.01)
    np.testing.assert_allclose(corrupted.var(), 255 * 100 / 100, rtol=0.03)
    assert np.all(corrupt(ShotNoise(100.0), flat(0, count=2)).image == 0)


def test_missing_pixels_have_their_share():
    mask = corrupt(MissingPixels(0.3), flat(0)).known
    assert abs((mask == 0).mean() - 0.3) < 4 * np.sqrt(0.21 / mask.size)
    shares = (corrupt(MissingPixels((0.1, 0.9)), flat(0, count=300)).known == 0).mean((1, 2, 3))
    assert shares.min() < 0.15
    assert shares.max() > 0.85


def test_rectangles_have_their_area_and_aspect():
    masks = corrupt(MissingRectangles(1, (0.1, 0.3), aspect=2.0), flat(0, count=300, shape=(40, 60, 1))).known[..., 0]
    sizes, corners = [], []
    for mask in masks:
        rows, columns = np.flatnonzero((mask == 0).any(1)), np.flatnonzero((mask == 0).any(0))
        box = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        assert np.all(box == 0)
        assert (mask == 0).sum() == box.size
        sizes.append(box.shape)
        corners.append((rows[0], rows[-1], columns[0], columns[-1]))
    share = np.prod(sizes, axis=1) / (40 * 60)
    np.testing.assert_allclose(share.mean(), 0.2, atol=4 * 0.2 / np.sqrt(12 * 300))
    assert 0.09 < share.min() < 0.12
    assert 0.28 < share.max() < 0.32
    ratio = np.array(sizes)[:, 0] / 40 / (np.array(sizes)[:, 1] / 60)
    assert 0.45 < ratio.min() < 0.6
    assert 1.7 < ratio.max() < 2.2
    top, bottom, left, right = np.array(corners).T
    assert (top.min(), bottom.max(), left.min(), right.max()) == (0, 39, 0, 59)


def test_two_rectangles_may_overlap():
    shape = {"count": 400, "shape": (32, 32, 1)}
    single, two = (
        (corrupt(MissingRectangles(count, (0.15, 0.15), aspect=1.0), flat(0, **shape)).known == 0).mean()
        for count in (1, 2)
    )
    assert abs(single - (round(32 * np.sqrt(0.15)) / 32) ** 2) < 1e-6
    assert 1.6 * single < two < 2 * single


def test_rectangles_may_cover_the_whole_image():
    assert np.all(corrupt(MissingRectangles(1, (1.0, 1.0), aspect=1.0), flat(7, count=2)).known == 0)


def test_blur_matches_scipy_and_keeps_the_mean():
    image = photographs(2)
    blurred = corrupt(GaussianBlur(1.5), image).image
    reference = np.stack(
        [ndimage.gaussian_filter(picture.astype(float), (1.5, 1.5, 0), mode="reflect") for picture in image]
    )
    np.testing.assert_allclose(blurred, reference, atol=0.51)
    np.testing.assert_allclose(blurred.mean((1, 2)), image.mean((1, 2)), atol=0.15)
    assert np.all(corrupt(GaussianBlur(2.0), flat(77, count=1)).image == 77)


def test_downsampling_averages_and_restores_the_size():
    image = photographs(2, (4, 6, 1))
    corrupted = corrupt(Downsampling(2, "nearest"), image).image
    means = np.rint(image.reshape(2, 2, 2, 3, 2, 1).astype(float).mean((2, 4)))
    np.testing.assert_array_equal(corrupted, means.repeat(2, 1).repeat(2, 2))
    assert np.all(corrupt(Downsampling(3), flat(50, count=1, shape=(12, 12, 1))).image == 50)
    assert Downsampling(3).read(image).image.shape == (2, 12, 18, 1)
    with pytest.raises(UserError, match="4x6 are not divisible by factor=3"):
        Downsampling(3)(keys_of(2), image)


@pytest.mark.parametrize("kind", [MissingRectangles, MissingPixels])
def test_missing_pixels_of_files_have_the_missing_color(kind):
    image = photographs(2)
    image[0, 1, 2], image[0, 3, 4], image[1, 5, 6] = (255, 0, 255), (255, 1, 255), (255, 255, 255)
    missing = np.argwhere(np.asarray(kind(missing=(255, 0, 255)).read(image).known) == 0)
    np.testing.assert_array_equal(missing, [(0, 1, 2, 0)])
    missing = np.argwhere(np.asarray(kind().read(image).known) == 0)
    np.testing.assert_array_equal(missing, [(1, 5, 6, 0)])
    with pytest.raises(UserError, match="missing has 3 values, but images have 1 channels"):
        kind(missing=(255, 0, 255)).read(image[..., :1])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: GaussianNoise(0.0), "sigma=0.0"),
        (lambda: GaussianNoise(float("nan")), "sigma=nan"),
        (lambda: GaussianNoise((30.0, 10.0)), "first value of a pair"),
        (lambda: SaltAndPepper(1.5), "share=1.5"),
        (lambda: SaltAndPepper((0.1, 0.2, 0.3)), r"share=\(0.1, 0.2, 0.3\)"),
        (lambda: ShotNoise(-1.0), "peak=-1"),
        (lambda: MissingPixels(0.0), "share=0.0"),
        (lambda: MissingPixels(missing=256), "missing=256"),
        (lambda: MissingRectangles(0), "count=0"),
        (lambda: MissingRectangles(area=(0.5, 0.2)), "area"),
        (lambda: MissingRectangles(area=(0.0, 0.2)), "area"),
        (lambda: MissingRectangles(aspect=0.5), "aspect=0.5"),
        (lambda: MissingRectangles(missing=()), "missing"),
        (lambda: GaussianBlur(0.0), "sigma=0.0"),
        (lambda: GaussianBlur(1.0, noise=-1.0), "noise=-1"),
        (lambda: Downsampling(1), "factor=1"),
        (lambda: Downsampling(2, "sinc"), "sinc"),
    ],
)
def test_arguments_out_of_range_are_refused(make, message):
    with pytest.raises(UserError, match=message):
        make()
