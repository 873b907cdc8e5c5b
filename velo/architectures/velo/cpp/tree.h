// Where the tensors of an update lie in its pages, and how they are cut into work for threads.
//
// Tensors are read, and steps written, without packing them into pages. The state lies in pages. Each tensor's pages
// are contiguous, and zero behind its last parameter. Leading axes of the operands are lanes of a `vmap`.
//
// The result is the same to the bit for any number of threads: work is cut into pieces of fixed sizes, and their sums
// are added in order.

#ifndef VELO_TREE_H_
#define VELO_TREE_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <vector>

#include "vectors.h"
#include "xla/ffi/api/ffi.h"

namespace velo {

namespace ffi = xla::ffi;
using Array = ffi::Buffer<ffi::F32>;
using Result = ffi::ResultBuffer<ffi::F32>;

constexpr int64_t kRun = 4096;       // parameters that are summed in single precision
constexpr int64_t kPiece = 1 << 15;  // parameters that a thread takes at a time

struct Tensor {
  int64_t size;    // parameters
  int64_t offset;  // of its first page, in floats
};

struct Piece {
  int64_t tensor, begin, end;
};

struct Tree {
  std::vector<Tensor> tensors;
  std::vector<Piece> pieces;
  int64_t lanes, stride;  // floats between the pages of two lanes
};

// `pages` is [..., pages, width]; the leaves are those from `first` on.
inline Tree read_tree(const Array& pages, int64_t lanes, const ffi::RemainingArgs& leaves, size_t first, size_t count) {
  const int64_t width = pages.dimensions().back();
  Tree tree{{}, {}, lanes, static_cast<int64_t>(pages.element_count()) / lanes};
  int64_t offset = 0;
  for (size_t index = 0; index < count; ++index) {
    const int64_t size = leaves.get<Array>(first + index)->element_count() / lanes;
    for (int64_t begin = 0; begin < size; begin += kPiece)
      tree.pieces.push_back({static_cast<int64_t>(index), begin, std::min(size, begin + kPiece)});
    tree.tensors.push_back({size, offset});
    offset += (size + width - 1) / width * width;
  }
  return tree;
}

inline std::vector<const float*> read_leaves(const ffi::RemainingArgs& leaves, size_t first, size_t count) {
  std::vector<const float*> data;
  for (size_t index = first; index < first + count; ++index) data.push_back(leaves.get<Array>(index)->typed_data());
  return data;
}

// The sums of pieces, [lanes, pieces, sums], added up to [lanes, tensors, sums].
inline std::vector<double> sum_pieces(const Tree& tree, const std::vector<double>& of_pieces, int64_t num_sums) {
  const int64_t num_tensors = tree.tensors.size(), num_pieces = tree.pieces.size();
  std::vector<double> of_tensors(tree.lanes * num_tensors * num_sums);
  for (int64_t number = 0; number < tree.lanes * num_pieces; ++number) {
    const int64_t row = number / num_pieces * num_tensors + tree.pieces[number % num_pieces].tensor;
    for (int64_t sum = 0; sum < num_sums; ++sum)
      of_tensors[row * num_sums + sum] += of_pieces[number * num_sums + sum];
  }
  return of_tensors;
}

// Calls work(number) for all numbers. The calling thread takes part and waits only for work that others have begun, so
// that a fully occupied pool can't block it.
inline void in_parallel(ffi::ThreadPool& pool, int64_t count, const std::function<void(int64_t)>& work) {
  const int64_t helpers = std::min(pool.num_threads(), count) - 1;
  if (helpers < 1) {
    for (int64_t number = 0; number < count; ++number) work(number);
    return;
  }
  struct Shared {
    std::atomic<int64_t> next{0};
    int64_t done = 0;
    std::mutex mutex;
    std::condition_variable all_done;
  };
  auto shared = std::make_shared<Shared>();
  auto take = [shared, count, &work] {  // a late helper finds nothing left and never touches `work`
    for (int64_t number; (number = shared->next++) < count;) {
      work(number);
      std::lock_guard<std::mutex> lock(shared->mutex);
      if (++shared->done == count) shared->all_done.notify_all();
    }
  };
  for (int64_t helper = 0; helper < helpers; ++helper) pool.Schedule(std::function<void()>(take));
  take();
  std::unique_lock<std::mutex> lock(shared->mutex);
  shared->all_done.wait(lock, [&] { return shared->done == count; });
}

}  // namespace velo

#endif  // VELO_TREE_H_
