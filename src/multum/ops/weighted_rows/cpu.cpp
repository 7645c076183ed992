// Weighted sums of rows, y[i] = sum of w[e] x[column[e]] over the entries e of row i, and the lists of the way back.
//
// A row's sum is taken in registers, in the order of its entries, by one thread: nothing is added to memory that others
// add to, so any number of threads gives the same bits. The way back has lists of its own, made once by counting.
//
// Shape letters: N rows read, M rows written, E entries, C channels.

#include <kernel.h>

using namespace multum;

namespace {

constexpr int64_t kRows = 512;                // that a thread takes at a time
constexpr int64_t kThreadWork = 1 << 20;      // numbers that are worth a thread
constexpr int kVectors = 4;                   // that stay in registers

template <int V>
void sum_rows(const float* x, const int64_t* starts, const int32_t* column, const float* weight, int64_t channels,
              int64_t first, int64_t last, int64_t tail, float* y) {  // tail: numbers of the last vector
  for (int64_t i = first; i < last; ++i) {
    Vec sum[V] = {};
    for (int64_t e = starts[i]; e < starts[i + 1]; ++e) {
      const float* const row = x + column[e] * channels;
      const Vec w = splat(weight[e]);
      for (int v = 0; v < V - 1; ++v) sum[v] += w * load(row + v * kLanes);
      sum[V - 1] += w * (tail == kLanes ? load(row + (V - 1) * kLanes) : load_some(row + (V - 1) * kLanes, tail));
    }
    float* const out = y + i * channels;
    for (int v = 0; v < V - 1; ++v) store(out + v * kLanes, sum[v]);
    if (tail == kLanes)
      store(out + (V - 1) * kLanes, sum[V - 1]);
    else
      store_some(out + (V - 1) * kLanes, sum[V - 1], tail);
  }
}

}  // namespace

// Fills y (M, C). `starts` (M + 1) says where each row's entries begin.
extern "C" void multum_weighted_rows(const float* x, const int64_t* starts, const int32_t* column,
                                     const float* weight, int64_t rows, int64_t channels, int threads, float* y) {
  const int64_t useful = std::min<int64_t>(threads, (rows ? starts[rows] : 0) * channels / kThreadWork + 1);
  for_each(ceil_div(rows, kRows), useful, [&](int64_t block) {
    const int64_t first = block * kRows, last = std::min(rows, first + kRows);
    for (int64_t c = 0; c < channels; c += kVectors * kLanes) {
      const int64_t some = std::min<int64_t>(kVectors * kLanes, channels - c);
      const int64_t vectors = ceil_div(some, kLanes), tail = some - (vectors - 1) * kLanes;
      const auto run = vectors == 1 ? sum_rows<1> : vectors == 2 ? sum_rows<2> : vectors == 3 ? sum_rows<3> : sum_rows<4>;
      run(x + c, starts, column, weight, channels, first, last, tail, y + c);
    }
  });
}

// The lists of the way back: of each of `columns`, the rows that read it in ascending order. Returns false where a
// column is out of range.
extern "C" int multum_turn_rows(const int64_t* starts, const int32_t* column, const float* weight, int64_t rows,
                                int64_t columns, int64_t* back_starts, int32_t* row, float* back_weight) {
  const int64_t entries = starts[rows];
  std::fill(back_starts, back_starts + columns + 1, 0);
  for (int64_t e = 0; e < entries; ++e) {
    if (column[e] < 0 || column[e] >= columns) return 0;
    ++back_starts[column[e] + 1];
  }
  for (int64_t c = 0; c < columns; ++c) back_starts[c + 1] += back_starts[c];
  std::vector<int64_t> place(back_starts, back_starts + columns);
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t e = starts[i]; e < starts[i + 1]; ++e) {
      const int64_t to = place[column[e]]++;
      row[to] = int32_t(i);
      back_weight[to] = weight[e];
    }
  return 1;
}
