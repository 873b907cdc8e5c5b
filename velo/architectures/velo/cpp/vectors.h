// Vectors of floats that compilers map to the machine's registers, and functions of them.

#ifndef VELO_VECTORS_H_
#define VELO_VECTORS_H_

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

namespace velo {

constexpr int kLanes = 16;  // floats of a vector; compilers split it where registers are shorter

typedef float Vector __attribute__((vector_size(4 * kLanes)));
typedef int32_t Integers __attribute__((vector_size(4 * kLanes)));
typedef float Memory __attribute__((vector_size(4 * kLanes), aligned(4), may_alias));

inline Vector load(const float* from) { return *reinterpret_cast<const Memory*>(from); }
inline void store(float* to, Vector x) { *reinterpret_cast<Memory*>(to) = x; }
inline Vector fill(float x) { return Vector{} + x; }
inline Vector absolute(Vector x) { return (Vector)((Integers)x & 0x7fffffff); }

inline Vector relu(Vector x) {  // NaN stays
#ifdef __AVX512F__
  return (Vector)_mm512_max_ps(__m512{}, (__m512)x);
#else
  return x < 0 ? Vector{} : x;
#endif
}

// x / y within two ulp for normal y.
inline Vector divide(Vector x, Vector y) {
#ifdef __AVX512F__
  const Vector guess = (Vector)_mm512_rcp14_ps((__m512)y);
  return x * (guess * (2.0f - y * guess));  // a Newton step
#else
  return x / y;
#endif
}

struct Root {
  Vector root, inverse;
};

// The square root of x >= 0, within two ulp and zero below the normal numbers, and its inverse where that isn't zero.
inline Root root_of(Vector x) {
#ifdef __AVX512F__
  const Vector guess = (Vector)_mm512_rsqrt14_ps((__m512)x);
  const Vector inverse = guess * (1.5f - 0.5f * x * guess * guess);  // a Newton step
  return {x >= std::numeric_limits<float>::min() ? x * inverse : Vector{}, inverse};
#else
  Vector root;
  for (int i = 0; i < kLanes; ++i) root[i] = std::sqrt(x[i]);
  return {root, 1.0f / root};
#endif
}

inline float sum(Vector x) {
  for (int half = kLanes / 2; half; half /= 2)
    for (int i = 0; i < half; ++i) x[i] += x[i + half];
  return x[0];
}

inline Vector maximum(Vector x, Vector y) { return x > y ? x : y; }

inline Vector limit_to(Vector x, Vector limit) {
  x = x > limit ? limit : x;
  return x < -limit ? -limit : x;
}

inline Vector clean(Vector grad, float limit) { return absolute(grad) < limit ? grad : Vector{}; }

// exp for |x| < 80 within an ulp or two, NaN for NaN (Cephes' expf: powers of two times a polynomial).
inline Vector exponential(Vector x) {
  const float rounding = 12582912.0f;  // 1.5 * 2^23: what is added to it is rounded to an integer
  const Vector count = (x * 1.44269504088896341f + rounding) - rounding;
  const Vector rest = (x - count * 0.693359375f) + count * 2.12194440e-4f;
  Vector y = fill(1.9875691500e-4f);
  y = y * rest + 1.3981999507e-3f;
  y = y * rest + 8.3334519073e-3f;
  y = y * rest + 4.1665795894e-2f;
  y = y * rest + 1.6666665459e-1f;
  y = y * rest + 5.0000001201e-1f;
  y = (y * rest) * rest + rest + 1.0f;
#ifdef __AVX512F__
  return (Vector)_mm512_scalef_ps((__m512)y, (__m512)count);
#else
  const Integers exponent = (__builtin_convertvector(count, Integers) + 127) << 23;
  Vector power;
  std::memcpy(&power, &exponent, sizeof power);
  return y * power;
#endif
}

}  // namespace velo

#endif  // VELO_VECTORS_H_
