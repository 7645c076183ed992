// ReLU and its family with one bit of each element: forward makes the bits, backward reads them and sums the gradient.
//
//   forward    y = min(max(x, low), high), or slope * x below a bend at 0;  bit = low < x < high
//   backward   out = bit ? gradient : slope * gradient;  sum[c] = what of it belongs to channel c
//
// Eight elements are one byte and one vector, so nothing is unpacked. Sums are taken over chunks of fixed size, in floats,
// and chunks are added in their order, in doubles: any number of threads gives the same bits.

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <thread>
#include <vector>

#if defined(__AVX__)
#include <immintrin.h>
#endif

namespace {

constexpr int64_t kChunk = 1 << 14;        // elements that are summed in floats
constexpr int64_t kWorthAThread = 1 << 18;  // elements

typedef float Vec __attribute__((vector_size(32), aligned(4)));
typedef int32_t VecInt __attribute__((vector_size(32), aligned(4)));
constexpr VecInt kPlaces = {1, 2, 4, 8, 16, 32, 64, 128};

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
inline Vec splat(float x) { return x - Vec{}; }

inline uint8_t byte_of(VecInt mask) {
#if defined(__AVX__)
  return uint8_t(_mm256_movemask_ps(reinterpret_cast<__m256&>(mask)));
#else
  int byte = 0;
  for (int lane = 0; lane < 8; ++lane) byte |= mask[lane] & 1 << lane;
  return uint8_t(byte);
#endif
}

// Of a NaN and a bound the NaN: the second operand, which is what the instruction gives.
inline Vec at_least(Vec low, Vec v) {
#if defined(__AVX__)
  return _mm256_max_ps(low, v);
#else
  return v < low ? low : v;
#endif
}

inline Vec at_most(Vec high, Vec v) {
#if defined(__AVX__)
  return _mm256_min_ps(high, v);
#else
  return v > high ? high : v;
#endif
}

// The lanes whose bits are set in byte `at` of four.
inline VecInt mask_of(uint32_t bytes, int at) {
  const VecInt places = kPlaces << (8 * at);
  return ((VecInt{} + int32_t(bytes)) & places) == places;
}

inline uint32_t four_bytes(const uint8_t* p) {
  uint32_t bytes;
  std::memcpy(&bytes, p, sizeof bytes);
  return bytes;
}

// Pieces of a range, each begun on a multiple of `step`, one a thread.
template <typename Work>
void in_pieces(int64_t count, int64_t step, int threads, const Work& work) {
  const int64_t steps = (count + step - 1) / step;
  const int64_t pieces = std::max<int64_t>(1, std::min<int64_t>({int64_t(threads), steps, count / kWorthAThread}));
  std::vector<std::thread> others;
  for (int64_t piece = pieces - 1; piece >= 0; --piece) {
    const int64_t from = steps * piece / pieces * step, to = std::min(count, steps * (piece + 1) / pieces * step);
    if (piece)
      others.emplace_back([&work, from, to] { work(from, to); });
    else
      work(from, to);
  }
  for (std::thread& it : others) it.join();
}

struct Bend {
  float low, high, slope;
};

inline float activated(float x, const Bend& b) {
  if (b.slope != 0) return x > b.low ? x : x * b.slope;
  return x < b.low ? b.low : x > b.high ? b.high : x;  // a NaN stays one
}

// Activates eight elements, and gives their bits.
template <bool kLeaky>
inline uint8_t forward_eight(const float* x, float* y, Vec low, Vec high, Vec slope) {
  const Vec v = load(x);
  store(y, kLeaky ? (v > low ? v : v * slope) : at_most(high, at_least(low, v)));
  return byte_of((v > low) & (v < high));
}

template <bool kLeaky>
void forward_range(const float* x, float* y, uint8_t* bits, int64_t from, int64_t to, const Bend& b) {
  const Vec low = splat(b.low), high = splat(b.high), slope = splat(b.slope);
  int64_t i = from;
  for (; i + 32 <= to; i += 32) {
    uint32_t bytes = 0;
    for (int at = 0; at < 4; ++at)
      bytes |= uint32_t(forward_eight<kLeaky>(x + i + 8 * at, y + i + 8 * at, low, high, slope)) << (8 * at);
    std::memcpy(bits + i / 8, &bytes, sizeof bytes);
  }
  for (; i + 8 <= to; i += 8) bits[i / 8] = forward_eight<kLeaky>(x + i, y + i, low, high, slope);
  if (i < to) {
    int byte = 0;
    for (int64_t at = i; at < to; ++at) {
      byte |= (x[at] > b.low && x[at] < b.high) << (at - i);
      y[at] = activated(x[at], b);
    }
    bits[i / 8] = uint8_t(byte);
  }
}

// What goes through a bend: all of it between the bends, `slope` of it elsewhere, and none at all where that is 0.
template <bool kLeaky>
inline Vec passed(Vec v, VecInt mask, Vec slope) {
  if (kLeaky) return mask ? v : v * slope;
  return reinterpret_cast<Vec>(reinterpret_cast<VecInt>(v) & mask);
}

template <bool kLeaky>
inline float passed(float gradient, const uint8_t* bits, int64_t i, float slope) {
  return bits[i / 8] >> (i % 8) & 1 ? gradient : kLeaky ? gradient * slope : 0.0f;
}

// Writes what belongs to elements [from, to) to `out` and behind.
template <bool kLeaky>
void backward_range(const float* g, const uint8_t* bits, float* out, int64_t from, int64_t to, float slope) {
  int64_t i = from;
  for (; i < to && i % 8; ++i) *out++ = passed<kLeaky>(g[i], bits, i, slope);
  const Vec slopes = splat(slope);
  for (; i + 32 <= to; i += 32, out += 32) {
    const uint32_t bytes = four_bytes(bits + i / 8);
    for (int at = 0; at < 4; ++at)
      store(out + 8 * at, passed<kLeaky>(load(g + i + 8 * at), mask_of(bytes, at), slopes));
  }
  for (; i + 8 <= to; i += 8, out += 8) store(out, passed<kLeaky>(load(g + i), mask_of(bits[i / 8], 0), slopes));
  for (; i < to; ++i) *out++ = passed<kLeaky>(g[i], bits, i, slope);
}

// Eight channels, or four times eight, of some rows: their sums stay in registers.
template <bool kLeaky, int kVecs>
void columns(const float* g, const uint8_t* bits, float* out, int64_t rows, int64_t channels, float slope, float* sum) {
  const Vec slopes = splat(slope);
  Vec total[kVecs] = {};
  for (int64_t row = 0, i = 0; row < rows; ++row, i += channels) {
    const uint32_t bytes = kVecs == 4 ? four_bytes(bits + i / 8) : bits[i / 8];
    for (int at = 0; at < kVecs; ++at) {
      const Vec v = passed<kLeaky>(load(g + i + 8 * at), mask_of(bytes, at), slopes);
      store(out + i + 8 * at, v);
      total[at] += v;
    }
  }
  for (int at = 0; at < kVecs; ++at) store(sum + 8 * at, total[at]);
}

// Channels lie side by side: rows of C, whose first bit begins a byte.
template <bool kLeaky>
void backward_rows(const float* g, const uint8_t* bits, float* out, int64_t rows, int64_t channels, float slope,
                   float* sum) {
  if (channels % 8 == 0) {
    int64_t c = 0;
    for (; c + 32 <= channels; c += 32)
      columns<kLeaky, 4>(g + c, bits + c / 8, out + c, rows, channels, slope, sum + c);
    for (; c < channels; c += 8)
      columns<kLeaky, 1>(g + c, bits + c / 8, out + c, rows, channels, slope, sum + c);
    return;
  }
  backward_range<kLeaky>(g, bits, out, 0, rows * channels, slope);
  std::fill(sum, sum + channels, 0.0f);
  for (int64_t row = 0; row < rows; ++row)
    for (int64_t c = 0; c < channels; ++c) sum[c] += out[row * channels + c];
}

float sum_of(const float* out, int64_t count) {
  Vec total = {};
  int64_t i = 0;
  for (; i + 8 <= count; i += 8) total += load(out + i);
  float sum = 0;
  for (int lane = 0; lane < 8; ++lane) sum += total[lane];
  for (; i < count; ++i) sum += out[i];
  return sum;
}

template <bool kLeaky>
void backward(const float* g, const uint8_t* bits, float* out, int64_t count, int64_t channels, int64_t inner,
              float slope, float* sum, int threads) {
  if (!sum) {
    in_pieces(count, 64, threads,
              [&](int64_t from, int64_t to) { backward_range<kLeaky>(g, bits, out + from, from, to, slope); });
    return;
  }
  std::vector<double> total(channels, 0.0);
  if (inner == 1) {  // chunks of whole rows of channels, eight rows at a time so that each begins a byte
    const int64_t rows = std::max<int64_t>(8, kChunk / channels / 8 * 8), chunk = rows * channels;
    const int64_t chunks = (count + chunk - 1) / chunk;
    std::vector<float> parts(chunks * channels);
    in_pieces(count, chunk, threads, [&](int64_t from, int64_t to) {
      std::vector<float> nowhere(out ? 0 : chunk);
      for (int64_t at = from; at < to; at += chunk)
        backward_rows<kLeaky>(g + at, bits + at / 8, out ? out + at : nowhere.data(), (std::min(to, at + chunk) - at) / channels, channels,
                              slope, &parts[at / chunk * channels]);
    });
    for (int64_t it = 0; it < chunks; ++it)
      for (int64_t c = 0; c < channels; ++c) total[c] += parts[it * channels + c];
  } else {  // chunks of a plane
    const int64_t planes = count / inner, per_plane = (inner + kChunk - 1) / kChunk;
    std::vector<float> parts(planes * per_plane);
    in_pieces(count, inner, threads, [&](int64_t from, int64_t to) {
      std::vector<float> nowhere(out ? 0 : kChunk);
      for (int64_t plane = from / inner; plane < to / inner; ++plane)
        for (int64_t part = 0; part < per_plane; ++part) {
          const int64_t at = plane * inner + part * kChunk, end = std::min((plane + 1) * inner, at + kChunk);
          float* const to_here = out ? out + at : nowhere.data();
          backward_range<kLeaky>(g, bits, to_here, at, end, slope);
          parts[plane * per_plane + part] = sum_of(to_here, end - at);
        }
    });
    for (int64_t plane = 0; plane < planes; ++plane)
      for (int64_t part = 0; part < per_plane; ++part) total[plane % channels] += parts[plane * per_plane + part];
  }
  for (int64_t c = 0; c < channels; ++c) sum[c] = float(total[c]);
}

}  // namespace

extern "C" void multum_masked_activation(const float* x, float* y, uint8_t* bits, int64_t count, const float* bend,
                                         int threads) {
  const Bend b{bend[0], bend[1], bend[2]};
  const auto range = b.slope != 0 ? forward_range<true> : forward_range<false>;
  in_pieces(count, 64, threads, [&](int64_t from, int64_t to) { range(x, y, bits, from, to, b); });
}

// `inner` elements of a channel lie side by side (1 where channels do); sum is null where no sums are wanted, out where only they
// are.
extern "C" void multum_masked_gradient(const float* g, const uint8_t* bits, float* out, int64_t count, int64_t channels,
                                       int64_t inner, float slope, float* sum, int threads) {
  (slope != 0 ? backward<true> : backward<false>)(g, bits, out, count, channels, inner, slope, sum, threads);
}
