"""Shift, flip and cutout by their laws: which pixels an image may have afterwards, and where."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jbn.config import AugmentConfig
from jbn.data import augment

# Every pixel of an image is another number, none of them 0.
IMAGE = np.arange(1, 91, dtype=np.uint8).reshape(5, 6, 3)
NUMBER = 300
compiled = jax.jit(augment, static_argnums=0)


@functools.cache
def augmented(dtype=np.uint8, seed=0, **keys):
    """IMAGE, augmented 300 times over."""
    x = np.broadcast_to(IMAGE, (NUMBER, *IMAGE.shape)).astype(dtype)
    return np.asarray(compiled(AugmentConfig(**keys), jax.random.key(seed), x))


def moved(image, down, right):
    """The image so many pixels lower and further right, 0 where there was none of it."""
    height, width, _ = image.shape
    big = np.zeros((3 * height, 3 * width, 3), image.dtype)
    big[height + down : 2 * height + down, width + right : 2 * width + right] = image
    return big[height : 2 * height, width : 2 * width]


def names_of(images, candidates):
    """Which of the candidates each image is; none is an error."""
    by_bytes = {candidate.tobytes(): name for name, candidate in candidates.items()}
    return [by_bytes[image.tobytes()] for image in images]


@pytest.mark.parametrize("shape", [(3, 4, 4, 1), (3, 7), (3,)])
def test_without_anything_asked_for_x_stays_what_it_is(shape):
    x = jnp.ones(shape)
    assert augment(AugmentConfig(), jax.random.key(0), x) is x


@pytest.mark.parametrize("keys", [{"shift": 1}, {"flip": True}, {"cutout": 2}])
def test_what_is_no_image_is_an_error(keys):
    for x in (jnp.ones((3, 7)), jnp.ones((3, 4, 4))):
        with pytest.raises(ValueError, match=r"^x: found shape \(3, .*, wanted \(batch, height"):
            augment(AugmentConfig(**keys), jax.random.key(0), x)


def test_a_shifted_image_is_the_image_elsewhere():
    """Each place is as likely."""
    steps = range(-2, 3)
    places = list(itertools.product(steps, steps))
    found = names_of(augmented(shift=2), {place: moved(IMAGE, *place) for place in places})
    expected = NUMBER / len(places)
    for place in places:
        assert abs(found.count(place) - expected) < 5 * np.sqrt(expected)


def test_an_image_may_be_shifted_out_of_the_picture():
    steps = range(-9, 10)
    candidates = {
        moved(IMAGE, *place).tobytes() for place in itertools.product(range(-5, 6), range(-6, 7))
    }
    found = augmented(shift=9)
    assert {image.tobytes() for image in found} <= candidates
    gone = (found == 0).all((1, 2, 3)).mean()
    wanted = 1 - (9 / len(steps)) * (11 / len(steps))
    assert abs(gone - wanted) < 5 * np.sqrt(wanted * (1 - wanted) / NUMBER)


def test_half_of_the_images_are_mirrored():
    """From left to right; mirrored again it is the image."""
    images = augmented(flip=True)
    mirrored = [
        name == "mirrored"
        for name in names_of(images, {"as it was": IMAGE, "mirrored": IMAGE[:, ::-1]})
    ]
    assert abs(sum(mirrored) - NUMBER / 2) < 5 * np.sqrt(NUMBER / 4)
    again = compiled(AugmentConfig(flip=True), jax.random.key(0), images)  # the same ones
    np.testing.assert_array_equal(again, np.broadcast_to(IMAGE, again.shape))


@pytest.mark.parametrize("side", [1, 2, 11])
def test_cutout_covers_a_square_as_far_as_it_is_inside(side):
    images = augmented(cutout=side)
    hidden = (images == 0).all(-1)
    assert ((images == IMAGE) | hidden[..., None]).all()  # all else is there, in every channel
    lengths = []
    for mask in hidden:
        spans = []
        for line in (mask.any(1), mask.any(0)):
            inside = np.flatnonzero(line)
            length = inside[-1] - inside[0] + 1
            assert length == len(inside)  # in one piece
            at_border = inside[0] == 0 or inside[-1] == len(line) - 1
            assert length == side or (length < side and at_border)
            spans.append(line)
            lengths.append(length)
        np.testing.assert_array_equal(mask, np.outer(*spans))
        assert mask.sum() <= side**2
    assert max(lengths) == min(side, 6)
    assert hidden.any(0).all()
    if side == 1:  # any of 30 pixels is the centre as often
        assert np.abs(hidden.sum(0) - NUMBER / 30).max() < 5 * np.sqrt(NUMBER / 30)


def test_all_together_are_first_shifted_then_mirrored_then_covered():
    candidates = [
        moved(IMAGE, *place)[:, ::step]
        for place in itertools.product(range(-1, 2), repeat=2)
        for step in (1, -1)
    ]
    images = augmented(shift=1, flip=True, cutout=2)
    for image in images[:100]:
        hidden = [(image == 0).all(-1) & (candidate != 0).all(-1) for candidate in candidates]
        fits = [
            ((image == candidate) | mask[..., None]).all() and mask.sum() <= 4
            for candidate, mask in zip(candidates, hidden, strict=True)
        ]
        assert any(fits)
    assert len({image.tobytes() for image in images}) > 150


def test_the_key_decides_and_the_dtype_stays():
    keys = {"shift": 1, "flip": True, "cutout": 2}
    images = augmented(**keys)
    assert images.dtype == np.uint8
    floats = augmented(np.float32, **keys)
    assert floats.dtype == np.float32
    np.testing.assert_array_equal(images, floats)
    assert not np.array_equal(images, augmented(seed=1, **keys))
