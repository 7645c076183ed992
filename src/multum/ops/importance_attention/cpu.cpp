// Softmax attention that sums its own probabilities: context and token importance in one pass, float32.
//
//   context[b,h,i,:]  = sum_j p[b,h,i,j] value[b,h,j,:],   p = softmax_j(scale * query[b,h,i,:] . key[b,h,j,:])
//   importance[b,h,j] = sum_i p[b,h,i,j]                   (SpAtten, Alg. 2, before its sum over heads)
//
// The probabilities never reach memory: a block of rows lives in the cache while it is made, summed and used. Keys that
// the mask drops are not packed, so padding costs nothing; rows that the mask drops are not computed and come out as 0.
// A head is one thread's and its rows are added in order, so any number of threads gives the same bits.
//
// Shape letters: B batch, H heads, Q query rows, K keys, D head width. All strides in floats, innermost stride 1.

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

typedef float Vec __attribute__((vector_size(kLanes * 4), aligned(4)));
typedef int32_t VecInt __attribute__((vector_size(kLanes * 4), aligned(4)));

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
inline Vec splat(float x) { return Vec{} + x; }
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

// c[6][N*lanes] = a[6][depth] * b[depth][N*lanes]; b is packed, c is overwritten.
template <int N>
void tile(int64_t depth, const float* a, int64_t a_stride, const float* b, float* c, int64_t c_stride) {
  Vec sum[kRows][N];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int n = 0; n < N; ++n) sum[i][n] = Vec{};
  for (int64_t t = 0; t < depth; ++t, b += N * kLanes) {
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

void tile_of_width(int vectors, int64_t depth, const float* a, int64_t a_stride, const float* b, float* c,
                   int64_t c_stride) {
  switch (vectors) {
    case 1: return tile<1>(depth, a, a_stride, b, c, c_stride);
    case 2: return tile<2>(depth, a, a_stride, b, c, c_stride);
#if defined(__AVX512F__)
    case 3: return tile<3>(depth, a, a_stride, b, c, c_stride);
    case 4: return tile<4>(depth, a, a_stride, b, c, c_stride);
#endif
  }
}

inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }
inline int panel_vectors(int64_t width, int64_t column) {
  return static_cast<int>(std::min<int64_t>(kMaxVectors, (width - column) / kLanes));
}

struct Problem {
  const float *query, *key, *value;
  float *context, *importance;            // context [B,H,Q,D] by strides; importance [B,H,K], contiguous
  const uint8_t *key_keep, *query_keep;   // [B,K] and [B,Q], or null
  const int64_t* strides;                 // batch, head, row of query, key, value, context
  int64_t batch, heads, rows, keys, width;
  float scale;
};

// What one thread owns, reused from head to head.
struct Scratch {
  std::vector<int64_t> key_index, row_index;
  std::vector<float> key_panels, value_panels, query_block, scores, output, importance;
};

void list_kept(const uint8_t* keep, int64_t count, std::vector<int64_t>& index) {
  index.clear();
  for (int64_t i = 0; i < count; ++i)
    if (!keep || keep[i]) index.push_back(i);
}

// Keys as column panels [depth][panel], zero beyond the last key.
void pack_keys(const Problem& p, const float* key, Scratch& s, int64_t padded) {
  const int64_t count = s.key_index.size();
  s.key_panels.assign(padded * p.width, 0.0f);
  for (int64_t column = 0; column < padded; column += kPanel) {
    const int64_t step = panel_vectors(padded, column) * kLanes;
    float* panel = s.key_panels.data() + column * p.width;
    for (int64_t j = 0; j < step && column + j < count; ++j) {
      const float* from = key + s.key_index[column + j] * p.strides[5];
      for (int64_t d = 0; d < p.width; ++d) panel[d * step + j] = from[d];
    }
  }
}

// Values as column panels [key][panel], zero beyond the head width.
void pack_values(const Problem& p, const float* value, Scratch& s, int64_t padded_width) {
  const int64_t count = s.key_index.size();
  s.value_panels.assign(padded_width * count, 0.0f);
  for (int64_t column = 0; column < padded_width; column += kPanel) {
    const int64_t step = panel_vectors(padded_width, column) * kLanes;
    const int64_t real = std::min(step, p.width - column);
    float* panel = s.value_panels.data() + column * count;
    for (int64_t j = 0; j < count; ++j)
      std::memcpy(panel + j * step, value + s.key_index[j] * p.strides[8] + column, real * sizeof(float));
  }
}

// Scores (in units of log 2) to exponentials in place; returns 1 / their sum. The division is left to the two places that
// use it, so that the row is written once. A NaN or infinity among the scores gives NaN (comparisons would hide it).
float exponentiate_row(float* score, int64_t count, int64_t padded) {
  for (int64_t j = count; j < padded; ++j) score[j] = score[0];
  Vec top = load(score), poison = Vec{};
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Vec v = load(score + j);
    top = larger(v, top);
    poison += v * 0.0f;
  }
  for (int64_t j = count; j < padded; ++j) score[j] = -INFINITY;
  float highest = top[0], zero = poison[0];
  for (int n = 1; n < kLanes; ++n) highest = std::max(highest, top[n]), zero += poison[n];
  Vec total = Vec{};
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Vec e = exp2_vec(load(score + j) - highest);
    store(score + j, e);
    total += e;
  }
  float sum = zero;
  for (int n = 0; n < kLanes; ++n) sum += total[n];
  return 1.0f / sum;
}

// importance[j] += sum_i e[i,j] * inverse[i], rows in order.
void add_columns(Scratch& s, const float* inverse, int64_t rows, int64_t padded) {
  for (int64_t j = 0; j < padded; j += kLanes) {
    Vec sum = load(&s.importance[j]);
    for (int64_t i = 0; i < rows; ++i) sum += load(&s.scores[i * padded + j]) * inverse[i];
    store(&s.importance[j], sum);
  }
}

void attend_head(const Problem& p, int64_t b, int64_t h, Scratch& s) {
  const int64_t* st = p.strides;
  const float* query = p.query + b * st[0] + h * st[1];
  float* context = p.context + b * st[9] + h * st[10];
  float* head_importance = p.importance + (b * p.heads + h) * p.keys;
  std::memset(head_importance, 0, p.keys * sizeof(float));
  for (int64_t i = 0; i < p.rows; ++i)
    if ((p.query_keep && !p.query_keep[b * p.rows + i]) || s.key_index.empty())
      std::memset(context + i * st[11], 0, p.width * sizeof(float));
  const int64_t count = s.key_index.size(), padded = round_up(count, kLanes);
  const int64_t padded_width = round_up(p.width, kLanes), num_rows = s.row_index.size();
  if (count == 0) return;
  pack_keys(p, p.key + b * st[3] + h * st[4], s, padded);
  pack_values(p, p.value + b * st[6] + h * st[7], s, padded_width);
  s.importance.assign(padded, 0.0f);
  s.scores.resize(kBlockRows * padded);
  s.output.resize(kBlockRows * padded_width);
  float inverse[kBlockRows];
  const float log2_scale = p.scale * 1.4426950408889634f;
  for (int64_t first = 0; first < num_rows; first += kBlockRows) {
    const int64_t rows = std::min<int64_t>(kBlockRows, num_rows - first), tiles = round_up(rows, kRows);
    s.query_block.assign(kBlockRows * p.width, 0.0f);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t d = 0; d < p.width; ++d)
        s.query_block[i * p.width + d] = log2_scale * query[s.row_index[first + i] * st[2] + d];
    for (int64_t column = 0; column < padded; column += kPanel)
      for (int64_t i = 0; i < tiles; i += kRows)
        tile_of_width(panel_vectors(padded, column), p.width, &s.query_block[i * p.width], p.width,
                      &s.key_panels[column * p.width], &s.scores[i * padded + column], padded);
    for (int64_t i = 0; i < rows; ++i) inverse[i] = exponentiate_row(&s.scores[i * padded], count, padded);
    add_columns(s, inverse, rows, padded);
    for (int64_t column = 0; column < padded_width; column += kPanel)
      for (int64_t i = 0; i < tiles; i += kRows)
        tile_of_width(panel_vectors(padded_width, column), count, &s.scores[i * padded], padded,
                      &s.value_panels[column * count], &s.output[i * padded_width + column], padded_width);
    for (int64_t i = 0; i < rows; ++i)
      for (int64_t d = 0; d < p.width; ++d)
        context[s.row_index[first + i] * st[11] + d] = inverse[i] * s.output[i * padded_width + d];
  }
  for (int64_t j = 0; j < count; ++j) head_importance[s.key_index[j]] = s.importance[j];
}

}  // namespace

extern "C" void multum_importance_attention(const float* query, const float* key, const float* value, float* context,
                                            float* importance, const uint8_t* key_keep, const uint8_t* query_keep,
                                            const int64_t* strides, const int64_t* sizes, float scale, int threads) {
  const int64_t batch = sizes[0], heads = sizes[1], rows = sizes[2], keys = sizes[3], width = sizes[4];
  const Problem problem{query, key, value, context, importance, key_keep, query_keep,
                        strides, batch, heads, rows, keys, width, scale};
  std::atomic<int64_t> next{0};
  auto work = [&] {
    Scratch scratch;
    int64_t listed = -1;
    for (int64_t item; (item = next++) < batch * heads;) {
      const int64_t b = item / heads;
      if (b != listed) {
        list_kept(key_keep ? key_keep + b * keys : nullptr, keys, scratch.key_index);
        list_kept(query_keep ? query_keep + b * rows : nullptr, rows, scratch.row_index);
        listed = b;
      }
      attend_head(problem, b, item % heads, scratch);
    }
  };
  std::vector<std::thread> others;
  for (int64_t t = 1; t < std::min<int64_t>(threads, batch * heads); ++t) others.emplace_back(work);
  work();
  for (auto& thread : others) thread.join();
}
