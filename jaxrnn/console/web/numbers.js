// Vectors and matrices as typed arrays. A matrix is a list of rows: entry (i, j) of n columns stands at i * n + j.

export const sigmoid = (x) => 1 / (1 + Math.exp(-x));

/** Add x W to y: each row of W, x[i] times. */
export function addProduct(y, x, W) {
  const n = y.length;
  for (let i = 0; i < x.length; i++) {
    const factor = x[i], row = i * n;
    for (let j = 0; j < n; j++) y[j] += factor * W[row + j];
  }
  return y;
}

/** W y: the product of each row of W with y. */
export function rowProducts(W, y) {
  const n = y.length, x = new Float64Array(W.length / n);
  for (let i = 0; i < x.length; i++) {
    const row = i * n;
    let sum = 0;
    for (let j = 0; j < n; j++) sum += W[row + j] * y[j];
    x[i] = sum;
  }
  return x;
}

/** Add x[i] y[j] to each entry (i, j) of dW: the gradient of W if y is that of x W. Without an array, nothing is done. */
export function addOuter(dW, x, y) {
  const n = dW ? y.length : 0;
  for (let i = 0; i < x.length; i++) {
    const factor = x[i], row = i * n;
    for (let j = 0; j < n; j++) dW[row + j] += factor * y[j];
  }
}

/** Add x to y, if there is a y. */
export function add(y, x) {
  for (let j = 0; y && j < x.length; j++) y[j] += x[j];
  return y;
}

/** softmax(logits / temperature); at temperature 0 all of it is on the largest. */
export function softmax(logits, temperature = 1) {
  const largest = logits.reduce((a, b) => Math.max(a, b), -Infinity);
  const p = Float64Array.from(logits, (z) =>
    temperature > 0 ? Math.exp((z - largest) / temperature) : Number(z === largest));
  const total = p.reduce((a, b) => a + b, 0);
  return p.map((each) => each / total);
}

export const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

/** The places of the k largest values, largest first. */
export function largest(values, k) {
  const found = [];
  for (let i = 0; i < values.length; i++) {
    if (found.length === k && values[i] <= values[found[k - 1]]) continue;
    let place = found.length;
    while (place > 0 && values[found[place - 1]] < values[i]) place--;
    found.splice(place, 0, i);
    if (found.length > k) found.pop();
  }
  return found;
}
