// Rotates VeLO's gradients into the eigenbasis (`enter` of velo/architectures/velo/eigenbasis.py), for CPUs.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "matrices.h"
#include "matrix_product.h"
#include "refresh.h"
#include "tree.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace {

using namespace velo;

enum Original { kMomentum, kSecondMoment, kGradientSum, kOriginals };
constexpr int kTurnedPages = 4;
constexpr int kStatistics = 3;
enum Phase { kKeep, kFirst, kRefresh };  // what happens to the bases

// Scratch matrices that one matrix needs at the same time.
enum Buffer { kGrad, kHalf, kRotated, kTransposed, kProduct, kLeftBasis, kRightBasis, kLeftTurn, kRightTurn, kSpare };

struct Constants {
  float decays[kOriginals], rests[kOriginals], factor_decay, factor_rest, max_gradient, rounding;
};

struct Scalars {
  float weight, rate, factor;
  Phase phase;
};

Scalars read_scalars(const float* of_lane) {
  return {of_lane[0], of_lane[1], of_lane[2], static_cast<Phase>(static_cast<int>(of_lane[3]))};
}

// left^T x right, in buffer kRotated; a basis without data is skipped.
Right rotate(Right left, Right right, Right x, int64_t rows, int64_t columns, Scratch& scratch) {
  const int64_t stride = stride_of(columns);
  if (left.data) {
    float* to = scratch.matrix(right.data ? kHalf : kRotated, rows, columns);
    multiply(transposed(left.data, left.stride), x, to, stride, rows, rows, columns);
    x = {to, stride};
  }
  if (right.data) {
    float* to = scratch.matrix(kRotated, rows, columns);
    multiply(plain(x.data, x.stride), right, to, stride, rows, columns, columns);
    x = {to, stride};
  }
  return x;
}

// factor <- decay factor + rest product; entries that overflow are set to zero.
void average(const Constants& constants, const float* product, int64_t stride, float* factor, int64_t side) {
  const float decay = constants.factor_decay, rest = constants.factor_rest;
  for (int64_t i = 0; i < side; ++i) {
    float* __restrict to = factor + i * side;
    const float* from = product + i * stride;
    for (int64_t j = 0; j < side; ++j) {
      const float mean = decay * to[j] + rest * from[j];
      to[j] = std::abs(mean) <= std::numeric_limits<float>::max() ? mean : 0.0f;
    }
  }
}

void update_factors(const Constants& constants, float weight, Right x, float* left, float* right, int64_t rows,
                    int64_t columns, Scratch& scratch) {
  if (weight != 1.0f) {
    float* scaled = scratch.matrix(kHalf, rows, columns);
    for (int64_t i = 0; i < rows; ++i) multiply_row(weight, x.data + i * x.stride, scaled + i * x.stride, columns);
    x.data = scaled;
  }
  if (left) {
    float *turned = scratch.matrix(kTransposed, columns, rows), *product = scratch.matrix(kProduct, rows, rows);
    transpose(x, turned, stride_of(rows), rows, columns);
    multiply_symmetric(plain(x.data, x.stride), {turned, stride_of(rows)}, product, stride_of(rows), rows, columns);
    average(constants, product, stride_of(rows), left, rows);
  }
  if (right) {
    float* product = scratch.matrix(kProduct, columns, columns);
    multiply_symmetric(transposed(x.data, x.stride), x, product, x.stride, columns, rows);
    average(constants, product, x.stride, right, columns);
  }
}

// The arrays of one matrix.
struct Matrix {
  float *vectors[2], *factors[2];  // of the sides that are turned, otherwise null
  float* pages[kTurnedPages];
  float* rotated;
};

// Rotates the gradient of one matrix into its basis, which is refreshed if the phase says so; adds to the statistics.
void enter_matrix(const Constants& constants, const Scalars& scalars, const Place& place, const float* tensor,
                  const Matrix& matrix, float* of_factors) {
  thread_local Scratch scratch;
  const View& view = place.view;
  const int64_t rows = view.rows, columns = view.columns, stride = stride_of(columns);
  float* grad = scratch.matrix(kGrad, rows, columns);
  gather(place, tensor, constants.max_gradient, grad, stride);
  Right bases[2] = {{matrix.vectors[0], rows}, {nullptr, 0}}, turns[2] = {};
  if (matrix.vectors[1]) bases[1] = scratch.load(kRightBasis, matrix.vectors[1], columns, columns);
  Right x = rotate(bases[0], bases[1], {grad, stride}, rows, columns, scratch);
  update_factors(constants, scalars.factor, x, matrix.factors[0], matrix.factors[1], rows, columns, scratch);
  if (scalars.phase != kKeep) {
    for (int number = 0; number < 2; ++number) {
      if (!matrix.vectors[number]) continue;
      FactorStatistics statistics;
      turns[number] = refresh_basis(matrix.vectors[number], matrix.factors[number], view.side(number),
                                    scalars.phase == kFirst, kLeftTurn + number, kSpare, scratch, statistics);
      of_factors[number] += statistics.rank / view.count();
      of_factors[2] += statistics.off_diagonal / (view.num_turned() * view.count());
    }
    copy(x.data, stride, grad, stride, rows, columns);
    x = rotate(turns[0], turns[1], {grad, stride}, rows, columns, scratch);
  }
  copy(x.data, stride, matrix.rotated, columns, rows, columns);
  if (scalars.phase == kKeep) return;
  for (float* page : matrix.pages) {
    const Right old = scratch.load(kTransposed, page, rows, columns);
    copy(rotate(turns[0], turns[1], old, rows, columns, scratch).data, stride, page, columns, rows, columns);
  }
}

// Zeroes entries that are rounding errors of the rotation.
void denoise(float* x, int64_t count, float rounding) {
  Vector squares{};
  int64_t at = 0;
  for (; at + kLanes <= count; at += kLanes) squares += load(x + at) * load(x + at);
  float square = sum(squares);
  for (int64_t rest = at; rest < count; ++rest) square += x[rest] * x[rest];
  const float limit = rounding * std::sqrt(square);
  for (at = 0; at + kLanes <= count; at += kLanes) {
    const Vector entry = load(x + at);
    store(x + at, absolute(entry) > limit ? entry : Vector{});
  }
  for (; at < count; ++at) x[at] = std::abs(x[at]) > limit ? x[at] : 0.0f;
}

// The averages in the original coordinates; adds |s|_1 and <g, x_0 - x> to the sums.
void accumulate_original(const Constants& constants, const Scalars& scalars, float* const* pages, const float* initial,
                         const float* grads, const float* weights, int64_t count, double* sums) {
  for (int64_t run = 0; run < count; run += kRun) {
    Vector totals[2] = {};
    const auto accumulate = [&](int64_t at, Vector grad, Vector parameter) {
      grad = clean(grad, constants.max_gradient);
      const Vector weighted = scalars.weight * grad;
      const Vector added[kOriginals] = {constants.rests[kMomentum] * weighted,
                                        constants.rests[kSecondMoment] * (weighted * weighted),
                                        scalars.rate * weighted};
      for (int number = 0; number < kOriginals; ++number)
        store(pages[number] + at, constants.decays[number] * load(pages[number] + at) + added[number]);
      totals[0] += absolute(load(pages[kGradientSum] + at));
      totals[1] += grad * (load(initial + at) - parameter);
    };
    const int64_t end = std::min(count, run + kRun);
    int64_t at = run;
    for (; at + kLanes <= end; at += kLanes) accumulate(at, load(grads + at), load(weights + at));
    if (at < end) {
      alignas(64) float grad[kLanes] = {}, weight[kLanes] = {};
      std::copy_n(grads + at, end - at, grad);
      std::copy_n(weights + at, end - at, weight);
      accumulate(at, load(grad), load(weight));
    }
    for (int number = 0; number < 2; ++number) sums[number] += sum(totals[number]);
  }
}

// Stacks of bases, [lanes, bases, side, side].
struct Stack {
  float* data;
  int64_t side, stride;  // floats between two lanes

  float* basis(int64_t lane, int64_t number) const { return data + lane * stride + number * side * side; }
};

template <typename Buffer>
Stack read_stack(Buffer&& array, float* data, int64_t lanes) {
  return {data, array.dimensions().back(), static_cast<int64_t>(array.element_count()) / lanes};
}

// Offset of each tensor in the pages of the tensors that have a view; -1 for the others.
std::vector<int64_t> offsets_of_turned(const Tree& tree, const std::vector<View>& views, int64_t width) {
  std::vector<int64_t> offsets(tree.tensors.size(), -1);
  for (const View& view : views) offsets[view.tensor] = 0;
  int64_t next = 0;
  for (size_t index = 0; index < offsets.size(); ++index) {
    if (offsets[index] < 0) continue;
    offsets[index] = next;
    next += (tree.tensors[index].size + width - 1) / width * width;
  }
  return offsets;
}

// Operands: scalars [4] (weight, rate, factor, phase), initial parameters, then those that results overwrite, gradients
// and parameters. Results: the three averages in the original coordinates (of tensors with a view), four arrays of
// pages that a refresh rotates, statistics of the factors [tensors, 3], vectors and factors of each stack; then sums
// [tensors, 2] (zero for tensors without a view), and the rotated gradient of each tensor with a view.
ffi::Error enter(ffi::ThreadPool pool, Array of_lanes, Array initial, ffi::RemainingArgs operands,
                 ffi::RemainingRets results, ffi::Span<const int64_t> table, int64_t num_stacks,
                 ffi::Span<const float> decays, ffi::Span<const float> rests, float max_gradient, float rounding) {
  const int64_t lanes = of_lanes.element_count() / 4;
  if (lanes == 0) return ffi::Error::Success();
  const Constants constants{{decays[0], decays[1], decays[2]}, {rests[0], rests[1], rests[2]}, decays[3], rests[3],
                            max_gradient, rounding};
  const std::vector<View> views = read_views(table);
  const size_t in_place = kOriginals + kTurnedPages + 1 + 2 * num_stacks;
  const size_t num_tensors = (operands.size() - in_place) / 2;
  const Tree tree = read_tree(initial, lanes, operands, in_place, num_tensors);
  const auto grads = read_leaves(operands, in_place, num_tensors);
  const auto weights = read_leaves(operands, in_place + num_tensors, num_tensors);
  const auto result = [&](size_t index) { return (*results.get<Array>(index))->typed_data(); };
  std::vector<Stack> vectors, factors;
  for (int64_t index = 0; index < num_stacks; ++index)
    for (auto* stacks : {&vectors, &factors}) {
      const size_t at = kOriginals + kTurnedPages + 1 + index + (stacks == &factors ? num_stacks : 0);
      stacks->push_back(read_stack(**results.get<Array>(at), result(at), lanes));
    }
  const int64_t num_pieces = tree.pieces.size();
  const std::vector<int64_t> offsets = offsets_of_turned(tree, views, initial.dimensions().back());
  const int64_t stride = (**results.get<Array>(kMomentum)).element_count() / lanes;
  std::vector<double> totals(lanes * num_pieces * 2);
  in_parallel(pool, lanes * num_pieces, [&](int64_t number) {
    const int64_t lane = number / num_pieces;
    const Piece piece = tree.pieces[number % num_pieces];
    if (offsets[piece.tensor] < 0) return;
    const int64_t page = lane * tree.stride + tree.tensors[piece.tensor].offset + piece.begin;
    const int64_t leaf = lane * tree.tensors[piece.tensor].size + piece.begin;
    const int64_t own = lane * stride + offsets[piece.tensor] + piece.begin;
    float* const pages[] = {result(kMomentum) + own, result(kSecondMoment) + own, result(kGradientSum) + own};
    accumulate_original(constants, read_scalars(of_lanes.typed_data() + 4 * lane), pages, initial.typed_data() + page,
                        grads[piece.tensor] + leaf, weights[piece.tensor] + leaf, piece.end - piece.begin,
                        &totals[number * 2]);
  });
  const std::vector<double> sums = sum_pieces(tree, totals, 2);
  std::copy(sums.begin(), sums.end(), result(in_place));

  const std::vector<Work> works = list_matrices(views);
  const int64_t num_works = works.size();
  std::vector<float> of_factors(lanes * num_works * kStatistics);
  in_parallel(pool, lanes * num_works, [&](int64_t number) {
    const int64_t lane = number / num_works, index = works[number % num_works].number;
    const View& view = views[works[number % num_works].view];
    const Tensor tensor = tree.tensors[view.tensor];
    const int64_t page = lane * tree.stride + tensor.offset + index * view.size();
    Matrix matrix{};
    for (int side = 0; side < 2; ++side) {
      if (view.sides[side].stack < 0) continue;
      matrix.vectors[side] = vectors[view.sides[side].stack].basis(lane, view.sides[side].start + index);
      matrix.factors[side] = factors[view.sides[side].stack].basis(lane, view.sides[side].start + index);
    }
    for (int turned = 0; turned < kTurnedPages; ++turned) matrix.pages[turned] = result(kOriginals + turned) + page;
    matrix.rotated = result(in_place + 1 + works[number % num_works].view) + lane * tensor.size + index * view.size();
    enter_matrix(constants, read_scalars(of_lanes.typed_data() + 4 * lane), Place(view, index),
                 grads[view.tensor] + lane * tensor.size, matrix, &of_factors[number * kStatistics]);
    denoise(matrix.rotated, view.size(), rounding);
  });
  for (int64_t lane = 0; lane < lanes; ++lane) {
    if (read_scalars(of_lanes.typed_data() + 4 * lane).phase == kKeep) continue;
    float* statistics = result(kOriginals + kTurnedPages) + lane * num_tensors * kStatistics;
    std::fill_n(statistics, num_tensors * kStatistics, 0.0f);
    for (int64_t work = 0; work < num_works; ++work)
      for (int column = 0; column < kStatistics; ++column)
        statistics[views[works[work].view].tensor * kStatistics + column] +=
            of_factors[(lane * num_works + work) * kStatistics + column];
  }
  return ffi::Error::Success();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(velo_enter, enter,
                              ffi::Ffi::Bind()
                                  .Ctx<ffi::ThreadPool>()
                                  .Arg<Array>()
                                  .Arg<Array>()
                                  .RemainingArgs()
                                  .RemainingRets()
                                  .Attr<ffi::Span<const int64_t>>("table")
                                  .Attr<int64_t>("num_stacks")
                                  .Attr<ffi::Span<const float>>("decays")
                                  .Attr<ffi::Span<const float>>("rests")
                                  .Attr<float>("max_gradient")
                                  .Attr<float>("rounding"));
