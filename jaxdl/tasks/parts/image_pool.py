"""Image pools of adversarial training (Shrivastava et al. 2016, arXiv:1612.07828)."""

from collections.abc import Mapping

import jax.numpy as jnp

from jaxdl.training.task import Array


def empty_pool(image: Array, places: int) -> dict[str, Array]:
    """Returns an empty pool per batch row, for images of the shape of `image` [batch, h, w, c].

    Returns:
      `shown` [batch, h, w, c], the discriminator's next input; with places also `pool` [batch, places, h, w, c], of
      which the first `filled` int32 [batch] are in use.
    """
    state = {"shown": jnp.zeros_like(image)}
    if places:
        state["pool"] = jnp.zeros((len(image), places, *image.shape[1:]), image.dtype)
        state["filled"] = jnp.zeros(len(image), jnp.int32)
    return state


def update_pool(state: Mapping[str, Array], image: Array, draws: Array) -> dict[str, Array]:
    """Adds one image per row and selects the images to show.

    Until a row's pool is full, its new image is stored and shown. Then the new image is shown, or with probability 1/2
    replaces a stored one, which is shown instead.

    Args:
      state: Pools as `empty_pool` returns them.
      image: A new image per row, [batch, h, w, c].
      draws: Uniform in [0, 1), [batch, 2]: the place in a full pool, and whether its image is replaced (below 1/2).
    """
    if "pool" not in state:
        return {"shown": image}
    places = state["pool"].shape[1]
    full = state["filled"] >= places
    place = jnp.where(full, jnp.floor(draws[:, 0] * places).astype(jnp.int32), state["filled"])
    selected = (jnp.arange(places) == place[:, None])[..., None, None, None]  # [batch, places, 1, 1, 1]
    stored = jnp.sum(jnp.where(selected, state["pool"], 0.0), axis=1)
    replaced = full & (draws[:, 1] < 0.5)
    written = selected & (replaced | ~full)[:, None, None, None, None]
    return {
        "shown": jnp.where(replaced[:, None, None, None], stored, image),
        "pool": jnp.where(written, image[:, None], state["pool"]),
        "filled": jnp.minimum(state["filled"] + 1, places),
    }
