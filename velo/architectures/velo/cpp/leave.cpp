// Rotates VeLO's steps out of the eigenbasis (`leave` of velo/architectures/velo/eigenbasis.py), for CPUs.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "matrices.h"
#include "matrix_product.h"
#include "tree.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace {

using namespace velo;

// Scratch matrices that one matrix needs at the same time.
enum Buffer { kStep, kHalf, kRotated, kBasis, kTransposed };

// left x right^T.
Right rotate_back(const float* left, const float* right, Right x, int64_t rows, int64_t columns, Scratch& scratch) {
  const int64_t stride = stride_of(columns);
  if (left) {
    float* to = scratch.matrix(kHalf, rows, columns);
    multiply(plain(left, rows), x, to, stride, rows, rows, columns);
    x = {to, stride};
  }
  if (right) {
    const Right basis = scratch.load(kBasis, right, columns, columns);
    float* turned = scratch.matrix(kTransposed, columns, columns);
    transpose(basis, turned, basis.stride, columns, columns);
    float* to = scratch.matrix(kRotated, rows, columns);
    multiply(plain(x.data, x.stride), {turned, basis.stride}, to, stride, rows, columns, columns);
    x = {to, stride};
  }
  return x;
}

// The steps minus `size` times Adam's direction in the original coordinates; adds <step, direction> and both squares.
void mix(const float* momenta, const float* second_moments, float* steps, int64_t count, float size, float epsilon,
         double* sums) {
  for (int64_t run = 0; run < count; run += kRun) {
    Vector totals[3] = {};
    const auto mix_vector = [&](int64_t at, Vector step) {
      const Vector second_moment = load(second_moments + at);
      const Vector direction = load(momenta + at) / (root_of(second_moment).root + epsilon);
      totals[0] += step * direction;
      totals[1] += step * step;
      totals[2] += direction * direction;
      return second_moment > 0.0f ? step - size * direction : Vector{};  // zero where there was no gradient so far
    };
    const int64_t end = std::min(count, run + kRun);
    int64_t at = run;
    for (; at + kLanes <= end; at += kLanes) store(steps + at, mix_vector(at, load(steps + at)));
    if (at < end) {
      alignas(64) float step[kLanes] = {};
      std::copy_n(steps + at, end - at, step);
      store(step, mix_vector(at, load(step)));
      std::copy_n(step, end - at, steps + at);
    }
    for (int number = 0; number < 3; ++number) sums[number] += sum(totals[number]);
  }
}

// Operands: scalars [1] (epsilon), sizes [tensors], momentum and second moment in the original coordinates, vectors of
// each stack, steps; all of tensors that have a view. Results: sums [tensors, 3] of `mix`, and the steps in the
// original coordinates.
ffi::Error leave(ffi::ThreadPool pool, Array epsilons, Array sizes, Array momentum, Array second_moment,
                 ffi::RemainingArgs operands, Result sums, ffi::RemainingRets results,
                 ffi::Span<const int64_t> table, int64_t num_stacks) {
  const int64_t lanes = epsilons.element_count();
  if (lanes == 0) return ffi::Error::Success();
  const std::vector<View> views = read_views(table);
  const int64_t num_tensors = results.size();
  const Tree tree = read_tree(momentum, lanes, operands, num_stacks, num_tensors);
  const auto steps = read_leaves(operands, num_stacks, num_tensors);
  std::vector<const float*> vectors = read_leaves(operands, 0, num_stacks);
  std::vector<float*> outputs;
  for (int64_t index = 0; index < num_tensors; ++index) outputs.push_back((*results.get<Array>(index))->typed_data());

  const std::vector<Work> works = list_matrices(views);
  const int64_t num_works = works.size();
  in_parallel(pool, lanes * num_works, [&](int64_t number) {
    thread_local Scratch scratch;
    const int64_t lane = number / num_works, index = works[number % num_works].number;
    const View& view = views[works[number % num_works].view];
    const int64_t leaf = lane * tree.tensors[view.tensor].size;
    const float* bases[2] = {};
    for (int side = 0; side < 2; ++side) {
      const int64_t stack = view.sides[side].stack, size = view.side(side) * view.side(side);
      if (stack < 0) continue;
      const int64_t stride = operands.get<Array>(stack)->element_count() / lanes;
      bases[side] = vectors[stack] + lane * stride + (view.sides[side].start + index) * size;
    }
    const Right step = scratch.load(kStep, steps[view.tensor] + leaf + index * view.size(), view.rows, view.columns);
    scatter(Place(view, index), rotate_back(bases[0], bases[1], step, view.rows, view.columns, scratch),
            outputs[view.tensor] + leaf);
  });
  const int64_t num_pieces = tree.pieces.size();
  std::vector<double> totals(lanes * num_pieces * 3);
  in_parallel(pool, lanes * num_pieces, [&](int64_t number) {
    const int64_t lane = number / num_pieces;
    const Piece piece = tree.pieces[number % num_pieces];
    const int64_t page = lane * tree.stride + tree.tensors[piece.tensor].offset + piece.begin;
    mix(momentum.typed_data() + page, second_moment.typed_data() + page,
        outputs[piece.tensor] + lane * tree.tensors[piece.tensor].size + piece.begin, piece.end - piece.begin,
        sizes.typed_data()[lane * num_tensors + piece.tensor], epsilons.typed_data()[lane], &totals[number * 3]);
  });
  const std::vector<double> by_tensor = sum_pieces(tree, totals, 3);
  std::copy(by_tensor.begin(), by_tensor.end(), sums->typed_data());
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(velo_leave, leave,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .RemainingArgs()
                                  .Ret<Array>()
                                  .RemainingRets()
                                  .Attr<ffi::Span<const int64_t>>("table")
                                  .Attr<int64_t>("num_stacks"));
