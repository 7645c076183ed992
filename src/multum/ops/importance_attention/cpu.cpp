// Softmax attention that sums its own probabilities: context and token importance in one pass, float32.
//
//   context[b,h,i,:]  = sum_j p[b,h,i,j] value[b,g,j,:],   p = softmax_j(scale * query[b,h,i,:] . key[b,g,j,:])
//   importance[b,h,j] = sum_i p[b,h,i,j]                   (SpAtten, Alg. 2, before its sum over heads)
//
// The probabilities never reach memory: a block of rows lives in the cache while it is made, summed and used. Keys that
// the mask drops are not packed, so padding costs nothing; rows that the mask drops are not computed and come out as 0.
// A causal row sees the keys at positions <= K - Q + i: kept keys are packed in order, so that is a prefix of them, and
// products stop at the longest prefix of a tile's rows. Heads that share their keys pack them once, one after another.
// A head is one thread's and its rows are added in order, so any number of threads gives the same bits.
//
// Shape letters: B batch, H query heads, G key heads (g = h / (H / G)), Q query rows, K keys, D head width. All strides
// in floats, innermost stride 1.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kMaxVectors = 4;  // 6 x 4 accumulators of 32 registers
#elif defined(__AVX2__)
constexpr int kLanes = 8, kMaxVectors = 2;  // 6 x 2 of 16
#else
constexpr int kLanes = 4, kMaxVectors = 2;
#endif
constexpr int kRows = 6;        // rows of one register tile
constexpr int kBlockRows = 24;  // rows whose scores stay in the cache together
constexpr int kPanel = kLanes * kMaxVectors;
constexpr int kAhead = 8;  // rows to fetch in advance while packing

typedef float Vec __attribute__((vector_size(kLanes * 4), aligned(4)));
typedef int32_t VecInt __attribute__((vector_size(kLanes * 4), aligned(4)));

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
inline Vec splat(float x) { return x - Vec{}; }  // x - 0 is x, which compilers know; x + 0 is not (-0)
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }

// 2^x for x <= 0 to about 1e-7: nearest integer by the rounding constant, a polynomial on [-1/2, 1/2], exponent bits.
inline Vec exp2_vec(Vec x) {
  const Vec round = splat(12582912.0f);  // 1.5 * 2^23
  x = larger(x, splat(-126.0f));
  const Vec shifted = x + round;
  const Vec f = x - (shifted - round);
  Vec p = splat(1.535336188319500e-4f);
  p = p * f + splat(1.339887440266574e-3f);
  p = p * f + splat(9.618437357674640e-3f);
  p = p * f + splat(5.550332471162809e-2f);
  p = p * f + splat(2.402264791363012e-1f);
  p = p * f + splat(6.931472028550421e-1f);
  p = p * f + splat(1.0f);
  VecInt bits;
  std::memcpy(&bits, &shifted, sizeof bits);
  bits = (bits + 127) << 23;  // the low bits of `shifted` hold the integer
  Vec power;
  std::memcpy(&power, &bits, sizeof power);
  return p * power;
}

// c[6][N*lanes] = a[6][depth] * b[depth][N*lanes]; b is packed in rows of b_stride, c is overwritten.
template <int N>
void tile(int64_t depth, const float* a, int64_t a_stride, const float* b, int64_t b_stride, float* c, int64_t c_stride) {
  Vec sum[kRows][N];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sum[i][n] = Vec{};
  for (int64_t t = 0; t < depth; ++t, b += b_stride) {
    Vec row[N];
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) row[n] = load(b + n * kLanes);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const Vec left = splat(a[i * a_stride + t]);
#pragma GCC unroll 4
      for (int n = 0; n < N; ++n) sum[i][n] += left * row[n];
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) store(c + i * c_stride + n * kLanes, sum[i][n]);
}

void tile_of_width(int64_t vectors, int64_t depth, const float* a, int64_t a_stride, const float* b, int64_t b_stride,
                   float* c, int64_t c_stride) {
  switch (vectors) {
    case 1: return tile<1>(depth, a, a_stride, b, b_stride, c, c_stride);
    case 2: return tile<2>(depth, a, a_stride, b, b_stride, c, c_stride);
#if defined(__AVX512F__)
    case 3: return tile<3>(depth, a, a_stride, b, b_stride, c, c_stride);
    case 4: return tile<4>(depth, a, a_stride, b, b_stride, c, c_stride);
#endif
  }
}

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
inline int64_t panel_vectors(int64_t width, int64_t column) {
  return std::min<int64_t>(kMaxVectors, (width - column) / kLanes);
}

struct Problem {
  const float *query, *key, *value;
  float *context, *importance;           // context [B,H,Q,D] by strides; importance [B,H,K], contiguous
  const uint8_t *key_keep, *query_keep;  // [B,K] and [B,Q], or null
  const int64_t* strides;                // batch, head, row of query, key, value, context
  int64_t batch, heads, groups, rows, keys, width, causal, importance_from;
  float scale;
};

// Floats that begin on a cache line, because vectors that cross one cost twice.
class Lines {
 public:
  void resize(int64_t count) {
    if (memory_.size() < static_cast<size_t>(count) + 16) memory_.resize(count + 16);
  }
  float* data() { return reinterpret_cast<float*>((reinterpret_cast<uintptr_t>(memory_.data()) + 63) / 64 * 64); }
  float& operator[](int64_t i) { return data()[i]; }

 private:
  std::vector<float> memory_;
};

// What one thread owns, reused from head to head.
struct Scratch {
  std::vector<int64_t> key_index;               // kept keys, in order
  std::vector<int64_t> row_index, row_sees;     // rows to compute, and how many of the kept keys each sees
  std::vector<int64_t> zero_rows;               // rows that are dropped or see nothing
  Lines key_panels, value_panels, query_block, scores, output, importance;
};

void list_kept(const Problem& p, int64_t b, Scratch& s) {
  s.key_index.clear(), s.row_index.clear(), s.row_sees.clear(), s.zero_rows.clear();
  for (int64_t j = 0; j < p.keys; ++j)
    if (!p.key_keep || p.key_keep[b * p.keys + j]) s.key_index.push_back(j);
  const int64_t count = s.key_index.size();
  int64_t sees = p.causal ? 0 : count;
  for (int64_t i = 0; i < p.rows; ++i) {
    while (sees < count && s.key_index[sees] <= p.keys - p.rows + i) ++sees;
    const bool lives = sees > 0 && (!p.query_keep || p.query_keep[b * p.rows + i]);
    if (!lives) s.zero_rows.push_back(i);
    if (lives) s.row_index.push_back(i), s.row_sees.push_back(sees);
  }
}

// Rows lie far apart, so that the processor does not guess which comes next.
inline void prefetch_row(const float* row, int64_t width) {
  for (int64_t d = 0; d < width; d += 16) __builtin_prefetch(row + d);
}

// Keys as column panels [depth][panel], zero beyond the last key.
void pack_keys(const Problem& p, const float* key, Scratch& s, int64_t padded) {
  const int64_t count = s.key_index.size();
  s.key_panels.resize(padded * p.width);
  for (int64_t column = 0; column < padded; column += kPanel) {
    const int64_t step = panel_vectors(padded, column) * kLanes;
    float* panel = s.key_panels.data() + column * p.width;
    for (int64_t j = 0; j < step; ++j) {
      if (column + j + kAhead < count) prefetch_row(key + s.key_index[column + j + kAhead] * p.strides[5], p.width);
      if (column + j < count) {
        const float* from = key + s.key_index[column + j] * p.strides[5];
        for (int64_t d = 0; d < p.width; ++d) panel[d * step + j] = from[d];
      } else {
        for (int64_t d = 0; d < p.width; ++d) panel[d * step + j] = 0.0f;
      }
    }
  }
}

// Values as column panels [key][panel], zero beyond the head width.
void pack_values(const Problem& p, const float* value, Scratch& s, int64_t padded_width) {
  const int64_t count = s.key_index.size();
  s.value_panels.resize(padded_width * count);
  for (int64_t column = 0; column < padded_width; column += kPanel) {
    const int64_t step = panel_vectors(padded_width, column) * kLanes;
    const int64_t real = std::min(step, p.width - column);
    float* panel = s.value_panels.data() + column * count;
    for (int64_t j = 0; j < count; ++j) {
      if (j + kAhead < count) prefetch_row(value + s.key_index[j + kAhead] * p.strides[8] + column, real);
      std::memcpy(panel + j * step, value + s.key_index[j] * p.strides[8] + column, real * sizeof(float));
      std::memset(panel + j * step + real, 0, (step - real) * sizeof(float));
    }
  }
}

// The scores of the keys that a row sees (in units of log 2) to exponentials in place, 0 from there to `end`; returns
// 1 / their sum. The division is left to the two places that use it, so that the row is written once. A NaN or infinity
// among the scores gives NaN (comparisons would hide it).
float exponentiate_row(float* score, int64_t sees, int64_t end) {
  const int64_t near = round_up(sees, kLanes);
  for (int64_t j = sees; j < near; ++j) score[j] = score[0];
  Vec top = load(score), poison = Vec{};
  for (int64_t j = 0; j < near; j += kLanes) {
    const Vec v = load(score + j);
    top = larger(v, top);
    poison += v * 0.0f;
  }
  for (int64_t j = sees; j < near; ++j) score[j] = -INFINITY;
  float highest = top[0], zero = poison[0];
  for (int n = 1; n < kLanes; ++n) highest = std::max(highest, top[n]), zero += poison[n];
  Vec total = Vec{};
  for (int64_t j = 0; j < near; j += kLanes) {
    const Vec e = exp2_vec(load(score + j) - highest);
    store(score + j, e);
    total += e;
  }
  std::memset(score + sees, 0, (end - sees) * sizeof(float));
  float sum = zero;
  for (int n = 0; n < kLanes; ++n) sum += total[n];
  return 1.0f / sum;
}

// importance[j] += sum_i e[i,j] * inverse[i], rows in order.
template <int N>
void add_columns(const float* score, int64_t stride, const float* inverse, int64_t rows, float* importance) {
  Vec sum[N];
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) sum[n] = load(importance + n * kLanes);
  for (int64_t i = 0; i < rows; ++i)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sum[n] += load(score + i * stride + n * kLanes) * inverse[i];
#pragma GCC unroll 4
  for (int n = 0; n < N; ++n) store(importance + n * kLanes, sum[n]);
}

// One block of rows, all that are listed from `first` on: scores, exponentials, column sums, context.
void attend_block(const Problem& p, Scratch& s, int64_t first, int64_t rows, const float* query, float* context) {
  const int64_t *index = &s.row_index[first], *sees = &s.row_sees[first], *st = p.strides;
  const int64_t count = s.key_index.size(), padded = round_up(count, kLanes);
  const int64_t end = round_up(sees[rows - 1], kLanes), padded_width = round_up(p.width, kLanes);
  const float log2_scale = p.scale * 1.4426950408889634f;
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t d = 0; d < p.width; ++d) s.query_block[i * p.width + d] = log2_scale * query[index[i] * st[2] + d];
  const auto tile_sees = [&](int64_t i) { return sees[std::min(i + kRows, rows) - 1]; };
  for (int64_t column = 0; column < end; column += kPanel) {
    const int64_t vectors = panel_vectors(padded, column);
    for (int64_t i = 0; i < rows; i += kRows) {
      const int64_t wanted = std::min(vectors, (tile_sees(i) - column + kLanes - 1) / kLanes);
      tile_of_width(wanted, p.width, &s.query_block[i * p.width], p.width, &s.key_panels[column * p.width],
                    vectors * kLanes, &s.scores[i * padded + column], padded);
    }
  }
  float inverse[kBlockRows];
  for (int64_t i = 0; i < rows; ++i) inverse[i] = exponentiate_row(&s.scores[i * padded], sees[i], end);
  const int64_t skipped = std::lower_bound(index, index + rows, p.importance_from) - index;
  const float *added = &s.scores[0] + skipped * padded, *shares = inverse + skipped;
  int64_t column = 0;
  for (; column + 4 * kLanes <= end; column += 4 * kLanes)
    add_columns<4>(added + column, padded, shares, rows - skipped, &s.importance[column]);
  for (; column < end; column += kLanes)
    add_columns<1>(added + column, padded, shares, rows - skipped, &s.importance[column]);
  for (column = 0; column < padded_width; column += kPanel) {
    const int64_t vectors = panel_vectors(padded_width, column);
    for (int64_t i = 0; i < rows; i += kRows)
      tile_of_width(vectors, tile_sees(i), &s.scores[i * padded], padded, &s.value_panels[column * count],
                    vectors * kLanes, &s.output[i * padded_width + column], padded_width);
  }
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t d = 0; d < p.width; ++d)
      context[index[i] * st[11] + d] = inverse[i] * s.output[i * padded_width + d];
}

void attend_head(const Problem& p, int64_t b, int64_t h, bool packed, Scratch& s) {
  const int64_t *st = p.strides, g = h / (p.heads / p.groups), num_rows = s.row_index.size();
  const float* query = p.query + b * st[0] + h * st[1];
  float* context = p.context + b * st[9] + h * st[10];
  float* head_importance = p.importance + (b * p.heads + h) * p.keys;
  std::memset(head_importance, 0, p.keys * sizeof(float));
  for (const int64_t i : s.zero_rows) std::memset(context + i * st[11], 0, p.width * sizeof(float));
  const int64_t count = s.key_index.size(), padded = round_up(count, kLanes);
  const int64_t padded_width = round_up(p.width, kLanes);
  if (num_rows == 0) return;
  if (!packed) {
    pack_keys(p, p.key + b * st[3] + g * st[4], s, padded);
    pack_values(p, p.value + b * st[6] + g * st[7], s, padded_width);
  }
  s.importance.resize(padded);
  std::memset(s.importance.data(), 0, padded * sizeof(float));
  s.scores.resize(kBlockRows * padded);
  s.output.resize(kBlockRows * padded_width);
  s.query_block.resize(kBlockRows * p.width);
  for (int64_t first = 0; first < num_rows; first += kBlockRows)
    attend_block(p, s, first, std::min<int64_t>(kBlockRows, num_rows - first), query, context);
  for (int64_t j = 0; j < count; ++j) head_importance[s.key_index[j]] = s.importance[j];
}

}  // namespace

// sizes: B, H, G, Q, K, D, whether causal, first row that adds importance.
extern "C" void multum_importance_attention(const float* query, const float* key, const float* value, float* context,
                                            float* importance, const uint8_t* key_keep, const uint8_t* query_keep,
                                            const int64_t* strides, const int64_t* sizes, float scale, int threads) {
  const Problem p{query,    key,      value,    context,  importance, key_keep, query_keep, strides, sizes[0],
                  sizes[1], sizes[2], sizes[3], sizes[4], sizes[5],   sizes[6], sizes[7],   scale};
  std::atomic<int64_t> next{0};
  auto work = [&] {
    Scratch scratch;
    int64_t listed = -1, packed = -1;
    for (int64_t item; (item = next++) < p.batch * p.heads;) {
      const int64_t b = item / p.heads, h = item % p.heads, group = b * p.groups + h / (p.heads / p.groups);
      if (b != listed) list_kept(p, b, scratch);
      attend_head(p, b, h, group == packed, scratch);
      listed = b, packed = group;
    }
  };
  std::vector<std::thread> others;
  for (int64_t t = 1; t < std::min<int64_t>(threads, p.batch * p.heads); ++t) others.emplace_back(work);
  work();
  for (auto& thread : others) thread.join();
}
