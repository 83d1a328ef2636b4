// The units: which of them track a feature, which are on in a selected span, and where else the same ones are on.

import { find, make, visible } from "./draw.js";
import { mean } from "./numbers.js";
import { format, say } from "./words.js";

const MOST_UNITS = 6, AROUND = 2; // of a span; characters around it

/** Find units that are on in three quarters of a span of records and off around it, up or down, the clearest first. */
export function unitsOfSpan(records, from, to, { spreads }) {
  const statesOf = (part) => part.flatMap(({ units }) => (units ? [units] : []));
  const all = statesOf(records), inside = statesOf(records.slice(from, to + 1));
  const around = statesOf([...records.slice(Math.max(0, from - AROUND), from), ...records.slice(to + 1, to + 1 + AROUND)]);
  if (!inside.length || !around.length) return [];
  const judge = (_, u) => {
    const of = (states) => states.map((state) => state[u]);
    const sign = mean(of(inside)) >= mean(of(around)) ? 1 : -1;
    const on = of(inside).map((value) => sign * value).sort((a, b) => a - b)[Math.floor(inside.length / 4)];
    const off = Math.max(...of(around).map((value) => sign * value));
    return { u, sign, bound: (on + off) / 2, clear: (on - off) / spreads[u] };
  };
  const isRare = ({ u, sign, bound }) => all.filter((state) => sign * state[u] > bound).length < all.length / 5;
  const found = Array.from(all[0], judge).filter(({ clear }) => clear > 0).sort((a, b) => b.clear - a.clear);
  return (found.some(isRare) ? found.filter(isRare) : found).slice(0, MOST_UNITS);
}

/** Find other places where the same units are on: as many of the clearest as are on together anywhere else. */
export function placesOf(units, records, from, to) {
  for (let n = units.length; n > 0; n--) {
    const areOn = ({ units: state }) => state && units.slice(0, n).every(({ u, sign, bound }) => sign * state[u] > bound);
    const isOn = records.map((record) => Boolean(areOn(record)));
    const places = records.flatMap((_, i) => (isOn[i] && !isOn[i - 1] ? [[i, isOn.indexOf(false, i)]] : []))
      .filter(([start, end]) => end > 0 && (end <= from || start > to));
    const unlike = ([start, end]) => Math.abs(end - start - (to - from + 1)); // places as long as the span come first
    if (places.length) return { n, places: places.sort((a, b) => unlike(a) - unlike(b)) };
  }
  return { n: 0, places: [] };
}

/** Show all units as squares. `view` is what is read; `colour` is called when the text is to be coloured, `goTo` to move. */
export function startUnits(page, view, colour, goTo) {
  const squares = () => [...find("units").children];
  const about = ({ probe, r }) => (probe ? `${say(probe)} ${format(r, 2)}` : "");
  const choose = (u, isClicked = true) => {
    view.unit = u;
    const unit = page.units.find((each) => each.u === u), { probe, r } = unit ?? {};
    const said = probe ? say("goesWith", { probe: say(probe), r: format(r, 2) }) : say("noProbe");
    find("by-surprise").hidden = !unit;
    find("unit-says").textContent = unit ? say("unitSays", { n: u, about: said }) : "";
    for (const square of squares()) square.setAttribute("aria-pressed", String(Number(square.dataset.unit) === u));
    colour();
    if (unit && isClicked) find("frozen").scrollIntoView({ block: "nearest" });
  };
  const button = (u, label) => make("button", { click: () => choose(u) }, label);
  const show = () => {
    find("units").replaceChildren(...page.units.map((unit, i) => {
      const label = `${say("unit", { n: unit.u })} ${about(unit)}`;
      const named = { "aria-label": label, title: label };
      return make("button", { ...named, "data-unit": unit.u, tabindex: i ? -1 : 0, click: () => choose(unit.u === view.unit ? null : unit.u) });
    }));
    find("named-units").replaceChildren(...page.units.slice(0, page.numNamed).map((unit) =>
      make("li", {}, button(unit.u, `${about(unit)} · ${say("unit", { n: unit.u })}`))));
    choose(view.unit, false);
  };
  const clearSpan = () => {
    for (const id of ["span-says", "span-units", "places-say", "places"]) find(id).replaceChildren();
  };
  const showSpan = (from, to) => {
    if (!view.usual) return; // not yet read
    const units = unitsOfSpan(view.records, from, to, view.usual), { n, places } = placesOf(units, view.records, from, to);
    const words = (a, b) => visible(view.records.slice(Math.max(0, a), b).map(({ character }) => character).join(""));
    find("span-says").textContent = say(units.length ? "spanUnits" : "noUnits", { text: words(from, to + 1) });
    find("span-units").replaceChildren(...units.map(({ u }) => button(u, say("unit", { n: u }))));
    find("places-say").textContent = units.length ? say(n ? "alsoOn" : "nowhere", { n }) : "";
    find("places").replaceChildren(...places.slice(0, 12).map(([a, b]) => make("li", {},
      make("button", { click: () => goTo(a) }, words(a - 10, a), make("mark", {}, words(a, b)), words(b, b + 10)))));
  };
  find("by-surprise").onclick = () => choose(null);
  find("units").onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -16, ArrowDown: 16 }[event.key];
    const to = by && squares()[squares().indexOf(document.activeElement) + by];
    if (!to) return;
    event.preventDefault();
    for (const square of squares()) square.tabIndex = square === to ? 0 : -1;
    to.focus();
  };
  return { show, showSpan, clearSpan, squares };
}
