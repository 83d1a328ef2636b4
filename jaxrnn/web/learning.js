// Learning: what is typed is guessed, then learned from, character by character.

import { SLICE, drawCurve, find, make, runningMean } from "./draw.js";
import { copyNetwork, learn, nats, startCarry, step } from "./network.js";
import { mean } from "./numbers.js";
import { makeSafetensors } from "./safetensors.js";
import { format, say } from "./words.js";
import { write } from "./writing.js";

// Milliseconds without work before it writes; characters that it writes then, and that it rehearses from.
const QUIET = 400, SAMPLE = 200, REMEMBERED = 5000;

/** The characters that were put into a text, wherever. */
export function inserted(before, after) {
  let start = 0, end = 0;
  while (start < Math.min(before.length, after.length) && before[start] === after[start]) start++;
  const most = Math.min(before.length, after.length) - start;
  while (end < most && before[before.length - 1 - end] === after[after.length - 1 - end]) end++;
  return after.slice(start, after.length - end);
}

/** Learn from what was read: one step on this character, then some on earlier ones. */
export function practise(network, memory, done, y, rate, rehearsals) {
  learn(network, done, y, rate);
  for (let k = 0; k < rehearsals; k++) {
    const { carry, x, y: came } = memory[Math.floor(Math.random() * memory.length)];
    learn(network, step(network, carry, x), came, rate);
  }
}

export function startLearning(page, writing) {
  const text = find("yours"), rate = find("rate"), rehearsals = find("rehearse"), on = find("learn");
  const view = { before: "", queue: [], timer: 0, quiet: 0 };

  const forget = () => {
    clearTimeout(view.timer);
    clearTimeout(view.quiet);
    Object.assign(view, { before: text.value, queue: [], timer: 0 });
    Object.assign(page, { live: copyNetwork(page.trained), learnedFrom: 0, losses: [], memory: [] });
    Object.assign(page, { carry: startCarry(page.carries.writing), last: page.idOf(page.start) });
    show();
    find("continued").textContent = "";
    writing.begin();
  };
  const readOne = (y) => {
    const done = step(page.live, page.carry, page.last);
    page.losses.push(nats(page.live, done.logits, y));
    page.memory.push({ carry: page.carry, x: page.last, y });
    if (page.memory.length > REMEMBERED) page.memory.shift();
    if (on.checked && !page.tooLarge) {
      practise(page.live, page.memory, done, y, 10 ** Number(rate.value), Number(rehearsals.value));
      page.learnedFrom++;
    }
    Object.assign(page, { carry: done.carry, last: y });
  };
  const work = () => {
    const until = performance.now() + SLICE;
    while (view.queue.length && performance.now() < until) readOne(view.queue.shift());
    show();
    view.timer = view.queue.length ? setTimeout(work) : 0;
    if (!view.timer) view.quiet = setTimeout(goOn, QUIET);
  };
  const read = (characters) => {
    view.queue.push(...Array.from(characters, page.idOf).filter((id) => id >= 0));
    clearTimeout(view.quiet);
    if (!view.timer) view.timer = setTimeout(work);
  };
  const goOn = () => {
    const { carry, logits } = step(page.live, page.carry, page.last), written = write(page.live, carry, logits, 0.5, 1);
    find("continued").textContent = Array.from({ length: SAMPLE }, () => page.characters[written.next().value.id]).join("");
    writing.begin();
  };
  const show = () => {
    const { losses } = page, n = losses.length, k = Math.min(100, n);
    const curve = runningMean(losses.slice(-3000), 25).map((loss, t) => [t + Math.max(0, n - 3000), loss]);
    drawCurve(find("learn-curve"), { online: curve });
    find("rate-is").textContent = format(10 ** Number(rate.value));
    find("rehearse-is").textContent = rehearsals.value;
    const said = k ? say("soFar", { n, k, first: mean(losses.slice(0, k)), last: mean(losses.slice(-k)) }) : "";
    find("learned-is").textContent = said + (view.queue.length ? ` ${say("busy", { n: view.queue.length })}` : "");
  };
  text.oninput = () => {
    read(inserted(view.before, text.value));
    view.before = text.value;
  };
  find("again").onclick = () => read(text.value);
  find("forget").onclick = forget;
  rate.oninput = rehearsals.oninput = show;
  find("save").onclick = async () => {
    if (!globalThis.crypto?.subtle) return void (find("learned-is").textContent = say("notSafe"));
    const file = await makeSafetensors(page.live, page.metadata, page.metadataJson), url = URL.createObjectURL(file);
    make("a", { href: url, download: `${page.name}.safetensors` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  rate.value = Math.log10(page.rate);
  for (const each of [on, rate, rehearsals, find("again")]) each.disabled = page.tooLarge;
  find("learning-too-large").hidden = !page.tooLarge;
  forget();
  return { show };
}
