// All that the page says, in English and in French. {name} stands for a value.

const WORDS = {
  intro: ["This network reads one character at a time. After each it says how likely every next character is. What it has read is kept in the numbers of its {units} units; what it has learned, in its {weights} weights. Everything here is computed in your browser, from this one file.", "Ce réseau lit un caractère à la fois. Après chacun, il dit la probabilité de chaque caractère suivant. Ce qu'il vient de lire tient dans les nombres de ses {units} unités ; ce qu'il a appris, dans ses {weights} poids. Tout est calculé ici, dans votre navigateur, à partir de ce seul fichier."],
  language: ["Français", "English"], theme: ["Light or dark", "Clair ou sombre"], looking: ["What it is", "Ce qu'il est"],
  reading: ["How it reads", "Comment il lit"], writing: ["How it writes", "Comment il écrit"],
  learning: ["How it learns", "Comment il apprend"],
  factText: ["{characters} characters of {text}, with {vocabulary} different ones", "{characters} caractères de {text}, dont {vocabulary} différents"],
  factNetwork: ["{title}: {layers} × {hidden} units, {weights} weights", "{title} : {layers} × {hidden} unités, {weights} poids"],
  factTraining: ["{epochs} readings; rule {rule}, a step of {optimizer} after {length} × {streams} characters, rate {trained_rate}", "{epochs} lectures ; règle {rule}, un pas de {optimizer} après {length} × {streams} caractères, taux {trained_rate}"],
  text: ["text", "texte"], network: ["network", "réseau"], training: ["training", "apprentissage"],
  lossIs: ["Its surprise at a character is −ln of the chance that it gave to it, in nats: 0 if it was certain of it, {guess} if it guesses blindly among {vocabulary} characters. The average surprise is the loss:", "Sa surprise devant un caractère est −ln de la probabilité qu'il lui donnait, en nats : 0 s'il en était certain, {guess} s'il devine à l'aveugle parmi {vocabulary} caractères. La surprise moyenne est la perte :"],
  nats: ["nats", "nats"], among: ["as unsure as among", "hésite comme entre"], meaning: ["what it tells", "ce que cela dit"],
  online_nats: ["while it learned: each character guessed, then learned from (last reading)", "pendant l'apprentissage : chaque caractère deviné, puis appris (dernière lecture)"],
  train_nats: ["the text that it learned from, again, weights fixed: what stayed", "le texte appris, relu à poids fixes : ce qui est resté"],
  heldout_nats: ["new text, weights fixed: what carries over", "un texte nouveau, à poids fixes : ce qui se transpose"],
  heldout_dynamic_nats: ["new text, guessed and then learned from: what learning on adds", "un texte nouveau, deviné puis appris : ce qu'apprendre encore ajoute"],
  heldout_counts_nats: ["new text, a table of counts instead of the network", "un texte nouveau, par une table de comptages au lieu du réseau"],
  heldout_mixed_nats: ["new text, network and counts together", "un texte nouveau, réseau et comptages ensemble"],
  notTested: ["This run has not been tested.", "Ce modèle n'a pas été testé."],
  curve: ["Loss while it learned, by updates: {first} nats at first, {last} at last. Arrow keys move along it.", "Perte pendant l'apprentissage, par mises à jour : {first} nats au début, {last} à la fin. Les flèches la parcourent."],
  curveAt: ["after {step} updates: {nats} nats", "après {step} mises à jour : {nats} nats"],
  validated: ["; validation {nats}", " ; validation {nats}"],
  childhood: ["What it wrote as it grew up", "Ce qu'il écrivait en grandissant"],
  noSamples: ["It wrote nothing while it learned (--sample-length 0).", "Il n'a rien écrit pendant l'apprentissage (--sample-length 0)."],
  readingHow: ["The stronger a character is coloured, the more it surprised the network. Point at one, or use the arrow keys in the text: you see what the network expected in its place. Click it to keep it.", "Plus un caractère est coloré, plus il a surpris le réseau. Pointez-en un, ou utilisez les flèches dans le texte : vous voyez ce que le réseau attendait à sa place. Cliquez pour le garder."],
  heldout: ["The beginning of the part of the text that it did not learn from.", "Le début de la partie du texte qu'il n'a pas apprise."],
  learned: ["The end of the text that it learned from.", "La fin du texte qu'il a appris."],
  noPassage: ["The run's text is no longer there: paste one.", "Le texte du modèle n'est plus là : collez-en un."],
  paste: ["Paste another text", "Coller un autre texte"], readIt: ["Read it", "Lire"], back: ["Back to the run's text", "Revenir au texte du modèle"],
  frozen: ["weights fixed: {nats} nats", "poids fixes : {nats} nats"],
  dynamic: ["learns as it reads, rate {rate}: {nats} nats", "apprend en lisant, taux {rate} : {nats} nats"],
  tooLarge: ["This network is too large to learn in this browser at 20 characters a second: it only reads and writes.", "Ce réseau est trop grand pour apprendre à 20 caractères par seconde dans ce navigateur : il ne fait que lire et écrire."],
  place: ["Place in the text", "Endroit du texte"],
  truncated: ["Only the first {n} characters are read.", "Seuls les {n} premiers caractères sont lus."],
  unknown: ["{n} characters that the network does not know are struck through; it does not see them.", "{n} caractères inconnus du réseau sont barrés ; il ne les voit pas."],
  unknownOne: ["“{c}” is not among the network's characters: it does not see it.", "« {c} » n'est pas un caractère du réseau : il ne le voit pas."],
  nothing: ["There is nothing to read.", "Il n'y a rien à lire."], pointAt: ["Point at a character.", "Pointez un caractère."],
  first: ["“{c}”: the first character, which nothing announces.", "« {c} » : le premier caractère, que rien n'annonce."],
  came: ["“{c}” came. With fixed weights the network gave it {p} ({nats} nats){learned}.", "« {c} » est venu. À poids fixes, le réseau lui donnait {p} ({nats} nats){learned}."],
  cameLearned: ["; having learned up to here, {p} ({nats} nats)", " ; ayant appris jusqu'ici, {p} ({nats} nats)"],
  expected: ["expected with fixed weights", "attendus à poids fixes"], expectedDynamic: ["expected, having learned up to here", "attendus, ayant appris jusqu'ici"],
  reach: ["How far back it looks: the line under earlier characters is the gradient of this surprise by the memory after them. It falls to a tenth after {tenth}, to a hundredth after {hundredth}.", "Jusqu'où il regarde : le trait sous les caractères précédents est le gradient de cette surprise par la mémoire après eux. Il tombe au dixième après {tenth}, au centième après {hundredth}."],
  nCharacters: ["{n} characters", "{n} caractères"], farther: ["more than {n}", "plus de {n}"],
  units: ["Its memory, unit by unit", "Sa mémoire, unité par unité"],
  unitsHow: ["Each square is a unit after the character that you point at: blue is below its average, orange above. Click one, and the text is coloured by it. The first units go along with something that one can name; the number says how closely (1 or −1: always; 0: not at all).", "Chaque carré est une unité après le caractère pointé : bleu sous sa moyenne, orange au-dessus. Cliquez-en un, et le texte prend ses couleurs. Les premières unités suivent quelque chose que l'on peut nommer ; le nombre dit à quel point (1 ou −1 : toujours ; 0 : pas du tout)."],
  unit: ["unit {n}", "unité {n}"], bySurprise: ["Colour by surprise again", "Colorer de nouveau par la surprise"],
  unitSays: ["The text is coloured by unit {n}: {about}", "Le texte est coloré par l'unité {n} : {about}"],
  goesWith: ["it goes along with “{probe}” ({r}).", "elle suit « {probe} » ({r})."], noProbe: ["nothing that one could name.", "rien que l'on puisse nommer."],
  "speaker": ["a line in capitals", "une ligne en capitales"], "line end": ["the line ends here", "la ligne finit ici"],
  "in a word": ["inside a word", "dans un mot"], "word end": ["the word ends here", "le mot finit ici"],
  "vowel next": ["a vowel comes", "une voyelle vient"], "capital next": ["a capital comes", "une majuscule vient"],
  "in brackets": ["in brackets or quotes", "entre parenthèses ou guillemets"], "digit": ["a digit", "un chiffre"], "place in line": ["place in the line", "place dans la ligne"],
  spanHow: ["Mark some characters with the mouse, or with Shift and the arrow keys: you get the units that are on in them and off around them, and other places where the same units are on.", "Sélectionnez des caractères à la souris, ou avec Maj et les flèches : vous verrez les unités actives dans ce passage et inactives autour, et les autres endroits où les mêmes unités sont actives."],
  spanUnits: ["On in “{text}”, off around it:", "Actives dans « {text} », inactives autour :"],
  noUnits: ["No unit is on in most of “{text}” and off around it. Mark something else.", "Aucune unité n'est active dans presque tout « {text} » et inactive autour. Marquez autre chose."],
  alsoOn: ["The first {n} of these units are also on here:", "Les {n} premières de ces unités sont actives aussi ici :"], nowhere: ["They are on nowhere else.", "Elles ne sont actives nulle part ailleurs."],
  writingHow: ["It goes on from your words: it draws the next character by its chances, reads it, and so on. A low temperature takes the likeliest; a high one dares more.", "Il continue vos mots : il tire le caractère suivant selon ses probabilités, le lit, et ainsi de suite. Une température basse prend le plus probable ; une haute ose davantage."],
  prompt: ["It begins with", "Il commence par"], temperature: ["temperature", "température"], topP: ["top-p: draw among the likeliest that hold this much together", "top-p : tirer parmi les plus probables qui réunissent cette part"],
  one: ["One character", "Un caractère"], run: ["Write", "Écrire"], stop: ["Stop", "Arrêter"], anew: ["Start again", "Recommencer"],
  chancesNext: ["chances of the next character", "probabilités du caractère suivant"],
  trainedWeights: ["It writes with the weights that it was trained with.", "Il écrit avec les poids de son entraînement."],
  learnedWeights: ["It writes with what it learned below, from {n} characters.", "Il écrit avec ce qu'il a appris plus bas, de {n} caractères."],
  learningHow: ["Type, or paste a poem: the network guesses each character before it sees it, then learns from it by a step of SGD on the gradient of this character (the rule one_step). Steps on characters that it read before help it to remember. Let it read the same several times, and see the loss fall.", "Tapez, ou collez un poème : le réseau devine chaque caractère avant de le voir, puis en apprend par un pas de SGD sur le gradient de ce caractère (la règle one_step). Des pas sur des caractères déjà lus l'aident à retenir. Faites-lui relire le même texte plusieurs fois, et voyez la perte baisser."],
  yourText: ["Your text", "Votre texte"], learn: ["learn", "apprendre"], rate: ["learning rate", "taux d'apprentissage"],
  rehearse: ["steps on earlier characters after each", "pas sur des caractères déjà lus, après chacun"],
  again: ["Read it again", "Relire"], forget: ["Forget", "Oublier"], save: ["Save the weights", "Enregistrer les poids"],
  notSafe: ["This browser cannot save them from here: open the page as a file.", "Ce navigateur ne peut pas les enregistrer d'ici : ouvrez la page comme fichier."],
  soFar: ["{n} characters read. Mean loss of the first {k}: {first} nats; of the last {k}: {last}.", "{n} caractères lus. Perte moyenne des {k} premiers : {first} nats ; des {k} derniers : {last}."],
  busy: ["reading: {n} characters to go", "lecture : encore {n} caractères"],
  itWrites: ["It goes on from there (temperature 0.5):", "Il continue à partir de là (température 0,5) :"],
  learnCurve: ["Loss while you type, mean of 25 characters", "Perte pendant que vous tapez, moyenne de 25 caractères"],
};
export const LANGUAGES = ["en", "fr"];
export const spoken = { language: (navigator.language ?? "en").startsWith("fr") ? "fr" : "en" };

/** The words for this key, with values filled in; numbers as the language writes them. */
export function say(key, values = {}) {
  const words = WORDS[key][LANGUAGES.indexOf(spoken.language)];
  return words.replace(/\{(\w+)\}/g, (_, name) => (typeof values[name] === "number" ? format(values[name]) : values[name]));
}

export function format(number, digits = 3) {
  const fraction = Number.isInteger(number) ? 0 : digits;
  return number.toLocaleString(spoken.language, { minimumFractionDigits: Math.min(fraction, 2), maximumFractionDigits: fraction });
}

export const percent = (p) => (p < 0.0005 ? "< " : "") + Math.max(p, 0.001).toLocaleString(spoken.language, { style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });

/** Fill all elements that name their words. */
export function sayAll(values) {
  document.documentElement.lang = spoken.language;
  for (const element of document.querySelectorAll("[data-word]")) element.textContent = say(element.dataset.word, values);
  for (const element of document.querySelectorAll("[data-label]")) element.setAttribute("aria-label", say(element.dataset.label, values));
}
