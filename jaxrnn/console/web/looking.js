// What the run is: facts, its numbers, the curve of its loss, and what it wrote as it grew up.

import { drawCurve, find, make } from "./draw.js";
import { format, say } from "./words.js";

export function showRun({ facts, numbers, network, guess, curve, samples, name }) {
  document.title = find("title").textContent = name;
  const all = { ...network, ...facts, guess };
  find("facts").replaceChildren(...["Text", "Network", "Training"].flatMap((part) =>
    [make("dt", {}, say(part.toLowerCase())), make("dd", {}, say(`fact${part}`, all))]));
  find("loss-is").textContent = say("lossIs", all);
  showNumbers(numbers);
  showCurve(curve);
  showChildhood(samples);
}

function showNumbers(numbers) {
  const known = Object.entries(numbers).filter(([, nats]) => nats !== null);
  find("numbers").hidden = known.length === 0;
  find("not-tested").hidden = known.length > 0;
  const cells = ([key, nats]) => [format(nats), say("nCharacters", { n: format(Math.exp(nats), 1) }), say(key)];
  const rows = known.map((entry) => make("tr", {}, ...cells(entry).map((cell) => make("td", {}, cell))));
  find("numbers").tBodies[0].replaceChildren(...rows);
}

function showCurve({ windows, epochs, validation }) {
  const points = windows.length ? windows : epochs, out = find("curve-at"), figure = find("curve");
  if (!points.length) return;
  const last = points[points.length - 1];
  const read = ([step, nats]) => {
    const checked = validation.findLast(([at]) => step === last[0] || at <= step);
    out.textContent = say("curveAt", { step, nats }) + (checked ? say("validated", { nats: checked[1] }) : "");
    figure.setAttribute("aria-valuetext", out.textContent);
  };
  figure.setAttribute("aria-label", say("curve", { first: points[0][1], last: last[1] }));
  drawCurve(figure, { online: points, validation }, read);
  read(last);
}

function showChildhood(samples) {
  const slider = find("age"), show = () => {
    const sample = samples[slider.value];
    find("age-title").textContent = sample.epoch ? say("ageTitle", sample) : sample.title;
    find("age-text").textContent = sample.text;
  };
  find("childhood").hidden = samples.length === 0;
  find("no-samples").hidden = samples.length > 0;
  if (!samples.length) return;
  if (slider.max === "") slider.value = slider.max = samples.length - 1; // otherwise only the language has changed
  slider.oninput = show;
  show();
}
