"""The witness equals finite differences of the loss."""

import numpy as np
import pytest
import reference


@pytest.mark.parametrize("activation", reference.ACTIVATIONS)
def test_gradient_is_that_of_finite_differences(activation):
    rng = np.random.default_rng(0)
    shapes = {"W_x": (4, 3), "W_h": (3, 3), "b": (3,), "W_o": (4, 3), "c": (4,)}
    w, h = {name: rng.normal(size=shape) for name, shape in shapes.items()}, rng.normal(size=3)
    _, _, grads = reference.gradient(w, h, 1, 2, activation)
    for name, array in w.items():
        for index in np.ndindex(array.shape):
            losses = []
            for shift in (1e-6, -1e-6):
                moved = {**w, name: array.copy()}
                moved[name][index] += shift
                losses.append(reference.gradient(moved, h, 1, 2, activation)[0])
            np.testing.assert_allclose(grads[name][index], (losses[0] - losses[1]) / 2e-6, rtol=1e-5, atol=1e-9)
