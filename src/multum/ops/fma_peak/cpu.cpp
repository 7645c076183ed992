// The processor's own ceiling: fused multiply-adds on registers only, one thread, float32.
// Returns how many floating-point operations were done (two per multiply-add and lane); the caller takes the time.

#include <cstdint>

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef float Vec __attribute__((vector_size(kLanes * 4)));
#if defined(__AVX512F__)
#define KEEP(x) asm volatile("" : "+v"(x))  // keep every multiply-add; any of the 32 registers
#elif defined(__x86_64__)
#define KEEP(x) asm volatile("" : "+x"(x))
#else
#define KEEP(x) asm volatile("" : "+w"(x))
#endif
constexpr int kChains = 12;  // independent sums: enough to hide the latency of two FMA ports

extern "C" int64_t multum_fma_peak(int64_t rounds, float* sink) {
  const Vec left = Vec{} + 0.999f, right = Vec{} + 1e-6f;
  Vec sum[kChains];
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) sum[i] = Vec{} + static_cast<float>(i);
  for (int64_t r = 0; r < rounds; ++r) {
#pragma GCC unroll 12
    for (int i = 0; i < kChains; ++i) {
      sum[i] = sum[i] * left + right;
      KEEP(sum[i]);
    }
  }
  Vec all = Vec{};
#pragma GCC unroll 12
  for (int i = 0; i < kChains; ++i) all += sum[i];
  float total = 0.0f;
  for (int n = 0; n < kLanes; ++n) total += all[n];
  *sink = total;
  return rounds * kChains * kLanes * 2;
}
