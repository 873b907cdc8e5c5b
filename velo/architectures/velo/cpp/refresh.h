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

// Of a factor, as `eigenbasis.factor_statistics` defines them.
struct FactorStatistics {
  float rank, off_diagonal;
};

inline float log_ratio(float numerator, float denominator) {
  const float ratio = 0.2f * (std::log(numerator + kTiny) - std::log(denominator + kTiny));
  return std::min(2.0f, std::max(-2.0f, ratio));
}

inline float largest_entry(const float* factor, int64_t side) {
  float largest = 0.0f;
  for (int64_t at = 0; at < side * side; ++at) largest = std::max(largest, std::abs(factor[at]));
  return largest;
}

inline FactorStatistics measure(const float* factor, int64_t side, float largest, bool is_turned) {
  const float unit = 1.0f / (largest + kTiny);
  float trace = 0.0f, diagonal = 0.0f;
  double squares = 0.0;
  for (int64_t at = 0; at < side * side; ++at) squares += static_cast<double>(unit * factor[at]) * (unit * factor[at]);
  for (int64_t i = 0; i < side; ++i) {
    const float entry = unit * factor[i * side + i];
    trace += entry;
    diagonal += entry * entry;
  }
  const float all = static_cast<float>(squares);
  return {log_ratio(trace * trace, all * side), is_turned ? 1.0f - diagonal / (all + kTiny) : 0.0f};
}

// One refresh of vectors Q and factor A, without gaps, by the turn U, which is returned in scratch `number`: Q <- Q U,
// orthonormal to rounding, A <- U^T A U. At first U holds A's eigenvectors, later the orthogonal factor of A.
inline Right refresh_basis(float* vectors, float* factor, int64_t side, bool is_first, size_t number, size_t spare,
                           Scratch& scratch, FactorStatistics& statistics) {
  const int64_t stride = stride_of(side);
  float *turn = scratch.matrix(number, side, side), *rest = scratch.matrix(spare, side, side);
  float *product = scratch.matrix(spare + 1, side, side), *gram = scratch.matrix(spare + 2, side, side);
  const float largest = largest_entry(factor, side);
  statistics = measure(factor, side, largest, !is_first);
  const float unit = largest > 0.0f ? largest : 1.0f;
  std::fill_n(rest, side * stride, 0.0f);
  for (int64_t i = 0; i < side; ++i)
    for (int64_t j = 0; j < side; ++j) rest[i * stride + j] = factor[i * side + j] / unit;
  if (is_first)
    factor_eigen(rest, turn, stride, side, scratch.work);
  else
    factor_qr(rest, turn, stride, side, scratch.work);
  bool is_finite = true;
  for (int64_t i = 0; i < side; ++i)
    for (int64_t j = 0; j < side; ++j) is_finite &= std::isfinite(turn[i * stride + j]);
  if (is_finite) {
    // `rest` is U^T A, upper triangular but at first.
    for (int64_t i = 0; i < side; i += kAlign) {
      const int64_t from = is_first ? 0 : i;
      multiply(plain(rest + i * stride + from, stride), {turn + from * stride, stride}, product + i * stride, stride,
               std::min(kAlign, side - i), side - from, side);
    }
    for (int64_t i = 0; i < side; ++i)
      for (int64_t j = 0; j < side; ++j) factor[i * side + j] = unit * product[i * stride + j];
  } else {
    set_identity(turn, stride, side);
  }
  multiply(plain(vectors, side), {turn, stride}, product, stride, side, side, side);
  multiply_symmetric(transposed(product, stride), {product, stride}, gram, stride, side, side);
  multiply(plain(product, stride), {gram, stride}, rest, stride, side, side, side);
  for (int64_t i = 0; i < side; ++i)  // a step of Newton and Schulz
    for (int64_t j = 0; j < side; ++j)
      vectors[i * side + j] = 1.5f * product[i * stride + j] - 0.5f * rest[i * stride + j];
  return {turn, stride};
}

}  // namespace velo

#endif  // VELO_REFRESH_H_
