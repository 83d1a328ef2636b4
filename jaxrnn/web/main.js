// The page: what was stored in it, and its four parts.

import { find } from "./draw.js";
import { practise, startLearning } from "./learning.js";
import { showRun } from "./looking.js";
import { copyNetwork, learn, makeNetwork, nats, startCarry, step } from "./network.js";
import { startReading } from "./reading.js";
import { LANGUAGES, sayAll, spoken } from "./words.js";
import { startWriting, write } from "./writing.js";

const SLOWEST = 1 / 20; // seconds for a character that is learned from

const run = JSON.parse(find("data").textContent), trained = makeNetwork(run.network, find("weights").textContent);
const characters = [...run.network.characters], ids = new Map(characters.map((character, id) => [character, id]));
const page = {
  ...run, trained, live: copyNetwork(trained), characters, learnedFrom: 0, start: ids.has("\n") ? "\n" : run.prompt,
  idOf: (character) => ids.get(character) ?? -1,
  units: run.units.map(([layer, unit, probe, r]) => ({ u: layer * run.network.hidden + unit, probe, r })),
};

/** Seconds for a step of learning here: the best of three. */
function secondsToLearn() {
  const copy = copyNetwork(trained);
  return Math.min(...Array.from({ length: 3 }, () => {
    const begun = performance.now();
    learn(copy, step(copy, startCarry(run.carries.writing), 0), 0, 0);
    return (performance.now() - begun) / 1000;
  }));
}

const seconds = secondsToLearn();
page.tooLarge = seconds > SLOWEST;
find("rehearse").value = Math.min(Number(find("rehearse").value), Math.floor(SLOWEST / seconds));

const writing = startWriting(page), learning = startLearning(page, writing), reading = startReading(page);
function show() {
  sayAll({ units: run.network.layers * run.network.hidden, weights: run.facts.weights });
  showRun(run);
  reading.show();
  learning.show();
  writing.begin();
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
