// The network: its weights, one step of reading, one step of learning, and how far back a character reaches.

import { CELLS } from "./cells.js";
import { add, addOuter, addProduct, rowProducts, softmax } from "./numbers.js";

/** Make a network from base64 text: float32 numbers, array after array. `about` says which arrays there are, and the cell. */
export function makeNetwork(about, base64) {
  const bytes = Uint8Array.from(atob(base64), (character) => character.charCodeAt(0));
  const numbers = new Float32Array(bytes.buffer), weights = {};
  let start = 0;
  for (const { name, shape } of about.arrays) {
    const size = shape.reduce((a, b) => a * b, 1);
    weights[name] = numbers.slice(start, start + size);
    start += size;
  }
  return { about, weights };
}

export const copyNetwork = ({ about, weights }) => ({ about, weights: mapEntries(weights, (each) => each.slice()) });

/** The initial carry: for each layer its vectors. */
export const startCarry = (layers) => layers.map((layer) => layer.map((vector) => Float64Array.from(vector)));

/** Read the character with this id: the new carry, the logits of the next character, and what learning needs. */
export function step(network, carry, id) {
  const { about, weights } = network, x = about.classes[id];
  const E = weights["embedding.kernel"];
  let input = rowOf(E, x, about.embedding) ?? x;
  const layers = layerNames(about).map((name, number) => {
    const W = within(weights, name), given = input;
    const done = CELLS[about.cell].forward(W, carry[number], project(W, given, about), about);
    input = done.output;
    return { ...done, given };
  });
  const c = weights["readout.bias"], logits = rowProducts(readoutOf(weights), input);
  if (c) add(logits, c);
  return { x, carry: layers.map((layer) => layer.carry), layers, logits };
}

/** The probabilities of all characters. Rare ones split that of their class equally. */
export function chances(network, logits, temperature = 1) {
  const { classes, classSizes } = network.about;
  return softmax(Float64Array.from(classes, (k) => logits[k] - Math.log(classSizes[k])), temperature);
}

/** The loss at the character that came: minus the logarithm of its probability, in nats. */
export function nats(network, logits, id) {
  const k = network.about.classes[id], largest = logits.reduce((a, b) => Math.max(a, b));
  const total = logits.reduce((sum, z) => sum + Math.exp(z - largest), 0);
  return Math.log(total) + largest - logits[k] + Math.log(network.about.classSizes[k]);
}

/** One step of SGD on the loss at character y: the carry before the step is held constant (the rule `one_step`). */
export function learn(network, done, y, rate) {
  network.gradient ??= mapEntries(network.weights, (each) => new Float64Array(each.length));
  const gradient = mapEntries(network.gradient, (each) => each.fill(0));
  const nothing = done.carry.map((layer) => layer.map((vector) => new Float64Array(vector.length)));
  backwards(network, gradient, done, lossGradient(network, done.logits, y), nothing);
  for (const [name, weights] of Object.entries(network.weights)) {
    const d = gradient[name];
    for (let i = 0; i < d.length; i++) weights[i] -= rate * d[i];
  }
}

/** How strongly the loss at y depends on what was known after each of these steps: the norms of its gradients. */
export function reach(network, steps, y) {
  let dCarry = steps[0].carry.map((layer) => layer.map((vector) => new Float64Array(vector.length)));
  let dLogits = lossGradient(network, steps[steps.length - 1].logits, y);
  const { output } = steps[steps.length - 1].layers[network.about.layers - 1], K = readoutOf(network.weights);
  const lengths = [Math.hypot(...addProduct(new Float64Array(output.length), dLogits, K))];
  for (const done of steps.toReversed()) {
    dCarry = backwards(network, {}, done, dLogits, dCarry);
    dLogits = null; // only the last step predicts y
    if (done !== steps[0]) lengths.unshift(Math.hypot(...dCarry.flatMap((layer) => layer.map((vector) => Math.hypot(...vector)))));
  }
  return lengths;
}

function backwards(network, gradient, done, dLogits, dCarry) {
  const { about, weights } = network, names = layerNames(about), before = [];
  const output = done.layers[names.length - 1].output, tied = !weights["readout.kernel"];
  let d = new Float64Array(output.length);
  if (dLogits) {
    const readout = tied ? "embedding.kernel" : "readout.kernel";
    d = addProduct(d, dLogits, weights[readout]);
    addOuter(gradient[readout], dLogits, output);
    add(gradient["readout.bias"], dLogits);
  }
  for (let number = names.length - 1; number >= 0; number--) {
    const W = within(weights, names[number]), dW = within(gradient, names[number]), { kept, given } = done.layers[number];
    const { dpx, dBefore } = CELLS[about.cell].backward(W, dW, kept, d, dCarry[number], about);
    before[number] = dBefore;
    add(dW.bias, dpx);
    if (typeof given === "number") add(rowOf(dW.input_kernel, given, dpx.length), dpx);
    else {
      addOuter(dW.input_kernel, given, dpx);
      d = rowProducts(W.input_kernel, dpx);
    }
  }
  add(rowOf(gradient["embedding.kernel"], done.x, about.embedding), d);
  return before;
}

function project(W, given, about) {
  const columns = W.input_kernel.length / (typeof given === "number" ? about.classSizes.length : given.length);
  const px = W.bias ? Float64Array.from(W.bias) : new Float64Array(columns);
  if (typeof given !== "number") return addProduct(px, given, W.input_kernel);
  return add(px, rowOf(W.input_kernel, given, columns)); // the product with a one-hot vector
}

function lossGradient(network, logits, y) {
  const d = softmax(logits);
  d[network.about.classes[y]] -= 1;
  return d;
}

const rowOf = (matrix, i, columns) => matrix?.subarray(i * columns, (i + 1) * columns);
const readoutOf = (weights) => weights["readout.kernel"] ?? weights["embedding.kernel"]; // tied to the embedding, or its own
const layerNames = (about) => Array.from({ length: about.layers }, (_, k) => (k ? `cell_${k + 1}` : "cell"));
const mapEntries = (values, f) => Object.fromEntries(Object.entries(values).map(([name, value]) => [name, f(value)]));

/** The arrays of one layer, by their own names. */
function within(arrays, layer) {
  const own = Object.entries(arrays).filter(([name]) => name.startsWith(`${layer}.`));
  return Object.fromEntries(own.map(([name, array]) => [name.slice(layer.length + 1), array]));
}
