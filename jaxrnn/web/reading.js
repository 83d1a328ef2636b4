// Reading: what surprised the network, what it expected instead, and how far back it looks.

import { SLICE, find, make, showBars, visible } from "./draw.js";
import { chances, copyNetwork, learn, nats, reach, startCarry, step } from "./network.js";
import { largest, mean } from "./numbers.js";
import { startUnits } from "./units.js";
import { percent, say } from "./words.js";

const MOST = 6000, SHOWN = 600, LOOK_BACK = 60; // characters that are read, shown at a time, and looked back at
const MOST_NATS = 6; // of the strongest colour
const WAYS = ["frozen", "dynamic"];
const pause = () => new Promise((go) => setTimeout(go));

/** Read a character: what was expected in its place, and what was carried up to it. At a rate over 0, learn from it first. */
function readWith(reader, id, rate) {
  const { network, done } = reader;
  let seen;
  if (done) {
    const p = chances(network, done.logits);
    seen = { nats: nats(network, done.logits, id), p: p[id], top: largest(p, 10).map((i) => [i, p[i]]) };
    if (rate) learn(network, done, id, rate);
  }
  const carry = done?.carry ?? reader.start;
  reader.done = step(network, carry, id);
  return { carry, seen };
}

export function startReading(page) {
  // A record is a character: its id, what was seen of it each way, the carry before it and the units after it.
  const view = { records: [], start: 0, at: -1, anchor: -1, unit: null, number: 0, own: page.passage };
  const panes = WAYS.map(find);

  const read = async (text) => {
    const number = ++view.number; // a later text stops an earlier one
    const characters = [...text.replace(/\r\n?/g, "\n")];
    const records = characters.slice(0, MOST).map((character) => ({ character, id: page.idOf(character) }));
    Object.assign(view, { own: text, records, start: 0, at: -1, anchor: -1, usual: null, isCut: characters.length > MOST });
    const begin = (network) => ({ network, start: startCarry(page.carries.reading) });
    const frozen = begin(page.trained), dynamic = begin(copyNetwork(page.trained));
    draw();
    let until = performance.now() + SLICE;
    for (const record of records.filter(({ id }) => id >= 0)) {
      const { carry, seen } = readWith(frozen, record.id, 0);
      const units = Float32Array.from(frozen.done.layers.flatMap(({ output }) => [...output]));
      Object.assign(record, { carry, frozen: seen, units });
      if (!page.tooLarge) record.dynamic = readWith(dynamic, record.id, page.rate).seen;
      if (performance.now() < until) continue;
      colour();
      await pause();
      if (number !== view.number) return;
      until = performance.now() + SLICE;
    }
    const states = records.flatMap(({ units }) => (units ? [units] : []));
    const averages = Array.from(states[0] ?? [], (_, u) => mean(states.map((state) => state[u])));
    const spreads = averages.map((average, u) => Math.sqrt(mean(states.map((state) => (state[u] - average) ** 2))) || 1);
    view.usual = states.length ? { averages, spreads } : null;
    colour();
    point(records.findIndex((record, i) => i > 30 && record.frozen?.nats > 3));
  };

  const notes = () => {
    const unknown = view.records.filter(({ id }) => id < 0).length, isOwn = view.records.length && view.own === page.passage;
    return [
      view.records.length ? "" : say(page.passage ? "nothing" : "noPassage"),
      isOwn ? say(page.heldout ? "heldout" : "learned") : "",
      view.isCut ? say("truncated", { n: MOST }) : "",
      unknown ? say("unknown", { n: unknown }) : "",
    ].join(" ");
  };
  const draw = () => {
    const shown = view.records.slice(view.start, view.start + SHOWN);
    for (const pane of panes) {
      pane.replaceChildren(...shown.map(({ character, id }, i) =>
        make("span", { "data-at": view.start + i, class: id < 0 ? "unknown" : null }, character === "\n" ? "⏎\n" : character)));
    }
    find("passage-notes").textContent = notes();
    const place = find("place"), last = Math.max(0, view.records.length - SHOWN);
    Object.assign(place, { max: last, value: view.start, disabled: !last });
    colour();
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
      find(`${WAYS[k]}-title`).textContent = say(WAYS[k], { nats: losses.length ? mean(losses) : "…", rate: page.rate });
    });
  };

  /** Say what is known of a character. The one that is chosen also tells how far back it looks. */
  const point = (i, chosen = true) => {
    const record = view.records[i];
    find("said").textContent = describe(record);
    if (!record) return;
    WAYS.forEach((way) => showBars(find(`${way}-bars`), (record[way]?.top ?? []).map(([id, p]) =>
      ({ character: page.characters[id], p, marked: id === record.id }))));
    const state = view.usual && record.units;
    if (state) units.squares().forEach((square) => paint(square, level(state, square.dataset.unit)));
    if (!chosen) return;
    view.at = i;
    showReach(i);
    showSelection();
  };
  const describe = (record) => {
    if (!record) return say(view.records.length ? "pointAt" : "nothing");
    const { character, id, frozen, dynamic } = record, c = visible(character);
    if (id < 0) return say("unknownOne", { c });
    if (!frozen) return say("first", { c });
    const learned = dynamic ? say("cameLearned", { p: percent(dynamic.p), nats: dynamic.nats }) : "";
    return say("came", { c, p: percent(frozen.p), nats: frozen.nats, learned });
  };
  const showReach = (i) => {
    const known = view.records.slice(0, i).flatMap(({ id }, place) => (id < 0 ? [] : [place])).slice(-LOOK_BACK);
    const lengths = new Map(), { frozen, id } = view.records[i];
    if (frozen && known.length > 1) {
      const steps = known.map((place) => step(page.trained, view.records[place].carry, view.records[place].id));
      reach(page.trained, steps, id).forEach((length, k) => k && lengths.set(known[k - 1], length)); // the memory after it
    }
    const values = [...lengths.values()].reverse(), first = values[0];
    for (const span of panes[0].children) {
      const length = lengths.get(Number(span.dataset.at));
      span.style.setProperty("--reach", length ? Math.max(0, 1 + Math.log10(length / first) / 4).toFixed(3) : 0);
    }
    const fallsTo = (part) => {
      const n = values.findIndex((length) => length < first * part);
      return n < 0 ? say("farther", { n: values.length }) : say("nCharacters", { n });
    };
    find("reach").textContent = first ? say("reach", { tenth: fallsTo(0.1), hundredth: fallsTo(0.01) }) : "";
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
    draw();
  };
  const goTo = (i) => {
    if (i < view.start || i >= view.start + SHOWN) move(i - 100);
    point(i);
    panes[0].querySelector(".at")?.scrollIntoView({ block: "nearest" });
  };
  const units = startUnits(page, view, colour, goTo);

  for (const pane of panes) {
    const placeOf = (event) => Number(event.target.dataset.at ?? -1);
    pane.onpointerover = (event) => placeOf(event) >= 0 && !event.buttons && point(placeOf(event), false);
    pane.onpointerleave = () => view.at >= 0 && point(view.at, false);
    pane.onpointerdown = (event) => {
      view.anchor = -1;
      if (placeOf(event) >= 0) point(placeOf(event));
    };
    pane.onpointermove = (event) => {
      if (!event.buttons || view.at < 0 || placeOf(event) < 0 || placeOf(event) === view.at) return;
      view.anchor = placeOf(event);
      showSelection();
    };
    pane.onpointerup = () => view.anchor >= 0 && units.showSpan(...span());
    pane.onkeydown = (event) => {
      const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -40, ArrowDown: 40 }[event.key];
      if (!by || !view.records.length) return;
      event.preventDefault();
      const from = event.shiftKey && view.anchor >= 0 ? view.anchor : view.at;
      const to = Math.min(view.records.length - 1, Math.max(0, from + by));
      view.anchor = event.shiftKey ? to : -1;
      if (!event.shiftKey) return void goTo(to);
      showSelection();
      units.showSpan(...span());
    };
  }
  find("place").oninput = (event) => move(Number(event.target.value));
  find("read-it").onclick = () => read(find("pasted").value);
  find("back").onclick = () => read(page.passage);
  const show = () => {
    units.show();
    if (!view.number) return void read(view.own);
    draw();
    return void point(view.at);
  };
  return { show };
}
