// The lite residual of a block, once there and once back: pool, convolve in groups, bend, mix channels, blow up.
//
//   forward    p = pool(x)    r = relu(norm1(W1 * p))    z = norm2(W2 r)    y = base + upsample(z)
//   backward   from the gradient of y those of x, both weights and the scales and shifts of both norms; p and r are
//              what forward kept
//
// The norms have fixed statistics, so that each is a factor of the weight in front of it, and a shift.
//
// Maps are small and channels few, so a library's convolution spends its time on everything but multiplying. Here six
// pixels by two vectors of outputs stay in registers over all taps of a kernel, which are just offsets into a map with
// a border of zeros; the gradient of the input is the same with taps turned round, that of a weight has pixels in the
// place of channels. Every sum is taken by one thread in one order: any number of threads gives the same bits.
//
// Shape letters: B pictures, C channels in, O out, G groups of the first convolution, P = k / 2 its border.
// All maps have channels inmost.

#include <kernel.h>

#include <cmath>
#include <cstring>
#include <memory>

using namespace multum;

namespace {

constexpr int kVectors = 2, kPanel = kVectors * kLanes;
constexpr int kRows = 6;             // of a register tile
constexpr int64_t kPixels = 128;     // whose gradients meet all taps before the next ones come
constexpr int64_t kThreadWork = 1 << 21;  // multiply-accumulates that are worth a thread

// Memory that is not cleared, with a panel more at its end, so that whole vectors may be read there.
class Floats {
 public:
  explicit Floats(int64_t count) : memory_(new float[count + kPanel]) {
    std::fill(memory_.get() + count, memory_.get() + count + kPanel, 0.0f);
  }
  operator float*() const { return memory_.get(); }

 private:
  std::unique_ptr<float[]> memory_;
};

template <typename Work>
void for_each(int64_t count, int64_t macs, int threads, const Work& work) {
  multum::for_each(count, std::min<int64_t>(threads, macs / kThreadWork), work);
}

// ---- A convolution of a list of pixels ------------------------------------------------------------------------------

struct Pixels {  // where each of a list of pixels lies, in floats
  std::vector<int64_t> at;
  int64_t count() const { return int64_t(at.size()); }
};

struct Epilogue {
  const float* shift = nullptr;  // of each output; null: none
  bool relu = false;
  const float* mask = nullptr;  // outputs are 0 where this is not positive
};

template <int R, int V>
inline void conv_tile(const float* const* src, const std::vector<int64_t>& taps, int64_t inputs, const float* weight,
                      Vec (&sum)[R][V]) {
  for (int64_t tap : taps) {
    const float* from[R];
    for (int r = 0; r < R; ++r) from[r] = src[r] + tap;
    for (int64_t i = 0; i < inputs; ++i, weight += V * kLanes) {
      Vec w[V];
      for (int v = 0; v < V; ++v) w[v] = load(weight + v * kLanes);
      for (int r = 0; r < R; ++r) {
        const Vec x = splat(from[r][i]);
        for (int v = 0; v < V; ++v) sum[r][v] += x * w[v];
      }
    }
  }
}

template <int R, int V>
void conv_pixels(const float* src, const int64_t* src_at, const std::vector<int64_t>& taps, int64_t inputs,
                 const float* weight, int64_t valid, float* dst, const int64_t* dst_at, const Epilogue& end,
                 const int64_t* mask_at) {
  const float* from[R];
  Vec sum[R][V];
  float shift[V * kLanes] = {};
  if (end.shift) std::copy(end.shift, end.shift + valid, shift);
  for (int r = 0; r < R; ++r) {
    from[r] = src + src_at[r];
    for (int v = 0; v < V; ++v) sum[r][v] = load(shift + v * kLanes);
  }
  conv_tile<R, V>(from, taps, inputs, weight, sum);
  for (int r = 0; r < R; ++r) {
    float rest[V * kLanes];
    float* const out = valid == V * kLanes ? dst + dst_at[r] : rest;
    const float* mask = end.mask ? end.mask + mask_at[r] : nullptr;
    float rest_mask[V * kLanes] = {};
    if (mask && valid < V * kLanes) mask = std::copy(mask, mask + valid, rest_mask) - valid;
    for (int v = 0; v < V; ++v) {
      Vec it = sum[r][v];
      if (end.relu) it = it < 0.0f ? Vec{} : it;  // a NaN stays one
      if (mask) it = load(mask + v * kLanes) > 0.0f ? it : Vec{};
      store(out + v * kLanes, it);
    }
    if (out == rest) std::copy(rest, rest + valid, dst + dst_at[r]);
  }
}

template <int V>
void conv_panel(const float* src, const Pixels& src_pixels, const std::vector<int64_t>& taps, int64_t inputs,
                const float* weight, int64_t valid, float* dst, const Pixels& dst_pixels, const Epilogue& end,
                const Pixels* mask_pixels) {
  const int64_t count = src_pixels.count(), tiles = (count + kRows - 1) / kRows;
  for (int64_t tile = 0; tile < tiles; ++tile) {  // of nearly equal size: one of a single row would wait for itself
    const int64_t i = count * tile / tiles, rows = count * (tile + 1) / tiles - i;
    const int64_t *from = &src_pixels.at[i], *to = &dst_pixels.at[i];
    const int64_t* mask = mask_pixels ? &mask_pixels->at[i] : nullptr;
    switch (rows) {
#define ROWS(R) \
  case R:       \
    conv_pixels<R, V>(src, from, taps, inputs, weight, valid, dst, to, end, mask); \
    break;
      ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6)
#undef ROWS
    }
  }
}

// Outputs in panels: a panel's weights lie by tap, input, output, zeros at its end.
struct Panels {
  int64_t outputs, inputs, taps;

  int64_t count() const { return (outputs + kPanel - 1) / kPanel; }
  int64_t valid(int64_t panel) const { return std::min<int64_t>(kPanel, outputs - panel * kPanel); }
  int64_t width(int64_t panel) const { return round_up(valid(panel), kLanes); }
  int64_t begin(int64_t panel) const { return panel * kPanel * inputs * taps; }
  int64_t floats() const { return round_up(outputs, kLanes) * inputs * taps; }
};

void convolve(const float* src, const Pixels& src_pixels, const std::vector<int64_t>& taps, const Panels& p,
              const float* weight, float* dst, const Pixels& dst_pixels, const Epilogue& end = {},
              const Pixels* mask_pixels = nullptr) {
  for (int64_t panel = 0; panel < p.count(); ++panel) {
    Epilogue mine = end;
    if (end.shift) mine.shift += panel * kPanel;
    if (end.mask) mine.mask += panel * kPanel;
    const auto run = p.width(panel) > kLanes ? conv_panel<kVectors> : conv_panel<1>;
    run(src, src_pixels, taps, p.inputs, weight + p.begin(panel), p.valid(panel), dst + panel * kPanel, dst_pixels,
        mine, mask_pixels);
  }
}

// ---- The gradient of a weight ---------------------------------------------------------------------------------------

template <int R, int V>
void gradient_tile(const float* src, const int64_t* src_at, const float* gradient, const int64_t* gradient_at,
                   int64_t pixels, float* out) {
  Vec sum[R][V];
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) sum[r][v] = load(out + (r * V + v) * kLanes);
  for (int64_t i = 0; i < pixels; ++i) {
    const float *x = src + src_at[i], *g = gradient + gradient_at[i];
    Vec w[V];
    for (int v = 0; v < V; ++v) w[v] = load(g + v * kLanes);
    for (int r = 0; r < R; ++r) {
      const Vec it = splat(x[r]);
      for (int v = 0; v < V; ++v) sum[r][v] += it * w[v];
    }
  }
  for (int r = 0; r < R; ++r)
    for (int v = 0; v < V; ++v) store(out + (r * V + v) * kLanes, sum[r][v]);
}

template <int V>
void gradient_panel(const float* src, const Pixels& src_pixels, const std::vector<int64_t>& taps, int64_t inputs,
                    const float* gradient, const Pixels& gradient_pixels, float* out) {
  const int64_t count = src_pixels.count();
  std::fill(out, out + int64_t(taps.size()) * inputs * V * kLanes, 0.0f);
  for (int64_t first = 0; first < count; first += kPixels) {
    const int64_t some = std::min(kPixels, count - first);
    const int64_t *from = &src_pixels.at[first], *of = &gradient_pixels.at[first];
    float* sums = out;
    for (int64_t tap : taps)
      for (int64_t i = 0; i < inputs; i += kRows) {
        const int64_t rows = std::min<int64_t>(kRows, inputs - i);
        switch (rows) {
#define ROWS(R) \
  case R:       \
    gradient_tile<R, V>(src + tap + i, from, gradient, of, some, sums); \
    break;
          ROWS(1) ROWS(2) ROWS(3) ROWS(4) ROWS(5) ROWS(6)
#undef ROWS
        }
        sums += rows * V * kLanes;
      }
  }
}

void weight_gradient(const float* src, const Pixels& src_pixels, const std::vector<int64_t>& taps, const Panels& p,
                     int64_t panel, const float* gradient, const Pixels& gradient_pixels, float* out) {
  const auto run = p.width(panel) > kLanes ? gradient_panel<kVectors> : gradient_panel<1>;
  run(src, src_pixels, taps, p.inputs, gradient + panel * kPanel, gradient_pixels, out + p.begin(panel));
}

// ---- Weights --------------------------------------------------------------------------------------------------------

struct Weight {  // (O, c, kernel, kernel) of one group, in any layout, and a factor for each output
  const float *at, *factor;
  int64_t output, input, row, column;  // strides

  int64_t place(int64_t o, int64_t i, int64_t y, int64_t x) const {
    return o * output + i * input + y * row + x * column;
  }
};

using Taps = std::vector<std::pair<int64_t, int64_t>>;  // rows and columns of a kernel

void pack(const Weight& w, const Panels& p, const Taps& taps, float* out) {
  for (int64_t panel = 0; panel < p.count(); ++panel) {
    const int64_t valid = p.valid(panel), width = p.width(panel);
    for (const auto& [y, x] : taps) {
      if (valid < width) std::fill(out, out + p.inputs * width, 0.0f);
      for (int64_t n = 0; n < valid; ++n) {
        const int64_t o = panel * kPanel + n;
        const float *from = w.at + w.place(o, 0, y, x), factor = w.factor[o];
        for (int64_t i = 0; i < p.inputs; ++i) out[i * width + n] = from[i * w.input] * factor;
      }
      out += p.inputs * width;
    }
  }
}

// For the gradient of the input: outputs and inputs change places, and of the taps only some are there.
void pack_turned(const Weight& w, const Panels& p, const Taps& taps, float* out) {
  for (int64_t panel = 0; panel < p.count(); ++panel) {
    const int64_t valid = p.valid(panel), width = p.width(panel);
    for (const auto& [y, x] : taps)
      for (int64_t o = 0; o < p.inputs; ++o, out += width) {
        const float *from = w.at + w.place(o, panel * kPanel, y, x), factor = w.factor[o];
        for (int64_t n = 0; n < valid; ++n) out[n] = from[n * w.input] * factor;
        std::fill(out + valid, out + width, 0.0f);
      }
  }
}

// From the gradient of (factor W) those of W, written as W lies, and of the factor.
void unpack_gradient(const Weight& w, const Panels& p, const Taps& taps, const float* packed, float* of_weight,
                     float* of_factor) {
  constexpr int64_t kChains = 4;  // of sums, which else would wait for each other
  for (int64_t panel = 0; panel < p.count(); ++panel) {
    const int64_t valid = p.valid(panel), width = p.width(panel);
    double sums[kPanel] = {};
    for (const auto& [y, x] : taps) {
      for (int64_t n = 0; n < valid; ++n) {
        const int64_t o = panel * kPanel + n, place = w.place(o, 0, y, x);
        const float *weight = w.at + place, *from = packed + n, factor = w.factor[o];
        float *to = of_weight + place, some[kChains] = {};
        int64_t i = 0;
        for (; i + kChains <= p.inputs; i += kChains)
          for (int64_t j = 0; j < kChains; ++j) {
            const float it = from[(i + j) * width];
            some[j] += it * weight[(i + j) * w.input];
            to[(i + j) * w.input] = it * factor;
          }
        for (; i < p.inputs; ++i) {
          const float it = from[i * width];
          some[0] += it * weight[i * w.input];
          to[i * w.input] = it * factor;
        }
        for (float it : some) sums[n] += it;
      }
      packed += p.inputs * width;
    }
    for (int64_t n = 0; n < valid; ++n) of_factor[panel * kPanel + n] = float(sums[n]);
  }
}

// ---- Sizes ----------------------------------------------------------------------------------------------------------

// Bilinear, as torch's with align_corners=False.
struct Axis {
  std::vector<int64_t> low, high;
  std::vector<float> part;  // of the higher one

  Axis(int64_t from, int64_t to) : low(to), high(to), part(to) {
    const float scale = float(from) / float(to);
    for (int64_t i = 0; i < to; ++i) {
      const float at = std::max(0.0f, scale * (float(i) + 0.5f) - 0.5f);
      low[i] = std::min(int64_t(at), from - 1);
      high[i] = std::min(low[i] + 1, from - 1);
      part[i] = std::min(1.0f, std::max(0.0f, at - float(low[i])));
    }
  }
};

// Calls work(vectors) for places 0, kLanes, ..., and work(numbers) for what is left.
template <typename Work>
inline void along(int64_t count, const Work& work) {
  int64_t i = 0;
  for (; i + kLanes <= count; i += kLanes) work(i, Vec{});
  for (; i < count; ++i) work(i, 0.0f);
}

inline Vec get(const float* p, Vec) { return load(p); }
inline float get(const float* p, float) { return *p; }
inline void put(float* p, Vec v) { store(p, v); }
inline void put(float* p, float v) { *p = v; }

inline void mixed_onto(const float* base, const float* a, const float* b, float part, int64_t count, float* out) {
  along(count, [=](int64_t i, auto it) {
    put(out + i, get(base + i, it) + (get(a + i, it) * (1.0f - part) + get(b + i, it) * part));
  });
}

inline void mixed(const float* a, const float* b, float part, int64_t count, float* out) {
  along(count, [=](int64_t i, auto it) { put(out + i, get(a + i, it) * (1.0f - part) + get(b + i, it) * part); });
}

inline void add_part(const float* from, float part, int64_t count, float* to) {
  along(count, [=](int64_t i, auto it) { put(to + i, get(to + i, it) + get(from + i, it) * part); });
}

inline void add_parts(const float* g, float part, int64_t count, float* a, float* b) {
  add_part(g, 1.0f - part, count, a);
  add_part(g, part, count, b);
}

struct Lite {
  int64_t pictures, height, width, inputs, outputs, groups, kernel, stride, pool;  // pool 0: all of a map
  int64_t out_height, out_width;
  int threads;

  int64_t border() const { return kernel / 2; }
  int64_t pooled_height() const { return pool ? height / pool : 1; }
  int64_t pooled_width() const { return pool ? width / pool : 1; }
  int64_t small_height() const { return (pooled_height() - 1) / stride + 1; }
  int64_t small_width() const { return (pooled_width() - 1) / stride + 1; }
  int64_t small() const { return small_height() * small_width(); }
  int64_t taps() const { return kernel * kernel; }
  Panels depth() const { return {inputs / groups, inputs / groups, taps()}; }
  int64_t macs() const { return pictures * small() * inputs * (inputs / groups * taps() + outputs); }

  void reduce(const float* x, float* pooled) const {
    const int64_t h = pool ? pool : height, w = pool ? pool : width;
    const float part = 1.0f / float(h * w);
    for (int64_t y = 0; y < pooled_height(); ++y)
      for (int64_t column = 0; column < pooled_width(); ++column, pooled += inputs) {
        const float* first = x + (y * h * width + column * w) * inputs;
        along(inputs, [=](int64_t c, auto it) {
          auto sum = it;
          for (int64_t i = 0; i < h; ++i)
            for (int64_t j = 0; j < w; ++j) sum += get(first + (i * width + j) * inputs + c, it);
          put(pooled + c, sum * part);
        });
      }
  }

  void reduce_back(const float* pooled, float* x) const {
    const int64_t h = pool ? pool : height, w = pool ? pool : width;
    const float part = 1.0f / float(h * w);
    for (int64_t row = 0; row < height; ++row)
      for (int64_t column = 0; column < width; ++column, x += inputs) {
        const int64_t y = row / h, place = column / w;
        if (y >= pooled_height() || place >= pooled_width()) {  // what pooling leaves out
          std::fill(x, x + inputs, 0.0f);
          continue;
        }
        const float* from = pooled + (y * pooled_width() + place) * inputs;
        along(inputs, [=](int64_t c, auto it) { put(x + c, get(from + c, it) * part); });
      }
  }

  void blow_up(const float* z, const float* base, float* y) const {
    const Axis down(small_height(), out_height), across(small_width(), out_width);
    const int64_t row_floats = small_width() * outputs;
    Floats row(row_floats);
    for (int64_t i = 0; i < out_height; ++i) {
      mixed(z + down.low[i] * row_floats, z + down.high[i] * row_floats, down.part[i], row_floats, row);
      for (int64_t j = 0; j < out_width; ++j, y += outputs, base += outputs)
        mixed_onto(base, row + across.low[j] * outputs, row + across.high[j] * outputs, across.part[j], outputs, y);
    }
  }

  void blow_up_back(const float* g, float* z) const {
    const Axis down(small_height(), out_height), across(small_width(), out_width);
    const int64_t row_floats = small_width() * outputs;
    Floats row(row_floats);
    std::fill(z, z + small_height() * row_floats, 0.0f);
    for (int64_t i = 0; i < out_height; ++i) {
      std::fill(static_cast<float*>(row), row + row_floats, 0.0f);
      for (int64_t j = 0; j < out_width; ++j, g += outputs)
        add_parts(g, across.part[j], outputs, row + across.low[j] * outputs, row + across.high[j] * outputs);
      add_parts(row, down.part[i], row_floats, z + down.low[i] * row_floats, z + down.high[i] * row_floats);
    }
  }

  bool is_blown_up() const { return small_height() != out_height || small_width() != out_width; }
};

// Where pixels (first, first + step, ...) x (...) of a map with a border lie, one picture after the other.
Pixels pixels_of(int64_t pictures, int64_t height, int64_t width, int64_t border, int64_t channels, int64_t step = 1,
                 int64_t first_row = 0, int64_t first_column = 0) {
  Pixels found;
  const int64_t wide = width + 2 * border, picture = (height + 2 * border) * wide * channels;
  for (int64_t b = 0; b < pictures; ++b)
    for (int64_t y = first_row; y < height; y += step)
      for (int64_t x = first_column; x < width; x += step)
        found.at.push_back(b * picture + ((y + border) * wide + x + border) * channels);
  return found;
}

// A map with a border of zeros around it.
void put_border(const float* map, int64_t height, int64_t width, int64_t border, int64_t channels, float* out) {
  const int64_t row = width * channels, side = border * channels;
  std::fill(out, out + border * (row + 2 * side), 0.0f);
  out += border * (row + 2 * side);
  for (int64_t y = 0; y < height; ++y, map += row, out += row + 2 * side) {
    std::fill(out, out + side, 0.0f);
    std::copy(map, map + row, out + side);
    std::fill(out + side + row, out + row + 2 * side, 0.0f);
  }
  std::fill(out, out + border * (row + 2 * side), 0.0f);
}

std::vector<int64_t> offsets(const Taps& taps, int64_t wide, int64_t channels) {
  std::vector<int64_t> found;
  for (const auto& [y, x] : taps) found.push_back((y * wide + x) * channels);
  return found;
}

// All taps of a kernel, and the same seen from somewhere else.
Taps all_taps(int64_t kernel, int64_t from = 0) {
  Taps found;
  for (int64_t y = 0; y < kernel; ++y)
    for (int64_t x = 0; x < kernel; ++x) found.emplace_back(y - from, x - from);
  return found;
}

// A norm with fixed statistics as a factor and a shift.
struct Norm {
  std::vector<float> factor, shift, mean, over_deviation;

  Norm(const float* scale, const float* bias, const float* means, const float* variances, double eps, int64_t channels)
      : factor(channels), shift(channels), mean(means, means + channels), over_deviation(channels) {
    for (int64_t c = 0; c < channels; ++c) {
      over_deviation[c] = 1.0f / std::sqrt(variances[c] + float(eps));
      factor[c] = scale[c] * over_deviation[c];
      shift[c] = bias[c] - means[c] * factor[c];
    }
  }

  // From the gradients of the factor and the shift that of the scale, in the place of the first.
  void scale_gradient(float* of_factor, const float* of_shift) const {
    for (size_t c = 0; c < factor.size(); ++c)
      of_factor[c] = (of_factor[c] - mean[c] * of_shift[c]) * over_deviation[c];
  }
};

// A convolution and the norm behind it, as they come from outside.
struct Layer {
  Norm norm;
  Weight weight;

  Layer(const float* const* it, const int64_t* strides, double eps, int64_t channels)
      : norm(it[1], it[2], it[3], it[4], eps, channels),
        weight{it[0], norm.factor.data(), strides[0], strides[1], strides[2], strides[3]} {}
};

Weight of_group(Weight w, int64_t group, int64_t outputs) {
  w.at += group * outputs * w.output;
  w.factor += group * outputs;
  return w;
}

void sum_pixels(const float* map, const Pixels& pixels, int64_t channels, float* out) {
  std::vector<double> sums(channels, 0.0);
  for (int64_t at : pixels.at)
    for (int64_t c = 0; c < channels; ++c) sums[c] += map[at + c];
  for (int64_t c = 0; c < channels; ++c) out[c] = float(sums[c]);
}

void forward(const Lite& l, const float* x, const float* base, const Layer& first, const Layer& second,
             float* pooled, float* bent, float* y) {
  const int64_t C = l.inputs, O = l.outputs, h = l.pooled_height(), w = l.pooled_width(), P = l.border();
  const Panels depth = l.depth(), mix{O, C, 1};
  Floats packed1(l.groups * depth.floats()), packed2(mix.floats());
  for (int64_t g = 0; g < l.groups; ++g)
    pack(of_group(first.weight, g, depth.outputs), depth, all_taps(l.kernel), packed1 + g * depth.floats());
  pack(second.weight, mix, {{0, 0}}, packed2);
  const std::vector<int64_t> taps = offsets(all_taps(l.kernel, P), w + 2 * P, C), one{0};
  const int64_t small_h = l.small_height(), small_w = l.small_width();
  const Pixels from = pixels_of(1, h, w, P, C, l.stride), in_small = pixels_of(1, small_h, small_w, 0, C),
               out_small = pixels_of(1, small_h, small_w, 0, O);
  for_each(l.pictures, l.macs(), l.threads, [&](int64_t b) {
    float *p = pooled + b * h * w * C, *r = bent + b * l.small() * C, *to = y + b * l.out_height * l.out_width * O;
    l.reduce(x + b * l.height * l.width * C, p);
    Floats bordered((h + 2 * P) * (w + 2 * P) * C);
    put_border(p, h, w, P, C, bordered);
    for (int64_t g = 0; g < l.groups; ++g) {
      const int64_t at = g * depth.outputs;
      Epilogue end;
      end.shift = first.norm.shift.data() + at, end.relu = true;
      convolve(bordered + at, from, taps, depth, packed1 + g * depth.floats(), r + at, in_small, end);
    }
    Floats z(l.small() * O);
    Epilogue end;
    end.shift = second.norm.shift.data();
    convolve(r, in_small, one, mix, packed2, z, out_small, end);
    l.blow_up(z, base + b * l.out_height * l.out_width * O, to);
  });
}

struct Gradients {
  float *x, *w1, *scale1, *shift1, *w2, *scale2, *shift2;  // x may be null
};

// The gradient of the pooled map. With a stride every parity of a pixel has taps of its own.
struct Turned {
  std::vector<int64_t> taps;
  Taps kernel;
  Pixels from, to;
  std::unique_ptr<Floats> packed;
};

std::vector<Turned> turned(const Lite& l, const Weight& w1) {
  const int64_t C = l.inputs, P = l.border(), s = l.stride, wide = l.small_width() + 2 * P;
  std::vector<Turned> found;
  for (int64_t a = 0; a < std::min(s, l.pooled_height()); ++a)
    for (int64_t b = 0; b < std::min(s, l.pooled_width()); ++b) {
      Turned it;
      Taps places;
      for (int64_t y = 0; y < l.kernel; ++y)
        for (int64_t x = 0; x < l.kernel; ++x)
          if ((a + P - y) % s == 0 && (b + P - x) % s == 0) {
            it.kernel.emplace_back(y, x);
            places.emplace_back((a + P - y) / s, (b + P - x) / s);
          }
      it.taps = offsets(places, wide, C);
      it.to = pixels_of(1, l.pooled_height(), l.pooled_width(), 0, C, s, a, b);
      for (int64_t y = a; y < l.pooled_height(); y += s)
        for (int64_t x = b; x < l.pooled_width(); x += s)
          it.from.at.push_back(((y / s + P) * wide + x / s + P) * C);
      const Panels p{C / l.groups, C / l.groups, int64_t(it.kernel.size())};
      it.packed.reset(new Floats(l.groups * p.floats()));
      for (int64_t g = 0; g < l.groups; ++g)
        pack_turned(of_group(w1, g, C / l.groups), p, it.kernel, *it.packed + g * p.floats());
      found.push_back(std::move(it));
    }
  return found;
}

void backward(const Lite& l, const float* gradient, const float* pooled, const float* bent,
              const Layer& first, const Layer& second, const Gradients& to) {
  const int64_t B = l.pictures, C = l.inputs, O = l.outputs, P = l.border();
  const int64_t h = l.pooled_height(), w = l.pooled_width();
  const int64_t small_h = l.small_height(), small_w = l.small_width(), small = l.small();
  const int64_t wide_picture = (h + 2 * P) * (w + 2 * P) * C, wide_small = (small_h + 2 * P) * (small_w + 2 * P) * C;
  const Panels mix_back{C, O, 1};
  Floats z(B * small * O), bordered(B * wide_picture), dy(B * wide_small), packed2(mix_back.floats());
  pack_turned(second.weight, mix_back, {{0, 0}}, packed2);
  const std::vector<Turned> classes = to.x ? turned(l, first.weight) : std::vector<Turned>();
  const std::vector<int64_t> one{0};
  const Pixels in_small = pixels_of(1, small_h, small_w, 0, C), out_small = pixels_of(1, small_h, small_w, 0, O),
               in_wide = pixels_of(1, small_h, small_w, P, C);
  for_each(B, l.macs(), l.threads, [&](int64_t b) {
    float *dz = z + b * small * O, *d = dy + b * wide_small;
    const float* g = gradient + b * l.out_height * l.out_width * O;
    if (l.is_blown_up())
      l.blow_up_back(g, dz);
    else
      std::copy(g, g + small * O, dz);
    std::fill(d, d + wide_small, 0.0f);
    Epilogue end;
    end.mask = bent + b * small * C;
    convolve(dz, out_small, one, mix_back, packed2, d, in_wide, end, &in_small);
    put_border(pooled + b * h * w * C, h, w, P, C, bordered + b * wide_picture);
    if (!to.x) return;
    Floats dp(h * w * C);
    for (const Turned& it : classes) {
      const Panels p{C / l.groups, C / l.groups, int64_t(it.taps.size())};
      for (int64_t group = 0; group < l.groups; ++group)
        convolve(d + group * p.inputs, it.from, it.taps, p, *it.packed + group * p.floats(), dp + group * p.outputs,
                 it.to);
    }
    l.reduce_back(dp, to.x + b * l.height * l.width * C);
  });
  const Panels depth = l.depth(), mix{O, C, 1};
  Floats packed(l.groups * depth.floats() + mix.floats());
  float* of_mix = packed + l.groups * depth.floats();
  const std::vector<int64_t> taps = offsets(all_taps(l.kernel, P), w + 2 * P, C);
  const Pixels all_in = pixels_of(B, h, w, P, C, l.stride), all_small = pixels_of(B, small_h, small_w, 0, C),
               all_out = pixels_of(B, small_h, small_w, 0, O), all_wide = pixels_of(B, small_h, small_w, P, C);
  const int64_t of_depth = l.groups * depth.count();
  for_each(of_depth + mix.count(), l.macs(), l.threads, [&](int64_t i) {
    if (i < of_depth) {
      const int64_t group = i / depth.count(), at = group * depth.outputs;
      weight_gradient(bordered + at, all_in, taps, depth, i % depth.count(), dy + at, all_wide,
                      packed + group * depth.floats());
    } else {
      weight_gradient(bent, all_small, one, mix, i - of_depth, z, all_out, of_mix);
    }
  });
  for (int64_t g = 0; g < l.groups; ++g)
    unpack_gradient(of_group(first.weight, g, depth.outputs), depth, all_taps(l.kernel), packed + g * depth.floats(),
                    to.w1 + g * depth.outputs * first.weight.output, to.scale1 + g * depth.outputs);
  unpack_gradient(second.weight, mix, {{0, 0}}, of_mix, to.w2, to.scale2);
  sum_pixels(dy, all_wide, C, to.shift1);
  sum_pixels(z, all_out, O, to.shift2);
  first.norm.scale_gradient(to.scale1, to.shift1);
  second.norm.scale_gradient(to.scale2, to.shift2);
}

Lite lite_of(const int64_t* s, int threads) {
  return {s[0], s[1], s[2], s[3], s[4], s[5], s[6], s[7], s[8], s[9], s[10], threads};
}

}  // namespace

// sizes: B, height, width, C, O, G, kernel, stride, pool, height and width of y. strides: of W1, then of W2.
// layers: weight, scale, shift, mean and variance, first of W1, then of W2. eps: of both norms.
extern "C" void multum_lite_forward(const int64_t* sizes, const int64_t* strides, const float* const* layers,
                                    const double* eps, const float* x, const float* base, float* pooled, float* bent,
                                    float* y, int threads) {
  const Lite l = lite_of(sizes, threads);
  const Layer first(layers, strides, eps[0], l.inputs), second(layers + 5, strides + 4, eps[1], l.outputs);
  forward(l, x, base, first, second, pooled, bent, y);
}

// gradients: of x, which may be null, then of weight, scale and shift of both layers, weights lying as the weights do.
extern "C" void multum_lite_backward(const int64_t* sizes, const int64_t* strides, const float* const* layers,
                                     const double* eps, const float* gradient, const float* pooled, const float* bent,
                                     float* const* gradients, int threads) {
  const Lite l = lite_of(sizes, threads);
  const Layer first(layers, strides, eps[0], l.inputs), second(layers + 5, strides + 4, eps[1], l.outputs);
  backward(l, gradient, pooled, bent, first, second,
           {gradients[0], gradients[1], gradients[2], gradients[3], gradients[4], gradients[5], gradients[6]});
}
