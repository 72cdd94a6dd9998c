/* y = x W^T scale + bias with weights in fewer bytes than fp32; inputs and sums are fp32. narrow.py compiles it.

   Weights come in 32-bit words, of PARTS weights each: 4 of int8, 2 of bfloat16. They are laid out in the order in which
   they are read: for each group of 8 outputs, for each LANES * PARTS inputs, for each output of the group, LANES words;
   part i of word l is the weight of input LANES i + l. So no word is taken apart byte by byte, and any compiler
   vectorises it.

   M rows of x, K inputs (a multiple of 4 LANES), N outputs (a multiple of 8). */

#include <string.h>

#ifdef __AVX512F__ /* 32 registers of 16 floats */
#define LANES 16
#define SUMS 16
#else
#define LANES 8
#define SUMS 8
#endif
#define GROUP 8
#define INLINE static inline __attribute__((always_inline))

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int words __attribute__((vector_size(4 * LANES)));

/* Part i of each word as a float: of bfloat16 the number itself, its upper half; of int8 2^24 times it, exactly, which
   saves moving it down again (`scale` is 2^-24 of what it would be). */
INLINE floats part(words w, const int i, const int parts) {
  const int bits = 32 / parts, up = 32 - bits * (i + 1), upper = (int)(~0u << (32 - bits));
  const words at_top = i == parts - 1 ? w & upper : i == 0 ? w << up : (w << up) & upper;
  return parts == 2 ? (floats)at_top : __builtin_convertvector(at_top, floats);
}

INLINE floats load(const float *x) {
  floats v;
  memcpy(&v, x, sizeof v);
  return v;
}

/* R rows times O outputs of a group, SUMS sums at most: as many as registers hold. The words of the next group are asked
   for meanwhile: with several rows, computing takes too long for a processor to look that far ahead by itself. */
INLINE void block(const int parts, const int R, const int O, const float *x, const words *w, const float *scale,
                  const float *bias, float *y, long K, long N) {
  floats sums[SUMS];
  for (int i = 0; i < R * O; i++) sums[i] = (floats){0};
  const long next = K / (parts * LANES) * GROUP;
  for (long k = 0; k < K; k += parts * LANES, w += GROUP) {
    for (int o = 0; o < O; o++) __builtin_prefetch(w + next + o);
    for (int i = 0; i < parts; i++) {
      floats v[GROUP];
      for (int o = 0; o < O; o++) v[o] = part(w[o], i, parts);
      for (int r = 0; r < R; r++) {
        const floats u = load(x + r * K + k + i * LANES);
        for (int o = 0; o < O; o++) sums[r * O + o] += u * v[o];
      }
    }
  }
  for (int r = 0; r < R; r++)
    for (int o = 0; o < O; o++) {
      float sum = 0;
      for (int l = 0; l < LANES; l++) sum += sums[r * O + o][l];
      y[r * N + o] = sum * scale[o] + bias[o];
    }
}

/* R rows times all outputs of a group, as many at once as R leaves room for. */
INLINE void rows(const int parts, const int R, const float *x, const words *w, const float *scale, const float *bias,
                 float *y, long K, long N) {
  const int room = SUMS / R, O = room >= 8 ? 8 : room >= 4 ? 4 : 2;
  for (int o = 0; o < GROUP; o += O) block(parts, R, O, x, w + o, scale + o, bias + o, y + o, K, N);
}

INLINE void group(const int parts, const float *x, const words *w, const float *scale, const float *bias, float *y,
                  long M, long K, long N) {
#define ROWS(R) rows(parts, R, x, w, scale, bias, y, K, N), M -= R, x += R * K, y += R * N
#if SUMS > 8
  while (M >= 8) ROWS(8);
#endif
  while (M >= 4) ROWS(4);
  if (M == 3) ROWS(3);
  if (M == 2) ROWS(2);
  if (M == 1) ROWS(1);
}

#define LINEAR(KIND, PARTS)                                                                                         \
  void KIND(const float *x, const words *w, const float *scale, const float *bias, float *y, long M, long K, long N, \
            int threads) {                                                                                          \
    _Pragma("omp parallel for schedule(static) num_threads(threads)")                                               \
    for (long n = 0; n < N; n += GROUP)                                                                             \
      group(PARTS, x, w + n * (K / (PARTS * LANES)), scale + n, bias + n, y + n, M, K, N);                          \
  }

LINEAR(int8, 4)
LINEAR(bfloat16, 2)

int lanes(void) { return LANES; }
