// Attention of one new query row per sequence over a cache of quantized rows (SpAtten, sections III-A, III-C, III-D)
//
// A unit of work is one group of heads of one sequence: its keys are read once, in the order of memory, for all heads
// of the group, then its values. Rows are unpacked in registers; nothing dequantized is stored. Whatever the number of
// threads, a unit is one thread's and the units' importance is added in their order: the same bits in every run.
//
// Shape letters: B sequences, H heads, G groups, C slots, D head width. Strides of caches are in bytes.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <numeric>
#include <thread>
#include <vector>
#include "numbers.h"

namespace {

#if defined(__AVX512F__)
constexpr int kMaxHeads = 4;  // heads whose sums stay in registers together, 4 rows or 4 vectors each
#else
constexpr int kMaxHeads = 2;
#endif
constexpr int64_t kBytesPerThread = 3 << 20;  // less work than this is done before another thread has started
constexpr int64_t kAhead = 16384;  // bytes between what is computed and what is asked for: the memory never waits
constexpr float kLog2E = 1.4426950408889634f;

// --- vectors of floats ----------------------------------------------------------------------------------------------

// 2^x for x <= 0 to about 1e-7: nearest integer by the rounding constant, a polynomial on [-1/2, 1/2], exponent bits.
// Below 2^-80 nothing gets smaller: numbers near the end of float's range cost a hundred times as much and change no result.
inline Vec exp2_vec(Vec x) {
  const Vec round = splat(12582912.0f);  // 1.5 * 2^23
  x = larger(x, splat(-80.0f));
  const Vec shifted = x + round;
  const Vec f = x - (shifted - round);
  Vec p = splat(1.535336188319500e-4f);
  p = p * f + splat(1.339887440266574e-3f);
  p = p * f + splat(9.618437357674640e-3f);
  p = p * f + splat(5.550332471162809e-2f);
  p = p * f + splat(2.402264791363012e-1f);
  p = p * f + splat(6.931472028550421e-1f);
  p = p * f + splat(1.0f);
  const VecInt bits = ((VecInt)shifted + 127) << 23;  // the low bits of `shifted` hold the integer
  return p * (Vec)bits;
}

// The sums of four vectors, as parts: every 128 bits of the result hold a share of all four.
#if defined(__AVX512F__)
inline Vec fold_four(Vec a, Vec b, Vec c, Vec d) {
  const __m512 ab = _mm512_add_ps(_mm512_unpacklo_ps(a, b), _mm512_unpackhi_ps(a, b));
  const __m512 cd = _mm512_add_ps(_mm512_unpacklo_ps(c, d), _mm512_unpackhi_ps(c, d));
  return (Vec)_mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))),
                            _mm512_castpd_ps(_mm512_unpackhi_pd(_mm512_castps_pd(ab), _mm512_castps_pd(cd))));
}
inline Vec fold_parts(const Vec* part) {  // four results of fold_four to the sums of 16 vectors
  const __m512 lower = _mm512_add_ps(_mm512_shuffle_f32x4(part[0], part[1], 0x88),
                                     _mm512_shuffle_f32x4(part[0], part[1], 0xdd));
  const __m512 upper = _mm512_add_ps(_mm512_shuffle_f32x4(part[2], part[3], 0x88),
                                     _mm512_shuffle_f32x4(part[2], part[3], 0xdd));
  return (Vec)_mm512_add_ps(_mm512_shuffle_f32x4(lower, upper, 0x88), _mm512_shuffle_f32x4(lower, upper, 0xdd));
}
#elif defined(__AVX2__)
inline Vec fold_four(Vec a, Vec b, Vec c, Vec d) {
  return (Vec)_mm256_hadd_ps(_mm256_hadd_ps(a, b), _mm256_hadd_ps(c, d));
}
inline Vec fold_parts(const Vec* part) {
  return (Vec)_mm256_add_ps(_mm256_permute2f128_ps(part[0], part[1], 0x20),
                            _mm256_permute2f128_ps(part[0], part[1], 0x31));
}
#else
inline Vec fold_four(Vec a, Vec b, Vec c, Vec d) {
  Vec sum;
  const Vec rows[4] = {a, b, c, d};
  for (int n = 0; n < 4; ++n) sum[n] = (rows[n][0] + rows[n][1]) + (rows[n][2] + rows[n][3]);
  return sum;
}
inline Vec fold_parts(const Vec* part) { return part[0]; }
#endif

// --- the two products -----------------------------------------------------------------------------------------------

// One plane of one group: where its rows are and how they are stored.
struct Rows {
  const uint8_t *first, *low;
  const uint16_t* scale;  // null for floats
  int64_t step, low_step, width, count, row_bytes, ahead;  // ahead: rows in kAhead bytes
  int bits;
};

inline void ask(const uint8_t* start, int64_t num_bytes) {
  for (int64_t byte = 0; byte < num_bytes; byte += 64) __builtin_prefetch(start + byte, 0, 3);
}

// The same of one row, which may begin in the middle of a line and end in the next.
inline void ask_row(const Rows& rows, int64_t row) {
  const uint8_t* start = rows.first + row * rows.step;
  ask(start, rows.row_bytes);
  __builtin_prefetch(start + rows.row_bytes - 1, 0, 3);
}

// Asks for kLanes of the listed rows from the i-th on, and where the list ends for the rows that are read next.
inline void ask_listed(const Rows& rows, const Rows& next, const int32_t* list, int64_t i, int64_t num) {
  for (int64_t end = i + kLanes; i < end; ++i) {
    if (i < num)
      ask_row(rows, list[i]);
    else if (i - num < next.count)
      ask_row(next, i - num);
  }
}

// Products of kLanes rows from `row` on, which are all there, with NH query rows.
template <int Bits, bool Low, int NH>
void dot_rows(const Rows& rows, int64_t row, const float* query, int64_t query_step, float* out, int64_t out_step) {
  Vec part[NH][kLanes / 4];
#pragma GCC unroll 4
  for (int four = 0; four < kLanes / 4; ++four) {
    const uint8_t *at[4], *low[4];
    for (int i = 0; i < 4; ++i) {
      at[i] = rows.first + (row + 4 * four + i) * rows.step;
      low[i] = rows.low + (row + 4 * four + i) * rows.low_step;
    }
    Vec sum[NH][4] = {};
    for (int64_t e = 0; e < rows.width; e += kLanes) {
#pragma GCC unroll 4
      for (int i = 0; i < 4; ++i) {
        const Vec key = numbers<Bits, Low>(at[i], low[i], e, rows.width);
#pragma GCC unroll 4
        for (int h = 0; h < NH; ++h) sum[h][i] += key * load(query + h * query_step + e);
      }
    }
#pragma GCC unroll 4
    for (int h = 0; h < NH; ++h) part[h][four] = fold_four(sum[h][0], sum[h][1], sum[h][2], sum[h][3]);
  }
#pragma GCC unroll 4
  for (int h = 0; h < NH; ++h) store(out + h * out_step, fold_parts(part[h]));
}

// out[h][e ..] += sum over listed rows of weight[h][row] * row, for NV vectors of channels. `left` rows are listed
// in all; `next` is read after them, null where nothing is to be asked for.
template <int Bits, int NH, int NV>
void mix_rows(const Rows& rows, const Rows* next, const int32_t* list, int64_t num, int64_t left, const float* weight,
              int64_t weight_step, int64_t e, float* out, int64_t out_step) {
  Vec sum[NH][NV];
#pragma GCC unroll 4
  for (int h = 0; h < NH; ++h)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) sum[h][v] = load(out + h * out_step + e + v * kLanes);
  for (int64_t i = 0; i < num; ++i) {
    if (next && i % kLanes == 0) ask_listed(rows, *next, list, i + rows.ahead, left);
    const uint8_t* at = rows.first + list[i] * rows.step;
    Vec value[NV];
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) value[v] = numbers<Bits, false>(at, nullptr, e + v * kLanes, rows.width);
#pragma GCC unroll 4
    for (int h = 0; h < NH; ++h) {
      const Vec share = splat(weight[h * weight_step + list[i]]);
#pragma GCC unroll 4
      for (int v = 0; v < NV; ++v) sum[h][v] += share * value[v];
    }
  }
#pragma GCC unroll 4
  for (int h = 0; h < NH; ++h)
#pragma GCC unroll 4
    for (int v = 0; v < NV; ++v) store(out + h * out_step + e + v * kLanes, sum[h][v]);
}

using Dot = void (*)(const Rows&, int64_t, const float*, int64_t, float*, int64_t);
using Mix = void (*)(const Rows&, const Rows*, const int32_t*, int64_t, int64_t, const float*, int64_t, int64_t, float*,
                     int64_t);

template <int Bits, bool Low>
Dot dot_of(int heads) {
#if defined(__AVX512F__)
  if (heads == 4) return dot_rows<Bits, Low, 4>;
  if (heads == 3) return dot_rows<Bits, Low, 3>;
#endif
  return heads == 2 ? dot_rows<Bits, Low, 2> : dot_rows<Bits, Low, 1>;
}

template <int Bits>
Mix mix_of(int heads, bool wide) {
#if defined(__AVX512F__)
  if (heads == 4) return wide ? mix_rows<Bits, 4, 4> : mix_rows<Bits, 4, 1>;
  if (heads == 3) return wide ? mix_rows<Bits, 3, 4> : mix_rows<Bits, 3, 1>;
#endif
  if (heads == 2) return wide ? mix_rows<Bits, 2, 4> : mix_rows<Bits, 2, 1>;
  return wide ? mix_rows<Bits, 1, 4> : mix_rows<Bits, 1, 1>;
}

Dot find_dot(int bits, bool low, int heads) {
  switch (bits) {
    case 4: return low ? dot_of<4, true>(heads) : dot_of<4, false>(heads);
    case 6: return low ? dot_of<6, true>(heads) : dot_of<6, false>(heads);
    case 8: return low ? dot_of<8, true>(heads) : dot_of<8, false>(heads);
    case 10: return low ? dot_of<10, true>(heads) : dot_of<10, false>(heads);
    case 12: return low ? dot_of<12, true>(heads) : dot_of<12, false>(heads);
    case kBrain: return dot_of<kBrain, false>(heads);
    default: return dot_of<kFloat, false>(heads);
  }
}

Mix find_mix(int bits, int heads, bool wide) {
  switch (bits) {
    case 4: return mix_of<4>(heads, wide);
    case 6: return mix_of<6>(heads, wide);
    case 8: return mix_of<8>(heads, wide);
    case 10: return mix_of<10>(heads, wide);
    case 12: return mix_of<12>(heads, wide);
    case kBrain: return mix_of<kBrain>(heads, wide);
    default: return mix_of<kFloat>(heads, wide);
  }
}

// --- one unit of work -----------------------------------------------------------------------------------------------

// A cache as Python packs it: addresses (0 for none), strides of sequences, groups and slots, bits of the first plane.
struct Place {
  const uint8_t *first, *low, *scale;
  int64_t first_b, first_g, first_c, low_b, low_g, low_c, scale_b, scale_g, bits;

  Rows rows(int64_t b, int64_t g, int64_t count, int64_t width) const {
    const uint8_t* scales = scale ? scale + b * scale_b + g * scale_g : nullptr;
    return {first + b * first_b + g * first_g, low ? low + b * low_b + g * low_g : nullptr,
            reinterpret_cast<const uint16_t*>(scales), first_c, low_c, width, count,
            width * bits / 8, kAhead / std::max<int64_t>(first_c, 1), static_cast<int>(bits)};
  }
};

// Where importance goes on: to a sum over calls, and to the choice of a slot that is given up; all 0 for none.
struct Ledger {
  float* total;
  const uint8_t* keep;  // slots that must stay, 0 for none
  int64_t keep_b;
  int64_t* slot;
};

// How rows were changed before they were rounded (`RowFrame` of bit_planes): the query is turned alike, the context turned
// back, and each group's mean value, in bfloat16, added to it.
struct Frame {
  int64_t turned;
  const uint16_t* mean;
  int64_t mean_b, mean_g;
};

struct Call {
  const float* query;
  int64_t query_b, query_h;
  Place key, value;
  const int64_t *count, *group, *num_values;
  const uint8_t* whole;  // slots whose keys are read with both planes, 0 for none, and the stride of sequences
  int64_t whole_b;
  float *context, *importance;
  uint8_t* flat;
  int64_t* value_rows;
  int64_t batch, heads, groups, slots, width, threads;
  double threshold, scale;
  Ledger ledger;
  Frame frame;
};

// What is asked for without attention.
struct Choice {
  const float* importance;
  int64_t importance_b;
  const uint8_t* keep;
  int64_t keep_b;
  const int64_t* count;
  int64_t *slot, batch, slots;
};

constexpr int64_t kBlock = 64;  // rows that are mixed before the next channels, or unpacked together

// What one thread owns, reused from call to call.
struct Scratch {
  std::vector<int64_t> heads;
  std::vector<float> query, query_sum, score, fine, output, floats;  // fine: scores of whole rows
  std::vector<int32_t> read, list;  // whether a value row is read (-1), and the rows that are
  std::vector<uint8_t> planes;      // of whole rows, gathered, and their scales
  std::vector<uint16_t> scales;
};

// Rows as floats of a padded width in the scratch, where registers cannot unpack them; zeros beyond the last.
Rows as_floats(const Rows& rows, int64_t first, int64_t num, bool low, const int32_t* list, int64_t padded,
               std::vector<float>& floats) {
  floats.assign(num * padded, 0.0f);
  for (int64_t i = 0; i < (list ? num : std::min(num, rows.count - first)); ++i) {
    const int64_t row = list ? list[first + i] : first + i;
    unpack_row(rows.bits, rows.first + row * rows.step, low ? rows.low + row * rows.low_step : nullptr, rows.width,
               &floats[i * padded]);
  }
  const uint8_t* start = reinterpret_cast<const uint8_t*>(floats.data());
  return {start, nullptr, nullptr, padded * 4, 0, padded, num, padded * 4, 0, kFloat};
}

// Scales of kLanes rows from `row` on; 1 for floats.
inline Vec scales_at(const Rows& rows, int64_t row) {
  if (!rows.scale) return splat(1.0f);
  if (row + kLanes <= rows.count) return load_half(rows.scale + row);
  uint16_t tail[kLanes] = {};
  std::memcpy(tail, rows.scale + row, (rows.count - row) * sizeof(uint16_t));
  return load_half(tail);
}

// Scores, in units of log 2, of `num` query rows of the scratch (from `head` on) with all keys; `next` is read after.
void score_heads(const Rows& keys, const Rows& next, bool low, int64_t head, int num, int64_t padded_width,
                 int64_t padded, std::vector<float>& score, Scratch& s) {
  const bool fast = keys.width % (kLanes * shares_of(keys.bits, low)) == 0 && keys.count >= kLanes;
  const bool middle = keys.low && !low;  // ((msb << 4) + 8) * scale
  const float factor = middle ? 16.0f : 1.0f;
  const float* query = &s.query[head * padded_width];
  const Dot dot = find_dot(fast ? keys.bits : kFloat, fast && low, num);
  for (int64_t block = 0; block < padded; block += kLanes) {
    const int64_t row = fast ? std::min(block, keys.count - kLanes) : block;  // the last block may overlap
    float* out = &score[head * padded + row];
    const int64_t ahead = block + keys.ahead;  // rows that are asked for: of these keys, or of what is read after them
    if (ahead < padded)
      ask(keys.first + ahead * keys.step, kLanes * keys.step);
    else if (ahead - padded < next.count)
      ask(next.first + (ahead - padded) * next.step, kLanes * next.step);
    if (fast)
      dot(keys, row, query, padded_width, out, padded);
    else
      dot(as_floats(keys, row, kLanes, low, nullptr, padded_width, s.floats), 0, query, padded_width, out, padded);
    const Vec scale = scales_at(keys, row);
    for (int h = 0; h < num; ++h) {
      const float rest = middle ? 8.0f * s.query_sum[head + h] : 0.0f;
      store(out + h * padded, (load(out + h * padded) * factor + rest) * scale);
    }
  }
}

// Scores of the marked rows once more, with both planes: gathered, for all heads, and put back in their places.
void score_whole(const Rows& keys, const uint8_t* whole, int64_t padded_width, int64_t padded, Scratch& s) {
  s.list.clear();
  for (int64_t j = 0; j < keys.count; ++j)
    if (whole[j]) s.list.push_back(j);
  const int64_t many = s.list.size(), low_bytes = keys.width * kLsbBits / 8, heads = s.heads.size();
  const int64_t step = keys.row_bytes + low_bytes, places = round_up(many, kLanes);
  s.planes.resize(many * step), s.scales.resize(many), s.fine.resize(heads * places);
  for (int64_t i = 0; i < many; ++i) {
    uint8_t* to = &s.planes[i * step];
    std::memcpy(to, keys.first + s.list[i] * keys.step, keys.row_bytes);
    std::memcpy(to + keys.row_bytes, keys.low + s.list[i] * keys.low_step, low_bytes);
    s.scales[i] = keys.scale[s.list[i]];
  }
  Rows rows = keys;
  rows.first = s.planes.data(), rows.low = rows.first + keys.row_bytes, rows.scale = s.scales.data();
  rows.step = rows.low_step = step, rows.count = many, rows.ahead = places;
  for (int64_t h = 0; h < heads; h += kMaxHeads)
    score_heads(rows, Rows{}, true, h, std::min<int64_t>(kMaxHeads, heads - h), padded_width, places, s.fine, s);
  for (int64_t h = 0; h < heads; ++h)
    for (int64_t i = 0; i < many; ++i) s.score[h * padded + s.list[i]] = s.fine[h * places + i];
}

// Scores to exponentials in place, 0 beyond the last; returns 1 / their sum, which is the largest probability. A NaN or
// infinity among the scores gives NaN (comparisons would hide it).
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
  for (int64_t j = count; j < padded; ++j) score[j] = 0.0f;  // the 2^-80 that they added are lost in rounding
  float sum = zero;
  for (int n = 0; n < kLanes; ++n) sum += total[n];
  return 1.0f / sum;
}

// How many of a row of positive floats have at least this bit pattern; positive floats are ordered as their bits.
int64_t num_reaching(const float* row, int64_t padded, int32_t pattern) {
  VecInt sum{};
  for (int64_t j = 0; j < padded; j += kLanes) sum -= (VecInt)load(row + j) >= (VecInt{} + pattern);
  int64_t total = 0;
  for (int n = 0; n < kLanes; ++n) total += sum[n];
  return total;
}

// Puts -1 in place of all probabilities but the `keep` largest; of equal ones the lower slots stay. The least that
// stays is found bit by bit, from the top, until no more than those reach it; a NaN stays.
void keep_largest(float* row, int64_t count, int64_t padded, int64_t keep) {
  if (keep >= count) return;
  if (keep <= 0) return void(std::fill(row, row + padded, -1.0f));
  int32_t pattern = 0;
  int64_t reaching = padded;
  for (int bit = 29; bit >= 0 && reaching != keep; --bit) {  // none is above 1.0, whose highest bit is the 29th
    const int64_t fewer = num_reaching(row, padded, pattern | (1 << bit));
    if (fewer >= keep) pattern |= 1 << bit, reaching = fewer;
  }
  float lowest;
  std::memcpy(&lowest, &pattern, sizeof lowest);
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Vec v = load(row + j);
    store(row + j, v < lowest ? splat(-1.0f) : v);
  }
  int64_t extra = reaching - keep;
  for (int64_t j = count - 1; extra > 0 && j >= 0; --j)
    if (row[j] == lowest) row[j] = -1.0f, --extra;
}

void mix_heads(const Rows& values, const Rows& next, int64_t head, int num, int64_t padded_width, int64_t padded,
               Scratch& s) {
  const std::vector<int32_t>& list = s.list;
  const bool fast = values.width % (kLanes * shares_of(values.bits, false)) == 0;
  const int bits = fast ? values.bits : kFloat;
  const Mix wide = find_mix(bits, num, true), narrow = find_mix(bits, num, false);
  const int64_t many = list.size(), step = padded_width <= 4 * kLanes && fast ? many : kBlock;
  const float* weight = &s.score[head * padded];
  float* out = &s.output[head * padded_width];
  std::vector<int32_t> order(fast ? 0 : kBlock);
  std::vector<float> weights(fast ? 0 : num * kBlock);
  for (int64_t first = 0; first < many; first += step) {
    const int64_t rows = std::min(step, many - first);
    Rows block = values;
    const int32_t* index = &list[first];
    int64_t weight_step = padded;
    if (!fast) {
      block = as_floats(values, first, rows, false, list.data(), padded_width, s.floats);
      for (int64_t i = 0; i < rows; ++i) {
        order[i] = i;
        for (int h = 0; h < num; ++h) weights[h * kBlock + i] = weight[h * padded + list[first + i]];
      }
      index = order.data();
      weight_step = kBlock;
    }
    const float* share = fast ? weight : weights.data();
    int64_t e = 0;
    for (; e + 4 * kLanes <= padded_width; e += 4 * kLanes)
      wide(block, fast && e == 0 ? &next : nullptr, index, rows, many - first, share, weight_step, e, out, padded_width);
    for (; e < padded_width; e += kLanes) 
      narrow(block, fast && e == 0 ? &next : nullptr, index, rows, many - first, share, weight_step, e, out, padded_width);
  }
}

// Times the block-diagonal Hadamard matrix of the width, as in bit_planes.
void turn(float* row, int64_t width) {
  for (int64_t size = 1; width > 0; row += size, width -= size, size = 1) {
    while (2 * size <= width) size *= 2;
    for (int64_t half = 1; half < size; half *= 2)
      for (int64_t i = 0; i < size; i += 2 * half)
        for (int64_t j = i; j < i + half; ++j) {
          const float a = row[j], b = row[j + half];
          row[j] = a + b, row[j + half] = a - b;
        }
    const float scale = 1.0f / std::sqrt(static_cast<float>(size));
    for (int64_t i = 0; i < size; ++i) row[i] *= scale;
  }
}

// The group's heads, their queries in units of log 2, zero beyond the width, and the queries' sums.
void load_queries(const Call& c, int64_t b, int64_t g, int64_t padded_width, Scratch& s) {
  s.heads.clear();
  const int64_t share = c.heads / c.groups;
  for (int64_t h = c.group ? 0 : g * share; h < (c.group ? c.heads : (g + 1) * share); ++h)
    if (!c.group || c.group[b * c.heads + h] == g) s.heads.push_back(h);
  s.query.assign(s.heads.size() * padded_width, 0.0f);
  s.query_sum.resize(s.heads.size());
  const float factor = static_cast<float>(c.scale) * kLog2E;
  for (size_t i = 0; i < s.heads.size(); ++i) {
    const float* from = c.query + b * c.query_b + s.heads[i] * c.query_h;
    float* query = &s.query[i * padded_width];
    for (int64_t d = 0; d < c.width; ++d) query[d] = factor * from[d];
    if (c.frame.turned) turn(query, c.width);
    Vec sum{};
    for (int64_t d = 0; d < padded_width; d += kLanes) sum += load(query + d);
    s.query_sum[i] = 0.0f;
    for (int n = 0; n < kLanes; ++n) s.query_sum[i] += sum[n];
  }
}

// Scores of one head to what its value rows are multiplied with, importance added on the way; true when it was flat.
bool weigh_head(const Call& c, const Rows& keys, const Rows& values, int64_t head, int64_t keep, int64_t padded_width,
                int64_t padded, float* importance, Scratch& s) {
  float* row = &s.score[head * padded];
  float largest = exponentiate_row(row, keys.count, padded);
  const bool flat = c.threshold >= 1.0 || largest < c.threshold;
  if (flat) {
    score_heads(keys, values, true, head, 1, padded_width, padded, s.score, s);
    largest = exponentiate_row(row, keys.count, padded);
  }
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Vec prob = load(row + j) * largest;
    store(row + j, prob);
    store(importance + j, load(importance + j) + prob);
  }
  keep_largest(row, keys.count, padded, keep);
  for (int64_t j = 0; j < padded; j += kLanes) {
    const Vec share = load(row + j);
    if (keep < keys.count) *reinterpret_cast<VecInt*>(&s.read[j]) |= ~(share < 0.0f);
    store(row + j, (share < 0.0f ? Vec{} : share) * scales_at(values, j));
  }
  return flat;
}

// Rows that some head reads, in the order of memory.
void list_rows(int64_t count, int64_t keep, Scratch& s) {
  s.list.resize(round_up(count, kLanes));
  int64_t num = 0;
  if (keep >= count) {
    std::iota(s.list.begin(), s.list.end(), 0);
    num = count;
  }
#if defined(__AVX512F__)
  VecInt row = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  for (int64_t j = 0; j < count && keep < count; j += kLanes, row += kLanes) {
    const __m512i read = _mm512_loadu_si512(&s.read[j]);
    const __mmask16 there = count - j < kLanes ? (1 << (count - j)) - 1 : 0xffff;  // what is behind is nobody's
    const __mmask16 mask = _mm512_mask_test_epi32_mask(there, read, read);
    _mm512_storeu_si512(&s.list[num], _mm512_maskz_compress_epi32(mask, (__m512i)row));
    num += __builtin_popcount(mask);
  }
#else
  for (int64_t j = 0; j < count && keep < count; ++j) {
    s.list[num] = j;
    num -= s.read[j];
  }
#endif
  s.list.resize(num);
}

void attend_group(const Call& c, int64_t b, int64_t g, float* importance, Scratch& s) {
  const int64_t count = c.count[b], padded = round_up(count, kLanes), padded_width = round_up(c.width, kLanes);
  load_queries(c, b, g, padded_width, s);
  const int64_t num = s.heads.size();
  std::fill(importance, importance + padded, 0.0f);
  s.score.resize(num * padded);
  s.output.assign(num * padded_width, 0.0f);
  s.read.assign(padded, 0);
  s.list.clear();
  if (count > 0 && num > 0) {
    const Rows keys = c.key.rows(b, g, count, c.width), values = c.value.rows(b, g, count, c.width);
    const Rows next = c.key.rows(b, g + 1, g + 1 < c.groups ? count : 0, c.width);
    const int64_t keep = c.num_values ? c.num_values[b] : count;
    for (int64_t i = 0; i < num; i += kMaxHeads)
      score_heads(keys, values, false, i, std::min<int64_t>(kMaxHeads, num - i), padded_width, padded, s.score, s);
    if (c.whole) score_whole(keys, c.whole + b * c.whole_b, padded_width, padded, s);
    for (int64_t i = 0; i < num; ++i)
      c.flat[b * c.heads + s.heads[i]] = weigh_head(c, keys, values, i, keep, padded_width, padded, importance, s);
    list_rows(count, keep, s);
    for (int64_t i = 0; i < num; i += kMaxHeads)
      mix_heads(values, next, i, std::min<int64_t>(kMaxHeads, num - i), padded_width, padded, s);
  }
  c.value_rows[b * c.groups + g] = s.list.size();
  for (int64_t i = 0; i < num; ++i) {
    const int64_t head = b * c.heads + s.heads[i];
    float* context = c.context + head * c.width;
    std::memcpy(context, &s.output[i * padded_width], c.width * sizeof(float));
    if (c.frame.turned) turn(context, c.width);
    if (c.frame.mean) {
      const uint16_t* mean = c.frame.mean + b * c.frame.mean_b + g * c.frame.mean_g;
      for (int64_t d = 0; d < c.width; ++d) {
        const uint32_t bits = static_cast<uint32_t>(mean[d]) << 16;
        float value;
        std::memcpy(&value, &bits, sizeof value);
        context[d] += value;
      }
    }
    if (count == 0) c.flat[head] = 0;
  }
}

// Threads that the work is worth; starting one takes as long as reading some megabytes.
int64_t threads_for(const Call& c) {
  int64_t rows = 0;
  for (int64_t b = 0; b < c.batch; ++b) rows += c.count[b];
  const int64_t bytes = rows * c.groups * c.width * (c.key.bits + c.value.bits) / 8;
  return std::max<int64_t>(1, std::min({c.threads, c.batch * c.groups, bytes / kBytesPerThread}));
}

bool is_sound(const Call& c) {
  for (int64_t b = 0; b < c.batch; ++b) {
    if (c.count[b] < 0 || c.count[b] > c.slots) return false;
    for (int64_t h = 0; c.group && h < c.heads; ++h)
      if (c.group[b * c.heads + h] < 0 || c.group[b * c.heads + h] >= c.groups) return false;
  }
  return true;
}

// The slot with the least importance among the first `num` that nothing keeps, -1 for none, -2 for a NaN among them; of
// equal ones the lower.
int64_t lowest_slot(const float* importance, const uint8_t* keep, int64_t num) {
  const int64_t whole = num - num % kLanes;
  Vec low = splat(INFINITY);
  VecInt nan{};
  for (int64_t j = 0; j < whole; j += kLanes) {
    const Vec all = load(importance + j), free = keep ? (widen(keep + j) != 0 ? splat(INFINITY) : all) : all;
    low = free < low ? free : low;
    nan |= all != all;
  }
  float lowest = INFINITY;
  bool bad = false;
  for (int n = 0; n < kLanes; ++n) lowest = std::min(lowest, low[n]), bad |= nan[n] != 0;
  for (int64_t j = whole; j < num; ++j) {
    if (!(keep && keep[j])) lowest = std::min(lowest, importance[j]);
    bad |= importance[j] != importance[j];
  }
  if (bad) return -2;
  for (int64_t j = 0; j < num; ++j)
    if (importance[j] == lowest && !(keep && keep[j])) return j;
  return -1;
}

// Importance of one sequence, the groups' parts added in their order; true when it cannot be ranked.
bool settle(const Call& c, int64_t b, const float* part, int64_t step) {
  const int64_t count = c.count[b];
  float* sum = c.importance + b * c.slots;
  std::memset(sum, 0, c.slots * sizeof(float));
  for (int64_t g = 0; g < c.groups; ++g, part += step)
    for (int64_t j = 0; j < count; ++j) sum[j] += part[j];
  const Ledger& ledger = c.ledger;
  if (!ledger.total) return false;
  float* total = ledger.total + b * c.slots;
  for (int64_t j = 0; j < count; ++j) total[j] += sum[j];
  if (!ledger.slot) return false;
  ledger.slot[b] = lowest_slot(total, ledger.keep ? ledger.keep + b * ledger.keep_b : nullptr, count);
  return ledger.slot[b] == -2;
}

}  // namespace

// Returns 0; 1 for a count or a group that is out of range (then nothing is written); 2 for a NaN in the ledger.
extern "C" int multum_decode_attention(const Call* call) {
  const Call& c = *call;
  if (!is_sound(c)) return 1;
  thread_local std::vector<float> parts;
  const int64_t step = round_up(c.slots, kLanes);
  if (static_cast<int64_t>(parts.size()) < c.batch * c.groups * step) parts.resize(c.batch * c.groups * step);
  float* part = parts.data();
  std::atomic<int64_t> next{0};
  auto work = [&c, &next, part, step] {
    thread_local Scratch scratch;
    for (int64_t unit; (unit = next++) < c.batch * c.groups;)
      attend_group(c, unit / c.groups, unit % c.groups, part + unit * step, scratch);
  };
  std::vector<std::thread> others;
  for (int64_t t = threads_for(c); t > 1; --t) others.emplace_back(work);
  work();
  for (auto& thread : others) thread.join();
  bool unranked = false;
  for (int64_t b = 0; b < c.batch; ++b) unranked |= settle(c, b, part + b * c.groups * step, step);
  return unranked ? 2 : 0;
}

// `lowest_slot` of every sequence. Returns 1 when there is a NaN among the importance in use, 2 when a count is out of
// range.
extern "C" int multum_evict_lowest(const Choice* choice) {
  const Choice& c = *choice;
  for (int64_t b = 0; b < c.batch; ++b) {
    if (c.count[b] < 0 || c.count[b] > c.slots) return 2;
    const uint8_t* keep = c.keep ? c.keep + b * c.keep_b : nullptr;
    c.slot[b] = lowest_slot(c.importance + b * c.importance_b, keep, c.count[b]);
    if (c.slot[b] == -2) return 1;
  }
  return 0;
}
