/* One character, one update of the Elman network, by hand: a floor under what a driver can take.

   `bench_step.py` compiles it with gcc -O3 -march=native -ffast-math -DVOCAB=... -DHIDDEN=... and fills the arrays below.
   Plain loops; every weight is passed over as often as the equations ask: once forward, once to learn (and a row of the
   readout once for both of what comes back: the gradient of h, and its own). */

#include <math.h>

#define ALIGNED __attribute__((aligned(64)))

ALIGNED float input[VOCAB][HIDDEN], recurrent[HIDDEN][HIDDEN], bias[HIDDEN], readout[VOCAB][HIDDEN], readout_bias[VOCAB];
ALIGNED float h[HIDDEN];

/* Reads the next `count` characters of `ids`, which holds one more; the loss of each, in nats, goes to `losses`. */
void learn(const int *ids, int count, float rate, float *losses) {
  ALIGNED float new_h[HIDDEN], p[VOCAB], dz[HIDDEN];
  for (int t = 0; t < count; t++) {
    int x = ids[t], y = ids[t + 1];

    /* h_t = sigmoid(W_x[x_t] + W_h h_{t-1} + b) */
    for (int j = 0; j < HIDDEN; j++) new_h[j] = input[x][j] + bias[j];
    for (int i = 0; i < HIDDEN; i++)
      for (int j = 0; j < HIDDEN; j++) new_h[j] += h[i] * recurrent[i][j];
    for (int j = 0; j < HIDDEN; j++) new_h[j] = 1.0f / (1.0f + expf(-new_h[j]));

    /* logits = W_o h_t + c, then p = softmax(logits) */
    for (int v = 0; v < VOCAB; v++) {
      float logit = readout_bias[v];
      for (int j = 0; j < HIDDEN; j++) logit += readout[v][j] * new_h[j];
      p[v] = logit;
    }
    float highest = p[0], sum = 0.0f, logit_of_y = p[y];
    for (int v = 0; v < VOCAB; v++) highest = fmaxf(highest, p[v]);
    for (int v = 0; v < VOCAB; v++) p[v] = expf(p[v] - highest);
    for (int v = 0; v < VOCAB; v++) sum += p[v];
    for (int v = 0; v < VOCAB; v++) p[v] /= sum;
    losses[t] = logf(sum) + highest - logit_of_y;

    /* d loss / d logits = p - onehot(y); back through W_o, which learns on the way */
    p[y] -= 1.0f;
    for (int j = 0; j < HIDDEN; j++) dz[j] = 0.0f;
    for (int v = 0; v < VOCAB; v++) {
      for (int j = 0; j < HIDDEN; j++) {
        dz[j] += p[v] * readout[v][j];
        readout[v][j] -= rate * p[v] * new_h[j];
      }
      readout_bias[v] -= rate * p[v];
    }

    /* through the sigmoid, into the weights below it */
    for (int j = 0; j < HIDDEN; j++) dz[j] *= rate * new_h[j] * (1.0f - new_h[j]);
    for (int i = 0; i < HIDDEN; i++)
      for (int j = 0; j < HIDDEN; j++) recurrent[i][j] -= h[i] * dz[j];
    for (int j = 0; j < HIDDEN; j++) {
      input[x][j] -= dz[j];
      bias[j] -= dz[j];
      h[j] = new_h[j];
    }
  }
}
