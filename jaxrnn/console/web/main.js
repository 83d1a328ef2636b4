// The page: what was stored in it, and its four parts.

import { find, visible } from "./draw.js";
import { practise, startLearning } from "./learning.js";
import { showRun } from "./looking.js";
import { copyNetwork, learn, makeNetwork, nats, startCarry, step } from "./network.js";
import { startReading } from "./reading.js";
import { LANGUAGES, say, sayAll, spoken } from "./words.js";
import { startWriting, write } from "./writing.js";

const SLOWEST = 1 / 20, PATIENCE = 4; // seconds, at most, for learning from a character, and for reading a passage

const run = JSON.parse(find("data").textContent), trained = makeNetwork(run.network, find("weights").textContent);
const characters = [...run.network.characters], ids = new Map(characters.map((character, id) => [character, id]));
const page = {
  ...run, trained, live: copyNetwork(trained), characters, learnedFrom: 0, start: ids.has("\n") ? "\n" : run.prompt,
  idOf: (character) => ids.get(character) ?? -1,
  unknownIn: (text) => {
    const found = [...new Set(text)].filter((character) => !ids.has(character)).slice(0, 20);
    return found.length ? say("unknown", { characters: visible(found.join(" ")) }) : "";
  },
  units: run.units.map(([layer, unit, probe, r]) => ({ u: layer * run.network.hidden + unit, probe, r })),
};

const between = (low, x, high) => Math.floor(Math.max(low, Math.min(high, x)));

// Seconds for a step of learning here, the fastest of some: the first ones are slow, and other programs may delay any of them.
const begun = performance.now();
let seconds = Infinity;
for (let n = 0, now = begun; n < 2 || now - begun < (n < 10 || seconds > SLOWEST ? 1000 : 60); n++) {
  const before = now;
  learn(trained, step(trained, startCarry(run.carries.writing), 0), 0, 0); // at a rate of 0
  now = performance.now();
  seconds = Math.min(seconds, (now - before) / 1000);
}
page.tooLarge = seconds > SLOWEST;
page.most = between(600, PATIENCE / seconds, 6000); // characters that are read
page.lookBack = between(10, 0.1 / seconds, 60); // characters that one looks back at
page.mostRehearsals = between(0, SLOWEST / seconds - 1, 16);

const writing = startWriting(page), learning = startLearning(page, writing), reading = startReading(page);
page.reading = reading;
function show() {
  sayAll({ units: run.network.layers * run.network.hidden, weights: run.facts.weights });
  showRun(run);
  reading.show();
  learning.show();
  writing.show();
}
for (const link of document.querySelectorAll("nav a")) { // inside the frame of a notebook, plain links would lead to the notebook
  link.onclick = (event) => (event.preventDefault(), find(link.hash.slice(1)).scrollIntoView());
}
find("language").onclick = () => {
  spoken.language = LANGUAGES.find((each) => each !== spoken.language);
  show();
};
find("theme").onclick = () => {
  const { style } = document.documentElement, isDark = matchMedia("(prefers-color-scheme: dark)").matches;
  style.colorScheme = (style.colorScheme || (isDark ? "dark" : "light")) === "dark" ? "light" : "dark";
};
show();
globalThis.jaxrnn = { page, copyNetwork, startCarry, step, nats, learn, practise, write }; // for the curious, in the console
