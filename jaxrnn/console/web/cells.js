// The recurrent cells, forwards and backwards, one character at a time.
//
// forward(W, carry, px, how) takes px = W_x x + b and returns {carry, output, kept}; a carry is a list of vectors.
// backward(W, dW, kept, dOutput, dCarry, how) takes the gradients with respect to the output and the new carry, adds those of the recurrent
// weights to dW (which has no arrays if they are not wanted), and returns {dpx, dBefore}: those of px and of the carry before.

import { add, addOuter, addProduct, rowProducts, sigmoid } from "./numbers.js";

const ACTIVATIONS = { // each with its derivative, as a function of its value
  sigmoid: [sigmoid, (y) => y * (1 - y)],
  tanh: [Math.tanh, (y) => 1 - y * y],
  relu: [(x) => Math.max(0, x), (y) => Number(y > 0)],
};
const zeros = (n) => new Float64Array(n);
const build = (n, entry) => Float64Array.from({ length: n }, (_, j) => entry(j));

/** h' = (1 - a) h + a f(px + h U), where a = 1 for an Elman cell. */
const elman = (leakOf) => ({
  forward(W, [h], px, how) {
    const a = leakOf(how), [f] = ACTIVATIONS[how.activation];
    const y = addProduct(Float64Array.from(px), h, W.recurrent_kernel).map(f);
    const next = y.map((each, j) => (1 - a) * h[j] + a * each);
    return { carry: [next], output: next, kept: { h, y } };
  },
  backward(W, dW, { h, y }, dOutput, [dNext], how) {
    const a = leakOf(how), [, slope] = ACTIVATIONS[how.activation];
    const d = add(Float64Array.from(dOutput), dNext);
    const dpx = d.map((each, j) => a * each * slope(y[j]));
    addOuter(dW.recurrent_kernel, h, dpx);
    const dh = rowProducts(W.recurrent_kernel, dpx).map((each, j) => each + (1 - a) * d[j]);
    return { dpx, dBefore: [dh] };
  },
});

/** h' = f(px + u h): each unit sees only itself. */
const indrnn = {
  forward(W, [h], px, how) {
    const [f] = ACTIVATIONS[how.activation];
    const next = build(h.length, (j) => f(px[j] + W.recurrent_weights[j] * h[j]));
    return { carry: [next], output: next, kept: { h, next } };
  },
  backward(W, dW, { h, next }, dOutput, [dNext], how) {
    const [, slope] = ACTIVATIONS[how.activation];
    const dpx = next.map((y, j) => (dOutput[j] + dNext[j]) * slope(y));
    add(dW.recurrent_weights, dpx.map((d, j) => d * h[j]));
    return { dpx, dBefore: [dpx.map((d, j) => d * W.recurrent_weights[j])] };
  },
};

/** r, z = s(px + h U); n = tanh(px + r (h U + c)); h' = (1 - z) n + z h. */
const gru = {
  forward(W, [h], px) {
    const H = h.length, ph = addProduct(zeros(3 * H), h, W.recurrent_kernel), c = W.recurrent_bias;
    if (c) for (let j = 0; j < H; j++) ph[2 * H + j] += c[j];
    const r = build(H, (j) => sigmoid(px[j] + ph[j])), z = build(H, (j) => sigmoid(px[H + j] + ph[H + j]));
    const n = build(H, (j) => Math.tanh(px[2 * H + j] + r[j] * ph[2 * H + j]));
    const next = build(H, (j) => n[j] + z[j] * (h[j] - n[j]));
    return { carry: [next], output: next, kept: { h, r, z, n, reset: ph.slice(2 * H) } };
  },
  backward(W, dW, { h, r, z, n, reset }, dOutput, [dNext]) {
    const H = h.length, d = add(Float64Array.from(dOutput), dNext), dpx = zeros(3 * H), dph = zeros(3 * H);
    for (let j = 0; j < H; j++) {
      const dn = d[j] * (1 - z[j]) * (1 - n[j] * n[j]);
      dpx[j] = dph[j] = dn * reset[j] * r[j] * (1 - r[j]);
      dpx[H + j] = dph[H + j] = d[j] * (h[j] - n[j]) * z[j] * (1 - z[j]);
      dpx[2 * H + j] = dn;
      dph[2 * H + j] = dn * r[j];
    }
    addOuter(dW.recurrent_kernel, h, dph);
    add(dW.recurrent_bias, dph.subarray(2 * H));
    return { dpx, dBefore: [rowProducts(W.recurrent_kernel, dph).map((each, j) => each + d[j] * z[j])] };
  },
};

/** i, f, o = s(px + h U), g = tanh(px + h U); c' = f c + i g; h' = o tanh(c'). The carry is c and h. */
const lstm = {
  forward(W, [c, h], px) {
    const H = h.length, sums = addProduct(Float64Array.from(px), h, W.recurrent_kernel);
    const [i, f, g, o] = [0, 1, 2, 3].map((k) => sums.subarray(k * H, (k + 1) * H).map(k === 2 ? Math.tanh : sigmoid));
    const memory = build(H, (j) => f[j] * c[j] + i[j] * g[j]), seen = memory.map(Math.tanh);
    const next = build(H, (j) => o[j] * seen[j]);
    return { carry: [memory, next], output: next, kept: { c, h, i, f, g, o, seen } };
  },
  backward(W, dW, { c, h, i, f, g, o, seen }, dOutput, [dMemory, dNext]) {
    const H = h.length, dpx = zeros(4 * H), dc = zeros(H);
    for (let j = 0; j < H; j++) {
      const d = dOutput[j] + dNext[j], dm = dMemory[j] + d * o[j] * (1 - seen[j] * seen[j]);
      dpx[j] = dm * g[j] * i[j] * (1 - i[j]);
      dpx[H + j] = dm * c[j] * f[j] * (1 - f[j]);
      dpx[2 * H + j] = dm * i[j] * (1 - g[j] * g[j]);
      dpx[3 * H + j] = d * seen[j] * o[j] * (1 - o[j]);
      dc[j] = dm * f[j];
    }
    addOuter(dW.recurrent_kernel, h, dpx);
    return { dpx, dBefore: [dc, rowProducts(W.recurrent_kernel, dpx)] };
  },
};

/** Complex units turn by theta and shrink to |l| = exp(-exp(nu)); the output is gelu(C h + c). The carry is real, imaginary. */
const lru = {
  forward(W, [re, im], px) {
    const U = re.length, turn = turning(W, U);
    const real = build(U, (j) => turn.gain[j] * px[j] + turn.size[j] * (turn.cos[j] * re[j] - turn.sin[j] * im[j]));
    const imaginary = build(U, (j) => turn.gain[j] * px[U + j] + turn.size[j] * (turn.sin[j] * re[j] + turn.cos[j] * im[j]));
    const state = Float64Array.of(...real, ...imaginary);
    const sums = addProduct(W.output_bias ? Float64Array.from(W.output_bias) : zeros(2 * U), state, W.output_kernel);
    return { carry: [real, imaginary], output: sums.map((x) => gelu(x)[0]), kept: { re, im, px, state, sums } };
  },
  backward(W, dW, { re, im, px, state, sums }, dOutput, [dReal, dImaginary]) {
    const U = re.length, { gain, size, cos, sin, decay } = turning(W, U);
    const dSums = sums.map((x, j) => dOutput[j] * gelu(x)[1]);
    addOuter(dW.output_kernel, state, dSums);
    add(dW.output_bias, dSums);
    const d = rowProducts(W.output_kernel, dSums), dRe = zeros(U), dIm = zeros(U), dpx = zeros(2 * U);
    const dNu = zeros(U), dTheta = zeros(U);
    for (let j = 0; j < U; j++) {
      const a = d[j] + dReal[j], b = d[U + j] + dImaginary[j];
      const real = cos[j] * re[j] - sin[j] * im[j], imaginary = sin[j] * re[j] + cos[j] * im[j];
      const dGain = (decay[j] * size[j] * size[j]) / gain[j], dSize = -decay[j] * size[j]; // by nu
      dNu[j] = (a * px[j] + b * px[U + j]) * dGain + (a * real + b * imaginary) * dSize;
      dTheta[j] = size[j] * (b * real - a * imaginary);
      dRe[j] = size[j] * (cos[j] * a + sin[j] * b);
      dIm[j] = size[j] * (cos[j] * b - sin[j] * a);
      dpx[j] = gain[j] * a;
      dpx[U + j] = gain[j] * b;
    }
    add(dW.nu, dNu);
    add(dW.theta, dTheta);
    return { dpx, dBefore: [dRe, dIm] };
  },
};

function turning(W, U) {
  const decay = build(U, (j) => Math.exp(W.nu[j])), size = decay.map((x) => Math.exp(-x));
  const gain = decay.map((x) => Math.sqrt(-Math.expm1(-2 * x)));
  return { decay, size, gain, cos: build(U, (j) => Math.cos(W.theta[j])), sin: build(U, (j) => Math.sin(W.theta[j])) };
}

/** gelu(x) in the form with tanh, and its derivative. */
function gelu(x) {
  const a = Math.sqrt(2 / Math.PI), t = Math.tanh(a * (x + 0.044715 * x ** 3));
  return [0.5 * x * (1 + t), 0.5 * (1 + t) + 0.5 * x * (1 - t * t) * a * (1 + 3 * 0.044715 * x * x)];
}

export const CELLS = { elman: elman(() => 1), leaky: elman((how) => how.leak), indrnn, gru, lstm, lru };
