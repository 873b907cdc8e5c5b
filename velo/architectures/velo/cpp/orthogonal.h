// Orthogonal factors of small symmetric matrices: QR by Householder reflections, eigenvectors by QL of the
// tridiagonal form.
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
// A column below the diagonal with a smaller square is rounding (the largest entry is 1); 2 / square might overflow.
constexpr float kTinySquare = 1e-30f;

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

// q = H_0 H_1 ... of the reflections H = 1 - factor v v^T, of which each row of `reflections` holds one v. `none` is
// a zero row, and w and next_w are scratch rows.
inline void multiply_reflections(const float* reflections, const float* factors, const float* none, float* w,
                                 float* next_w, float* q, int64_t stride, int64_t side) {
  set_identity(q, stride, side);
  std::fill_n(w, stride, 0.0f);
  std::fill_n(next_w, stride, 0.0f);  // each pass also scales columns that only later passes write
  const float* before = none;
  for (int64_t k = side - 1; k >= 0; --k) {
    const float* v = reflections + k * stride;
    reflect(q, stride, k, side, k, before, w, v, next_w);
    scale(next_w, factors[k], stride);
    std::swap(w, next_w);
    before = v;
  }
  reflect(q, stride, 0, side, 0, before, w, none, next_w);
}

// m = q r of a square matrix, with a non-negative diagonal of r; r overwrites m.
inline void factor_qr(float* m, float* q, int64_t stride, int64_t side, std::vector<float>& scratch) {
  scratch.assign(side * stride + side + 3 * stride, 0.0f);
  float *reflections = scratch.data(), *factors = reflections + side * stride;
  float *column = factors + side, *w = column + stride, *next_w = w + stride;
  const auto factor = [&](int64_t k) -> float* { return reflections + k * stride; };
  for (int64_t k = 0; k < side; ++k) {
    // Column k after the previous reflection, which the next pass applies to the other columns.
    const float pending = w[k];
    const float* before = k ? factor(k - 1) : column;
    float* v = factor(k);
    for (int64_t i = k + 1; i < side; ++i) v[i] = m[i * stride + k] - before[i] * pending;
    const int64_t first = k / kLanes * kLanes;
    const float square = dot(v + first, v + first, padded(side) - first);
    const float pivot = m[k * stride + k] - before[k] * pending;
    float diagonal = pivot;
    if (square > kTinySquare) {
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
  multiply_reflections(reflections, factors, column, w, next_w, q, stride, side);
  for (int64_t k = 0; k < side; ++k) {
    std::fill_n(m + k * stride, k, 0.0f);
    if (m[k * stride + k] < 0.0f) {
      for (int64_t j = k; j < side; ++j) m[k * stride + j] = -m[k * stride + j];
      for (int64_t i = 0; i < side; ++i) q[i * stride + k] = -q[i * stride + k];
    }
  }
}

// (x, y) = (c x - s y, s x + c y)
inline void rotate_pair(float* x, float* y, float c, float s, int64_t count) {
  for (int64_t at = 0; at < count; at += kLanes) {
    const Vector a = load(x + at), b = load(y + at);
    store(x + at, c * a - s * b);
    store(y + at, s * a + c * b);
  }
}

// a = z^T t z of a symmetric a, for a tridiagonal t with `diagonal` and the off-diagonal `beside`; a is overwritten. By
// Householder reflections from both sides.
inline void factor_tridiagonal(float* a, float* z, int64_t stride, int64_t side, double* diagonal, double* beside,
                               std::vector<float>& scratch) {
  scratch.assign(side * stride + side + 3 * stride, 0.0f);
  float *reflections = scratch.data(), *factors = reflections + side * stride;
  float *none = factors + side, *w = none + stride, *next_w = w + stride;
  const int64_t width = padded(side);
  for (int64_t k = 0; k < side; ++k) {
    diagonal[k] = a[k * stride + k];
    if (k + 1 == side) break;
    float* v = reflections + k * stride;
    std::copy(a + k * stride + k + 2, a + k * stride + side, v + k + 2);
    const float square = dot(v, v, width), pivot = a[k * stride + k + 1];
    beside[k] = pivot;
    if (!(square > kTinySquare)) continue;
    beside[k] = (pivot < 0.0f ? 1.0f : -1.0f) * std::sqrt(pivot * pivot + square);
    v[k + 1] = pivot - static_cast<float>(beside[k]);
    factors[k] = 2.0f / (v[k + 1] * v[k + 1] + square);
    reflect(a, stride, k + 1, side, k + 1, none, none, v, w);  // w = v a
    scale(w, factors[k], width);
    const float middle = 0.5f * factors[k] * dot(w, v, width);
    for (int64_t at = 0; at < width; at += kLanes) store(w + at, load(w + at) - middle * load(v + at));
    for (int64_t i = k + 1; i < side; ++i)
      for (int64_t at = (k + 1) / kLanes * kLanes; at < width; at += kLanes) {
        float* row = a + i * stride + at;
        store(row, load(row) - v[i] * load(w + at) - w[i] * load(v + at));
      }
    std::fill_n(w, stride, 0.0f);
  }
  multiply_reflections(reflections, factors, none, w, next_w, a, stride, side);
  transpose({a, stride}, z, stride, side, side);
}

// The eigenvalues of a symmetric tridiagonal matrix, in `diagonal`; the rotations are applied to the rows of z. By QL
// with implicit shifts (Dubrulle, Martin and Wilkinson, 1968), to single precision.
inline void factor_ql(double* diagonal, double* beside, float* z, int64_t stride, int64_t side) {
  constexpr int kMaxIterations = 60;
  double largest = 0.0;
  for (int64_t i = 0; i < side; ++i) largest = std::max(largest, std::abs(diagonal[i]));
  const double negligible = 3e-8 * largest;
  for (int64_t low = 0; low < side; ++low)
    for (int iteration = 0; iteration < kMaxIterations; ++iteration) {
      int64_t high = low;
      while (high + 1 < side && std::abs(beside[high]) > negligible) ++high;
      if (high == low) break;
      const double half = (diagonal[low + 1] - diagonal[low]) / (2.0 * beside[low]);
      const double length = std::sqrt(half * half + 1.0);
      double rest = diagonal[high] - diagonal[low] + beside[low] / (half + (half < 0.0 ? -length : length));
      double sine = 1.0, cosine = 1.0, shift = 0.0;
      int64_t i = high - 1;
      for (; i >= low; --i) {
        const double bulge = sine * beside[i], kept = cosine * beside[i];
        const double norm = std::sqrt(bulge * bulge + rest * rest);
        beside[i + 1] = norm;
        if (norm == 0.0) break;
        sine = bulge / norm;
        cosine = rest / norm;
        const double moved = diagonal[i + 1] - shift;
        const double mixed = (diagonal[i] - moved) * sine + 2.0 * cosine * kept;
        shift = sine * mixed;
        diagonal[i + 1] = moved + shift;
        rest = cosine * mixed - kept;
        rotate_pair(z + i * stride, z + (i + 1) * stride, cosine, sine, padded(side));
      }
      beside[high] = 0.0;
      if (i >= low) {
        diagonal[i + 1] -= shift;
      } else {
        diagonal[low] -= shift;
        beside[low] = rest;
      }
    }
}

// The eigenvectors of a symmetric m in the columns of u, by falling eigenvalue; u^T m overwrites m. The largest entry
// of each eigenvector is positive. Entries behind the last column of m must be zero.
inline void factor_eigen(float* m, float* u, int64_t stride, int64_t side, std::vector<float>& scratch) {
  std::vector<float> a(m, m + side * stride), z(padded(side) * stride);
  a.resize(padded(side) * stride);
  std::vector<double> diagonal(side), beside(side);
  factor_tridiagonal(a.data(), z.data(), stride, side, diagonal.data(), beside.data(), scratch);
  factor_ql(diagonal.data(), beside.data(), z.data(), stride, side);
  std::vector<int64_t> order(side);
  std::iota(order.rbegin(), order.rend(), 0);
  std::stable_sort(order.begin(), order.end(), [&](int64_t i, int64_t j) { return diagonal[i] > diagonal[j]; });
  const auto is_smaller = [](float x, float y) { return std::abs(x) < std::abs(y); };
  for (int64_t i = 0; i < side; ++i) {
    const float* vector = z.data() + order[i] * stride;
    const float sign = *std::max_element(vector, vector + side, is_smaller) < 0.0f ? -1.0f : 1.0f;
    for (int64_t j = 0; j < side; ++j) u[j * stride + i] = sign * vector[j];
  }
  std::copy_n(m, side * stride, a.data());
  multiply(transposed(u, stride), {a.data(), stride}, m, stride, side, side, side);
}

}  // namespace velo

#endif  // VELO_ORTHOGONAL_H_
