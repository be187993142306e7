/* What a CPU gains from doing at once: attention with dropout, dropout, GELU and ReLU with dropout, max-pool, and
   max-pool's gradient through a convolution. kernels.py, beside this file, compiles it, calls it, and says what each is
   equal to.

   Written with GCC's vector extensions: a vector is 16 numbers, one register of AVX-512, two of AVX2, four of NEON. */
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define W 16 /* numbers of a vector, and features of an attention head */
#ifdef __AVX512F__
#define R 8 /* queries at a time: as many as the registers hold sums of */
#else
#define R 4
#endif
#define UNROLL _Pragma("GCC unroll 16") /* of loops over R, W or less: their arrays then live in registers */
#define INLINE static inline __attribute__((always_inline))

typedef float vec __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(4 * W), aligned(4), may_alias));
typedef uint8_t bytes __attribute__((vector_size(W), aligned(1), may_alias));
typedef uint32_t words __attribute__((vector_size(4 * W), aligned(4), may_alias));

static const ints LANE = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};

INLINE vec load(const float *from) { return *(const vec *)from; }
INLINE void store(float *to, vec x) { *(vec *)to = x; }
INLINE vec larger(vec x, vec y) {
    const ints more = x > y;
    return (vec)(((ints)x & more) | ((ints)y & ~more));
}
INLINE vec swapped(vec x, int by) { /* every number changes places with the one `by` lanes away */
    return __builtin_shuffle(x, LANE ^ by);
}
INLINE float sum(vec x) {
    UNROLL for (int by = W / 2; by; by /= 2) x += swapped(x, by);
    return x[0];
}
INLINE float largest(vec x) {
    UNROLL for (int by = W / 2; by; by /= 2) x = larger(x, swapped(x, by));
    return x[0];
}

/* ---- random masks ------------------------------------------------------------------------------------------------ */

typedef struct {
    uint32_t key[2];  /* of this call */
    uint32_t dropped; /* how many of the 65,536 draws drop */
    float scale;      /* of what is kept */
} dropout;

/* Threefry-2x32 with 13 rounds (Salmon et al. 2011) of 16 counters, in place: two random words for each. */
INLINE void threefry(words *x0, words *x1, const uint32_t key[2]) {
    static const int turns[8] = {13, 15, 26, 6, 17, 29, 16, 24};
    const uint32_t keys[3] = {key[0], key[1], key[0] ^ key[1] ^ 0x1BD11BDA};
    *x0 += keys[0];
    *x1 += keys[1];
    UNROLL for (int round = 0; round < 13; round++) {
        *x0 += *x1;
        *x1 = (*x1 << turns[round % 8] | *x1 >> (32 - turns[round % 8])) ^ *x0;
        if (round % 4 == 3) {
            const int turn = round / 4 + 1;
            *x0 += keys[turn % 3];
            *x1 += keys[(turn + 1) % 3] + turn;
        }
    }
}

void threefry_words(uint32_t *x0, uint32_t *x1, const uint32_t *key) {
    threefry((words *)x0, (words *)x1, key);
}

/* What columns 64·chunk … 64·chunk + 63 of a row are multiplied by: 0 where dropped, else the scale. */
INLINE void mask64(vec mask[4], const dropout *drop, uint32_t row, uint32_t chunk) {
    UNROLL for (int l = 0; l < 4; l++) mask[l] = 1.0f + (vec){0};
    if (!drop->dropped) return;
    words x0 = (words)LANE + W * chunk, x1 = row + (words){0};
    threefry(&x0, &x1, drop->key);
    const words draws[4] = {x0 & 0xFFFF, x0 >> 16, x1 & 0xFFFF, x1 >> 16};
    const vec scale = drop->scale + (vec){0};
    UNROLL for (int l = 0; l < 4; l++) mask[l] = (vec)((draws[l] >= drop->dropped) & (ints)scale);
}

/* The masks of a row's first `chunks` chunks: what attention multiplies its weights by. */
void mask_row(float *to, const dropout *drop, long row, long chunks) {
    for (long chunk = 0; chunk < chunks; chunk++) mask64((vec *)to + 4 * chunk, drop, row, chunk);
}

/* ---- elementwise ------------------------------------------------------------------------------------------------- */

/* 2ˣ for x < 128, to about 2 units in the last place; 0 below −126; NaN of NaN. */
INLINE vec exp2v(vec x) {
    const vec magic = 12582912.0f + (vec){0}; /* 1.5·2²³: adding it rounds to a whole number, left in the low bits */
    const vec whole = x + magic, f = x - (whole - magic);
    vec p = 1.5403530e-4f + (vec){0}; /* (ln 2)ᵏ/k!, for f from −½ to ½ */
    p = p * f + 1.3333558e-3f;
    p = p * f + 9.6181291e-3f;
    p = p * f + 5.5504109e-2f;
    p = p * f + 2.4022651e-1f;
    p = p * f + 6.9314718e-1f;
    p = p * f + 1.0f;
    return (vec)(((ints)p + ((ints)whole << 23)) & ~(x <= -126.0f));
}

/* The normal distribution Φ(x), by erf of Abramowitz & Stegun 7.1.26 (to 1.5e−7), and its density φ(x). */
INLINE void normal(vec x, vec *cumulative, vec *density) {
    const vec size = (vec)((ints)x & 0x7FFFFFFF);
    const vec bell = exp2v(x * x * -0.72134752f); /* exp(−x²/2) */
    const vec t = 1.0f / (1.0f + 0.23164189f * size);
    const vec tail = 0.5f * bell * t * (0.25482959f + t * (-0.28449674f + t * (1.4214137f + t * (-1.4531520f + t * 1.0614054f))));
    const ints negative = x < 0.0f;
    *cumulative = (vec)(((ints)tail & negative) | ((ints)(1.0f - tail) & ~negative));
    *density = 0.39894228f * bell;
}

typedef vec elementwise(vec x, vec gradient, vec mask);
INLINE vec only_mask(vec x, vec gradient, vec mask) { (void)gradient; return x * mask; }
INLINE vec gelu(vec x, vec gradient, vec mask) {
    vec cumulative, density;
    normal(x, &cumulative, &density);
    (void)gradient;
    return x * cumulative * mask;
}
INLINE vec gelu_gradient(vec x, vec gradient, vec mask) {
    vec cumulative, density;
    normal(x, &cumulative, &density);
    return gradient * mask * (cumulative + x * density);
}
INLINE vec relu(vec x, vec gradient, vec mask) {
    (void)gradient;
    return (vec)((ints)(x * mask) & ~(x <= 0.0f)); /* so that NaN stays NaN */
}
INLINE vec relu_gradient(vec x, vec gradient, vec mask) { return (vec)((ints)(gradient * mask) & ~(x <= 0.0f)); }

/* to = f(x, gradient, mask) of `count` numbers, 64 at a time: chunks `first` up to `last` */
INLINE int each(elementwise f, float *to, const float *x, const float *gradient, const dropout *drop, long first,
                long last, long count) {
    for (long chunk = first; chunk < last; chunk++) {
        const long at = 4 * W * chunk, left = count - at;
        vec mask[4];
        mask64(mask, drop, 0, chunk);
        if (left >= 4 * W) {
            UNROLL for (int l = 0; l < 4; l++)
                store(to + at + l * W, f(load(x + at + l * W), load(gradient + at + l * W), mask[l]));
        } else {
            float padded[2][4 * W] = {{0}}, result[4 * W];
            memcpy(padded[0], x + at, 4 * left);
            memcpy(padded[1], gradient + at, 4 * left);
            UNROLL for (int l = 0; l < 4; l++)
                store(result + l * W, f(load(padded[0] + l * W), load(padded[1] + l * W), mask[l]));
            memcpy(to + at, result, 4 * left);
        }
    }
    return 0;
}

int dropout_each(float *to, const float *x, const dropout *drop, long first, long last, long count) {
    return each(only_mask, to, x, x, drop, first, last, count);
}
int gelu_each(float *to, const float *x, const dropout *drop, long first, long last, long count) {
    return each(gelu, to, x, x, drop, first, last, count);
}
int gelu_each_gradient(float *to, const float *x, const float *gradient, const dropout *drop, long first, long last,
                       long count) {
    return each(gelu_gradient, to, x, gradient, drop, first, last, count);
}
int relu_each(float *to, const float *x, const dropout *drop, long first, long last, long count) {
    return each(relu, to, x, x, drop, first, last, count);
}
int relu_each_gradient(float *to, const float *x, const float *gradient, const dropout *drop, long first, long last,
                       long count) {
    return each(relu_gradient, to, x, gradient, drop, first, last, count);
}

/* ---- attention --------------------------------------------------------------------------------------------------- */

typedef struct {
    long heads, queries, keys; /* q [B, queries, heads·16], k and v [B, keys, heads·16]; numbers from row to row, */
    long q_row, k_row, v_row, q_batch, k_batch, v_batch; /* and from batch entry to batch entry */
    int causal;
    dropout drop;
} attention;

/* out[r][j] = Σ_f a[r][f]·bt[f][j] for R rows and `wide` vectors of columns */
INLINE void products(vec out[R][2], const float a[R][W], const float *bt, long padded, const int wide) {
    UNROLL for (int r = 0; r < R; r++) out[r][0] = out[r][1] = (vec){0};
    UNROLL for (int f = 0; f < W; f++) {
        const vec b0 = load(bt + f * padded), b1 = wide == 2 ? load(bt + f * padded + W) : b0;
        UNROLL for (int r = 0; r < R; r++) {
            out[r][0] += a[r][f] * b0;
            if (wide == 2) out[r][1] += a[r][f] * b1;
        }
    }
}

/* tiles[r][j] = Σ_f a[r][f]·bt[f][j] for R rows and all columns */
INLINE void all_products(float *tiles, const float a[R][W], const float *bt, long padded) {
    vec tile[R][2];
    long j = 0;
    for (; j + 2 * W <= padded; j += 2 * W) {
        products(tile, a, bt + j, padded, 2);
        UNROLL for (int r = 0; r < R; r++) {
            store(tiles + r * padded + j, tile[r][0]);
            store(tiles + r * padded + j + W, tile[r][1]);
        }
    }
    if (j < padded) {
        products(tile, a, bt + j, padded, 1);
        UNROLL for (int r = 0; r < R; r++) store(tiles + r * padded + j, tile[r][0]);
    }
}

/* out[r] = Σ_j weights[r][j]·b[j] for R rows */
INLINE void weighted(vec out[R], const float *weights, long padded, const float *b, long count) {
    UNROLL for (int r = 0; r < R; r++) out[r] = (vec){0};
    for (long j = 0; j < count; j++) {
        const vec row = load(b + j * W);
        UNROLL for (int r = 0; r < R; r++) out[r] += weights[r * padded + j] * row;
    }
}

/* to[j] += Σ_r weights[r][j]·a[r] for R rows */
INLINE void spread(float *to, const float *weights, long padded, const float a[R][W], long count) {
    vec rows[R];
    UNROLL for (int r = 0; r < R; r++) rows[r] = load(a[r]);
    for (long j = 0; j < count; j++) {
        vec total = load(to + j * W);
        UNROLL for (int r = 0; r < R; r++) total += weights[r * padded + j] * rows[r];
        store(to + j * W, total);
    }
}

/* A head's rows as they are, [count][16], and transposed and scaled, [16][padded]; either may be left out. */
static void gather(float *rows, float *transposed, const float *from, long count, long step, long padded, float scale) {
    for (long j = 0; j < count && rows; j++) store(rows + j * W, load(from + j * step));
    for (long j = 0; j < padded && transposed; j++)
        for (int f = 0; f < W; f++) transposed[f * padded + j] = j < count ? scale * from[j * step + f] : 0;
}

/* Up to R rows of a head, zeros in place of those that are not there. */
static void some_rows(float to[R][W], const float *from, long count, long step) {
    for (int r = 0; r < R; r++) store(to[r], r < count ? load(from + r * step) : (vec){0});
}

/* Columns j … j + 15 of a row of scores, −∞ from column `seen` on. */
INLINE vec scores(const float *row, long j, long seen) {
    const ints inside = LANE < (int)(seen - j);
    const vec outside = -INFINITY + (vec){0};
    return (vec)(((ints)load(row + j) & inside) | ((ints)outside & ~inside));
}

/* How many keys a query attends to: with `causal`, those up to its own. */
static long keys_seen(const attention *a, long query) {
    return a->causal && query + 1 < a->keys ? query + 1 : a->keys;
}

static const float SCALE = 0.25f, LOG2E = 1.44269504f; /* 1/√16; weights are powers of 2 */

/* out [B, queries, heads·16] = dropout(softmax(q·kᵀ/4))·v, and log₂ of each softmax's sum, logs [B, heads, queries],
   for batch entries `first` up to `last`. Returns 1 where memory ran out, else 0. */
int attention_forward(float *out, float *logs, const float *q, const float *k, const float *v, const attention *a,
                      long first, long last) {
    const long padded = (a->keys + W - 1) / W * W, width = a->heads * W;
    float *const kt = aligned_alloc(64, 4 * padded * (2 * W + R)), *const rows = kt + W * padded;
    float *const weights = rows + W * padded;
    if (!kt) return 1;
    for (long head = first * a->heads; head < last * a->heads; head++) {
        const long b = head / a->heads, at = head % a->heads * W;
        gather(NULL, kt, k + b * a->k_batch + at, a->keys, a->k_row, padded, SCALE * LOG2E);
        gather(rows, NULL, v + b * a->v_batch + at, a->keys, a->v_row, padded, 1);
        for (long i = 0; i < a->queries; i += R) {
            const long count = a->queries - i < R ? a->queries - i : R;
            float some[R][W], sums[R];
            some_rows(some, q + b * a->q_batch + at + i * a->q_row, count, a->q_row);
            all_products(weights, some, kt, padded);
            for (long r = 0; r < count; r++) {
                float *const row = weights + r * padded;
                const long seen = keys_seen(a, i + r);
                vec most = scores(row, 0, seen), total = {0};
                for (long j = W; j < padded; j += W) most = larger(most, scores(row, j, seen));
                const float top = largest(most);
                for (long j = 0; j < padded; j += 4 * W) {
                    vec mask[4];
                    mask64(mask, &a->drop, head * a->queries + i + r, j / (4 * W));
                    for (long l = 0; l < 4 && j + l * W < padded; l++) {
                        const vec e = exp2v(scores(row, j + l * W, seen) - top);
                        total += e;
                        store(row + j + l * W, e * mask[l]);
                    }
                }
                sums[r] = sum(total);
                logs[head * a->queries + i + r] = top + log2f(sums[r]);
            }
            vec y[R];
            weighted(y, weights, padded, rows, a->keys);
            for (long r = 0; r < count; r++) store(out + (b * a->queries + i + r) * width + at, y[r] / sums[r]);
        }
    }
    free(kt);
    return 0;
}

/* The gradients of q, k and v, each laid out as its tensor, from that of `out`, for batch entries `first` up to `last`.
   `dot` of a row is Σ out·d_out, which is what the softmax's gradient subtracts (Dao et al. 2022, §B.2). */
int attention_gradient(float *dq, float *dk, float *dv, const float *d_out, const float *out, const float *logs,
                       const float *q, const float *k, const float *v, const attention *a, long first, long last) {
    const long padded = (a->keys + W - 1) / W * W, width = a->heads * W;
    float *const kt = aligned_alloc(64, 4 * padded * (5 * W + 2 * R)), *const vt = kt + W * padded;
    float *const rows = vt + W * padded, *const dk_rows = rows + W * padded, *const dv_rows = dk_rows + W * padded;
    float *const weights = dv_rows + W * padded, *const ds = weights + R * padded;
    if (!kt) return 1;
    for (long head = first * a->heads; head < last * a->heads; head++) {
        const long b = head / a->heads, at = head % a->heads * W;
        gather(rows, kt, k + b * a->k_batch + at, a->keys, a->k_row, padded, SCALE * LOG2E);
        gather(NULL, vt, v + b * a->v_batch + at, a->keys, a->v_row, padded, 1);
        memset(dk_rows, 0, 4 * 2 * W * padded);
        for (long i = 0; i < a->queries; i += R) {
            const long count = a->queries - i < R ? a->queries - i : R, to = (b * a->queries + i) * width + at;
            float some[R][W], d_some[R][W];
            some_rows(some, q + b * a->q_batch + at + i * a->q_row, count, a->q_row);
            some_rows(d_some, d_out + to, count, width);
            all_products(weights, some, kt, padded);
            all_products(ds, d_some, vt, padded);
            for (long r = 0; r < R; r++) {
                float *const weight = weights + r * padded, *const d = ds + r * padded;
                const long query = head * a->queries + i + r, seen = r < count ? keys_seen(a, i + r) : 0;
                const float log = seen ? logs[query] : 0;
                const float dot = seen ? sum(load(d_some[r]) * load(out + to + r * width)) : 0;
                for (long j = 0; j < padded; j += 4 * W) {
                    vec mask[4];
                    mask64(mask, &a->drop, query, j / (4 * W));
                    for (long l = 0; l < 4 && j + l * W < padded; l++) {
                        const vec p = exp2v(scores(weight, j + l * W, seen) - log);
                        const vec kept = p * mask[l];
                        store(weight + j + l * W, kept);
                        store(d + j + l * W, kept * load(d + j + l * W) - p * dot);
                    }
                }
            }
            vec y[R];
            weighted(y, ds, padded, rows, a->keys);
            for (long r = 0; r < count; r++)
                store(dq + b * a->q_batch + (i + r) * a->q_row + at, SCALE * y[r]);
            spread(dv_rows, weights, padded, d_some, a->keys);
            spread(dk_rows, ds, padded, some, a->keys);
        }
        for (long j = 0; j < a->keys; j++) {
            store(dk + b * a->k_batch + j * a->k_row + at, SCALE * load(dk_rows + j * W));
            store(dv + b * a->v_batch + j * a->v_row + at, load(dv_rows + j * W));
        }
    }
    free(kt);
    return 0;
}

/* ---- max-pool's gradient through a convolution ------------------------------------------------------------------- */

enum { NONE = 4 };

/* The largest of each 2×2 block of x [B, 2H, 2W', C], channels last, C a multiple of 16, or 0 if that is more; and
   which one it is, 0 to 3, or NONE. */
int pool(float *to, uint8_t *which, const float *x, long first, long last, long height, long width, long channels) {
    for (long row = first * height; row < last * height; row++)
        for (long column = 0; column < width; column++) {
            const float *const corner = x + (4 * row * width + 2 * column) * channels;
            const long at = (row * width + column) * channels, down = 2 * width * channels;
            const float *const of[4] = {corner, corner + channels, corner + down, corner + down + channels};
            for (long c = 0; c < channels; c += W) {
                vec best = {0};
                ints index = NONE + (ints){0};
                UNROLL for (int i = 0; i < 4; i++) {
                    const vec x = load(of[i] + c);
                    const ints more = ~(x <= best) & (best == best); /* NaN is, and stays */
                    best = (vec)(((ints)x & more) | ((ints)best & ~more));
                    index = ((i + (ints){0}) & more) | (index & ~more);
                }
                store(to + at + c, best);
                *(bytes *)(which + at + c) = __builtin_convertvector(index, bytes);
            }
        }
    return 0;
}

/* The gradients of a 3×3 convolution's input before its ReLU, weight and bias, from that of the output of `pool`, `d`
   [B, H, W', OUT]: at least three of the convolution's outputs in four have none. One after the other, those that have
   one add it times their patch to their weight's gradient, and it times their weight to their patch's. `x`
   [B, 2H + 2, 2W' + 2, 32] is after the ReLU, `weight` [OUT, 3, 3, 32]; dw and db are added to. */
int pool_gradient(float *dx, float *dw, float *db, const float *d, const uint8_t *which, const float *x,
                  const float *weight, long first, long last, long height, long width, long out) {
    enum { IN = 2 * W, LINE = 3 * IN }; /* a patch is three lines of three pixels */
    const long row = (2 * width + 2) * IN, image = (2 * height + 2) * row;
    struct { float gradient; int32_t at; } *const list = malloc(sizeof *list * width);
    if (!list) return 1;
    for (long i = first; i < last; i++) {
        memset(dx + i * image, 0, 4 * image);
        for (long band = 0; band < height * out; band++) { /* a row of the pooled image, in one channel */
            const long y = band / out, c = band % out;
            long count = 0;
            for (long column = 0; column < width; column++) {
                const long from = ((i * height + y) * width + column) * out + c;
                const uint8_t corner = which[from];
                list[count].gradient = d[from];
                list[count].at = i * image + (2 * y + corner / 2) * row + (2 * column + corner % 2) * IN;
                db[c] += corner == NONE ? 0 : d[from];
                count += (d[from] != 0) & (corner != NONE);
            }
            for (int line = 0; line < 3; line++) {
                const long of = (3 * c + line) * LINE;
                vec w[LINE / W], g[LINE / W];
                UNROLL for (int l = 0; l < LINE / W; l++) {
                    w[l] = load(weight + of + l * W);
                    g[l] = load(dw + of + l * W);
                }
                for (long n = 0; n < count; n++) {
                    const long at = list[n].at + line * row;
                    UNROLL for (int l = 0; l < LINE / W; l++) {
                        g[l] += list[n].gradient * load(x + at + l * W);
                        store(dx + at + l * W, load(dx + at + l * W) + list[n].gradient * w[l]);
                    }
                }
                UNROLL for (int l = 0; l < LINE / W; l++) store(dw + of + l * W, g[l]);
            }
        }
        for (long j = i * image; j < (i + 1) * image; j += W)
            store(dx + j, (vec)((ints)load(dx + j) & ~(load(x + j) <= 0.0f)));
    }
    free(list);
    return 0;
}
