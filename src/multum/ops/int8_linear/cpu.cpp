// Linear layers over int8 weights: y[m,o] = sum_i x[m,i] * scale[o] * w[o,i] + bias[o], float32 in and out.
//
// Weights stay in memory as they are stored, one byte each, row by row. Two ways to use them:
//   float activations  a weight is widened to a float on its way to the multiplier, anew for every four rows: for few
//                      rows (generation), where reading the weights is the only cost.
//   int8 activations   every row of x is rounded to int8 with a scale of its own, products are summed exactly in int32.
//                      Four products per lane where the processor has AVX-512 VNNI, pairs of int16 where not.
// Every result is one thread's and its sum has one order, so any number of threads gives the same bits; with int8
// activations the other rows of x change no bit either.
//
// Shape letters: M rows, I inputs, O outputs. All tensors contiguous.

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16, kMaxVectors = 4;  // 6 x 4 accumulators of 32 registers
#elif defined(__AVX2__)
constexpr int kLanes = 8, kMaxVectors = 2;  // 6 x 2 of 16
#else
constexpr int kLanes = 4, kMaxVectors = 2;
#endif
constexpr int kRows = 6;  // rows of one register tile
constexpr int kPanel = kLanes * kMaxVectors;
constexpr int64_t kBlockRows = 96;        // rows that meet a panel before the next one comes; whole tiles
constexpr int64_t kThreadWork = 1 << 20;  // multiply-accumulates that are worth a thread
constexpr float kSmallest = 1e-30f;       // a row below this is a row of zeros

typedef float Vec __attribute__((vector_size(kLanes * 4), aligned(4)));
typedef int32_t VecInt __attribute__((vector_size(kLanes * 4), aligned(4)));

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
inline Vec splat(float x) { return x - Vec{}; }  // x - 0 is x, which compilers know; x + 0 is not (-0)
inline Vec widen(const int8_t* p) {
#if defined(__AVX512F__)  // compilers take the general form below apart
  return (Vec)_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p))));
#elif defined(__AVX2__)
  return (Vec)_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p))));
#else
  return Vec{float(p[0]), float(p[1]), float(p[2]), float(p[3])};
#endif
}
inline float sum_lanes(Vec v) {
  float sum = 0.0f;
  for (int n = 0; n < kLanes; ++n) sum += v[n];
  return sum;
}

struct Problem {
  const float* x;
  const int8_t* weight;
  const float *scale, *bias;  // bias may be null
  float* y;
  int64_t rows, inputs, outputs;

  float bias_of(int64_t o) const { return bias ? bias[o] : 0.0f; }
};

// Memory that begins on a cache line, because vectors that cross one cost twice. Not cleared.
template <class Number>
class Lines {
 public:
  explicit Lines(int64_t count) : memory_(new Number[count + 64 / sizeof(Number)]) {}
  Number* data() const {
    return reinterpret_cast<Number*>((reinterpret_cast<uintptr_t>(memory_.get()) + 63) / 64 * 64);
  }
  Number& operator[](int64_t i) const { return data()[i]; }

 private:
  std::unique_ptr<Number[]> memory_;
};

// Calls work(item) for every item, on so many threads.
template <class Work>
void share(int64_t threads, int64_t items, const Work& work) {
  std::atomic<int64_t> next{0};
  const auto loop = [&] {
    for (int64_t item; (item = next++) < items;) work(item);
  };
  std::vector<std::thread> others;
  for (int64_t t = 1; t < std::min(threads, items); ++t) others.emplace_back(loop);
  loop();
  for (auto& thread : others) thread.join();
}

// ---- float activations: four outputs of R rows at once, sums along the inputs.

template <int R>
void dot_block(const Problem& p, int64_t row, int64_t o, int64_t last) {
  const float* x = p.x + row * p.inputs;
  const int8_t* w[4];
  for (int n = 0; n < 4; ++n) w[n] = p.weight + std::min(o + n, last - 1) * p.inputs;
  Vec sum[4][R];
#pragma GCC unroll 4
  for (int n = 0; n < 4; ++n)
#pragma GCC unroll 4
    for (int r = 0; r < R; ++r) sum[n][r] = Vec{};
  int64_t t = 0;
  for (; t + kLanes <= p.inputs; t += kLanes) {
    if (row == 0 && t % 64 == 0)
      for (int n = 0; n < 4; ++n) __builtin_prefetch(w[n] + t + 4 * p.inputs);  // the next block's
#pragma GCC unroll 4
    for (int n = 0; n < 4; ++n) {
      const Vec weight = widen(w[n] + t);
#pragma GCC unroll 4
      for (int r = 0; r < R; ++r) sum[n][r] += weight * load(x + r * p.inputs + t);
    }
  }
  for (int n = 0; n < 4 && o + n < last; ++n)
    for (int r = 0; r < R; ++r) {
      float total = sum_lanes(sum[n][r]);
      for (int64_t i = t; i < p.inputs; ++i) total += w[n][i] * x[r * p.inputs + i];
      p.y[(row + r) * p.outputs + o + n] = p.scale[o + n] * total + p.bias_of(o + n);
    }
}

void few_rows(const Problem& p, int64_t first, int64_t last) {
  for (int64_t o = first; o < last; o += 4)
    for (int64_t row = 0; row < p.rows; row += 4) switch (std::min<int64_t>(4, p.rows - row)) {
        case 1: dot_block<1>(p, row, o, last); break;
        case 2: dot_block<2>(p, row, o, last); break;
        case 3: dot_block<3>(p, row, o, last); break;
        default: dot_block<4>(p, row, o, last);
      }
}

// ---- int8 activations.

// Rows of x as 32-bit words: four bytes q + 128 for VNNI, which wants them unsigned, or two int16.
struct Rounded {
  std::vector<uint32_t> words;
  std::vector<float> scale;
  std::vector<int32_t> weight_sums;  // of each output, to take the 128 of the bytes back
  int64_t row_words;
};

// Rounds one row, to the nearest (ties to even); a row with a NaN or an infinity gets the scale NaN.
template <bool kBytes>
void round_row(const Problem& p, int64_t m, Rounded& q) {
  const float* x = p.x + m * p.inputs;
  int32_t top = 0;  // as integers NaN lies above infinity, and infinity above every number
  for (int64_t i = 0; i < p.inputs; ++i) {
    int32_t bits;
    std::memcpy(&bits, x + i, sizeof bits);
    top = std::max(top, bits & 0x7fffffff);
  }
  float largest;
  std::memcpy(&largest, &top, sizeof largest);
  const bool finite = top < 0x7f800000, zero = largest < kSmallest;
  q.scale[m] = !finite ? NAN : zero ? 0.0f : largest / 127.0f;
  const float factor = !finite || zero ? 0.0f : 127.0f / largest;
  uint8_t* bytes = reinterpret_cast<uint8_t*>(&q.words[m * q.row_words]);
  int16_t* pairs = reinterpret_cast<int16_t*>(bytes);
  for (int64_t i = 0; i < p.inputs; ++i) {
    // not the faster sum with a large constant: fused with the product it would round once where the reference rounds twice
    const int32_t code = static_cast<int32_t>(std::rint((finite ? x[i] : 0.0f) * factor));
    if (kBytes) bytes[i] = static_cast<uint8_t>(code + 128);
    if (!kBytes) pairs[i] = static_cast<int16_t>(code);
  }
}

// Weights of a panel of outputs as words [I / products][panel], to match the words of x.
template <bool kBytes>
void pack_weights(const Problem& p, int64_t first, uint32_t* words, Rounded& q) {
  constexpr int kProducts = kBytes ? 4 : 2;
  const int64_t width = std::min<int64_t>(kPanel, p.outputs - first);
  for (int64_t j = 0; j < width; ++j) {
    const int8_t* w = p.weight + (first + j) * p.inputs;
    uint32_t* to = words + j;
    int32_t sum = 0;
    for (int64_t i = 0; i < p.inputs; ++i) sum += w[i];
    if (kBytes) q.weight_sums[first + j] = sum;
    int64_t i = 0;
    for (; i + kProducts <= p.inputs; i += kProducts, to += kPanel) {
      if (kBytes) std::memcpy(to, w + i, 4);
      if (!kBytes) *to = static_cast<uint16_t>(w[i]) | static_cast<uint32_t>(static_cast<uint16_t>(w[i + 1])) << 16;
    }
    if (i == p.inputs) continue;
    uint32_t rest = 0;  // beyond the last input the weights are zero
    for (int64_t k = 0; i + k < p.inputs; ++k)
      rest |= kBytes ? static_cast<uint32_t>(static_cast<uint8_t>(w[i + k])) << 8 * k : static_cast<uint16_t>(w[i + k]);
    *to = rest;
  }
}

// sum += the products of one word of x with a vector of words of weights, both pairs of int16.
inline VecInt add_pairs(VecInt sum, uint32_t x, VecInt w) {
#if defined(__AVX512BW__)
  return sum + (VecInt)_mm512_madd_epi16(_mm512_set1_epi32(x), (__m512i)w);
#elif defined(__AVX2__)
  return sum + (VecInt)_mm256_madd_epi16(_mm256_set1_epi32(x), (__m256i)w);
#elif defined(__SSE2__)
  return sum + (VecInt)_mm_madd_epi16(_mm_set1_epi32(x), (__m128i)w);
#else
  return sum + ((w << 16) >> 16) * static_cast<int16_t>(x) + (w >> 16) * static_cast<int16_t>(x >> 16);
#endif
}

// c[6][panel] = products of words a[6][depth] and b[depth][panel]
void pair_tile(int64_t depth, const uint32_t* a, const uint32_t* b, int32_t* c) {
  VecInt sum[kRows][kMaxVectors];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int n = 0; n < kMaxVectors; ++n) sum[i][n] = VecInt{};
  for (int64_t t = 0; t < depth; ++t, b += kPanel) {
    VecInt row[kMaxVectors];
#pragma GCC unroll 4
    for (int n = 0; n < kMaxVectors; ++n) row[n] = *reinterpret_cast<const VecInt*>(b + n * kLanes);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
      for (int n = 0; n < kMaxVectors; ++n) sum[i][n] = add_pairs(sum[i][n], a[i * depth + t], row[n]);
  }
  for (int i = 0; i < kRows; ++i)
    for (int n = 0; n < kMaxVectors; ++n) *reinterpret_cast<VecInt*>(c + i * kPanel + n * kLanes) = sum[i][n];
}

#if defined(__AVX512BW__)
__attribute__((target("avx512vnni"))) void byte_tile(int64_t depth, const uint32_t* a, const uint32_t* b, int32_t* c) {
  __m512i sum[kRows][kMaxVectors];
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int n = 0; n < kMaxVectors; ++n) sum[i][n] = _mm512_setzero_si512();
  for (int64_t t = 0; t < depth; ++t, b += kPanel) {
    __m512i row[kMaxVectors];
#pragma GCC unroll 4
    for (int n = 0; n < kMaxVectors; ++n) row[n] = _mm512_loadu_si512(b + n * kLanes);
#pragma GCC unroll 6
    for (int i = 0; i < kRows; ++i) {
      const __m512i left = _mm512_set1_epi32(a[i * depth + t]);
#pragma GCC unroll 4
      for (int n = 0; n < kMaxVectors; ++n) sum[i][n] = _mm512_dpbusd_epi32(sum[i][n], left, row[n]);
    }
  }
#pragma GCC unroll 6
  for (int i = 0; i < kRows; ++i)
#pragma GCC unroll 4
    for (int n = 0; n < kMaxVectors; ++n) _mm512_storeu_si512(c + i * kPanel + n * kLanes, sum[i][n]);
}

bool has_vnni() { return __builtin_cpu_supports("avx512vnni"); }
#else
void byte_tile(int64_t, const uint32_t*, const uint32_t*, int32_t*) {}
bool has_vnni() { return false; }
#endif

// y for a block of rows and a panel of outputs.
template <bool kBytes>
void rounded_block(const Problem& p, const Rounded& q, const uint32_t* panel, int64_t block, int64_t first) {
  const int64_t width = std::min<int64_t>(kPanel, p.outputs - first);
  int32_t sums[kPanel] = {}, result[kRows * kPanel];
  float scale[kPanel] = {}, bias[kPanel] = {};
  for (int64_t j = 0; j < width; ++j) {
    scale[j] = p.scale[first + j], bias[j] = p.bias_of(first + j);
    if (kBytes) sums[j] = 128 * q.weight_sums[first + j];
  }
  const int64_t end = std::min(p.rows, block + kBlockRows);
  for (int64_t row = block; row < end; row += kRows) {  // there are words for whole tiles
    (kBytes ? byte_tile : pair_tile)(q.row_words, &q.words[row * q.row_words], panel, result);
    for (int64_t i = 0; i < std::min<int64_t>(kRows, end - row); ++i) {
      float* y = p.y + (row + i) * p.outputs + first;
      for (int64_t j = 0; j < width; ++j)
        y[j] = static_cast<float>(result[i * kPanel + j] - sums[j]) * (q.scale[row + i] * scale[j]) + bias[j];
    }
  }
}

template <bool kBytes>
void rounded_rows(const Problem& p, int64_t threads) {
  const int64_t panels = (p.outputs + kPanel - 1) / kPanel, blocks = (p.rows + kBlockRows - 1) / kBlockRows;
  Rounded q;
  q.row_words = (p.inputs + (kBytes ? 3 : 1)) / (kBytes ? 4 : 2);
  q.words.resize((p.rows + kRows - 1) / kRows * kRows * q.row_words);
  q.scale.resize(p.rows);
  q.weight_sums.resize(kBytes ? p.outputs : 0);
  const auto round_block = [&](int64_t block) {
    for (int64_t m = block; m < std::min(p.rows, block + kBlockRows); ++m) round_row<kBytes>(p, m, q);
  };
  if (blocks == 1) {  // every panel is used once: it need not be kept
    round_block(0);
    return share(threads, panels, [&](int64_t panel) {
      const Lines<uint32_t> packed(kPanel * q.row_words);
      pack_weights<kBytes>(p, panel * kPanel, packed.data(), q);
      rounded_block<kBytes>(p, q, packed.data(), 0, panel * kPanel);
    });
  }
  const Lines<uint32_t> packed(panels * kPanel * q.row_words);
  share(threads, panels + blocks, [&](int64_t item) {
    if (item < panels) return pack_weights<kBytes>(p, item * kPanel, &packed[item * kPanel * q.row_words], q);
    round_block((item - panels) * kBlockRows);
  });
  share(threads, blocks * panels, [&](int64_t item) {
    const int64_t block = item / panels, panel = item % panels;
    rounded_block<kBytes>(p, q, &packed[panel * kPanel * q.row_words], block * kBlockRows, panel * kPanel);
  });
}

}  // namespace

// sizes: M, I, O, whether activations are rounded to int8, whether VNNI may be used.
extern "C" void multum_int8_linear(const float* x, const int8_t* weight, const float* scale, const float* bias, float* y,
                                   const int64_t* sizes, int64_t threads) {
  const Problem p{x, weight, scale, bias, y, sizes[0], sizes[1], sizes[2]};
  threads = std::min(threads, std::max<int64_t>(1, p.rows * p.inputs * p.outputs / kThreadWork));
  if (sizes[3]) {
    if (sizes[4] && has_vnni()) return rounded_rows<true>(p, threads);
    return rounded_rows<false>(p, threads);
  }
  constexpr int64_t kChunk = 128;
  share(threads, (p.outputs + kChunk - 1) / kChunk,
        [&](int64_t n) { few_rows(p, n * kChunk, std::min(p.outputs, (n + 1) * kChunk)); });
}
