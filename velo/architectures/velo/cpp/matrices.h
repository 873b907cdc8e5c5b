// How tensors are read as matrices (velo/architectures/velo/matrices.py), and scratch memory for them.

#ifndef VELO_MATRICES_H_
#define VELO_MATRICES_H_

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "matrix_product.h"
#include "tree.h"
#include "vectors.h"

namespace velo {

// One side of a tensor's matrices: its bases are entries `start` and following of a stack, or stack is -1.
struct Side {
  int64_t stack, start;
};

// A tensor as batch * above * beside matrices of rows x columns.
struct View {
  int64_t tensor, batch, above, rows, beside, columns;
  Side sides[2];
  std::vector<int64_t> batch_offsets, row_offsets, column_offsets;  // an entry of the tensor lies at their sum
  bool contiguous;                                                  // whether its rows are contiguous

  int64_t count() const { return batch * above * beside; }
  int64_t size() const { return rows * columns; }
  int64_t side(int number) const { return number ? columns : rows; }
  int64_t num_turned() const { return (sides[0].stack >= 0) + (sides[1].stack >= 0); }
};

// Offsets of all entries along some axes, from a list of (size, stride) that its length precedes.
inline std::vector<int64_t> read_offsets(const int64_t*& from) {
  std::vector<int64_t> offsets{0};
  for (int64_t axes = *from++; axes > 0; --axes, from += 2) {
    std::vector<int64_t> finer;
    finer.reserve(offsets.size() * from[0]);
    for (const int64_t offset : offsets)
      for (int64_t i = 0; i < from[0]; ++i) finer.push_back(offset + i * from[1]);
    offsets.swap(finer);
  }
  return offsets;
}

// The views of `Plan.table`.
inline std::vector<View> read_views(ffi::Span<const int64_t> table) {
  std::vector<View> views;
  for (const int64_t *at = table.begin(), *end = at + table.size(); at < end;) {
    View view{at[0], at[1], at[2], at[3], at[4], at[5], {{at[6], at[7]}, {at[8], at[9]}}, {}, {}, {}, true};
    at += 10;
    view.batch_offsets = read_offsets(at);
    view.row_offsets = read_offsets(at);
    view.column_offsets = read_offsets(at);
    for (int64_t j = 0; j < view.columns * view.beside; ++j) view.contiguous &= view.column_offsets[j] == j;
    views.push_back(std::move(view));
  }
  return views;
}

// Where one matrix of a tensor lies.
struct Place {
  const View& view;
  int64_t batch, row, column;

  Place(const View& of, int64_t number)
      : view(of), batch(of.batch_offsets[number / (of.above * of.beside)]),
        row(number / of.beside % of.above * of.rows), column(number % of.beside * of.columns) {}

  int64_t of_row(int64_t i) const { return batch + view.row_offsets[row + i]; }
  int64_t of_column(int64_t j) const { return view.column_offsets[column + j]; }
};

// Copies the entries of a matrix; zeroes non-finite ones and those beyond `limit`.
inline void gather(const Place& place, const float* tensor, float limit, float* to, int64_t stride) {
  const View& view = place.view;
  for (int64_t i = 0; i < view.rows; ++i, to += stride) {
    const float* from = tensor + place.of_row(i);
    int64_t j = 0;
    if (view.contiguous)
      for (; j + kLanes <= view.columns; j += kLanes) store(to + j, clean(load(from + place.column + j), limit));
    for (; j < view.columns; ++j) {
      const float entry = from[place.of_column(j)];
      to[j] = std::abs(entry) < limit ? entry : 0.0f;
    }
  }
}

inline void scatter(const Place& place, Right from, float* tensor) {
  const View& view = place.view;
  for (int64_t i = 0; i < view.rows; ++i) {
    const float* row = from.data + i * from.stride;
    float* to = tensor + place.of_row(i);
    if (view.contiguous)
      std::copy_n(row, view.columns, to + place.column);
    else
      for (int64_t j = 0; j < view.columns; ++j) to[place.of_column(j)] = row[j];
  }
}

// A matrix of one lane.
struct Work {
  int64_t view, number;
};

inline std::vector<Work> list_matrices(const std::vector<View>& views) {
  std::vector<Work> works;
  for (int64_t view = 0; view < static_cast<int64_t>(views.size()); ++view)
    for (int64_t number = 0; number < views[view].count(); ++number) works.push_back({view, number});
  return works;
}

// Floats between rows of scratch: strides that are multiples of 256 bytes would overload the same sets of a cache.
inline int64_t stride_of(int64_t columns) { return padded(columns) % 64 ? padded(columns) : padded(columns) + kAlign; }

// Memory of a thread for matrices that are needed at the same time.
class Scratch {
 public:
  // Memory for a matrix, not cleared.
  float* matrix(size_t number, int64_t rows, int64_t columns) {
    if (buffers_.size() <= number) buffers_.resize(number + 1);
    const size_t size = padded(rows) * stride_of(columns);
    if (buffers_[number].size() < size) buffers_[number].resize(size);
    return buffers_[number].data();
  }

  // A matrix without gaps between its rows as an operand of products; copied if scratch rows have another stride.
  Right load(size_t number, const float* from, int64_t rows, int64_t columns) {
    if (stride_of(columns) == columns) return {from, columns};
    float* to = matrix(number, rows, columns);
    copy(from, columns, to, stride_of(columns), rows, columns);
    return {to, stride_of(columns)};
  }

  std::vector<float> work;

 private:
  std::vector<std::vector<float>> buffers_;
};

}  // namespace velo

#endif  // VELO_MATRICES_H_
