// Memory's own ceiling: reads every byte once, in order, and adds it up on registers, one thread.

#include <cstdint>

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif
typedef int32_t Vec __attribute__((vector_size(kLanes * 4), aligned(4)));
constexpr int64_t kStep = 4 * sizeof(Vec);

extern "C" int64_t multum_read_memory(const uint8_t* memory, int64_t num_bytes) {
  Vec sum[4] = {};
  int64_t at = 0;
  for (; at + kStep <= num_bytes; at += kStep)
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) sum[i] += *reinterpret_cast<const Vec*>(memory + at + i * sizeof(Vec));
  const Vec all = (sum[0] + sum[1]) + (sum[2] + sum[3]);
  int64_t total = 0;
  for (int n = 0; n < kLanes; ++n) total += all[n];
  for (; at < num_bytes; ++at) total += memory[at];
  return total;
}
