// Numbers of fewer bits, as rows of a cache hold them, and vectors of them as floats.

#pragma once

#include <cstdint>
#include <cstring>
#if defined(__AVX2__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(kLanes * 4), aligned(4)));
typedef int32_t VecInt __attribute__((vector_size(kLanes * 4), aligned(4)));

inline Vec load(const float* p) { return *reinterpret_cast<const Vec*>(p); }
inline void store(float* p, Vec v) { *reinterpret_cast<Vec*>(p) = v; }
inline Vec splat(float x) { return x - Vec{}; }  // not x + 0, which is not x for -0
inline Vec larger(Vec a, Vec b) { return a > b ? a : b; }
inline int64_t round_up(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

inline float half_to_float(uint16_t half) {
  const uint32_t sign = (half & 0x8000u) << 16, rest = half & 0x7fffu;
  if (rest < 0x400u) {  // below the normal numbers: steps of 2^-24
    const float size = static_cast<float>(rest) * 5.9604644775390625e-8f;
    return sign ? -size : size;
  }
  const uint32_t bits = sign | (rest >= 0x7c00u ? 0x7f800000u | (rest << 13) : (rest << 13) + (112u << 23));
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

#if defined(__AVX512F__)
inline VecInt widen(const uint8_t* p) {
  return (VecInt)_mm512_cvtepu8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline VecInt widen_signed(const uint8_t* p) {
  return (VecInt)_mm512_cvtepi8_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline VecInt widen16(const uint8_t* p) {
  return (VecInt)_mm512_cvtepu16_epi32(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
inline Vec to_float(VecInt v) { return (Vec)_mm512_cvtepi32_ps((__m512i)v); }
inline Vec load_half(const uint16_t* p) {
  return (Vec)_mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(p)));
}
#elif defined(__AVX2__)
inline VecInt widen(const uint8_t* p) {
  return (VecInt)_mm256_cvtepu8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline VecInt widen_signed(const uint8_t* p) {
  return (VecInt)_mm256_cvtepi8_epi32(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(p)));
}
inline VecInt widen16(const uint8_t* p) {
  return (VecInt)_mm256_cvtepu16_epi32(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
inline Vec to_float(VecInt v) { return (Vec)_mm256_cvtepi32_ps((__m256i)v); }
inline Vec load_half(const uint16_t* p) {
  return (Vec)_mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(p)));
}
#else
template <typename Stored>
inline VecInt widen_as(const uint8_t* p) {
  Stored stored[kLanes];
  std::memcpy(stored, p, sizeof stored);
  VecInt v;
  for (int n = 0; n < kLanes; ++n) v[n] = stored[n];
  return v;
}
inline VecInt widen(const uint8_t* p) { return widen_as<uint8_t>(p); }
inline VecInt widen_signed(const uint8_t* p) { return widen_as<int8_t>(p); }
inline VecInt widen16(const uint8_t* p) { return widen_as<uint16_t>(p); }
inline Vec to_float(VecInt v) { return __builtin_convertvector(v, Vec); }
inline Vec load_half(const uint16_t* p) {
  Vec v;
  for (int n = 0; n < kLanes; ++n) v[n] = half_to_float(p[n]);
  return v;
}
#endif

// How a row is stored: kPlain floats, or the bits of its first plane; kLow: with the plane of 4 LSBs.
constexpr int kFloat = 32, kBrain = 16;
constexpr int64_t kLsbBits = 4;

// Channels that share a byte in the finest of a row's digits.
inline int64_t shares_of(int bits, bool low) {
  if (bits == kFloat || bits == kBrain) return 1;
  return bits == 6 || bits == 10 ? 4 : bits == 8 && !low ? 1 : 2;
}

// Channels e .. e + kLanes of a row; the width is a multiple of kLanes * shares_of().
template <int Bits, bool Low>
inline Vec numbers(const uint8_t* row, const uint8_t* low, int64_t e, int64_t width) {
  if constexpr (Bits == kFloat) {
    return load(reinterpret_cast<const float*>(row) + e);
  } else if constexpr (Bits == kBrain) {
    const VecInt bits = widen16(row + 2 * e) << 16;
    return (Vec)bits;
  } else {
    const int64_t half = width / 2, quarter = width / 4;
    VecInt v{};
    if constexpr (Bits >= 8) {
      v = widen_signed(row + e);
      row += width;
    }
    if constexpr (Bits == 4 || Bits == 6) {
      v = (widen(row + (e < half ? e : e - half)) << (e < half ? 28 : 24)) >> 28;
      row += half;
    }
    if constexpr (Bits == 12) v = (v << 4) | ((widen(row + (e < half ? e : e - half)) >> (e < half ? 0 : 4)) & 15);
    if constexpr (Bits == 6 || Bits == 10) {
      const int64_t share = e / quarter;
      v = (v << 2) | ((widen(row + (e - share * quarter)) >> static_cast<int>(2 * share)) & 3);
    }
    if constexpr (Low) v = (v << 4) | ((widen(low + (e < half ? e : e - half)) >> (e < half ? 0 : 4)) & 15);
    return to_float(v);
  }
}

// One row of any width into floats, channel by channel.
void unpack_row(int bits, const uint8_t* row, const uint8_t* low, int64_t width, float* out) {
  if (bits == kFloat) return void(std::memcpy(out, row, width * sizeof(float)));
  const int64_t half = width / 2, quarter = width / 4;
  for (int64_t e = 0; e < width; ++e) {
    if (bits == kBrain) {
      uint32_t whole = static_cast<uint32_t>(row[2 * e] | row[2 * e + 1] << 8) << 16;
      std::memcpy(out + e, &whole, sizeof whole);
      continue;
    }
    const uint8_t* plane = row;
    int32_t v = 0;
    if (bits >= 8) v = static_cast<int8_t>(plane[e]), plane += width;
    const int nibble = e < half ? plane[e % half] & 15 : plane[e % half] >> 4;  // of another plane where unused
    if (bits == 4 || bits == 6) v = (nibble ^ 8) - 8, plane += half;
    if (bits == 12) v = v * 16 + nibble;
    if (bits == 6 || bits == 10) v = v * 4 + ((plane[e % quarter] >> (2 * (e / quarter))) & 3);
    if (low) v = v * 16 + (e < half ? low[e] & 15 : low[e - half] >> 4);
    out[e] = static_cast<float>(v);
  }
}

}  // namespace
