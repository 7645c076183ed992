// Quantizes one new row per sequence and group and writes it into its slot of a cache: the row's integers, its packed
// planes and its scale, bit for bit as `quantize_rows`, `split` and `pack` make them. Before that the row may lose a
// mean and be turned by a Hadamard matrix (`RowFrame`).
//
// Shape letters: B sequences, G groups, D channels. Strides of the cache are in bytes, of the new rows in floats.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <vector>

namespace {

// Where the rows of a cache are, as Python packs it; scales of a group follow one another.
struct Place {
  uint8_t *msb, *lsb, *scale;
  int64_t msb_b, msb_g, msb_c, lsb_b, lsb_g, lsb_c, scale_b, scale_g, msb_bits;
};

// How rows are changed before: turned or not, address (0 for none) of means in bfloat16, and their strides.
struct Frame {
  int64_t turned;
  const uint16_t* mean;
  int64_t mean_b, mean_g;
};

// The call: addresses, strides, sizes; no bits of LSBs where there is one plane.
struct Call {
  const float* row;
  int64_t row_b, row_g;
  const int64_t* slot;
  int64_t batch, groups, slots, width, lsb_bits;
  Place to;
  Frame frame;
};

// Times the block-diagonal Hadamard matrix of the width: a block for each power of two in it, the largest first.
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

// A row of the call as it is rounded, in memory of its own.
void load_row(const Call& c, int64_t b, int64_t g, float* to) {
  std::memcpy(to, c.row + b * c.row_b + g * c.row_g, c.width * sizeof(float));
  if (c.frame.mean) {
    const uint16_t* mean = c.frame.mean + b * c.frame.mean_b + g * c.frame.mean_g;
    for (int64_t d = 0; d < c.width; ++d) {
      const uint32_t bits = static_cast<uint32_t>(mean[d]) << 16;
      float value;
      std::memcpy(&value, &bits, sizeof value);
      to[d] -= value;
    }
  }
  if (c.frame.turned) turn(to, c.width);
}

// The least float16 that is not below a positive number, as bits; 0x7c00 and above for what is too large or NaN.
uint16_t half_not_below(float number) {
  uint32_t bits;
  std::memcpy(&bits, &number, sizeof bits);
  if (bits >= 0x7f800000u) return 0x7e00;
  if (bits > 0x477fe000u) return 0x7c00;  // above 65504
  if (bits < 0x38800000u) {               // below the normal halves: steps of 2^-24
    return static_cast<uint16_t>(std::ceil(static_cast<double>(number) * 16777216.0));
  }
  const uint32_t rebased = bits - (112u << 23);
  return static_cast<uint16_t>((rebased + 0x1fffu) >> 13);
}

float half_to_float(uint16_t half) {
  if (half < 0x400u) return static_cast<float>(half) * 5.9604644775390625e-8f;
  const uint32_t bits = (static_cast<uint32_t>(half) << 13) + (112u << 23);
  float value;
  std::memcpy(&value, &bits, sizeof value);
  return value;
}

// One sub-plane: the digits of `bits` bits that stand `below` bits above the lowest; returns where the next one starts.
uint8_t* pack_digits(const int32_t* q, int64_t width, int bits, int below, uint8_t* out) {
  const int64_t num = width * bits / 8;
  const int32_t mask = (1 << bits) - 1;
  for (int64_t i = 0; i < num; ++i) out[i] = static_cast<uint8_t>((q[i] >> below) & mask);
  for (int share = 1; share < 8 / bits; ++share)
    for (int64_t i = 0; i < num; ++i)
      out[i] |= static_cast<uint8_t>(((q[share * num + i] >> below) & mask) << (share * bits));
  return out + num;
}

void pack_plane(const int32_t* q, int64_t width, int bits, int below, uint8_t* out) {
  if (bits >= 8) out = pack_digits(q, width, 8, below + bits - 8, out), bits -= 8;
  if (bits >= 4) out = pack_digits(q, width, 4, below + bits - 4, out), bits -= 4;
  if (bits == 2) pack_digits(q, width, 2, below, out);
}

}  // namespace

// Returns 0; 1 for a slot out of range, 2 for a row that has no scale (then nothing is written).
extern "C" int multum_write_row(const Call* call) {
  const Call& c = *call;
  const Place& to = c.to;
  thread_local std::vector<int32_t> q;
  thread_local std::vector<float> rows;
  rows.resize(c.batch * c.groups * c.width);
  thread_local std::vector<uint16_t> halves;
  q.resize(c.width);
  halves.resize(c.batch * c.groups);
  const int low_bits = static_cast<int>(c.lsb_bits), msb_bits = static_cast<int>(to.msb_bits), bits = msb_bits + low_bits;
  const float largest = static_cast<float>((1 << (bits - 1)) - 1);
  for (int64_t b = 0; b < c.batch; ++b) {
    if (c.slot[b] < 0 || c.slot[b] >= c.slots) return 1;
    for (int64_t g = 0; g < c.groups; ++g) {
      float* row = &rows[(b * c.groups + g) * c.width];
      load_row(c, b, g, row);
      uint32_t top = 0;  // magnitudes are ordered as their bits, NaN above all
      for (int64_t d = 0; d < c.width; ++d) {
        uint32_t pattern;
        std::memcpy(&pattern, row + d, sizeof pattern);
        top = std::max(top, pattern & 0x7fffffffu);
      }
      float size;
      std::memcpy(&size, &top, sizeof size);
      const uint16_t half = half_not_below(size / largest);
      if (half >= 0x7c00) return 2;
      halves[b * c.groups + g] = half;
    }
  }
  for (int64_t b = 0; b < c.batch; ++b)
    for (int64_t g = 0; g < c.groups; ++g) {
      const float* row = &rows[(b * c.groups + g) * c.width];
      const uint16_t half = halves[b * c.groups + g];
      const float scale = half_to_float(half), divisor = half ? scale : 1.0f;
      for (int64_t d = 0; d < c.width; ++d) {
        const float rounded = std::nearbyint(row[d] / divisor);
        q[d] = static_cast<int32_t>(std::min(std::max(rounded, -largest - 1.0f), largest));
      }
      const int64_t slot = c.slot[b];
      pack_plane(q.data(), c.width, msb_bits, low_bits, to.msb + b * to.msb_b + g * to.msb_g + slot * to.msb_c);
      if (low_bits)
        pack_digits(q.data(), c.width, low_bits, 0, to.lsb + b * to.lsb_b + g * to.lsb_g + slot * to.lsb_c);
      std::memcpy(to.scale + b * to.scale_b + g * to.scale_g + slot * sizeof half, &half, sizeof half);
    }
  return 0;
}
