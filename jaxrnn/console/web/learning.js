// Learning: what is typed is guessed, then learned from, character by character.

import { SLICE, drawCurve, find, make, runningMean } from "./draw.js";
import { copyNetwork, learn, nats, startCarry, step } from "./network.js";
import { mean } from "./numbers.js";
import { makeSafetensors } from "./safetensors.js";
import { format, say } from "./words.js";
import { write } from "./writing.js";

const QUIET = 400, SAMPLE = 200; // milliseconds without work before it writes, and characters that it writes then
const RECENT = 50, DIVERGED = 3; // it has diverged if the mean loss over the last RECENT characters is DIVERGED times that of guessing
const REMEMBERED = 5000, CURVE = 3000; // characters that it rehearses from, and that the curve shows

/** The characters that were inserted into a text, wherever that was. */
export function inserted(before, after) {
  const old = [...before], now = [...after], most = Math.min(old.length, now.length);
  let start = 0, end = 0;
  while (start < most && old[start] === now[start]) start++;
  while (end < most - start && old[old.length - 1 - end] === now[now.length - 1 - end]) end++;
  return now.slice(start, now.length - end).join("");
}

/** Learn from what was read: one step on this character, then some on earlier ones. */
export function practise(network, memory, done, y, rate, rehearsals) {
  learn(network, done, y, rate);
  for (let k = 0; k < rehearsals && memory.length; k++) {
    const { carry, x, y: came } = memory[Math.floor(Math.random() * memory.length)];
    learn(network, step(network, carry, x), came, rate);
  }
}

export function startLearning(page, writing) {
  const text = find("yours"), rate = find("rate"), rehearsals = find("rehearse"), on = find("learn");
  const view = { before: "", queue: [], timer: 0, note: null };

  const forget = (note = null) => {
    clearTimeout(view.timer);
    Object.assign(view, { before: text.value, queue: [], timer: 0, note });
    Object.assign(page, { live: copyNetwork(page.trained), learnedFrom: 0, losses: [], memory: [] });
    Object.assign(page, { carry: startCarry(page.carries.writing), last: page.idOf(page.start) });
    find("continued").textContent = "";
    show();
    writing.begin();
    page.reading?.forget();
  };
  const readOne = (y) => {
    const done = step(page.live, page.carry, page.last), loss = nats(page.live, done.logits, y);
    page.losses.push(loss);
    if (!(mean(page.losses.slice(-RECENT)) < DIVERGED * page.guess)) return forget("diverged"); // or it is NaN
    if (on.checked && !page.tooLarge) {
      practise(page.live, page.memory, done, y, 10 ** Number(rate.value), Number(rehearsals.value));
      page.learnedFrom++;
    }
    page.memory.push({ carry: page.carry, x: page.last, y });
    if (page.memory.length > REMEMBERED) page.memory.shift();
    return Object.assign(page, { carry: done.carry, last: y });
  };
  const work = () => {
    const until = performance.now() + SLICE;
    while (view.queue.length && performance.now() < until) readOne(view.queue.shift());
    view.timer = view.queue.length ? setTimeout(work) : setTimeout(goOn, QUIET);
    show();
    if (!view.queue.length) writing.show();
  };
  const read = (characters) => {
    const known = Array.from(characters.replace(/\r\n?/g, "\n"), page.idOf).filter((id) => id >= 0);
    view.note = null;
    if (!view.queue.length) {
      clearTimeout(view.timer); // it may be writing
      view.timer = setTimeout(work);
    }
    view.queue = view.queue.concat(known);
  };
  /** Write from where it stands, a slice at a time. */
  const goOn = () => {
    const { carry, logits } = step(page.live, page.carry, page.last), written = write(page.live, carry, logits, 0.5, 1);
    let said = "";
    const more = () => {
      const until = performance.now() + SLICE;
      while (said.length < SAMPLE && performance.now() < until) said += page.characters[written.next().value.id];
      find("continued").textContent = said;
      if (said.length < SAMPLE) view.timer = setTimeout(more);
    };
    more();
  };
  const show = () => {
    const { losses } = page, n = losses.length, k = Math.min(100, Math.ceil(n / 2)), first = Math.max(0, n - CURVE);
    const curve = runningMean(losses.slice(first), 25).map((loss, t) => [first + t + 1, loss]);
    drawCurve(find("learn-curve"), { online: curve.slice(n > 50 ? 24 : 0) });
    find("rate-is").textContent = format(10 ** Number(rate.value));
    rate.setAttribute("aria-valuetext", find("rate-is").textContent);
    find("rehearse-is").textContent = rehearsals.value;
    const note = (key, values) => (key ? `${say(key, values)} ` : "");
    find("learned-is").textContent = note(view.note) + note(view.queue.length && "busy", { n: view.queue.length })
      + note(k && "soFar", { n, k, first: mean(losses.slice(0, k)), last: mean(losses.slice(-k)) }) + page.unknownIn(text.value);
    find("learned-is").setAttribute("aria-busy", String(view.queue.length > 0)); // to be read out when it is done
  };
  const readNew = () => {
    read(inserted(view.before, text.value));
    view.before = text.value;
  };
  text.oninput = (event) => event.isComposing || readNew(); // a letter that is still being composed does not count yet
  text.oncompositionend = readNew;
  find("again").onclick = () => text.value && read(text.value);
  find("compare").onclick = () => {
    find("reading").scrollIntoView();
    page.reading.read(text.value, copyNetwork(page.live));
  };
  find("forget").onclick = () => forget("forgotten");
  rate.oninput = rehearsals.oninput = show;
  find("save").onclick = async () => {
    view.note = globalThis.crypto?.subtle ? null : "notSafe";
    show();
    if (view.note) return;
    const file = await makeSafetensors(copyNetwork(page.live), page.metadata, page.metadataJson); // as it is now
    const url = URL.createObjectURL(file);
    make("a", { href: url, download: `${page.name}.safetensors` }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  };
  rate.value = Math.log10(page.typingRate);
  Object.assign(rehearsals, { max: page.mostRehearsals, value: Math.min(8, page.mostRehearsals) });
  for (const each of [on, rate, rehearsals]) each.disabled = page.tooLarge;
  find("learning-too-large").hidden = !page.tooLarge;
  forget();
  return { show };
}
