// VeLO's two passes over the parameters (velo/architectures/velo/passes.py) for CPUs, called through the XLA FFI.

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <vector>

#include "parameter_mlp.h"
#include "tree.h"
#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace {

using namespace velo;

constexpr int kDecays = 3;
constexpr int kFeatures = 12;
constexpr int kSums = kFeatures + 4;

// A tensor's last parameters, padded with zeros to a whole step of the loops.
struct Tail {
  alignas(64) float grad[kStep] = {}, weight[kStep] = {}, step[kStep];
  Tail(const float* from_grad, const float* from_weight, int64_t count) {
    std::copy_n(from_grad, count, grad);
    std::copy_n(from_weight, count, weight);
  }
};

struct Constants {
  float decays[kDecays], rests[kDecays], second_decay, second_rest, sum_decay, max_gradient;
};

struct Averages {
  float *momenta[kDecays], *second_moment, *gradient_sum;
  const float* initial;
};

constexpr float kTinyMoment = 1e-36f;  // TINY_MOMENT of passes.py

// The root of a second moment, and its inverse, zero where there is no second moment.
inline Root root_of_moment(Vector second_moment) {
  const Root found = root_of(second_moment);
  return {found.root, second_moment > kTinyMoment ? found.inverse : Vector{}};
}

// Updates the averages with this gradient, and adds to the sums.
inline void accumulate_vector(const Constants& constants, const Averages& averages, int64_t at, Vector grad,
                              Vector weight, float estimate, float rate, Vector* sums) {
  grad = clean(grad, constants.max_gradient);
  const Vector weighted = estimate * grad;
  const Vector second = constants.second_decay * load(averages.second_moment + at) +
                        constants.second_rest * (weighted * weighted);
  const Vector gradient_sum = constants.sum_decay * load(averages.gradient_sum + at) + rate * weighted;
  store(averages.second_moment + at, second);
  store(averages.gradient_sum + at, gradient_sum);
  const auto [root, inverse] = root_of_moment(second);
  const Vector moved = weight - load(averages.initial + at);
  sums[0] += weighted * weighted;
  sums[1] += weight * weight;
  sums[2] += moved * moved;
  for (int decay = 0; decay < kDecays; ++decay) {
    float* place = averages.momenta[decay] + at;
    const Vector momentum = constants.decays[decay] * load(place) + constants.rests[decay] * weighted;
    store(place, momentum);
    const Vector normalized = momentum * inverse;
    sums[3 + decay] += momentum * momentum;
    sums[6 + decay] += normalized * normalized;
  }
  const Vector normalized = weighted * inverse;
  sums[9] += normalized * normalized;
  sums[10] += inverse * inverse;
  sums[11] += second;  // the root's square
  sums[12] += weight;
  sums[13] += root;
  sums[14] += absolute(gradient_sum);
  sums[15] -= grad * moved;
}

void accumulate_piece(const Constants& constants, Averages averages, const float* grad, const float* weight,
                      int64_t count, float estimate, float rate, double* totals) {
  for (int64_t run = 0; run < count; run += kRun) {
    Vector sums[kSums] = {};
    const int64_t end = std::min(count, run + kRun);
    int64_t at = run;
    for (; at + kLanes <= end; at += kLanes)
      accumulate_vector(constants, averages, at, load(grad + at), load(weight + at), estimate, rate, sums);
    if (at < end) {
      const Tail tail(grad + at, weight + at, end - at);
      accumulate_vector(constants, averages, at, load(tail.grad), load(tail.weight), estimate, rate, sums);
    }
    for (int number = 0; number < kSums; ++number) totals[number] += sum(sums[number]);
  }
}

// Operands: scalars [2] (estimate, rate), momenta, second moment, gradient sum, initial parameters, then gradients and
// parameters. Results: the five averages, in place, and [tensors, sums].
ffi::Error accumulate(ffi::ThreadPool pool, Array scalars, Array, Array, Array, Array, Array, Array initial,
                      ffi::RemainingArgs leaves, Result momentum0, Result momentum1, Result momentum2, Result second,
                      Result gradient_sum, Result sums, ffi::Span<const float> decays, ffi::Span<const float> rests,
                      float max_gradient) {
  const int64_t lanes = scalars.element_count() / 2;
  if (lanes == 0) return ffi::Error::Success();
  const size_t num_tensors = leaves.size() / 2;
  const Tree tree = read_tree(initial, lanes, leaves, 0, num_tensors);
  const Constants constants{{decays[0], decays[1], decays[2]}, {rests[0], rests[1], rests[2]},
                            decays[3], rests[3], decays[4], max_gradient};
  const auto grads = read_leaves(leaves, 0, num_tensors), weights = read_leaves(leaves, num_tensors, num_tensors);
  const int64_t num_pieces = tree.pieces.size();
  std::vector<double> totals(lanes * num_pieces * kSums);
  in_parallel(pool, lanes * num_pieces, [&](int64_t number) {
    const int64_t lane = number / num_pieces;
    const Piece piece = tree.pieces[number % num_pieces];
    const Tensor tensor = tree.tensors[piece.tensor];
    const int64_t page = lane * tree.stride + tensor.offset + piece.begin;
    const int64_t leaf = lane * tensor.size + piece.begin;
    const Averages averages{{momentum0->typed_data() + page, momentum1->typed_data() + page,
                             momentum2->typed_data() + page},
                            second->typed_data() + page,
                            gradient_sum->typed_data() + page,
                            initial.typed_data() + page};
    const float* scalar = scalars.typed_data() + 2 * lane;
    accumulate_piece(constants, averages, grads[piece.tensor] + leaf, weights[piece.tensor] + leaf,
                     piece.end - piece.begin, scalar[0], scalar[1], &totals[number * kSums]);
  });
  const std::vector<double> of_tensors = sum_pieces(tree, totals, kSums);
  std::copy(of_tensors.begin(), of_tensors.end(), sums->typed_data());
  return ffi::Error::Success();
}

struct Rates {
  float estimate, epsilon, size, correction, nominal, max_gradient, max_magnitude, max_direction, gradient_share;
};

// The steps of kStep parameters; `units` has room for two layers.
inline void step_vectors(const Rates& rates, const std::vector<Layer>& layers, const float* packed,
                         const Averages& averages, int64_t at, const float* grad, const float* weight, float* steps,
                         Unit* units, int width) {
  Unit *from = units, *to = units + width;
  Vector roots[kVectors], momenta[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    const int64_t here = at + v * kLanes;
    const Vector second = load(averages.second_moment + here);
    const auto [root, inverse] = root_of_moment(second);
    const Vector weighted = rates.estimate * clean(load(grad + v * kLanes), rates.max_gradient);
    from[0].of[v] = weighted;
    from[1].of[v] = load(weight + v * kLanes);
    from[2].of[v] = from[1].of[v] - load(averages.initial + here);
    for (int decay = 0; decay < kDecays; ++decay) {
      const Vector momentum = load(averages.momenta[decay] + here);
      from[3 + decay].of[v] = momentum;
      from[6 + decay].of[v] = momentum * inverse;
    }
    from[9].of[v] = weighted * inverse;
    from[10].of[v] = inverse;
    from[11].of[v] = root;
    const Vector momentum = from[3].of[v] + rates.gradient_share * (weighted - from[3].of[v]);
    momenta[v] = limit_to(momentum, rates.max_direction * root);
    roots[v] = root;
  }
  for (size_t index = 0; index + 1 < layers.size(); ++index) {
    packed = apply_layer<true>(layers[index], packed, from, to);
    std::swap(from, to);
  }
  apply_layer<false>(layers.back(), packed, from, to);
  for (int v = 0; v < kVectors; ++v) {
    const Vector direction = roots[v] > 0.0f ? to[0].of[v] : Vector{};  // zero where there was no gradient so far
    const Vector magnitude = limit_to(to[1].of[v], fill(rates.max_magnitude));
    const Vector nominal = divide(rates.nominal * momenta[v], roots[v] + rates.epsilon) * exponential(magnitude);
    store(steps + v * kLanes, -rates.size * (nominal + rates.correction * direction));
  }
}

// Operands: scalars [2] (estimate, epsilon added to the root), [tensors, 2] (size, correction), momenta, second
// moment, initial parameters, biases and weights of each layer for each tensor, gradients, parameters. Results: steps.
ffi::Error steps(ffi::ThreadPool pool, Array scalars, Array of_tensors, Array momentum0, Array momentum1,
                 Array momentum2, Array second, Array initial, ffi::RemainingArgs rest, ffi::RemainingRets results,
                 float nominal, float max_gradient, float max_magnitude, float max_direction,
                 float gradient_share) {
  const int64_t lanes = scalars.element_count() / 2;
  if (lanes == 0) return ffi::Error::Success();
  const size_t num_tensors = results.size();
  const size_t num_layers = (rest.size() - 2 * num_tensors) / 2;
  const Tree tree = read_tree(initial, lanes, rest, 2 * num_layers, num_tensors);
  const auto grads = read_leaves(rest, 2 * num_layers, num_tensors);
  const auto weights = read_leaves(rest, 2 * num_layers + num_tensors, num_tensors);
  std::vector<float*> outputs;
  for (size_t index = 0; index < num_tensors; ++index) outputs.push_back((*results.get<Array>(index))->typed_data());
  std::vector<Layer> layers;
  int width = kFeatures;
  int64_t stride = 0;  // floats of a packed network
  for (size_t index = 0; index < num_layers; ++index) {
    const Array of_biases = *rest.get<Array>(2 * index), of_weights = *rest.get<Array>(2 * index + 1);
    const auto shape = of_weights.dimensions();
    const Layer layer{of_biases.typed_data(), of_weights.typed_data(), static_cast<int>(shape[shape.size() - 1]),
                      static_cast<int>(shape[shape.size() - 2])};
    layers.push_back(layer);
    width = std::max(width, layer.outputs + 1);
    stride += (layer.outputs + 1) * (layer.inputs + 1);
  }
  std::vector<float> packed(lanes * num_tensors * stride);
  for (int64_t network = 0; network < lanes * static_cast<int64_t>(num_tensors); ++network) {
    float* to = &packed[network * stride];
    for (const Layer& layer : layers) to = pack_layer(layer, network, to);
  }
  const int64_t num_pieces = tree.pieces.size();
  in_parallel(pool, lanes * num_pieces, [&](int64_t number) {
    const int64_t lane = number / num_pieces;
    const Piece piece = tree.pieces[number % num_pieces];
    const Tensor tensor = tree.tensors[piece.tensor];
    const int64_t row = lane * num_tensors + piece.tensor;
    const int64_t page = lane * tree.stride + tensor.offset + piece.begin;
    const int64_t leaf = lane * tensor.size + piece.begin;
    const auto paged = [page](const Array& array) { return array.typed_data() + page; };
    const Averages averages{{paged(momentum0), paged(momentum1), paged(momentum2)}, paged(second), nullptr,
                            paged(initial)};
    const float* scalar = scalars.typed_data() + 2 * lane;
    const float* of_tensor = of_tensors.typed_data() + 2 * row;
    const Rates rates{scalar[0], scalar[1],    of_tensor[0],  of_tensor[1],  nominal,
                      max_gradient, max_magnitude, max_direction, gradient_share};
    std::vector<Unit> units(2 * width);
    const float *grad = grads[piece.tensor] + leaf, *weight = weights[piece.tensor] + leaf;
    float* output = outputs[piece.tensor] + leaf;
    const int64_t count = piece.end - piece.begin;
    const auto step = [&](int64_t at, const float* grad, const float* weight, float* to) {
      step_vectors(rates, layers, &packed[row * stride], averages, at, grad, weight, to, units.data(), width);
    };
    int64_t at = 0;
    for (; at + kStep <= count; at += kStep) step(at, grad + at, weight + at, output + at);
    if (at < count) {
      Tail tail(grad + at, weight + at, count - at);
      step(at, tail.grad, tail.weight, tail.step);
      std::copy_n(tail.step, count - at, output + at);
    }
  });
  return ffi::Error::Success();
}

// Operands that both handlers begin with: scalars, six further arrays, and the tensors.
auto bind_operands() {
  return ffi::Ffi::Bind()
      .Ctx<ffi::ThreadPool>()
      .Arg<Array>()
      .Arg<Array>()
      .Arg<Array>()
      .Arg<Array>()
      .Arg<Array>()
      .Arg<Array>()
      .Arg<Array>()
      .RemainingArgs();
}

}  // namespace

XLA_FFI_DEFINE_HANDLER_SYMBOL(velo_accumulate, accumulate,
                              bind_operands()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Ret<Array>()
                                  .Attr<ffi::Span<const float>>("decays")
                                  .Attr<ffi::Span<const float>>("rests")
                                  .Attr<float>("max_gradient"));

XLA_FFI_DEFINE_HANDLER_SYMBOL(velo_steps, steps,
                              bind_operands()
                                  .RemainingRets()
                                  .Attr<float>("nominal")
                                  .Attr<float>("max_gradient")
                                  .Attr<float>("max_magnitude")
                                  .Attr<float>("max_direction")
                                  .Attr<float>("gradient_share"));
