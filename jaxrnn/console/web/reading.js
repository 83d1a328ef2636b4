// Reading: what surprised the network, what it expected instead, and how far back it looks.

import { SLICE, find, make, showBars, visible } from "./draw.js";
import { chances, copyNetwork, learn, nats, reach, startCarry, step } from "./network.js";
import { largest, mean } from "./numbers.js";
import { startUnits } from "./units.js";
import { countOf, percent, say } from "./words.js";

const SHOWN = 600; // characters at a time
const MOST_NATS = 6; // of the strongest colour
const WAYS = ["frozen", "dynamic"];

/** Read a character: what was expected in its place, and what was carried up to it. At a rate over 0, learn from it first. */
function readWith(reader, id, rate) {
  const { network, done } = reader;
  let seen;
  if (done) {
    const p = chances(network, done.logits);
    const top = largest(p, 10), shown = top.includes(id) ? top : [...top, id]; // what came is shown, however unlikely
    seen = { nats: nats(network, done.logits, id), p: p[id], top: shown.map((i) => [i, p[i]]) };
    if (!Number.isFinite(seen.nats)) return { carry: done.carry }; // it has diverged, and predicts nothing any more
    if (rate) learn(network, done, id, rate);
  }
  const carry = done?.carry ?? reader.start;
  reader.done = step(network, carry, id);
  return { carry, seen };
}

export function startReading(page) {
  // A record is a character: its id, what was seen of it each way, the carry before it and the units after it.
  const view = { records: [], start: 0, at: -1, anchor: -1, unit: null, number: 0, own: page.passage, lengths: new Map(), touches: 0 };
  const panes = WAYS.map(find);

  /** Read a text with the trained weights, and with a copy that learns as it reads; or with the weights of `learned`, fixed. */
  const read = async (text, learned = null) => {
    const number = ++view.number; // a later text stops an earlier one
    const characters = [...text.replace(/\r\n?/g, "\n")];
    const records = characters.slice(0, page.most).map((character) => ({ character, id: page.idOf(character) }));
    Object.assign(view, { own: text, learned, records, start: 0, at: -1, anchor: -1, unit: null, usual: null, lengths: new Map() });
    view.isCut = characters.length > page.most;
    const begin = (network) => ({ network, start: startCarry(page.carries.reading) });
    const frozen = begin(page.trained), dynamic = begin(copyNetwork(learned ?? page.trained));
    showPassage();
    units.show();
    units.clearSpan();
    point(-1);
    let until = performance.now() + SLICE;
    for (const record of records.filter(({ id }) => id >= 0)) {
      const { carry, seen } = readWith(frozen, record.id, 0);
      const units = Float32Array.from(frozen.done.layers.flatMap(({ output }) => [...output]));
      Object.assign(record, { carry, frozen: seen, units });
      if (!page.tooLarge) record.dynamic = readWith(dynamic, record.id, learned ? 0 : page.rate).seen;
      if (performance.now() < until) continue;
      colour();
      await new Promise((go) => setTimeout(go));
      if (number !== view.number) return;
      until = performance.now() + SLICE;
    }
    const states = records.flatMap(({ units }) => (units ? [units] : []));
    const averages = Array.from(states[0] ?? [], (_, u) => mean(states.map((state) => state[u])));
    const spreads = averages.map((average, u) => Math.sqrt(mean(states.map((state) => (state[u] - average) ** 2))) || 1);
    view.usual = states.length ? { averages, spreads } : null;
    colour();
    if (view.at >= 0) return void point(view.at); // a character was chosen in the meantime
    const surprise = records.findIndex(({ frozen: seen }, i) => i > 30 && seen?.nats > 3);
    point(surprise < 0 ? records.findIndex(({ id }) => id >= 0) : surprise);
  };

  const notes = () => {
    if (!view.records.length) return say(page.passage ? "nothing" : "noPassage");
    const own = view.own === page.passage ? (page.heldout ? "heldout" : "learned") : view.learned && "comparing";
    return [own ? say(own) : "", view.isCut ? say("truncated", { n: page.most }) : "", page.unknownIn(view.own)].join(" ");
  };
  const showPassage = () => {
    const shown = view.records.slice(view.start, view.start + SHOWN);
    for (const pane of panes) {
      pane.replaceChildren(...shown.map(({ character, id }, i) =>
        make("span", { "data-at": view.start + i, class: id < 0 ? "unknown" : null }, character === "\n" ? "⏎\n" : character)));
    }
    find("passage-notes").textContent = notes();
    const place = find("place"), last = Math.max(0, view.records.length - SHOWN);
    Object.assign(place, { max: last, value: view.start, disabled: !last });
    colour();
    showReach();
    showSelection();
  };
  const level = (state, u) => Math.max(-1, Math.min(1, (state[u] - view.usual.averages[u]) / (2 * view.usual.spreads[u])));
  const paint = (element, value) => {
    element.style.setProperty("--s", Math.abs(value).toFixed(3));
    element.classList.toggle("low", value < 0);
  };
  const colour = () => {
    panes.forEach((pane, k) => {
      for (const span of pane.children) {
        const { units, [WAYS[k]]: seen } = view.records[span.dataset.at];
        const ofUnit = units && view.usual ? level(units, view.unit ?? 0) : 0;
        paint(span, view.unit === null ? Math.min(1, (seen?.nats ?? 0) / MOST_NATS) : ofUnit);
      }
      const losses = view.records.flatMap(({ [WAYS[k]]: seen }) => (seen ? [seen.nats] : []));
      const title = !k ? "frozen" : page.tooLarge ? "dynamicTooLarge" : view.learned ? "afterLearning" : "dynamic";
      find(`${WAYS[k]}-title`).textContent = say(title, { nats: losses.length ? mean(losses) : "–", rate: page.rate });
    });
  };

  /** Say what is known of a character. The one that is chosen also tells how far back it looks. */
  const point = (i, chosen = true) => {
    const record = view.records[i];
    find("said").textContent = describe(record);
    WAYS.forEach((way) => showBars(find(`${way}-bars`), (record?.[way]?.top ?? []).map(([id, p]) =>
      ({ character: page.characters[id], p, marked: id === record.id }))));
    const state = view.usual && record?.units;
    units.squares().forEach((square) => paint(square, state ? level(state, square.dataset.unit) : 0));
    if (!chosen) return;
    view.at = i;
    view.lengths = record?.frozen ? lookBack(i) : new Map();
    showReach();
    showSelection();
  };
  const describe = (record) => {
    if (!record) return say(view.records.length ? "pointAt" : "nothing");
    const { character, id, frozen, dynamic } = record, c = visible(character);
    if (id < 0) return say("unknownOne", { c });
    if (!frozen) return say(record.units ? "first" : "notYet", { c });
    const learned = dynamic ? say("cameLearned", { p: percent(dynamic.p), nats: dynamic.nats }) : "";
    return say("came", { c, p: percent(frozen.p), nats: frozen.nats, learned });
  };
  /** Compute how strongly the surprise at a character depends on what was known after each one before it. */
  const lookBack = (i) => {
    const known = view.records.slice(0, i).flatMap(({ id }, place) => (id < 0 ? [] : [place])).slice(-page.lookBack);
    const steps = known.map((place) => step(page.trained, view.records[place].carry, view.records[place].id));
    return new Map(reach(page.trained, steps, view.records[i].id).map((length, k) => [known[k], length]));
  };
  const showReach = () => {
    const values = [...view.lengths.values()].reverse(), first = values[0];
    for (const span of panes[0].children) {
      const length = view.lengths.get(Number(span.dataset.at));
      span.style.setProperty("--reach", length ? Math.max(0, 1 + Math.log10(length / first) / 4).toFixed(3) : 0);
    }
    const fallsTo = (part) => {
      const n = values.findIndex((length) => length < first * part);
      return n < 0 ? say("farther", { n: values.length }) : countOf(n);
    };
    const words = () => ({ c: visible(view.records[view.at].character), tenth: fallsTo(0.1), hundredth: fallsTo(0.01) });
    find("reach").textContent = first ? say("reach", words()) : "";
  };
  const span = () => [Math.min(view.at, view.anchor), Math.max(view.at, view.anchor)];
  const showSelection = () => {
    for (const each of panes.flatMap((pane) => [...pane.children])) {
      const i = Number(each.dataset.at), [from, to] = span();
      each.classList.toggle("at", i === view.at);
      each.classList.toggle("in-span", view.anchor >= 0 && i >= from && i <= to);
    }
  };
  const move = (start) => {
    view.start = Math.max(0, Math.min(start, view.records.length - SHOWN));
    showPassage();
  };
  const reveal = (i) => {
    if (i < view.start || i >= view.start + SHOWN) move(i - 100);
    panes[0].querySelector(`[data-at="${i}"]`)?.scrollIntoView({ block: "nearest" });
  };
  const goTo = (i) => {
    view.anchor = -1;
    reveal(i);
    point(i);
  };
  const mark = (to) => {
    view.anchor = to;
    showSelection();
  };
  const units = startUnits(page, view, colour, goTo);

  for (const pane of panes) {
    const placeOf = (event) => Number(event.target.dataset?.at ?? -1);
    pane.onpointerover = (event) => placeOf(event) >= 0 && !event.buttons && point(placeOf(event), false);
    pane.onpointerleave = () => view.at >= 0 && point(view.at, false);
    pane.onpointerdown = (event) => {
      if (placeOf(event) < 0) return;
      if (view.touches-- === 1) return void (mark(placeOf(event)), units.showSpan(...span()));
      view.anchor = -1;
      point(placeOf(event));
    };
    pane.onpointermove = (event) => {
      const isOther = view.anchor >= 0 || placeOf(event) !== view.at;
      if (event.buttons && view.at >= 0 && placeOf(event) >= 0 && isOther) mark(placeOf(event));
      view.isMarking = view.anchor >= 0 && event.buttons > 0;
    };
    pane.onscroll = () => panes.forEach((other) => { other.scrollTop = pane.scrollTop; });
    pane.onkeydown = (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -40, ArrowDown: 40 }[event.key];
      if (event.key === "Escape") mark(-1);
      if (!by || !view.records.length) return;
      event.preventDefault();
      if (view.at < 0) return void goTo(0);
      const from = event.shiftKey && view.anchor >= 0 ? view.anchor : view.at;
      const to = Math.min(view.records.length - 1, Math.max(0, from + by));
      if (!event.shiftKey) return void goTo(to);
      reveal(to);
      mark(to);
      units.showSpan(...span());
    };
  }
  window.addEventListener("pointerup", () => { // wherever the button is let go
    if (view.isMarking) units.showSpan(...span());
    view.isMarking = false;
  });
  find("place").oninput = (event) => move(Number(event.target.value));
  find("read-it").onclick = () => read(find("pasted").value);
  find("back").onclick = () => read(page.passage);
  find("mark").onclick = () => { view.touches = 2; };
  const show = () => {
    units.show();
    if (!view.number) return void read(view.own);
    showPassage();
    return void point(view.at);
  };
  return { show, read, forget: () => view.learned && read(view.own) };
}
