// What the page says, in the language that is chosen. The words are in words.json; {name} stands for a value.

const WORDS = JSON.parse(document.getElementById("words").textContent); // [English, French]
export const LANGUAGES = ["en", "fr"];
export const spoken = { language: (navigator.language ?? "en").startsWith("fr") ? "fr" : "en" };

/** The words for this key, with values filled in; numbers as the language writes them. */
export function say(key, values = {}) {
  const words = WORDS[key][LANGUAGES.indexOf(spoken.language)];
  return words.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? format(values[name]) : values[name]));
}

/** A number as the language writes it: an integer, or with up to `digits` decimals; a small one with two significant digits. */
export function format(number, digits = 3) {
  const few = { minimumFractionDigits: Math.min(digits, 2), maximumFractionDigits: digits };
  const how = Number.isInteger(number) ? {} : Math.abs(number) < 0.01 ? { maximumSignificantDigits: 2 } : few;
  return number.toLocaleString(spoken.language, how).replace("-", "−");
}

export const countOf = (n) => (n === 1 ? say("oneCharacter") : say("nCharacters", { n }));

export const percent = (p) => `${p < 0.0005 ? "<\u00a0" : ""}${format(Math.max(p, 0.001) * 100, 1)}\u00a0%`;

/** Fill all elements that name their words. */
export function sayAll(values) {
  document.documentElement.lang = spoken.language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word, values);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label, values));
}
