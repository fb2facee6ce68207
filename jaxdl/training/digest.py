"""SHA-256 digests of a train state."""

import hashlib
import os
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxdl.training.state import PyTree, leaf_names


def state_digest(tree: PyTree) -> tuple[dict[str, str], str]:
    """Computes the SHA-256 of every array of a state, and of the whole state.

    The digest of an array covers its dtype, shape and bytes in C order. It does not depend on the sharding. PRNG keys
    are hashed as their key data. The digest of the state is that of the sorted lines "name dtype shape digest". Arrays
    that are sharded over several processes are gathered one by one, so every process must call this function.

    Returns:
      ({name: hexadecimal digest}, hexadecimal digest of the state).
    """
    names, leaves = leaf_names(tree), jax.tree.leaves(tree)
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:  # hashing releases the GIL
        futures = [pool.submit(_leaf_digest, _addressable(leaf)) for leaf in leaves]
        described = [future.result() for future in futures]
    digests = {name: digest for name, (_, digest) in zip(names, described, strict=True)}
    lines = sorted(f"{name} {kind} {digest}" for name, (kind, digest) in zip(names, described, strict=True))
    return digests, hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _addressable(leaf: Any) -> Any:
    if isinstance(leaf, jax.Array) and not leaf.is_fully_addressable:
        if leaf.is_fully_replicated:
            return leaf.addressable_data(0)
        from jax.experimental import multihost_utils

        return multihost_utils.process_allgather(leaf, tiled=True)
    return leaf


def _leaf_digest(leaf: Any) -> tuple[str, str]:
    leaf = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    kind = f"{leaf.dtype} {','.join(map(str, leaf.shape))}"
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        leaf = jax.random.key_data(leaf)
    array = np.ascontiguousarray(leaf).reshape(-1)
    digest = hashlib.sha256(f"{kind}\n".encode())
    digest.update(array.view(np.uint8).data)
    return kind, digest.hexdigest()
