// A group of ranks on one machine, which meet in shared memory. A collective is an operation of a stream that is tried until all ranks
// have come to it; what each rank asks for is written down, and compared. NCCL would hang, or add what does not belong together.
#pragma once
#include <nccl.h>
#include <atomic>
#include <memory>
#include <mutex>
#include <string>
#include <vector>
#include "numbers.h"
#include "shared_memory.h"

constexpr int MOST_RANKS = 64;

enum class Kind : int { all_reduce, broadcast, reduce, all_gather, reduce_scatter, split };
const char* name_of(Kind kind);

// What a rank asks for. All ranks must ask for the same.
struct Call {
  Kind kind;
  ncclDataType_t type;
  ncclRedOp_t op;
  double factor;
  int root;
  size_t count;
  bool operator==(const Call& other) const {
    return kind == other.kind && type == other.type && op == other.op && factor == other.factor && root == other.root && count == other.count;
  }
  std::string text() const;
};

// The page that all ranks of a group see.
struct Board {
  std::atomic<int> joined;
  struct Place {
    std::atomic<long> arrived, finished;  // the number of the last collective that the rank has come to, and is done with
    std::atomic<int> aborted;
    Call call;
    int color, key;  // of a split
    size_t bytes;
  } places[MOST_RANKS];
};

struct ncclComm {
  ncclComm(const std::string& name, int size, int rank);
  bool join();  // wait for the others; false after the time that NULLNCCL_JOIN_S gives (60 seconds)

  // One collective. Each try gets as far as the other ranks let it, and returns whether it is done.
  struct Collective {
    ncclComm* comm;
    long number;
    Call call;
    Reduction reduction;
    const char* send;
    char* receive;
    bool published = false;
    bool attempt();
  };
  ncclResult_t enqueue(Call call, Reduction reduction, const void* send, void* receive, cudaStream_t stream);

  Board* board() { return (Board*)board_.grow(sizeof(Board)); }
  const char* contribution(int rank, size_t bytes) { return contributions_[rank]->grow(bytes); }
  char* own_contribution(size_t bytes) { return contributions_[rank]->grow(bytes); }
  void fail(ncclResult_t result, const std::string& text);

  const std::string name;
  const int size, rank;
  std::vector<double> factors;      // of operators made by ncclRedOpCreatePreMulSum
  std::atomic<int> error{ncclSuccess};
  std::atomic<bool> aborted{false};
  long splits = 0;

 private:
  SharedMemory board_;
  std::vector<std::unique_ptr<SharedMemory>> contributions_;
  long calls_ = 0;
};

const std::string& last_error();
