// One new row per sequence and group, rounded to integers, cut into planes and put into its slot of a cache.
//
// The definitions are those of quantize.py and packing.py, bit for bit: the scale is the least float16 that is not below
// the row's largest magnitude over the largest integer, and integers are rounded to even.
//
// Shape letters: B sequences, G groups, C slots, D channels of a row.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>

namespace {

struct Call {
  const float* row;  // (B, G, D), strides in floats, last axis contiguous
  const int64_t* slot;
  uint8_t *msb, *lsb;  // planes (B, G, C, bytes), strides in bytes; no second plane: null
  uint16_t* scale;     // (B, G, C), strides in scales
  int64_t row_b, row_g, msb_b, msb_g, msb_c, lsb_b, lsb_g, lsb_c, scale_b, scale_g, scale_c;
  int64_t num_b, num_g, num_slots, width, msb_bits;
};

constexpr int64_t kLsbBits = 4;
constexpr uint32_t kLeastNormal = 113u << 23;  // 2^-14 as a float: the least normal float16
constexpr int kMostWidth = 1024;

// The least float16 that is not below a float >= 0; 0x7c00 (infinity) or more where there is none.
uint16_t half_not_below(float exact) {
  uint32_t bits;
  std::memcpy(&bits, &exact, 4);
  if (bits >= 0x7f800000u) return 0x7c00;
  if (bits < kLeastNormal) return static_cast<uint16_t>(std::ceil(exact * 16777216.0f));  // steps of 2^-24
  const uint32_t shifted = bits - (112u << 23);
  return static_cast<uint16_t>(std::min<uint32_t>((shifted >> 13) + ((shifted & 0x1fffu) != 0), 0x7c00u));
}

float to_float(uint16_t half) {
  if (half < 0x0400) return half * (1.0f / 16777216.0f);
  const uint32_t bits = (static_cast<uint32_t>(half) << 13) + (112u << 23);
  float value;
  std::memcpy(&value, &bits, 4);
  return value;
}

// One plane of a row: digits of 8, 4 and 2 bits, most significant first, each kind in bytes of its own.
void pack(const int32_t* value, int64_t width, int64_t bits, uint8_t* out) {
  int64_t below = bits;
  for (int64_t digit = 8; digit >= 2; digit /= 2) {
    if (below < digit) continue;
    below -= digit;
    const int64_t shares = 8 / digit, bytes = width / shares;
    const int32_t mask = (1 << digit) - 1;
    for (int64_t i = 0; i < bytes; ++i) {
      int32_t byte = 0;
      for (int64_t share = 0; share < shares; ++share)
        byte |= ((value[share * bytes + i] >> below) & mask) << (share * digit);
      out[i] = static_cast<uint8_t>(byte);
    }
    out += bytes;
  }
}

bool write_row(const Call& c, const float* row, uint8_t* msb, uint8_t* lsb, uint16_t* scale) {
  const int64_t bits = c.msb_bits + (lsb ? kLsbBits : 0);
  const float largest = static_cast<float>((1 << (bits - 1)) - 1);
  float most = 0.0f;
  for (int64_t d = 0; d < c.width; ++d) {
    const float size = std::fabs(row[d]);
    if (!(size <= 3.0e38f)) return false;  // NaN and infinity: the caller has the words for it
    most = std::max(most, size);
  }
  const uint16_t half = half_not_below(most / largest);
  if (half >= 0x7c00) return false;
  const float step = half == 0 ? 1.0f : to_float(half);
  int32_t q[kMostWidth], high[kMostWidth];
  for (int64_t d = 0; d < c.width; ++d) {
    const float rounded = std::nearbyint(row[d] / step);
    q[d] = static_cast<int32_t>(std::min(std::max(rounded, -largest - 1.0f), largest));
    high[d] = q[d] >> kLsbBits;
  }
  pack(lsb ? high : q, c.width, c.msb_bits, msb);
  if (lsb) pack(q, c.width, kLsbBits, lsb);
  *scale = half;
  return true;
}

}  // namespace

// 0: written. 1: a row is not finite or too large (nothing of it is written). 2: a slot is out of range.
extern "C" int multum_write_rows(const Call* call) {
  const Call& c = *call;
  if (c.width > kMostWidth) return 3;
  for (int64_t b = 0; b < c.num_b; ++b)
    if (c.slot[b] < 0 || c.slot[b] >= c.num_slots) return 2;
  for (int64_t b = 0; b < c.num_b; ++b) {
    for (int64_t g = 0; g < c.num_g; ++g) {
      const int64_t slot = c.slot[b];
      uint8_t* lsb = c.lsb ? c.lsb + b * c.lsb_b + g * c.lsb_g + slot * c.lsb_c : nullptr;
      uint8_t* msb = c.msb + b * c.msb_b + g * c.msb_g + slot * c.msb_c;
      uint16_t* scale = c.scale + b * c.scale_b + g * c.scale_g + slot * c.scale_c;
      if (!write_row(c, c.row + b * c.row_b + g * c.row_g, msb, lsb, scale)) return 1;
    }
  }
  return 0;
}
