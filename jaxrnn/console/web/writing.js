// Writing: the network draws a character according to its probabilities, reads it, and so on.

import { find, showBars } from "./draw.js";
import { largest } from "./numbers.js";
import { chances, startCarry, step } from "./network.js";
import { format, say } from "./words.js";

/** The probabilities from which a character is drawn: sharper at a low temperature, and of the likeliest only. */
export function drawingChances(network, logits, temperature, topP) {
  const p = chances(network, logits, temperature);
  if (topP >= 1) return p;
  const kept = p.map(() => 0), order = Array.from(p.keys()).sort((a, b) => p[b] - p[a]);
  let before = 0;
  for (const i of order) {
    if (before >= topP) break;
    kept[i] = p[i];
    before += p[i];
  }
  return kept.map((each) => each / before);
}

export function drawFrom(p) {
  let left = Math.random();
  const drawn = p.findIndex((each) => (left -= each) < 0);
  return drawn < 0 ? p.findLastIndex((each) => each > 0) : drawn; // rounding may leave a remainder
}

/** Continue from a carry: yield each character's id, with the carry and the logits after it. */
export function* write(network, carry, logits, temperature, topP) {
  for (;;) {
    const id = drawFrom(drawingChances(network, logits, temperature, topP)), done = step(network, carry, id);
    ({ carry, logits } = done);
    yield { id, carry, logits };
  }
}

export function startWriting(page) {
  const prompt = find("prompt"), output = find("written"), temperature = find("temperature"), topP = find("top-p");
  let timer = 0, carry, logits;
  prompt.value = page.prompt;

  const show = () => {
    find("temperature-is").textContent = format(Number(temperature.value), 2);
    find("top-p-is").textContent = format(Number(topP.value), 2);
    find("run").textContent = say(timer ? "stop" : "run");
    const weights = page.learnedFrom ? say("learnedWeights", { n: page.learnedFrom }) : say("trainedWeights");
    find("weights-are").textContent = `${weights} ${page.unknownIn(prompt.value)}`;
    const p = drawingChances(page.live, logits, Number(temperature.value), Number(topP.value));
    showBars(find("next"), largest(p, 10).map((i) => ({ character: page.characters[i], p: p[i] })));
  };
  const begin = () => {
    stop();
    output.textContent = prompt.value;
    carry = startCarry(page.carries.writing);
    const ids = [...prompt.value].map(page.idOf).filter((id) => id >= 0);
    for (const id of ids.length ? ids : [page.idOf(page.prompt)]) ({ carry, logits } = step(page.live, carry, id));
    show();
  };
  const one = () => {
    const written = write(page.live, carry, logits, Number(temperature.value), Number(topP.value)).next().value;
    ({ carry, logits } = written);
    output.textContent = (output.textContent + page.characters[written.id]).slice(-5000);
    output.scrollTop = output.scrollHeight;
    show();
  };
  const stop = () => {
    clearInterval(timer);
    timer = 0;
  };
  find("one").onclick = one;
  const toggle = () => (timer ? stop() : (timer = setInterval(one, 30)));
  find("run").onclick = () => (toggle(), show());
  find("anew").onclick = prompt.oninput = begin;
  temperature.oninput = topP.oninput = show;
  begin();
  return { begin, show };
}
