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

inline VecInt mask_of(uint8_t byte) { return ((VecInt{} + int32_t(byte)) & kPlaces) != 0; }

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

void forward_range(const float* x, float* y, uint8_t* bits, int64_t from, int64_t to, const Bend& b) {
  const Vec low = splat(b.low), high = splat(b.high), slope = splat(b.slope);
  int64_t i = from;
  for (; i + 8 <= to; i += 8) {
    const Vec v = load(x + i);
    bits[i / 8] = byte_of((v > low) & (v < high));
    if (b.slope != 0)
      store(y + i, v > low ? v : v * slope);
    else
      store(y + i, v < low ? low : v > high ? high : v);
  }
  if (i < to) {
    int byte = 0;
    for (int64_t at = i; at < to; ++at) {
      byte |= (x[at] > b.low && x[at] < b.high) << (at - i);
      y[at] = activated(x[at], b);
    }
    bits[i / 8] = uint8_t(byte);
  }
}

inline float passed(float gradient, const uint8_t* bits, int64_t i, float slope) {
  return bits[i / 8] >> (i % 8) & 1 ? gradient : gradient * slope;
}

void backward_range(const float* g, const uint8_t* bits, float* out, int64_t from, int64_t to, float slope) {
  int64_t i = from;
  for (; i < to && i % 8; ++i) out[i] = passed(g[i], bits, i, slope);
  const Vec slopes = splat(slope);
  for (; i + 8 <= to; i += 8) {
    const VecInt mask = mask_of(bits[i / 8]);
    const Vec v = load(g + i);
    store(out + i, mask ? v : v * slopes);
  }
  for (; i < to; ++i) out[i] = passed(g[i], bits, i, slope);
}

// Channels lie side by side: rows of C.
void sum_rows(const float* out, int64_t rows, int64_t channels, float* sum) {
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

}  // namespace

extern "C" void multum_masked_activation(const float* x, float* y, uint8_t* bits, int64_t count, const float* bend,
                                         int threads) {
  const Bend b{bend[0], bend[1], bend[2]};
  in_pieces(count, 64, threads, [&](int64_t from, int64_t to) { forward_range(x, y, bits, from, to, b); });
}

// `inner` elements of a channel lie side by side (1 where channels do); sum is null where no sums are wanted.
extern "C" void multum_masked_gradient(const float* g, const uint8_t* bits, float* out, int64_t count, int64_t channels,
                                       int64_t inner, float slope, float* sum, int threads) {
  if (!sum) {
    in_pieces(count, 64, threads, [&](int64_t from, int64_t to) { backward_range(g, bits, out, from, to, slope); });
    return;
  }
  std::vector<double> total(channels, 0.0);
  if (inner == 1) {  // chunks of whole rows of channels
    const int64_t rows = std::max<int64_t>(1, kChunk / channels), chunk = rows * channels;
    const int64_t chunks = (count + chunk - 1) / chunk;
    std::vector<float> parts(chunks * channels);
    in_pieces(count, chunk, threads, [&](int64_t from, int64_t to) {
      for (int64_t at = from; at < to; at += chunk) {
        const int64_t end = std::min(to, at + chunk);
        backward_range(g, bits, out, at, end, slope);
        sum_rows(out + at, (end - at) / channels, channels, &parts[at / chunk * channels]);
      }
    });
    for (int64_t it = 0; it < chunks; ++it)
      for (int64_t c = 0; c < channels; ++c) total[c] += parts[it * channels + c];
  } else {  // chunks of a plane
    const int64_t planes = count / inner, per_plane = (inner + kChunk - 1) / kChunk;
    std::vector<float> parts(planes * per_plane);
    in_pieces(count, inner, threads, [&](int64_t from, int64_t to) {
      for (int64_t plane = from / inner; plane < to / inner; ++plane)
        for (int64_t part = 0; part < per_plane; ++part) {
          const int64_t at = plane * inner + part * kChunk, end = std::min((plane + 1) * inner, at + kChunk);
          backward_range(g, bits, out, at, end, slope);
          parts[plane * per_plane + part] = sum_of(out + at, end - at);
        }
    });
    for (int64_t plane = 0; plane < planes; ++plane)
      for (int64_t part = 0; part < per_plane; ++part) total[plane % channels] += parts[plane * per_plane + part];
  }
  for (int64_t c = 0; c < channels; ++c) sum[c] = float(total[c]);
}
