// Sparse convolution over pairs of voxels, and the gradient of its weight.
//
//   forward    y[to] += W[k]^T x[from]     for every offset k and its pairs, onto what is there; perhaps a ReLU behind
//              the gradient of x is the same, turned round
//   weight     W[k]  += x[from] g[to]^T
//
// A block of 256 targets stays in the second cache while all offsets pass over it, from its first value to the bend at
// the end; of one offset the weights stay in the first. Some rows by up to four vectors of outputs stay in registers over the inputs: rows come from wherever the pairs
// say, so nothing is gathered or scattered in between. A target's sum is taken by one thread in the order of offsets,
// a weight's over pieces that only the number of voxels decides: any number of threads, and any order of voxels, gives the same
// bits.
//
// Shape letters: K offsets, C inputs, O outputs, P pairs, B blocks of targets. Maps are (voxels, channels).

#include <kernel.h>

#include <cstring>
#include <memory>

using namespace multum;

#define UNROLL _Pragma("GCC unroll 16")  // registers have no index

namespace {

#if defined(__AVX512F__)
constexpr int kVectors = 4;  // of a panel of outputs
constexpr int kRows[] = {0, 14, 12, 8, 6};  // of a register tile, by its vectors
#else
constexpr int kVectors = 2;
constexpr int kRows[] = {0, 8, 6};
#endif
constexpr int kMostRows = 14;
constexpr int64_t kPanel = kVectors * kLanes;
constexpr int64_t kBlock = 256;            // targets of a block, as in kernel_map
constexpr int64_t kInputs = 64;            // whose weights lie in the first cache
constexpr int64_t kPairs = 64;             // that are multiplied with each other before the next ones come
constexpr int64_t kPieceBlocks = 32;       // of targets whose part of a weight's gradient is summed by itself,
constexpr int64_t kMostPieces = 16;        // or more, where there were too many parts
constexpr int64_t kOffsets = 9;            // that pass over a block before the next block comes
constexpr int64_t kThreadWork = 1 << 21;   // multiply-accumulates that are worth a thread

struct Panels {  // outputs in panels; of each the weights lie by input, output, zeros at the end
  int64_t outputs, inputs;

  int64_t count() const { return ceil_div(outputs, kPanel); }
  int64_t valid(int64_t panel) const { return std::min(kPanel, outputs - panel * kPanel); }
  int64_t width(int64_t panel) const { return round_up(valid(panel), kLanes); }
  int64_t begin(int64_t panel) const { return panel * kPanel * inputs; }
  int64_t floats() const { return round_up(outputs, kLanes) * inputs; }
};

// W[k], (inputs, outputs), or (outputs, inputs) where it is turned.
void pack(const float* weight, const Panels& p, bool turned, float* out) {
  for (int64_t panel = 0; panel < p.count(); ++panel) {
    const int64_t valid = p.valid(panel), width = p.width(panel), first = panel * kPanel;
    for (int64_t i = 0; i < p.inputs; ++i, out += width) {
      if (turned)
        for (int64_t n = 0; n < valid; ++n) out[n] = weight[(first + n) * p.inputs + i];
      else
        std::copy_n(weight + i * p.outputs + first, valid, out);
      std::fill(out + valid, out + width, 0.0f);
    }
  }
}

// ---- Forward --------------------------------------------------------------------------------------------------------

struct Maps {
  const float* x;
  float* y;
  int64_t inputs, outputs;  // floats of a row
};

template <int R, int V>
__attribute__((noinline)) void multiply_tile(const Maps& m, const int32_t* from, const int32_t* to, const float* weight, int64_t some,
                   int64_t last) {  // last: numbers of the last vector
  const float* x[R];
  Vec sum[R][V];
  UNROLL
  for (int r = 0; r < R; ++r) {
    x[r] = m.x + from[r] * m.inputs;
    const float* const y = m.y + to[r] * m.outputs;
    UNROLL
    for (int v = 0; v < V - 1; ++v) sum[r][v] = load(y + v * kLanes);
    sum[r][V - 1] = last == kLanes ? load(y + (V - 1) * kLanes) : load_some(y + (V - 1) * kLanes, last);
  }
  for (int64_t i = 0; i < some; ++i, weight += V * kLanes) {
    Vec w[V];
    UNROLL
    for (int v = 0; v < V; ++v) w[v] = load(weight + v * kLanes);
    UNROLL
    for (int r = 0; r < R; ++r) {
      const Vec it = splat(x[r][i]);
      UNROLL
      for (int v = 0; v < V; ++v) sum[r][v] += it * w[v];
    }
  }
  UNROLL
  for (int r = 0; r < R; ++r) {
    float* const y = m.y + to[r] * m.outputs;
    UNROLL
    for (int v = 0; v < V - 1; ++v) store(y + v * kLanes, sum[r][v]);
    if (last == kLanes)
      store(y + (V - 1) * kLanes, sum[r][V - 1]);
    else
      store_some(y + (V - 1) * kLanes, sum[r][V - 1], last);
  }
}

// Calls Tile<R>(arguments...) for a number of rows that is known only now.
#define WITH_ROWS(rows, CALL)                                                                        \
  switch (rows) {                                                                                    \
    case 1: CALL(1); break;                                                                          \
    case 2: CALL(2); break;                                                                          \
    case 3: CALL(3); break;                                                                          \
    case 4: CALL(4); break;                                                                          \
    case 5: CALL(5); break;                                                                          \
    case 6: CALL(6); break;                                                                          \
    case 7: CALL(7); break;                                                                          \
    case 8: CALL(8); break;                                                                          \
    case 9: CALL(9); break;                                                                          \
    case 10: CALL(10); break;                                                                        \
    case 11: CALL(11); break;                                                                        \
    case 12: CALL(12); break;                                                                        \
    case 13: CALL(13); break;                                                                        \
    case 14: CALL(14); break;                                                                        \
  }

template <int V>
void multiply_pairs(const Maps& m, const int32_t* from, const int32_t* to, int64_t pairs, const float* weight,
                    int64_t some, int64_t last) {
  const int64_t tiles = ceil_div(pairs, kRows[V]);
  for (int64_t tile = 0; tile < tiles; ++tile) {  // of nearly equal size: one of a single row would wait for itself
    const int64_t first = pairs * tile / tiles, rows = pairs * (tile + 1) / tiles - first;
#define CALL(R) \
  if constexpr (R <= kRows[V]) multiply_tile<R, V>(m, from + first, to + first, weight, some, last)
    WITH_ROWS(rows, CALL)
#undef CALL
  }
}

void multiply(const Maps& m, const Panels& p, const int32_t* from, const int32_t* to, int64_t pairs,
              const float* weight) {
  for (int64_t panel = 0; panel < p.count(); ++panel) {
    const int64_t width = p.width(panel), last = p.valid(panel) - width + kLanes;
    for (int64_t first = 0; first < m.inputs; first += kInputs) {
      const int64_t some = std::min(kInputs, m.inputs - first);
      const Maps part{m.x + first, m.y + panel * kPanel, m.inputs, m.outputs};
      const float* const w = weight + p.begin(panel) + first * width;
      switch (width / kLanes) {
        case 1: multiply_pairs<1>(part, from, to, pairs, w, some, last); break;
        case 2: multiply_pairs<2>(part, from, to, pairs, w, some, last); break;
#if defined(__AVX512F__)
        case 3: multiply_pairs<3>(part, from, to, pairs, w, some, last); break;
        case 4: multiply_pairs<4>(part, from, to, pairs, w, some, last); break;
#endif
      }
    }
  }
}

// ---- The gradient of a weight ---------------------------------------------------------------------------------------

template <int R, int V>
__attribute__((noinline)) void outer_tile(const float* const* x, const float* const* g, int64_t pairs, int64_t last, float* out) {
  Vec sum[R][V];
  UNROLL
  for (int r = 0; r < R; ++r)
    UNROLL
    for (int v = 0; v < V; ++v) sum[r][v] = load(out + (r * V + v) * kLanes);
  for (int64_t p = 0; p < pairs; ++p) {
    Vec w[V];
    UNROLL
    for (int v = 0; v < V - 1; ++v) w[v] = load(g[p] + v * kLanes);
    w[V - 1] = last == kLanes ? load(g[p] + (V - 1) * kLanes) : load_some(g[p] + (V - 1) * kLanes, last);
    UNROLL
    for (int r = 0; r < R; ++r) {
      const Vec it = splat(x[p][r]);
      UNROLL
      for (int v = 0; v < V; ++v) sum[r][v] += it * w[v];
    }
  }
  UNROLL
  for (int r = 0; r < R; ++r)
    UNROLL
    for (int v = 0; v < V; ++v) store(out + (r * V + v) * kLanes, sum[r][v]);
}

template <int V>
void outer_panel(const Maps& m, const float* const* x, const float* const* g, int64_t pairs, int64_t last,
                 float* out) {
  const int64_t tiles = ceil_div(m.inputs, kRows[V]);
  for (int64_t tile = 0; tile < tiles; ++tile) {
    const int64_t first = m.inputs * tile / tiles, rows = m.inputs * (tile + 1) / tiles - first;
    const float* from[kPairs];
    for (int64_t p = 0; p < pairs; ++p) from[p] = x[p] + first;
    float* const sums = out + first * V * kLanes;
#define CALL(R) \
  if constexpr (R <= kRows[V]) outer_tile<R, V>(from, g, pairs, last, sums)
    WITH_ROWS(rows, CALL)
#undef CALL
  }
}

// Adds to `out`, in panels.
void outer(const Maps& m, const float* gradient, const Panels& p, const int32_t* from, const int32_t* to,
           int64_t pairs, float* out) {
  for (int64_t begin = 0; begin < pairs; begin += kPairs) {
    const int64_t some = std::min(kPairs, pairs - begin);
    const float *x[kPairs], *g[kPairs];
    for (int64_t i = 0; i < some; ++i) x[i] = m.x + from[begin + i] * m.inputs;
    for (int64_t panel = 0; panel < p.count(); ++panel) {
      const int64_t width = p.width(panel), last = p.valid(panel) - width + kLanes;
      for (int64_t i = 0; i < some; ++i) g[i] = gradient + to[begin + i] * m.outputs + panel * kPanel;
      float* const sums = out + p.begin(panel);
      switch (width / kLanes) {
        case 1: outer_panel<1>(m, x, g, some, last, sums); break;
        case 2: outer_panel<2>(m, x, g, some, last, sums); break;
#if defined(__AVX512F__)
        case 3: outer_panel<3>(m, x, g, some, last, sums); break;
        case 4: outer_panel<4>(m, x, g, some, last, sums); break;
#endif
      }
    }
  }
}

}  // namespace

// y (M, O) becomes base + bias + the convolution, perhaps 0 where that is negative; base and bias may be null. Weights are
// (K, C, O), or (K, O, C) where `turned`. `starts` (K, B + 1) says where each block begins in an offset's list of pairs,
// `row` (M) where the targets of the blocks lie.
extern "C" void multum_sparse_convolution(const float* x, const float* weight, const int32_t* from, const int32_t* to,
                                          const int64_t* starts, const int32_t* row, int64_t targets, int64_t offsets,
                                          int64_t inputs, int64_t outputs, int turned, const float* bias,
                                          const float* base, int relu, int threads, float* y) {
  const Maps maps{x, y, inputs, outputs};
  const Panels panels{outputs, inputs};
  const int64_t blocks = ceil_div(targets, kBlock);
  const int64_t pairs = blocks ? starts[offsets * (blocks + 1) - 1] - starts[0] : 0;
  const int64_t useful = std::min<int64_t>(threads, pairs * inputs * outputs / kThreadWork + 1);
  std::unique_ptr<float[]> packed;
  const bool as_it_lies = !turned && panels.count() == 1 && outputs % kLanes == 0;
  if (!as_it_lies) {
    packed.reset(new float[offsets * panels.floats()]);
    for_each(offsets, useful, [&](int64_t k) {
      pack(weight + k * inputs * outputs, panels, turned, packed.get() + k * panels.floats());
    });
    weight = packed.get();
  }
  for_each(blocks, useful, [&](int64_t block) {
    const int64_t first = block * kBlock, last = std::min(targets, first + kBlock);
    for (int64_t i = first; i < last; ++i) {
      float* const out = y + row[i] * outputs;
      for (int64_t n = 0; n < outputs; ++n)
        out[n] = (base ? base[row[i] * outputs + n] : 0.0f) + (bias ? bias[n] : 0.0f);
    }
    for (int64_t k = 0; k < offsets; ++k) {
      const int64_t* const it = starts + k * (blocks + 1) + block;
      if (it[1] > it[0])
        multiply(maps, panels, from + it[0], to + it[0], it[1] - it[0], weight + k * panels.floats());
    }
    for (int64_t i = first; relu && i < last; ++i) {
      float* const out = y + row[i] * outputs;
      for (int64_t n = 0; n < outputs; ++n) out[n] = out[n] < 0.0f ? 0.0f : out[n];  // a NaN stays one
    }
  });
}

// The gradient of the weight, (K, C, O), from that of the output. Pieces are many blocks of targets.
extern "C" void multum_sparse_convolution_weight(const float* x, const float* gradient, const int32_t* from,
                                                 const int32_t* to, const int64_t* starts, int64_t offsets,
                                                 int64_t blocks, int64_t inputs, int64_t outputs, int threads,
                                                 float* out) {
  const Maps maps{x, nullptr, inputs, outputs};
  const Panels panels{outputs, inputs};
  const int64_t size = panels.floats(), pieces = std::clamp<int64_t>(blocks / kPieceBlocks, 1, kMostPieces);
  const int64_t groups = ceil_div(offsets, kOffsets);
  const int64_t pairs = blocks ? starts[offsets * (blocks + 1) - 1] - starts[0] : 0;
  const int64_t useful = std::min<int64_t>(threads, pairs * inputs * outputs / kThreadWork + 1);
  std::unique_ptr<float[]> sums(new float[pieces * offsets * size]);
  for_each(pieces * groups, useful, [&](int64_t task) {
    const int64_t piece = task / groups, first = offsets * (task % groups) / groups;
    const int64_t last = offsets * (task % groups + 1) / groups;
    float* const mine = sums.get() + piece * offsets * size;
    std::fill(mine + first * size, mine + last * size, 0.0f);
    for (int64_t block = blocks * piece / pieces; block < blocks * (piece + 1) / pieces; ++block)
      for (int64_t k = first; k < last; ++k) {
        const int64_t* const it = starts + k * (blocks + 1) + block;
        outer(maps, gradient, panels, from + it[0], to + it[0], it[1] - it[0], mine + k * size);
      }
  });
  for_each(offsets, useful, [&](int64_t k) {
    float* const weight = out + k * inputs * outputs;
    for (int64_t piece = 0; piece < pieces; ++piece)
      for (int64_t panel = 0; panel < panels.count(); ++panel) {
        const float* at = sums.get() + (piece * offsets + k) * size + panels.begin(panel);
        for (int64_t c = 0; c < inputs; ++c, at += panels.width(panel)) {
          float* const row = weight + c * outputs + panel * kPanel;
          for (int64_t n = 0; n < panels.valid(panel); ++n) row[n] = at[n] + (piece ? row[n] : 0.0f);
        }
      }
  });
}
