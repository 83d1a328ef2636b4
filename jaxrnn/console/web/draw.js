// Elements of the page: making them by name, bars of likely characters, and a curve whose values can be read off.

import { mean } from "./numbers.js";
import { format, percent } from "./words.js";

export const SLICE = 25; // milliseconds of work at a time, so that the page stays awake
export const find = (id) => document.getElementById(id);

/** Make an element; a property that is a function handles an event, any other is an attribute. */
export function make(tag, properties = {}, ...children) {
  const isDrawn = ["svg", "path", "circle", "text"].includes(tag);
  const element = isDrawn ? document.createElementNS("http://www.w3.org/2000/svg", tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== null && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** Make blank characters visible. */
export const visible = (text) => text.replaceAll("\n", "⏎").replaceAll("\t", "⇥").replaceAll(" ", "␣");

/** List characters with their probabilities, as bars. */
export function showBars(list, items) {
  list.replaceChildren(...items.map(({ character, p, marked }) =>
    make("li", { class: marked ? "marked" : null }, make("code", {}, visible(character)),
      make("span", { class: "bar", style: `--p:${p}` }), make("span", { class: "chance" }, percent(p)))));
}

/** The running mean over the last `width` values. */
export const runningMean = (values, width) => values.map((_, t) => mean(values.slice(Math.max(0, t - width + 1), t + 1)));

const WIDTH = 640, HEIGHT = 200, LEFT = 34, BOTTOM = 22;

/** Draw curves of points [x, y] into an element; pointing at a place, or the arrow keys, pass its points to `read`. */
export function drawCurve(element, curves, read) {
  const [main] = Object.values(curves), xs = Object.values(curves).flat().map(([x]) => x);
  if (!main.length) return void element.replaceChildren();
  const ys = Object.values(curves).flat().map(([, y]) => y), low = Math.min(...ys), high = Math.max(...ys);
  const left = Math.min(...xs), right = Math.max(...xs);
  const atX = (x) => LEFT + ((WIDTH - LEFT - 8) * (x - left)) / Math.max(1, right - left);
  const atY = (y) => 8 + ((HEIGHT - BOTTOM - 8) * (high - y)) / Math.max(1e-9, high - low);
  const line = (values) => values.map(([x, y], i) => `${i ? "L" : "M"}${atX(x).toFixed(1)} ${atY(y).toFixed(1)}`).join("");
  const paths = Object.entries(curves).map(([name, values]) => make("path", { class: name, d: line(values) }));
  const label = (x, y, words, anchor = "start") => make("text", { x, y, "text-anchor": anchor }, words);
  const spot = make("circle", { r: 4, cx: -9, cy: -9 });
  const ofX = [label(LEFT, HEIGHT - 4, format(left)), label(WIDTH - 8, HEIGHT - 4, format(right), "end")];
  const labels = [...ofX, label(2, 14, format(high, 1)), label(2, HEIGHT - BOTTOM, format(low, 1))];
  element.replaceChildren(make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" }, ...paths, ...labels, spot));
  if (!read) return;
  let at = main.length - 1;
  const move = (to) => {
    at = Math.min(main.length - 1, Math.max(0, to));
    spot.setAttribute("cx", atX(main[at][0]));
    spot.setAttribute("cy", atY(main[at][1]));
    read(main[at]);
  };
  element.onpointermove = (event) => {
    const box = element.getBoundingClientRect(), x = ((event.clientX - box.left) / box.width) * WIDTH;
    move(main.findLastIndex((point) => atX(point[0]) <= x));
  };
  element.onkeydown = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, Home: -main.length, End: main.length }[event.key];
    if (by) { event.preventDefault(); move(at + by); }
  };
}
