// The MLP of each parameter, over a few vectors of parameters at a time.

#ifndef VELO_PARAMETER_MLP_H_
#define VELO_PARAMETER_MLP_H_

#include <algorithm>
#include <cmath>
#include <cstdint>

#include "vectors.h"

namespace velo {

constexpr int kVectors = 4;  // in a step of the loops: each weight that is loaded serves all
constexpr int kStep = kLanes * kVectors;

// A layer of the MLP: its biases [outputs] and weights [outputs, inputs], for each lane and tensor.
struct Layer {
  const float *biases, *weights;
  int inputs, outputs;
};

// The outputs are computed in groups of four or two, the last padded with zeros.
inline int group_at(int row, int outputs) { return outputs - row > 2 ? 4 : 2; }

// One network's weights as `apply_layer` reads them: for each group its biases [group] and weights [inputs, group], the
// latter times the layer's scale.
inline float* pack_layer(const Layer& layer, int64_t network, float* to) {
  const float scale = 1.0f / std::sqrt(static_cast<float>(layer.inputs));
  const float* biases = layer.biases + network * layer.outputs;
  const float* weights = layer.weights + network * layer.outputs * layer.inputs;
  for (int row = 0; row < layer.outputs;) {
    const int group = group_at(row, layer.outputs), filled = std::min(group, layer.outputs - row);
    for (int r = 0; r < group; ++r) *to++ = r < filled ? biases[row + r] : 0.0f;
    for (int column = 0; column < layer.inputs; ++column)
      for (int r = 0; r < group; ++r) *to++ = r < filled ? weights[(row + r) * layer.inputs + column] * scale : 0.0f;
    row += group;
  }
  return to;
}

// A step of the loops for one unit.
struct Unit {
  Vector of[kVectors];
};

template <int kGroup, bool kRelu>
inline const float* apply_group(const float* packed, int inputs, const Unit* from, Unit* to) {
  Vector sums[kGroup][kVectors];
  for (int r = 0; r < kGroup; ++r)
    for (int v = 0; v < kVectors; ++v) sums[r][v] = fill(packed[r]);
  packed += kGroup;
  for (int column = 0; column < inputs; ++column, packed += kGroup)
    for (int r = 0; r < kGroup; ++r)
      for (int v = 0; v < kVectors; ++v) sums[r][v] += packed[r] * from[column].of[v];
  for (int r = 0; r < kGroup; ++r)
    for (int v = 0; v < kVectors; ++v) to[r].of[v] = kRelu ? relu(sums[r][v]) : sums[r][v];
  return packed;
}

template <bool kRelu>
inline const float* apply_layer(const Layer& layer, const float* packed, const Unit* from, Unit* to) {
  for (int row = 0; row < layer.outputs; row += group_at(row, layer.outputs))
    packed = group_at(row, layer.outputs) == 4 ? apply_group<4, kRelu>(packed, layer.inputs, from, to + row)
                                               : apply_group<2, kRelu>(packed, layer.inputs, from, to + row);
  return packed;
}

}  // namespace velo

#endif  // VELO_PARAMETER_MLP_H_
