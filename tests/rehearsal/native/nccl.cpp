// A stand-in for libnccl.so.2 between processes of one machine whose device memory is memory of the host.
// Real: who has come to which collective, in which order, with which sizes; sums, to the rounding of float64. Point-to-point calls,
// windows and growing groups are refused by name.
#include <nccl.h>
#include <cuda_runtime_api.h>
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>
#include "communicator.h"

#define API extern "C" __attribute__((visibility("default")))

API ncclResult_t ncclGetVersion(int* version) { *version = NCCL_VERSION_CODE; return ncclSuccess; }
API const char* ncclGetErrorString(ncclResult_t result) {
  static const char* texts[] = {"no error", "unhandled cuda error", "unhandled system error", "internal error", "invalid argument", "invalid usage", "remote process exited or there was a network error", "NCCL operation in progress", "timeout"};
  return result >= 0 && result < ncclNumResults ? texts[result] : "unknown";
}
API const char* ncclGetLastError(ncclComm_t) { return last_error().c_str(); }

// ---- groups of ranks
API ncclResult_t ncclGetUniqueId(ncclUniqueId* id) {
  const char* prefix = getenv("NULLNCCL_NAME");
  std::random_device device;
  snprintf(id->internal, sizeof id->internal, "/nullnccl-%s-%08x%08x", prefix ? prefix : "group", device(), device());
  return ncclSuccess;
}
static ncclResult_t joined(ncclComm_t* made, const std::string& name, int size, int rank) {
  if (size > MOST_RANKS || rank < 0 || rank >= size) return ncclInvalidArgument;
  auto* comm = new ncclComm(name, size, rank);
  if (!comm->join()) {
    comm->fail(ncclSystemError, "the other ranks did not come");
    delete comm;
    return ncclSystemError;
  }
  *made = comm;
  return ncclSuccess;
}
API ncclResult_t ncclCommInitRankConfig(ncclComm_t* comm, int size, ncclUniqueId id, int rank, ncclConfig_t*) { return joined(comm, id.internal, size, rank); }
API ncclResult_t ncclCommInitRank(ncclComm_t* comm, int size, ncclUniqueId id, int rank) { return joined(comm, id.internal, size, rank); }
API ncclResult_t ncclCommInitRankScalable(ncclComm_t* comm, int size, int rank, int, ncclUniqueId* ids, ncclConfig_t*) { return joined(comm, ids[0].internal, size, rank); }
API ncclResult_t ncclCommCount(const ncclComm_t comm, int* count) { *count = comm->size; return ncclSuccess; }
API ncclResult_t ncclCommUserRank(const ncclComm_t comm, int* rank) { *rank = comm->rank; return ncclSuccess; }
API ncclResult_t ncclCommGetAsyncError(ncclComm_t comm, ncclResult_t* error) { *error = ncclResult_t(comm->error.load()); return ncclSuccess; }
API ncclResult_t ncclCommFinalize(ncclComm_t) { return ncclSuccess; }
// Groups are kept: a stream may hold a collective of theirs.
API ncclResult_t ncclCommDestroy(ncclComm_t) { return ncclSuccess; }
API ncclResult_t ncclCommAbort(ncclComm_t comm) {
  if (!comm) return ncclInvalidArgument;
  comm->aborted = true;
  return ncclSuccess;
}
API ncclResult_t ncclCommSplit(ncclComm_t comm, int color, int key, ncclComm_t* made, ncclConfig_t*) {
  std::string turn = comm->name + "-split" + std::to_string(comm->splits++);
  ncclComm meeting(turn, comm->size, comm->rank);
  auto& place = meeting.board()->places[comm->rank];
  place.color = color, place.key = key, place.arrived = 1;
  if (!meeting.join()) return ncclSystemError;
  std::vector<std::pair<int, int>> members;
  for (int rank = 0; rank < comm->size; rank++) {
    auto& other = meeting.board()->places[rank];
    if (other.color == color) members.push_back({other.key, rank});
  }
  std::sort(members.begin(), members.end());
  *made = nullptr;
  if (color == NCCL_SPLIT_NOCOLOR) return ncclSuccess;
  int rank = 0;
  while (members[rank].second != comm->rank) rank++;
  return joined(made, turn + "-" + std::to_string(color), members.size(), rank);
}

// ---- collectives
static Reduction reduction(ncclComm_t comm, ncclRedOp_t op) {
  if (op < ncclNumOps) return {op, 1};
  return {ncclSum, comm->factors[op - ncclNumOps]};
}
API ncclResult_t ncclRedOpCreatePreMulSum(ncclRedOp_t* op, void* scalar, ncclDataType_t type, ncclScalarResidence_t, ncclComm_t comm) {
  double factor = type == ncclFloat32 ? *(float*)scalar : type == ncclFloat64 ? *(double*)scalar : type == ncclFloat16 ? double(*(_Float16*)scalar) : type == ncclBfloat16 ? double(*(Bfloat16*)scalar) : 1;
  comm->factors.push_back(factor);
  *op = ncclRedOp_t(ncclNumOps + comm->factors.size() - 1);
  return ncclSuccess;
}
API ncclResult_t ncclRedOpDestroy(ncclRedOp_t, ncclComm_t) { return ncclSuccess; }
static ncclResult_t reduced(Kind kind, const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream) {
  Reduction how = reduction(comm, op);
  return comm->enqueue({kind, type, how.op, how.factor, root, count}, how, send, receive, stream);
}
API ncclResult_t ncclAllReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) { return reduced(Kind::all_reduce, send, receive, count, type, op, 0, comm, stream); }
API ncclResult_t ncclReduce(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op, int root, ncclComm_t comm, cudaStream_t stream) { return reduced(Kind::reduce, send, receive, count, type, op, root, comm, stream); }
API ncclResult_t ncclReduceScatter(const void* send, void* receive, size_t count, ncclDataType_t type, ncclRedOp_t op, ncclComm_t comm, cudaStream_t stream) { return reduced(Kind::reduce_scatter, send, receive, count, type, op, 0, comm, stream); }
API ncclResult_t ncclBroadcast(const void* send, void* receive, size_t count, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream) { return comm->enqueue({Kind::broadcast, type, ncclSum, 1, root, count}, {}, send, receive, stream); }
API ncclResult_t ncclBcast(void* buffer, size_t count, ncclDataType_t type, int root, ncclComm_t comm, cudaStream_t stream) { return ncclBroadcast(buffer, buffer, count, type, root, comm, stream); }
API ncclResult_t ncclAllGather(const void* send, void* receive, size_t count, ncclDataType_t type, ncclComm_t comm, cudaStream_t stream) { return comm->enqueue({Kind::all_gather, type, ncclSum, 1, 0, count}, {}, send, receive, stream); }
API ncclResult_t ncclGroupStart() { return ncclSuccess; }
API ncclResult_t ncclGroupEnd() { return ncclSuccess; }

// ---- memory
API ncclResult_t ncclMemAlloc(void** memory, size_t size) { return cudaMalloc(memory, size) == cudaSuccess ? ncclSuccess : ncclUnhandledCudaError; }
API ncclResult_t ncclMemFree(void* memory) { cudaFree(memory); return ncclSuccess; }
API ncclResult_t ncclCommRegister(const ncclComm_t, void*, size_t, void** handle) { *handle = nullptr; return ncclSuccess; }
API ncclResult_t ncclCommDeregister(const ncclComm_t, void*) { return ncclSuccess; }
