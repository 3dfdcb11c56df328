#include "communicator.h"

#include <cuda_runtime_api.h>
#include <cstdio>
#include <cstdlib>

#include "nullcuda.h"


static std::mutex text_mutex;
static std::string text;
const std::string& last_error() { return text; }

const char* name_of(Kind kind) {
  static const char* names[] = {"all_reduce", "broadcast", "reduce", "all_gather", "reduce_scatter", "split"};
  return names[int(kind)];
}

std::string Call::text() const {
  std::string words = std::string(name_of(kind)) + " of " + std::to_string(count) + " " + name_of(type);
  if (kind == Kind::broadcast || kind == Kind::reduce) words += " from or to rank " + std::to_string(root);
  if (kind != Kind::broadcast && kind != Kind::all_gather) words += " by operator " + std::to_string(int(op));
  return words;
}

ncclComm::ncclComm(const std::string& name, int size, int rank) : name(name), size(size), rank(rank), board_(name, sizeof(Board)) {
  for (int each = 0; each < size; each++) contributions_.push_back(std::make_unique<SharedMemory>(name + "." + std::to_string(each), 0));
}

bool ncclComm::join() {
  const char* limit = getenv("NULLNCCL_JOIN_S");
  if (!board()) return false;
  board()->joined++;
  for (long waited_ms = 0; board()->joined < size; waited_ms++) {
    if (waited_ms > 1000L * (limit ? atoi(limit) : 60)) return false;
    usleep(1000);
  }
  // every rank has opened every file: without their names they are gone when the last rank is, however it ends
  board_.unlink();
  for (auto& each : contributions_) each->unlink();
  return true;
}

void ncclComm::fail(ncclResult_t result, const std::string& words) {
  std::lock_guard<std::mutex> lock(text_mutex);
  text = words;
  error = result;
  fprintf(stderr, "nullnccl: rank %d of %s: %s\n", rank, name.c_str(), words.c_str());
}

// The bytes that a rank gives.
static size_t given(const Call& call, int size) {
  return call.count * size_of(call.type) * (call.kind == Kind::reduce_scatter ? size : 1);
}

bool ncclComm::Collective::attempt() {
  Board* board = comm->board();
  auto& own = board->places[comm->rank];
  if (comm->aborted) return true;
  size_t bytes = given(call, comm->size);
  if (!published) {
    for (int rank = 0; rank < comm->size; rank++)  // the memory of the collective before may be in use
      if (board->places[rank].finished < number - 1) return false;
    char* room = comm->own_contribution(bytes);
    if (bytes && !room) {
      comm->fail(ncclSystemError, "no room in /dev/shm");
      return true;
    }
    bool gives = (call.kind != Kind::broadcast || call.root == comm->rank);
    if (gives && bytes) memcpy(room, send, bytes);
    own.call = call;
    own.arrived = number;
    published = true;
  }
  for (int rank = 0; rank < comm->size; rank++)
    if (board->places[rank].arrived < number) return false;
  std::vector<const char*> sources;
  for (int rank = 0; rank < comm->size; rank++) {
    const Call& other = board->places[rank].call;
    if (!(other == call)) {
      comm->fail(ncclInvalidUsage, "collective " + std::to_string(number) + " is " + call.text() + " here, and " + other.text() + " on rank " + std::to_string(rank));
      comm->aborted = true;
      own.aborted = 1;
      return true;
    }
    sources.push_back(comm->contribution(rank, bytes));
  }
  size_t piece = call.count * size_of(call.type);
  bool known = true;
  switch (call.kind) {
    case Kind::all_reduce: known = reduce(call.type, sources, 0, call.count, reduction, receive); break;
    case Kind::reduce: if (call.root == comm->rank) known = reduce(call.type, sources, 0, call.count, reduction, receive); break;
    case Kind::reduce_scatter: known = reduce(call.type, sources, comm->rank * piece, call.count, reduction, receive); break;
    case Kind::broadcast: if (piece) memcpy(receive, sources[call.root], piece); break;
    case Kind::all_gather: for (int rank = 0; rank < comm->size && piece; rank++) memcpy(receive + rank * piece, sources[rank], piece); break;
    case Kind::split: break;
  }
  if (!known) comm->fail(ncclInvalidArgument, "sums of this kind are not rehearsed: " + call.text());
  own.finished = number;
  return true;
}

static bool attempt(void* data) {
  auto* collective = (ncclComm::Collective*)data;
  if (!collective->attempt()) return false;
  delete collective;
  return true;
}

ncclResult_t ncclComm::enqueue(Call call, Reduction reduction, const void* send, void* receive, cudaStream_t stream) {
  if (error != ncclSuccess) return ncclResult_t(error.load());
  nullcuda_enqueue_attempts(stream, ::attempt, new Collective{this, ++calls_, call, reduction, (const char*)send, (char*)receive});
  return ncclSuccess;
}
