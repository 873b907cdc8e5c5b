// Brings a basis closer to the eigenvectors of its factor.

#ifndef VELO_REFRESH_H_
#define VELO_REFRESH_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "matrices.h"
#include "matrix_product.h"
#include "orthogonal.h"

namespace velo {

constexpr float kTiny = 1e-30f;

// Statistics of a factor, as `turns.factor_statistics` defines them.
struct FactorStatistics {
  float rank, off_diagonal;
};

inline float log_ratio(float numerator, float denominator) {
  const float ratio = 0.2f * (std::log(numerator + kTiny) - std::log(denominator + kTiny));
  return std::min(2.0f, std::max(-2.0f, ratio));
}

// The statistics of a factor in scratch, whose largest entry is about 1, or which is zero.
inline FactorStatistics measure(const float* factor, int64_t stride, int64_t side, bool is_turned) {
  float trace = 0.0f, diagonal = 0.0f, squares = 0.0f;
  for (int64_t i = 0; i < side; ++i) {
    const float entry = factor[i * stride + i];
    trace += entry;
    diagonal += entry * entry;
    squares += dot(factor + i * stride, factor + i * stride, padded(side));
  }
  return {log_ratio(trace * trace, squares * side), is_turned ? 1.0f - diagonal / (squares + kTiny) : 0.0f};
}

inline void multiply_row(float by, const float* from, float* __restrict to, int64_t count) {
  for (int64_t j = 0; j < count; ++j) to[j] = by * from[j];
}

// One refresh of the contiguous vectors Q and factor A by the turn U, which is returned in scratch `number`: Q <- Q U,
// orthonormal to rounding, and A <- U^T A U. At first U holds A's eigenvectors, later the orthogonal factor of A's QR.
inline Right refresh_basis(float* vectors, float* factor, int64_t side, bool is_first, size_t number, size_t spare,
                           Scratch& scratch, FactorStatistics& statistics) {
  const int64_t stride = stride_of(side);
  float *turn = scratch.matrix(number, side, side), *rest = scratch.matrix(spare, side, side);
  float *product = scratch.matrix(spare + 1, side, side), *gram = scratch.matrix(spare + 2, side, side);
  Vector largest_of{};
  int64_t at = 0;
  for (; at + kLanes <= side * side; at += kLanes) largest_of = maximum(absolute(load(factor + at)), largest_of);
  float largest = 0.0f;
  for (int lane = 0; lane < kLanes; ++lane) largest = std::max(largest, largest_of[lane]);
  for (; at < side * side; ++at) largest = std::max(largest, std::abs(factor[at]));
  const float unit = largest > 0.0f ? largest : 1.0f, inverse = 1.0f / unit;
  for (int64_t i = 0; i < side; ++i) {
    std::fill_n(rest + i * stride + side / kLanes * kLanes, stride - side / kLanes * kLanes, 0.0f);
    multiply_row(inverse, factor + i * side, rest + i * stride, side);
  }
  statistics = measure(rest, stride, side, !is_first);
  if (is_first)
    factor_eigen(rest, turn, stride, side, scratch.work);
  else
    factor_qr(rest, turn, stride, side, scratch.work);
  for (int64_t i = 0; i < side; i += kAlign) {  // `rest` is U^T A, upper triangular except at first
    const int64_t from = is_first ? 0 : i;
    multiply(plain(rest + i * stride + from, stride), {turn + from * stride, stride}, product + i * stride, stride,
             std::min(kAlign, side - i), side - from, side);
  }
  for (int64_t i = 0; i < side; ++i) multiply_row(unit, product + i * stride, factor + i * side, side);
  multiply(plain(vectors, side), {turn, stride}, product, stride, side, side, side);
  multiply_symmetric(transposed(product, stride), {product, stride}, gram, stride, side, side);
  multiply(plain(product, stride), {gram, stride}, rest, stride, side, side, side);
  for (int64_t i = 0; i < side; ++i) {  // a Newton-Schulz step
    float* __restrict to = vectors + i * side;
    const float *own = product + i * stride, *correction = rest + i * stride;
    for (int64_t j = 0; j < side; ++j) to[j] = 1.5f * own[j] - 0.5f * correction[j];
  }
  return {turn, stride};
}

}  // namespace velo

#endif  // VELO_REFRESH_H_
