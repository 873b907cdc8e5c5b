// Products of small matrices in single precision, on one core.
//
// Matrices lie in rows whose length is a multiple of kLanes floats; entries behind the last column are never used.
// A tile of the result stays in registers while the inner dimension runs through.

#ifndef VELO_MATRIX_PRODUCT_H_
#define VELO_MATRIX_PRODUCT_H_

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "vectors.h"

namespace velo {

#if defined(__AVX512F__)
constexpr int kWide = 16, kRegisters = 32;  // floats of a register, registers
#elif defined(__AVX__)
constexpr int kWide = 8, kRegisters = 16;
#else
constexpr int kWide = 4, kRegisters = 32;
#endif

typedef float Wide __attribute__((vector_size(4 * kWide)));
typedef float WideMemory __attribute__((vector_size(4 * kWide), aligned(4), may_alias));

constexpr int kMaxVectors = kRegisters / 8;  // of a tile's row
constexpr int64_t kInner = 512;              // entries of the inner dimension that a tile takes at a time
constexpr int64_t kAlign = 16;               // rows and columns of scratch are multiples of it

// Rows of the largest tile with rows of so many vectors.
constexpr int tile_rows(int vectors) { return std::min(12, (kRegisters - 2 - vectors) / vectors / 2 * 2); }

inline int64_t padded(int64_t count) { return (count + kAlign - 1) / kAlign * kAlign; }

// The left operand: entry (i, k) lies at i * row + k * inner, where row or inner is 1.
struct Left {
  const float* data;
  int64_t row, inner;
};

inline Left plain(const float* data, int64_t stride) { return {data, stride, 1}; }
inline Left transposed(const float* data, int64_t stride) { return {data, 1, stride}; }

// A matrix whose rows begin `stride` floats apart.
struct Right {
  const float* data;
  int64_t stride;
};

template <int kRows, int kVectors, bool kTransposed>
inline void multiply_tile(const float* a, int64_t stride, Right b, float* c, int64_t c_stride, int64_t inner,
                          bool add) {
  Wide sums[kRows][kVectors] = {};
  if (add)
    for (int r = 0; r < kRows; ++r)
      for (int v = 0; v < kVectors; ++v)
        sums[r][v] = *reinterpret_cast<const WideMemory*>(c + r * c_stride + v * kWide);
  for (int64_t k = 0; k < inner; ++k) {
    Wide row[kVectors];
    for (int v = 0; v < kVectors; ++v) row[v] = *reinterpret_cast<const WideMemory*>(b.data + k * b.stride + v * kWide);
    for (int r = 0; r < kRows; ++r) {
      const float entry = kTransposed ? a[k * stride + r] : a[r * stride + k];
      for (int v = 0; v < kVectors; ++v) sums[r][v] += entry * row[v];
    }
  }
  for (int r = 0; r < kRows; ++r)
    for (int v = 0; v < kVectors; ++v) *reinterpret_cast<WideMemory*>(c + r * c_stride + v * kWide) = sums[r][v];
}

// kVectors columns of tiles: rows in the largest tiles, then in smaller ones.
template <int kVectors, bool kTransposed, int kRows = tile_rows(kVectors)>
inline void multiply_rows(const float* a, int64_t stride, Right b, float* c, int64_t c_stride, int64_t rows,
                          int64_t inner, bool add) {
  for (; rows >= kRows; rows -= kRows, c += kRows * c_stride, a += kRows * (kTransposed ? 1 : stride))
    multiply_tile<kRows, kVectors, kTransposed>(a, stride, b, c, c_stride, inner, add);
  if constexpr (kRows > 1) {
    constexpr int kFewer = kRows > 4 ? 4 : kRows / 2;
    if (rows) multiply_rows<kVectors, kTransposed, kFewer>(a, stride, b, c, c_stride, rows, inner, add);
  }
}

template <int kVectors, bool kTransposed>
inline void multiply_columns(int vectors, const float* a, int64_t stride, Right b, float* c, int64_t c_stride,
                             int64_t rows, int64_t inner, bool add) {
  if (vectors == kVectors)
    multiply_rows<kVectors, kTransposed>(a, stride, b, c, c_stride, rows, inner, add);
  else if constexpr (kVectors > 1)
    multiply_columns<kVectors - 1, kTransposed>(vectors, a, stride, b, c, c_stride, rows, inner, add);
}

// c = a b, of `columns` columns rounded up to whole vectors.
inline void multiply(Left a, Right b, float* c, int64_t c_stride, int64_t rows, int64_t inner, int64_t columns) {
  const int64_t vectors = (columns + kWide - 1) / kWide;
  const int64_t tiles = (vectors + kMaxVectors - 1) / kMaxVectors;
  for (int64_t begin = 0; begin < inner || begin == 0; begin += kInner) {
    const int64_t count = std::min(kInner, inner - begin);
    const float* from = a.data + begin * a.inner;
    for (int64_t tile = 0; tile < tiles; ++tile) {
      const int64_t first = vectors * tile / tiles, last = vectors * (tile + 1) / tiles;
      const Right part{b.data + begin * b.stride + first * kWide, b.stride};
      float* to = c + first * kWide;
      if (a.inner == 1)
        multiply_columns<kMaxVectors, false>(last - first, from, a.row, part, to, c_stride, rows, count, begin > 0);
      else
        multiply_columns<kMaxVectors, true>(last - first, from, a.inner, part, to, c_stride, rows, count, begin > 0);
    }
  }
}

// The transpose of kAlign x kAlign entries: four rounds that exchange halves of pairs of rows.
inline void transpose_block(const float* from, int64_t from_stride, float* to, int64_t to_stride) {
  static_assert(kAlign == kLanes && kLanes == 16);
  Vector rows[kLanes];
  for (int r = 0; r < kLanes; ++r) rows[r] = load(from + r * from_stride);
#define VELO_EXCHANGE(distance, low, high)                                                   \
  for (int r = 0; r < kLanes; ++r)                                                           \
    if (!(r & (distance))) {                                                                 \
      const Vector x = rows[r], y = rows[r + (distance)];                                    \
      rows[r] = __builtin_shuffle(x, y, Integers low);                                       \
      rows[r + (distance)] = __builtin_shuffle(x, y, Integers high);                         \
    }
#define VELO_MASK(...) {__VA_ARGS__}
  VELO_EXCHANGE(8, VELO_MASK(0, 1, 2, 3, 4, 5, 6, 7, 16, 17, 18, 19, 20, 21, 22, 23),
                VELO_MASK(8, 9, 10, 11, 12, 13, 14, 15, 24, 25, 26, 27, 28, 29, 30, 31))
  VELO_EXCHANGE(4, VELO_MASK(0, 1, 2, 3, 16, 17, 18, 19, 8, 9, 10, 11, 24, 25, 26, 27),
                VELO_MASK(4, 5, 6, 7, 20, 21, 22, 23, 12, 13, 14, 15, 28, 29, 30, 31))
  VELO_EXCHANGE(2, VELO_MASK(0, 1, 16, 17, 4, 5, 20, 21, 8, 9, 24, 25, 12, 13, 28, 29),
                VELO_MASK(2, 3, 18, 19, 6, 7, 22, 23, 10, 11, 26, 27, 14, 15, 30, 31))
  VELO_EXCHANGE(1, VELO_MASK(0, 16, 2, 18, 4, 20, 6, 22, 8, 24, 10, 26, 12, 28, 14, 30),
                VELO_MASK(1, 17, 3, 19, 5, 21, 7, 23, 9, 25, 11, 27, 13, 29, 15, 31))
#undef VELO_MASK
#undef VELO_EXCHANGE
  for (int r = 0; r < kLanes; ++r) store(to + r * to_stride, rows[r]);
}

// The transpose of a matrix in scratch, whose rows and columns are rounded up to multiples of kAlign.
inline void transpose(Right from, float* to, int64_t to_stride, int64_t rows, int64_t columns) {
  for (int64_t i = 0; i < rows; i += kAlign)
    for (int64_t j = 0; j < columns; j += kAlign)
      transpose_block(from.data + i * from.stride + j, from.stride, to + j * to_stride + i, to_stride);
}

// c = a b where the product is symmetric: blocks below the diagonal are mirrored.
inline void multiply_symmetric(Left a, Right b, float* c, int64_t c_stride, int64_t side, int64_t inner) {
  for (int64_t i = 0; i < side; i += kAlign) {
    const Left part{a.data + i * a.row, a.row, a.inner};
    multiply(part, {b.data + i, b.stride}, c + i * c_stride + i, c_stride, std::min(kAlign, side - i), inner, side - i);
  }
  for (int64_t i = 0; i < side; i += kAlign)
    for (int64_t j = i + kAlign; j < side; j += kAlign)
      transpose_block(c + i * c_stride + j, c_stride, c + j * c_stride + i, c_stride);
}

inline void copy(const float* from, int64_t from_stride, float* to, int64_t to_stride, int64_t rows, int64_t columns) {
  for (int64_t row = 0; row < rows; ++row)
    std::memcpy(to + row * to_stride, from + row * from_stride, columns * sizeof(float));
}

}  // namespace velo

#endif  // VELO_MATRIX_PRODUCT_H_
