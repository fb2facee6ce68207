"""Operations written for speed on XLA:CPU, with the measurements that justify them."""

import jax


@jax.custom_vjp
def product(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Computes x [..., n] @ kernel [n, m] with a gradient that is fast on CPU.

    For the kernel gradient XLA transposes one operand and recomputes its producer, such as an activation, along the
    wrong axis: a feed-forward network with GELU took 2.5 times as long. This gradient transposes the narrower operand.
    Forward-mode derivatives are not supported.
    """
    return x @ kernel


def _product_forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return x @ kernel, (x, kernel)


def _product_backward(saved: tuple[jax.Array, jax.Array], gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = saved
    rows, columns = x.reshape(-1, x.shape[-1]), gradient.reshape(-1, gradient.shape[-1])
    over = (((0,), (0,)), ((), ()))
    if rows.shape[1] <= columns.shape[1]:
        of_kernel = jax.lax.dot_general(rows, columns, over)
    else:
        of_kernel = jax.lax.dot_general(columns, rows, over).T
    of_x = jax.lax.dot_general(gradient, kernel, (((gradient.ndim - 1,), (1,)), ((), ())))
    return of_x, of_kernel


product.defvjp(_product_forward, _product_backward)
