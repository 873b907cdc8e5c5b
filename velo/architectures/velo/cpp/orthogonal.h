// Orthogonal factors of small symmetric matrices: QR by Householder's reflections, eigenvectors by Jacobi's rotations.
//
// Matrices lie in scratch as `matrix_product.h` says.

#ifndef VELO_ORTHOGONAL_H_
#define VELO_ORTHOGONAL_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "matrix_product.h"
#include "vectors.h"

namespace velo {

constexpr int kReflected = 4;  // vectors of a row that are reflected at a time

// m_i -= v_i w for the rows i, then next_w += next_v_i m_i: two reflections in one pass.
template <int kCount>
inline void reflect_columns(float* m, int64_t stride, int64_t begin, int64_t end, const float* v, const float* w,
                            const float* next_v, float* next_w) {
  Vector old[kCount], next[kCount] = {};
  for (int c = 0; c < kCount; ++c) old[c] = load(w + c * kLanes);
  for (int64_t i = begin; i < end; ++i) {
    float* row = m + i * stride;
    const float x = v[i], y = next_v[i];
    for (int c = 0; c < kCount; ++c) {
      const Vector entry = load(row + c * kLanes) - x * old[c];
      store(row + c * kLanes, entry);
      next[c] += y * entry;
    }
  }
  for (int c = 0; c < kCount; ++c) store(next_w + c * kLanes, next[c]);
}

// The same for the columns from `first_column` to `end`.
inline void reflect(float* m, int64_t stride, int64_t begin, int64_t end, int64_t first_column, const float* v,
                    const float* w, const float* next_v, float* next_w) {
  const int64_t width = padded(end);
  for (int64_t at = first_column / kLanes * kLanes; at < width;) {
    const int64_t vectors = (width - at) / kLanes;
    if (vectors >= kReflected) {
      reflect_columns<kReflected>(m + at, stride, begin, end, v, w + at, next_v, next_w + at);
      at += kReflected * kLanes;
    } else if (vectors >= 2) {
      reflect_columns<2>(m + at, stride, begin, end, v, w + at, next_v, next_w + at);
      at += 2 * kLanes;
    } else {
      reflect_columns<1>(m + at, stride, begin, end, v, w + at, next_v, next_w + at);
      at += kLanes;
    }
  }
}

inline void scale(float* x, float by, int64_t count) {
  for (int64_t at = 0; at < count; at += kLanes) store(x + at, by * load(x + at));
}

inline float dot(const float* x, const float* y, int64_t count) {
  Vector total{};
  for (int64_t at = 0; at < count; at += kLanes) total += load(x + at) * load(y + at);
  return sum(total);
}

inline void set_identity(float* m, int64_t stride, int64_t side) {
  std::fill_n(m, side * stride, 0.0f);
  for (int64_t i = 0; i < side; ++i) m[i * stride + i] = 1.0f;
}

// m = q r of a square matrix, with a non-negative diagonal of r, which takes the place of m. A reflection is 1 - v (t v)^T.
inline void factor_qr(float* m, float* q, int64_t stride, int64_t side, std::vector<float>& scratch) {
  scratch.assign(side * stride + side + 3 * stride, 0.0f);
  float *reflections = scratch.data(), *factors = reflections + side * stride;
  float *column = factors + side, *w = column + stride, *next_w = w + stride;
  const auto factor = [&](int64_t k) -> float* { return reflections + k * stride; };
  for (int64_t k = 0; k < side; ++k) {
    // Column k behind the reflection before, which the other columns see with the next pass.
    const float pending = w[k];
    const float* before = k ? factor(k - 1) : column;
    float* v = factor(k);
    for (int64_t i = k + 1; i < side; ++i) v[i] = m[i * stride + k] - before[i] * pending;
    const int64_t first = k / kLanes * kLanes;
    const float square = dot(v + first, v + first, padded(side) - first);
    const float pivot = m[k * stride + k] - before[k] * pending;
    float diagonal = pivot;
    if (square > 0.0f) {
      diagonal = (pivot < 0.0f ? 1.0f : -1.0f) * std::sqrt(pivot * pivot + square);
      v[k] = pivot - diagonal;
      factors[k] = 2.0f / (v[k] * v[k] + square);
    } else {
      std::fill_n(v, side, 0.0f);
    }
    reflect(m, stride, std::max<int64_t>(k - 1, 0), side, std::max<int64_t>(k - 1, 0), before, w, v, next_w);
    scale(next_w, factors[k], stride);
    std::swap(w, next_w);
  }
  reflect(m, stride, side - 1, side, side - 1, factor(side - 1), w, column, next_w);
  set_identity(q, stride, side);
  std::fill_n(w, stride, 0.0f);
  const float* before = column;
  for (int64_t k = side - 1; k >= 0; --k) {
    const float* v = factor(k);
    reflect(q, stride, k, side, k, before, w, v, next_w);
    scale(next_w, factors[k], stride);
    std::swap(w, next_w);
    before = v;
  }
  reflect(q, stride, 0, side, 0, before, w, column, next_w);
  for (int64_t k = 0; k < side; ++k) {
    std::fill_n(m + k * stride, k, 0.0f);
    if (m[k * stride + k] < 0.0f) {
      for (int64_t j = k; j < side; ++j) m[k * stride + j] = -m[k * stride + j];
      for (int64_t i = 0; i < side; ++i) q[i * stride + k] = -q[i * stride + k];
    }
  }
}

// (x, y) = (c x - s y, s x + c y); ratio is s / (1 + c), with which lengths drift less.
inline void rotate_pair(float* x, float* y, float s, float ratio, int64_t count) {
  for (int64_t at = 0; at < count; at += kLanes) {
    const Vector a = load(x + at), b = load(y + at);
    store(x + at, a - s * (b + ratio * a));
    store(y + at, b + s * (a - ratio * b));
  }
}

// The eigenvectors of m, symmetric and without negative eigenvalues, in the columns of u by falling eigenvalue; u^T m
// takes the place of m. Rotations of pairs of rows of m make all rows orthogonal (Hestenes, 1958). The largest entry of
// each eigenvector is positive. What stands behind the last column of m must be zero.
inline void factor_eigen(float* m, float* u, int64_t stride, int64_t side, std::vector<float>& scratch) {
  constexpr int kMaxSweeps = 30;
  constexpr float kRounding = 2e-7f;
  scratch.assign(2 * side * stride, 0.0f);
  float *turned = scratch.data(), *sorted = turned + side * stride;
  set_identity(turned, stride, side);
  const int64_t width = padded(side);
  std::vector<float> squares(side);
  bool done = false;
  for (int sweep = 0; sweep < kMaxSweeps && !done; ++sweep) {
    done = true;
    for (int64_t i = 0; i < side; ++i) squares[i] = dot(m + i * stride, m + i * stride, width);
    const float limit = kRounding * kRounding * *std::max_element(squares.begin(), squares.end());
    for (int64_t i = 0; i < side; ++i)
      for (int64_t j = i + 1; j < side; ++j) {
        float *x = m + i * stride, *y = m + j * stride;
        const float product = dot(x, y, width);
        if (!(product * product > limit * std::max(squares[i], squares[j]))) continue;
        const float ratio = 0.5f * (squares[j] - squares[i]) / product;
        const float tangent = (ratio < 0.0f ? -1.0f : 1.0f) / (std::abs(ratio) + std::sqrt(1.0f + ratio * ratio));
        const float cosine = 1.0f / std::sqrt(1.0f + tangent * tangent);
        const float sine = cosine * tangent, half = sine / (1.0f + cosine);
        rotate_pair(x, y, sine, half, width);
        rotate_pair(turned + i * stride, turned + j * stride, sine, half, width);
        squares[i] -= tangent * product;
        squares[j] += tangent * product;
        done = false;
      }
  }
  std::vector<int64_t> order(side);
  std::iota(order.rbegin(), order.rend(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return squares[a] > squares[b]; });
  for (int64_t i = 0; i < side; ++i) {
    const float* vector = turned + order[i] * stride;
    const float* largest = std::max_element(vector, vector + side, [](float a, float b) { return std::abs(a) < std::abs(b); });
    const float sign = *largest < 0.0f ? -1.0f : 1.0f;
    for (int64_t j = 0; j < side; ++j) {
      u[j * stride + i] = sign * vector[j];
      sorted[i * stride + j] = sign * m[order[i] * stride + j];
    }
  }
  std::copy_n(sorted, side * stride, m);
}

}  // namespace velo

#endif  // VELO_ORTHOGONAL_H_
