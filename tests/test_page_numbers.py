"""The numbers of the page in a browser, against Python's."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from in_browser import NEEDED, VARIANTS, browser, course, make_run, opening, wait_until

from jaxrnn import generate, one_step, online, show
from jaxrnn.config import build
from jaxrnn.data.vocabulary import encode
from jaxrnn.scoring import evaluation
from jaxrnn.scoring.sampling import sample as draw
from jaxrnn.storage.weights import list_arrays
from jaxrnn.training.drivers import fast_driver
from jaxrnn.training.learner import copy_arrays

__all__ = ["browser", "course", "opening"]  # fixtures
CELLS = ("elman", "leaky", "indrnn", "gru", "lstm", "lru")

pytestmark = NEEDED


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("cell", CELLS)
def test_every_cell_reads_and_learns_as_in_python(cell, variant, opening, tmp_path):
    run, text = make_run(cell, variant)
    ids, key = encode(run.vocabulary, text), build.make_keys(run.config.run.seed).evaluation
    frozen = evaluation.frozen_evaluation(run.model)(run.params, ids, key)
    learner = online(run.model, one_step(run.model), optax.sgd(0.1))
    state, dynamic = fast_driver(learner, 200)(copy_arrays(learner.begin(run.params, key)), jnp.asarray(ids), 200)
    path = tmp_path / "page.html"
    path.write_text(show(run).html, "utf-8")
    opened, watched = opening(path)
    read = """([text, count, rate]) => {
        const { page, copyNetwork, startCarry, step, nats, learn } = jaxrnn;
        const network = copyNetwork(page.trained), ids = [...text].map(page.idOf), losses = [];
        let carry = startCarry(page.carries.reading);
        for (let t = 0; t < count; t++) {
            const done = step(network, carry, ids[t]);
            losses.push(nats(network, done.logits, ids[t + 1]));
            if (rate) learn(network, done, ids[t + 1], rate);
            carry = done.carry;
        }
        return [losses, Object.fromEntries(Object.entries(network.weights).map(([name, array]) => [name, [...array]]))];
    }"""
    losses, _ = opened.evaluate(read, [text, 1_000, 0])
    np.testing.assert_allclose(losses, frozen, atol=1e-5)
    losses, weights = opened.evaluate(read, [text, 200, 0.1])
    np.testing.assert_allclose(losses, dynamic, atol=1e-4)
    for name, array in list_arrays(state.params).items():
        np.testing.assert_allclose(weights[name], array.ravel(), atol=1e-4)
    greedy = """() => {
        const { page, startCarry, step, write } = jaxrnn;
        const { carry, logits } = step(page.live, startCarry(page.carries.writing), 3);
        const written = write(page.live, carry, logits, 0, 1);
        return Array.from({ length: 50 }, () => written.next().value.id);
    }"""
    key = jax.random.fold_in(jax.random.key(0), 0)
    assert opened.evaluate(greedy) == draw(run.model, run.params, np.array([3]), 50, key=key, temperature=0.0).tolist()
    assert max(np.abs(a - b).max() for a, b in zip(*map(jax.tree.leaves, (state.params, run.params)), strict=True)) > 0.02
    assert watched.is_quiet()


def test_the_passage_has_the_losses_of_the_test(course, opening):
    """The course's held-out part is shorter than what a page reads."""
    run, path = course
    opened, watched = opening(path)
    for which, nats in (("frozen", run.numbers.heldout_nats), ("dynamic", run.numbers.heldout_dynamic_nats)):
        wait_until(opened, f"document.getElementById('{which}-title').textContent.includes('{nats:.3f}')")
    assert watched.is_quiet()


def test_a_greedy_page_writes_what_python_writes(course, opening):
    run, path = course
    opened, _ = opening(path)
    opened.fill("#prompt", "Nicette")
    opened.locator("#temperature").fill("0")
    for _ in range(100):
        opened.click("#one")
    assert opened.text_content("#written") == generate(run, "Nicette", 100, temperature=0.0)


def test_the_rate_suits_the_activation(opening, tmp_path):
    run, _ = make_run("elman", "plain")
    model = dataclasses.replace(run.config.model, activation="relu")
    path = tmp_path / "page.html"
    path.write_text(show(run._replace(config=dataclasses.replace(run.config, model=model))).html, "utf-8")
    opened, _ = opening(path)
    assert opened.text_content("#rate-is") == "0.01"


def test_a_machine_that_is_busy_at_first_does_not_make_a_network_too_large(browser, tmp_path):
    run, _ = make_run("gru", "no biases")
    (tmp_path / "page.html").write_text(show(run).html, "utf-8")
    opened = browser.new_page()
    opened.add_init_script(
        "const now = performance.now.bind(performance); let n = 0; performance.now = () => now() + 80 * Math.min(++n, 8);"
    )
    opened.goto((tmp_path / "page.html").as_uri())
    wait_until(opened, "globalThis.jaxrnn !== undefined")
    assert not opened.is_visible("#learning-too-large")
    assert opened.is_enabled("#learn")
    assert int(opened.get_attribute("#rehearse", "max")) > 0
    opened.close()


def test_a_network_that_is_too_large_only_reads_and_writes(opening, tmp_path):
    run, text = make_run("gru", "no biases")
    path = tmp_path / "page.html"
    path.write_text(show(run).html.replace("const SLOWEST = 1 / 20", "const SLOWEST = -1"), "utf-8")  # as every network is then
    opened, watched = opening(path)
    assert opened.is_visible("#learning-too-large")
    assert opened.is_disabled("#learn")
    opened.click("summary")
    opened.fill("#pasted", text[:100])
    opened.click("#read-it")
    opened.wait_for_selector("#frozen .at")
    assert opened.locator("#frozen-bars li").count() >= 10
    assert opened.locator("#dynamic-bars li").count() == 0
    assert watched.is_quiet()
