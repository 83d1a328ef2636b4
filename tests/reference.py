"""An independent witness: the same network, its gradient and its training in float64 NumPy, derived by hand.

h = f(W_x[x] + W_h h' + b), p = softmax(W_o h + c), loss = -log p[y]. With d = p - onehot(y):
dW_o = d h^T, dc = d, dz = f'(z) * (W_o^T d), dW_x[x] = dz, dW_h = h' dz^T, db = dz.
"""

import numpy as np

ACTIVATIONS = {
    "sigmoid": (lambda z: 1 / (1 + np.exp(-z)), lambda h: h * (1 - h)),
    "tanh": (np.tanh, lambda h: 1 - h**2),
    "relu": (lambda z: np.maximum(z, 0), lambda h: (h > 0).astype(np.float64)),
}


def to_float64(params):
    """The arrays by the symbols above; zero biases where the model has none."""
    cell, readout = params["cell"], params["readout"]
    arrays = {"W_x": cell["input_kernel"], "W_h": cell["recurrent_kernel"], "W_o": readout["kernel"]}
    arrays = {name: np.asarray(array, np.float64) for name, array in arrays.items()}
    arrays["b"] = np.asarray(cell.get("bias", np.zeros(arrays["W_h"].shape[0])), np.float64)
    arrays["c"] = np.asarray(readout.get("bias", np.zeros(arrays["W_o"].shape[0])), np.float64)
    return arrays


def step(w, h, x, activation="sigmoid"):
    """New state and logits."""
    h = ACTIVATIONS[activation][0](w["W_x"][x] + h @ w["W_h"] + w["b"])
    return h, w["W_o"] @ h + w["c"]


def nats(logits, y):
    return np.log(np.exp(logits - logits.max()).sum()) + logits.max() - logits[y]


def gradient(w, h_before, x, y, activation="sigmoid"):
    """Loss, new state, and the gradient with the state before taken as given."""
    h, logits = step(w, h_before, x, activation)
    d = np.exp(logits - logits.max())
    d = d / d.sum() - np.eye(len(logits))[y]
    dz = ACTIVATIONS[activation][1](h) * (w["W_o"].T @ d)
    dW_x = np.zeros_like(w["W_x"])
    dW_x[x] = dz
    return nats(logits, y), h, {"W_x": dW_x, "W_h": np.outer(h_before, dz), "b": dz, "W_o": np.outer(d, h), "c": d}


def train(w, h, ids, rate, trained=("W_x", "W_h", "b", "W_o", "c")):
    """Online SGD over the ids: losses, each before the update on it, the weights and the state at the end."""
    losses, w = [], {name: array.copy() for name, array in w.items()}
    for x, y in zip(ids[:-1], ids[1:], strict=True):
        loss, h, grads = gradient(w, h, x, y)
        losses.append(loss)
        for name in trained:
            w[name] -= rate * grads[name]
    return np.array(losses), w, h


def read(w, h, ids):
    """Losses with the weights fixed."""
    losses = []
    for x, y in zip(ids[:-1], ids[1:], strict=True):
        h, logits = step(w, h, x)
        losses.append(nats(logits, y))
    return np.array(losses)


def after(w, h, ids):
    """The state and the logits after reading the ids."""
    logits = w["c"]
    for x in ids:
        h, logits = step(w, h, x)
    return h, logits


def rflo(w, h, x, y, leak, feedback=None):
    """Murray's rule (2019) for h' = (1 - a) h + a s(z), the errors fed back exactly or by other weights: the summed gradients.

    Each weight has a trace, p <- (1 - a) p + a s'(z) times what the weight sees; its gradient is the trace times the error of
    its unit.
    """
    total = {name: np.zeros_like(array) for name, array in w.items()}
    traces = {name: np.zeros_like(w[name]) for name in ("W_x", "W_h", "b")}
    for x_t, y_t in zip(x, y, strict=True):
        s, _ = step(w, h, x_t)
        seen = {"W_x": np.eye(len(w["W_x"]))[x_t][:, None], "W_h": h[:, None], "b": 1.0}
        traces = {name: (1 - leak) * trace + leak * s * (1 - s) * seen[name] for name, trace in traces.items()}
        h = (1 - leak) * h + leak * s
        logits = w["W_o"] @ h + w["c"]
        d = np.exp(logits - logits.max())
        d = d / d.sum() - np.eye(len(logits))[y_t]
        error = (w["W_o"] if feedback is None else feedback).T @ d
        grads = {name: trace * error for name, trace in traces.items()} | {"W_o": np.outer(d, h), "c": d}
        total = {name: total[name] + grads[name] for name in total}
    return total


def snap1_of_two_layers(params, carry, x, y, activation="sigmoid"):
    """SnAp-1 of Menick et al. (2020) for two Elman layers, each followed by itself: the sum of the gradients.

    For each layer J~[k, i] = dh_k / d(the weight into unit i) is masked to k = i. Its gradient is e . J~ with the error e of
    its state at this character, which reaches the lower layer through the upper one.
    """
    f, slope = ACTIVATIONS[activation]
    names, states = ("cell", "cell_2"), [np.asarray(h, np.float64) for h in carry]
    own = np.eye(len(states[0]))
    total = {part: {name: np.zeros_like(array) for name, array in arrays.items()} for part, arrays in params.items()}
    influence = {name: {key: np.zeros((len(own), *array.shape)) for key, array in params[name].items()} for name in names}
    for x_t, y_t in zip(x, y, strict=True):
        inputs, after = np.eye(len(params["cell"]["input_kernel"]))[x_t], []
        for name, before in zip(names, states, strict=True):
            w = params[name]
            h = f(inputs @ w["input_kernel"] + before @ w["recurrent_kernel"] + w["bias"])
            seen = {"input_kernel": inputs, "recurrent_kernel": before, "bias": np.ones(1)}
            D = slope(h)[:, None] * w["recurrent_kernel"].T
            for key, J in influence[name].items():
                now = np.einsum("k,j,ki->kji", slope(h), seen[key], own).reshape(J.shape)
                mask = own.reshape(len(own), *[1] * (J.ndim - 2), len(own))
                influence[name][key] = mask * (now + np.tensordot(D, J, 1))
            inputs = h
            after.append(h)
        states = after
        d = params["readout"]["kernel"] @ states[1] + params["readout"]["bias"]
        d = np.exp(d - d.max()) / np.exp(d - d.max()).sum() - np.eye(len(d))[y_t]
        upper = params["readout"]["kernel"].T @ d
        errors = params["cell_2"]["input_kernel"] @ (slope(states[1]) * upper), upper
        for name, error in zip(names, errors, strict=True):
            for key, J in influence[name].items():
                total[name][key] += np.tensordot(error, J, 1)
        total["readout"]["kernel"] += np.outer(d, states[1])
        total["readout"]["bias"] += d
    return total
