// Which voxels meet at which offset of a kernel: coordinates packed into keys, sorted, and searched by walking.
//
//   key(b, x, y, z) = b | x | y | z     12 + 3 x 17 bits, so that adding an offset to a key moves a coordinate
//
// Targets in ascending order ask for ascending sources, whatever the offset: one pointer walks along, and offsets that
// differ in z alone are found by the same walk. Nothing is hashed, nothing can collide. Where a layer's targets are its
// sources, half of the offsets are the other half mirrored.
//
// Shape letters: N voxels, M different ones, K offsets, P pairs, B blocks of kBlock voxels in ascending order.

#include <kernel.h>

#include <cstring>
#include <memory>

using namespace multum;

namespace {

constexpr int kBits = 17, kBatchBits = 12;
constexpr int64_t kReach = 1 << (kBits - 1);   // what is added to make a coordinate positive
constexpr int64_t kLargest = 65000, kBatches = 1 << kBatchBits;
constexpr int64_t kBlock = 256;                // as in reference.py
constexpr int kDigit = 11;                     // bits of a pass of the sort

inline int64_t delta(int64_t x, int64_t y, int64_t z) { return (x << 2 * kBits) + (y << kBits) + z; }
inline int64_t pack(const int32_t* c) {
  return (int64_t(c[0]) << 3 * kBits) + delta(c[1] + kReach, c[2] + kReach, c[3] + kReach);
}
inline bool fits(const int32_t* c) {
  bool good = c[0] >= 0 && c[0] < kBatches;
  for (int i = 1; i < 4; ++i) good &= c[i] >= -kLargest && c[i] <= kLargest;
  return good;
}
inline int64_t field(int64_t key, int place) { return (key >> place * kBits & ((1 << kBits) - 1)) - kReach; }

struct Item {
  uint64_t key;
  int32_t row;
};

// Sorts by the bits that differ, digit by digit from the lowest; equal ones keep their order.
void sort(std::vector<Item>& items) {
  const int64_t n = int64_t(items.size());
  uint64_t all = 0, differ = 0;
  bool ascending = true;
  for (int64_t i = 0; i < n; ++i) {
    if (i == 0) all = items[0].key;
    differ |= all ^ items[i].key;
    ascending &= i == 0 || items[i - 1].key <= items[i].key;
  }
  if (ascending) return;
  std::vector<Item> other(n);
  for (int shift = 0; shift < 64; shift += kDigit) {
    if ((differ >> shift & ((1 << kDigit) - 1)) == 0) continue;
    int64_t place[(1 << kDigit) + 1] = {};
    for (const Item& it : items) ++place[(it.key >> shift & ((1 << kDigit) - 1)) + 1];
    for (int d = 0; d < 1 << kDigit; ++d) place[d + 1] += place[d];
    for (const Item& it : items) other[place[it.key >> shift & ((1 << kDigit) - 1)]++] = it;
    items.swap(other);
  }
}

struct Pair {
  int32_t from, to;  // ranks
};

struct Found {
  int64_t offsets, searched, blocks;
  bool mirrored;
  std::vector<std::vector<Pair>> of_block;  // by offset, then target
  std::vector<int32_t> begins;              // of block, offset, and the end

  int64_t count(int64_t block, int64_t k) const {
    const int32_t* const it = &begins[block * (searched + 1) + k];
    return it[1] - it[0];
  }
  const Pair* pairs(int64_t block, int64_t k) const {
    return of_block[block].data() + begins[block * (searched + 1) + k];
  }
};

struct Column {  // offsets that differ in z alone
  int64_t first, count, base;
};

}  // namespace

// Returns the number of different voxels, or -1 - row of one that is out of range. `keys` gets them ascending,
// `rank` of each row its place among them, `row` of each place the first row that has it.
extern "C" int64_t multum_sort_voxels(const int32_t* voxels, int64_t n, int64_t* keys, int32_t* rank,
                                           int32_t* row) {
  std::vector<Item> items(n);
  for (int64_t i = 0; i < n; ++i) {
    if (!fits(voxels + 4 * i)) return -1 - i;
    items[i] = {uint64_t(pack(voxels + 4 * i)), int32_t(i)};
  }
  sort(items);
  int64_t m = 0;
  for (int64_t i = 0; i < n; ++i) {
    const int64_t key = int64_t(items[i].key);
    if (m == 0 || keys[m - 1] != key) {
      row[m] = items[i].row;
      keys[m++] = key;
    }
    rank[items[i].row] = int32_t(m - 1);
  }
  return m;
}

// Finds pairs of ranks with source = target * stride + offset. Offsets (K, 3) ascend; `mirrored` promises that sources
// are targets, the stride is 1 and offset K - 1 - k is minus offset k. `count` gets the number of pairs.
extern "C" void* multum_map_find(const int64_t* source, int64_t num_sources, const int64_t* target,
                                 int64_t num_targets, const int32_t* offsets, int64_t num_offsets,
                                 const int32_t* stride, int mirrored, int threads, int64_t* count) {
  const int64_t searched = mirrored ? num_offsets / 2 + 1 : num_offsets;
  std::vector<int64_t> deltas(searched);
  std::vector<Column> columns;
  for (int64_t k = 0; k < searched; ++k) {
    const int32_t* o = offsets + 3 * k;
    deltas[k] = delta(o[0], o[1], o[2]);
    if (k == 0 || o[0] != o[-3] || o[1] != o[-2]) columns.push_back({k, 0, 0});
    ++columns.back().count;
  }
  auto found = std::make_unique<Found>();
  found->offsets = num_offsets;
  found->searched = searched;
  found->blocks = ceil_div(num_targets, kBlock);
  found->mirrored = mirrored;
  found->of_block.resize(found->blocks);
  found->begins.assign(found->blocks * (searched + 1), 0);
  for_each(found->blocks, num_targets * searched > 1 << 16 ? threads : 1, [&](int64_t block) {
    const int64_t begin = block * kBlock, some = std::min(kBlock, num_targets - begin);
    int64_t wanted[kBlock];
    for (int64_t i = 0; i < some; ++i) {
      const int64_t key = target[begin + i];
      wanted[i] = (key >> 3 * kBits << 3 * kBits) + delta(kReach + field(key, 2) * stride[0],
                                                          kReach + field(key, 1) * stride[1],
                                                          kReach + field(key, 0) * stride[2]);
    }
    std::vector<Pair> pairs(searched * kBlock);
    std::vector<int32_t> counts(searched);
    for (const Column& column : columns) {
      const int64_t* at = std::lower_bound(source, source + num_sources, wanted[0] + deltas[column.first]);
      const int64_t* const end = source + num_sources;
      for (int64_t i = 0; i < some; ++i) {
        const int64_t first = wanted[i] + deltas[column.first];
        while (at < end && *at < first) ++at;
        const int64_t* look = at;
        for (int64_t k = column.first; k < column.first + column.count; ++k) {
          const int64_t key = wanted[i] + deltas[k];
          while (look < end && *look < key) ++look;
          pairs[k * kBlock + counts[k]] = {int32_t(look - source), int32_t(begin + i)};
          counts[k] += look < end && *look == key;  // else the place is written over
        }
      }
    }
    int32_t* const begins = &found->begins[block * (searched + 1)];
    for (int64_t k = 0; k < searched; ++k) begins[k + 1] = begins[k] + counts[k];
    std::vector<Pair>& mine = found->of_block[block];
    mine.reserve(begins[searched]);
    for (int64_t k = 0; k < searched; ++k)
      mine.insert(mine.end(), &pairs[k * kBlock], &pairs[k * kBlock] + counts[k]);
  });
  *count = 0;
  for (int64_t block = 0; block < found->blocks; ++block)
    for (int64_t k = 0; k < searched; ++k)
      *count += found->count(block, k) * (mirrored && k != num_offsets - 1 - k ? 2 : 1);
  return found.release();
}

// Writes the pairs as rows, by offset, then rank; and where each block of targets (of sources) begins in every offset's
// list, (K, B + 1). Frees what was found.
extern "C" void multum_map_take(void* handle, const int32_t* source_row, const int32_t* target_row,
                                int64_t num_sources, int threads, int32_t* from, int32_t* to, int64_t* starts,
                                int64_t* back_starts) {
  const std::unique_ptr<Found> found(static_cast<Found*>(handle));
  const int64_t offsets = found->offsets, blocks = found->blocks, searched = found->searched;
  const int64_t back_blocks = ceil_div(num_sources, kBlock);
  const auto twin_of = [&](int64_t k) { return found->mirrored && k != offsets - 1 - k ? offsets - 1 - k : -1; };
  int64_t place = 0;
  for (int64_t k = 0; k < offsets; ++k) {
    const int64_t same = k < searched ? k : offsets - 1 - k;  // as long as this one
    starts[k * (blocks + 1)] = back_starts[k * (back_blocks + 1)] = place;
    for (int64_t block = 0; block < blocks; ++block) place += found->count(block, same);
  }
  for_each(searched, place > 1 << 16 ? threads : 1, [&](int64_t k) {
    int64_t* const begins = starts + k * (blocks + 1);
    int64_t* const back_begins = back_starts + k * (back_blocks + 1);
    const int64_t first = begins[0];
    int64_t filled = first, back = 0;
    for (int64_t block = 0; block < blocks; ++block) {
      const Pair* it = found->pairs(block, k);
      for (const Pair* const end = it + found->count(block, k); it < end; ++it, ++filled) {
        for (; back < it->from / kBlock; ++back) back_begins[back + 1] = filled;
        from[filled] = source_row[it->from];
        to[filled] = target_row[it->to];
      }
      begins[block + 1] = filled;
    }
    for (; back < back_blocks; ++back) back_begins[back + 1] = filled;
    const int64_t twin = twin_of(k);
    if (twin < 0) return;
    const int64_t shift = starts[twin * (blocks + 1)] - first;  // sources are targets there, so are their blocks
    std::copy(to + first, to + filled, from + first + shift);
    std::copy(from + first, from + filled, to + first + shift);
    for (int64_t block = 1; block <= blocks; ++block) {
      starts[twin * (blocks + 1) + block] = back_begins[block] + shift;
      back_starts[twin * (blocks + 1) + block] = begins[block] + shift;
    }
  });
}
