"""What one can do with the page in a browser, and that it asks nobody for anything."""

import numpy as np
import pytest
from in_browser import NEEDED, browser, course, opening, wait_until

from jaxrnn import fit, sample, show, train
from jaxrnn.runs.loaded import load
from jaxrnn.storage.weights import list_arrays, read_weights

__all__ = ["browser", "course", "opening"]  # fixtures
RHYMES = {
    "fr": "Au clair de la lune,\nMon ami Pierrot,\nPrête-moi ta plume\nPour écrire un mot.\nMa chandelle est morte,\nJe n'ai "
    "plus de feu;\nOuvre-moi ta porte,\nPour l'amour de Dieu.\nAu clair de la lune,\nPierrot répondit:\nJe n'ai pas de plume,\n"
    "Je suis dans mon lit.\nVa chez la voisine,\nJe crois qu'elle y est,\nCar dans sa cuisine\nOn bat le briquet.",
    "en": "Twinkle, twinkle, little star,\nHow I wonder what you are!\nUp above the world so high,\nLike a diamond in the "
    "sky.\nWhen the blazing sun is gone,\nWhen he nothing shines upon,\nThen you show your little light,\nTwinkle, twinkle, "
    "all the night.\nThen the traveler in the dark\nThanks you for your tiny spark,\nHe could not see where to go,",
}

pytestmark = NEEDED


def longest_piece(text, of):
    """The length of the longest piece of one text that stands in another."""
    return max(n for i in range(len(text)) for n in range(len(text) - i + 1) if text[i : i + n] in of)


@pytest.mark.parametrize("language", RHYMES)
def test_a_rhyme_is_learned_by_typing_it_three_times(language, course, opening, tmp_path):
    opened, watched = opening(course[1])
    rhyme = "".join(c for c in RHYMES[language] if c in course[0].vocabulary.characters)[:300]
    assert len(rhyme) == 300
    for _ in range(3):
        opened.locator("#yours").press_sequentially(rhyme, timeout=120_000)
    wait_until(opened, "jaxrnn.page.losses.length === 900 && document.getElementById('continued').textContent !== ''")
    losses = np.array(opened.evaluate("jaxrnn.page.losses"))
    assert losses[600:].mean() <= losses[:300].mean() / 2
    opened.locator("#temperature").fill("0.3")
    opened.fill("#prompt", rhyme[:10])
    opened.evaluate("for (let k = 0; k < 1000; k++) document.getElementById('one').click()")
    written = opened.text_content("#written").removeprefix(rhyme[:10])
    assert longest_piece(rhyme, written) >= 15
    opened.click("#compare")
    wait_until(opened, "document.getElementById('dynamic-title').textContent.includes('learned below')")
    wait_until(opened, "document.querySelector('#frozen .at') !== null")
    before, after = (float(opened.text_content(f"#{way}-title").split(": ")[1].split()[0]) for way in ("frozen", "dynamic"))
    assert after < before / 2
    with opened.expect_download() as download:
        opened.click("#save")
    file = tmp_path / "learned.safetensors"
    download.value.save_as(file)
    saved = list_arrays(read_weights(file).params)
    for name, array in opened.evaluate("Object.entries(jaxrnn.page.live.weights).map(([n, a]) => [n, [...a]])"):
        np.testing.assert_array_equal(saved[name].ravel(), np.float32(array))
    opened.click("#forget")
    assert opened.evaluate(
        "Object.entries(jaxrnn.page.live.weights).every(([n, a]) => a.every((x, i) => x === jaxrnn.page.trained.weights[n][i]))"
    )
    assert watched.is_quiet()


def test_saved_weights_are_sampled_from_and_trained_on(course, opening, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    opened, _ = opening(course[1])
    opened.fill("#yours", "Bonjour, bonjour, bonjour!")
    wait_until(opened, "jaxrnn.page.losses.length > 20")
    with opened.expect_download() as download:
        opened.click("#save")
    download.value.save_as("learned.safetensors")
    capsys.readouterr()
    sample.main(["learned.safetensors", "--prompt", "Bonj", "--temperature", "0", "--length", "30"])
    assert capsys.readouterr().out.startswith("Bonj")
    train.main(["--init-from", "learned.safetensors", "--epochs", "1", "--run-dir", "after", "--max-characters", "3000"])
    assert load("after").numbers is not None


@pytest.mark.parametrize(
    "text", ["", "a", "\n\n\n", "👩‍🚀 ünd 日本語 ", "Le roi. " * 40_000, "\r\nA\tB", "<b>&amp;</b></script>"]
)
def test_any_text_can_be_pasted(text, course, opening):
    opened, watched = opening(course[1])
    opened.click("summary")
    opened.fill("#pasted", text)
    opened.click("#read-it")
    opened.fill("#yours", text)
    known = [c for c in text.replace("\r\n", "\n") if c in course[0].vocabulary.characters]
    if len(text) < 1_000:
        wait_until(opened, f"jaxrnn.page.losses.length === {len(known)}")
    opened.wait_for_timeout(500)
    shown = opened.text_content("#frozen").replace("⏎", "")
    assert shown == text.replace("\r\n", "\n")[:600]
    opened.click("#forget")
    assert watched.is_quiet()


def test_weights_are_saved_as_they_are_while_it_goes_on_learning(course, opening, tmp_path):
    opened, _ = opening(course[1])
    opened.fill("#yours", "Le roi est mort. " * 300)
    wait_until(opened, "jaxrnn.page.losses.length > 20")
    for number in range(3):
        with opened.expect_download() as download:
            opened.click("#save")
        download.value.save_as(tmp_path / f"{number}.safetensors")
    assert opened.evaluate("jaxrnn.page.losses.length") < 5_100
    saved = [list_arrays(read_weights(tmp_path / f"{number}.safetensors").params) for number in range(3)]
    assert not np.array_equal(saved[0]["readout.bias"], saved[2]["readout.bias"])


@pytest.mark.parametrize("bias", ["NaN", "Infinity", "t * 100"])
def test_a_network_that_diverges_gets_its_weights_back(bias, course, opening):
    opened, watched = opening(course[1])
    opened.evaluate(f"jaxrnn.page.live.weights['readout.bias'].forEach((_, t, b) => {{ b[t] = {bias}; }})")
    opened.fill("#yours", "Le roi est mort, vive le roi! " * 3)
    wait_until(opened, "document.getElementById('learned-is').textContent.includes('diverged')")
    opened.click("#run")
    opened.wait_for_timeout(300)
    assert opened.evaluate("Object.values(jaxrnn.page.live.weights).every((array) => array.every(Number.isFinite))")
    assert watched.is_quiet()


def test_letters_that_are_put_together_are_learned_once(course, opening):
    opened, _ = opening(course[1])
    opened.focus("#yours")
    keyboard = opened.context.new_cdp_session(opened)
    for part in ("n", "ni", "nih"):
        keyboard.send("Input.imeSetComposition", {"text": part, "selectionStart": len(part), "selectionEnd": len(part)})
    keyboard.send("Input.insertText", {"text": "é"})
    opened.keyboard.insert_text("t")
    wait_until(opened, "jaxrnn.page.losses.length === 2")
    opened.wait_for_timeout(200)
    assert opened.input_value("#yours") == "ét"
    assert opened.evaluate("jaxrnn.page.losses.length") == 2


def test_what_somebody_chooses_stays_chosen(course, opening):
    opened, watched = opening(course[1])
    wait_until(opened, "document.querySelector('#frozen span') !== null")
    opened.click("#frozen span >> nth=3")
    wait_until(opened, "document.getElementById('frozen-title').textContent.includes('1.779')")
    opened.wait_for_timeout(500)
    assert opened.locator("#frozen .at").get_attribute("data-at") == "3"
    opened.click("#run")
    opened.wait_for_timeout(400)
    written = opened.text_content("#written")
    opened.click("#language")
    assert opened.text_content("#written").startswith(written)
    assert opened.text_content("#run") == "Arrêter"
    assert opened.locator("#frozen .at").get_attribute("data-at") == "3"
    assert watched.is_quiet()


def test_in_the_frame_of_a_notebook_links_stay_in_the_page(course, browser, tmp_path):
    path = tmp_path / "notebook.html"
    path.write_text(f"<!doctype html><meta charset=utf-8>{show(course[0])._repr_html_()}", "utf-8")
    opened = browser.new_page()
    requests = []
    opened.on("request", lambda request: requests.append(request.url))
    opened.goto(path.as_uri())
    frame = opened.frame_locator("iframe")
    frame.locator("nav a").nth(2).click()
    frame.locator("#one").click()
    opened.wait_for_timeout(300)
    assert len(frame.locator("#written").text_content()) == 2
    assert requests == [path.as_uri()]
    opened.close()


def test_a_unit_colours_the_text_and_a_span_finds_units(course, opening):
    opened, watched = opening(course[1])
    opened.wait_for_selector("#frozen .at")
    opened.click("#named-units button")
    assert "unit" in opened.text_content("#unit-says")
    assert opened.locator("#units [aria-pressed=true]").count() == 1
    opened.click("#by-surprise")
    assert opened.locator("#units [aria-pressed=true]").count() == 0
    letters = opened.locator("#frozen span")
    letters.nth(20).scroll_into_view_if_needed()
    where = [letters.nth(i).bounding_box() for i in (20, 21)]
    opened.mouse.move(where[0]["x"] + 2, where[0]["y"] + 5)
    opened.mouse.down()
    opened.mouse.move(where[1]["x"] + 2, where[1]["y"] + 5)
    opened.mouse.up()
    assert opened.locator("#span-units button").count() > 0
    opened.click("#places button")
    opened.click("summary")
    opened.fill("#pasted", "Le roi.")
    opened.click("#read-it")
    assert opened.locator("#span-units button, #places button").count() == 0
    assert watched.is_quiet()


def test_two_touches_mark_a_span(course, browser):
    context = browser.new_context(viewport={"width": 360, "height": 800}, locale="fr-FR", has_touch=True, is_mobile=True)
    opened = context.new_page()
    opened.goto(course[1].as_uri())
    opened.wait_for_selector("#frozen .at")
    opened.click("#mark")
    for i in (27, 33):
        opened.tap(f"#frozen [data-at='{i}']")
    assert opened.locator("#frozen .in-span").count() == 7
    assert opened.text_content("#span-says")
    opened.tap("#frozen [data-at='30']")
    assert opened.locator("#frozen .in-span").count() == 0
    context.close()


def test_forgetting_ends_a_comparison(course, opening):
    opened, watched = opening(course[1], "fr-FR")
    opened.fill("#yours", "Bonjour, bonjour, 😀 bonjour!")
    wait_until(opened, "jaxrnn.page.losses.length === 27")
    assert opened.text_content("#learned-is").endswith("les saute\u00a0: 😀")
    opened.click("#compare")
    wait_until(opened, "document.getElementById('dynamic-title').textContent.startsWith('avec ce qu')")
    assert "Les deux lisent" in opened.text_content("#passage-notes")
    opened.click("#forget")
    wait_until(opened, "document.getElementById('dynamic-title').textContent.startsWith('apprend en lisant')")
    assert "Oublié" in opened.text_content("#learned-is")
    assert watched.is_quiet()


def test_the_keyboard_is_enough(course, opening):
    opened, watched = opening(course[1])
    opened.wait_for_selector("#frozen .at")
    opened.focus("#frozen")
    before = opened.text_content("#said")
    for _ in range(5):
        opened.keyboard.press("ArrowRight")
    assert opened.text_content("#said") != before
    opened.keyboard.press("Shift+ArrowRight")
    assert opened.locator("#frozen .in-span").count() == 2
    opened.focus("#units button")
    opened.keyboard.press("ArrowRight")
    opened.keyboard.press("Enter")
    assert opened.locator("#units [aria-pressed=true]").count() == 1
    opened.focus("#curve")
    opened.keyboard.press("Home")
    assert "after 2,000 updates" in opened.text_content("#curve-at")
    assert watched.is_quiet()


def test_the_end_of_the_curve_shows_the_last_validation_loss(opening, tmp_path):
    run = fit(max_characters=3_000, hidden_size=8, epochs=2, validation_fraction=0.1, run_dir=str(tmp_path / "run"), show=False)
    assert run.losses.window_steps[-1] < run.losses.epoch_steps[-1]
    (tmp_path / "page.html").write_text(show(run).html, "utf-8")
    opened, _ = opening(tmp_path / "page.html")
    assert f"(orange): {run.losses.validation_nats[-1]:.3f}" in opened.text_content("#curve-at")


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("language", ["en-GB", "fr-FR"])
@pytest.mark.parametrize("width", [360, 800, 1400])
def test_it_fits_every_width_theme_and_language(width, language, theme, course, opening):
    opened, watched = opening(course[1], language, width, theme)
    opened.wait_for_selector("#frozen .at")
    assert opened.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert opened.evaluate("document.documentElement.lang") == language[:2]
    words = opened.locator("[data-word]").all_text_contents()
    opened.click("#language")
    same = [a for a, b in zip(words, opened.locator("[data-word]").all_text_contents(), strict=True) if a == b]
    assert set(same) <= {"nats"}
    opened.click("#theme")
    assert opened.evaluate("document.documentElement.style.colorScheme") == {"light": "dark", "dark": "light"}[theme]
    assert watched.is_quiet()
