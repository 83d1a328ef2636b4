"""Nonlinearities of the cells, in a form that XLA compiles to fast loops on a CPU."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# Numerator (odd powers) and denominator (even powers) of a rational approximation of tanh to float32 precision, lowest power
# first: the coefficients of Eigen and XLA.
NUMERATOR = (
    4.89352455891786e-03, 6.37261928875436e-04, 1.48572235717979e-05, 5.12229709037114e-08, -8.60467152213735e-11,
    2.00018790482477e-13, -2.76076847742355e-16,
)  # fmt: skip
DENOMINATOR = (4.89352518554385e-03, 2.26843463243900e-03, 1.18534705686654e-04, 1.19825839466702e-06)
SATURATION = 7.90531110763549805  # from here on, tanh is 1 in float32


@jax.custom_jvp
def tanh(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Compute the hyperbolic tangent; for float32 as a quotient of two polynomials.

    Inside a loop with a matrix product, XLA computes its own tanh and exp one number at a time: measured three to five times
    slower than this, half of the time of a GRU step.
    """
    if x.dtype != jnp.float32:
        return jnp.tanh(x)
    x = jnp.clip(x, -SATURATION, SATURATION)
    square = x * x
    return x * _polynomial(NUMERATOR, square) / _polynomial(DENOMINATOR, square)


@tanh.defjvp
def _(primals: tuple, tangents: tuple) -> tuple[Array, Array]:
    (x,), (dx,) = primals, tangents
    y = tanh(x)
    return y, dx * (1 - y * y)


def sigmoid(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Compute the logistic function 1 / (1 + exp(-x))."""
    return 0.5 * tanh(0.5 * x) + 0.5


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    result = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x + coefficient
    return result
