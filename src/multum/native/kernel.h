// What compiled kernels share: vectors of floats, and work that threads take in turn.
//
// A kernel includes this as <kernel.h>; `build.py` says where it is.

#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace multum {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4), aligned(4)));

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
inline Vec splat(float x) { return x - Vec{}; }

// The first n numbers, 0 < n <= kLanes; zeros behind them.
inline Vec load_some(const float* p, int64_t n) {
#if defined(__AVX512F__)
  return _mm512_maskz_loadu_ps(__mmask16((1u << n) - 1), p);
#else
  Vec v{};
  for (int64_t i = 0; i < n; ++i) v[i] = p[i];
  return v;
#endif
}

inline void store_some(float* p, Vec v, int64_t n) {
#if defined(__AVX512F__)
  _mm512_mask_storeu_ps(p, __mmask16((1u << n) - 1), v);
#else
  for (int64_t i = 0; i < n; ++i) p[i] = v[i];
#endif
}

inline int64_t ceil_div(int64_t n, int64_t by) { return (n + by - 1) / by; }
inline int64_t round_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }

// Calls work(0), ..., work(count - 1), by at most `threads` threads that take the next one when they are free.
// The caller sees to it that results do not depend on who does what.
template <typename Work>
void for_each(int64_t count, int64_t threads, const Work& work) {
  const int64_t useful = std::min(threads, count);
  if (useful < 2) {
    for (int64_t i = 0; i < count; ++i) work(i);
    return;
  }
  std::atomic<int64_t> next{0};
  const auto loop = [&] {
    for (int64_t i; (i = next++) < count;) work(i);
  };
  std::vector<std::thread> others;
  for (int64_t t = 1; t < useful; ++t) others.emplace_back(loop);
  loop();
  for (std::thread& it : others) it.join();
}

}  // namespace multum
