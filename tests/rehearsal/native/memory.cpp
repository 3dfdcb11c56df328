// Memory: that of the devices is memory of the host too. Beside it memory that is pinned, and memory that was registered.
#include <cstdlib>
#include <cstring>

#include "state.h"

namespace nullcuda {

static std::map<char*, Range>& ranges() {
  static auto* all = new std::map<char*, Range>;
  return *all;
}

Range* range_of(const void* address) {
  auto at = ranges().upper_bound((char*)address);
  if (at == ranges().begin()) return nullptr;
  --at;
  return (char*)address < at->second.base + at->second.size ? &at->second : nullptr;
}

static size_t capacity() { return (size_t)settings().memory_mb << 20; }

static size_t used() {
  size_t sum = 0;
  for (auto& each : ranges())
    if (each.second.kind == Kind::device && each.second.device == current_device) sum += each.second.size;
  return sum;
}

static size_t pinned() {
  size_t sum = 0;
  for (auto& each : ranges())
    if (each.second.kind == Kind::pinned) sum += each.second.size;
  return sum;
}

static bool lies_in(const void* address, const Range& range) { return address >= range.base && address < range.base + range.size; }

static void check_unused(const Range& range, const char* call) {
  for (auto* stream : streams())
    for (auto& work : stream->queue)
      if (work.task == Task::copy && !work.staged && (lies_in(work.source, range) || lies_in(work.target, range)))
        tell_race(std::string(call) + " of memory that a copy is still to use");
}

static void forget(Range* range, const char* call) {
  check_unused(*range, call);
  if (range->kind != Kind::device) count(range->kind == Kind::pinned ? "pinned bytes" : "registered bytes", -(long)range->size);
  drain_all();
  ranges().erase(range->base);
}

}  // namespace nullcuda

using namespace nullcuda;

API cudaError_t cudaMalloc(void** address, size_t size) {
  Lock lock;
  if (refuses("cudaMalloc")) return cudaErrorStreamCaptureUnsupported;
  count("cudaMalloc");
  size = size ? size : 512;
  *address = nullptr;
  if (used() + size > capacity() || posix_memalign(address, 2 << 20, size)) return fail(cudaErrorMemoryAllocation);
  memset(*address, 0, size);
  ranges()[(char*)*address] = {(char*)*address, size, Kind::device, current_device};
  return cudaSuccess;
}
API cudaError_t cudaFree(void* address) {
  Lock lock;
  if (!address) return cudaSuccess;
  if (refuses("cudaFree")) return cudaErrorStreamCaptureUnsupported;
  count("cudaFree");
  Range* range = range_of(address);
  if (!range) return fail(cudaErrorInvalidValue, "cudaFree of memory that is not of the device");
  drain_all();  // cudaFree waits for the device
  forget(range, "cudaFree");
  free(address);
  return cudaSuccess;
}
API cudaError_t cudaMallocAsync(void** address, size_t size, cudaStream_t) { return cudaMalloc(address, size); }
API cudaError_t cudaFreeAsync(void* address, cudaStream_t) { return cudaFree(address); }
API cudaError_t cudaHostAlloc(void** address, size_t size, unsigned) {
  Lock lock;
  if (refuses("cudaHostAlloc")) return cudaErrorStreamCaptureUnsupported;
  count("cudaHostAlloc");
  const bool is_number = size <= 16;  // torch itself reads numbers through pinned memory, and can do without in no case
  if (!is_number && pinned() + size > (size_t)settings().pinned_kb << 10) return fail(cudaErrorMemoryAllocation);
  if (posix_memalign(address, 4096, size ? size : 4096)) return fail(cudaErrorMemoryAllocation);
  count("pinned bytes", (long)size);
  ranges()[(char*)*address] = {(char*)*address, size, Kind::pinned, current_device};
  return cudaSuccess;
}
API cudaError_t cudaMallocHost(void** address, size_t size) { return cudaHostAlloc(address, size, 0); }
API cudaError_t cudaFreeHost(void* address) {
  Lock lock;
  if (!address) return cudaSuccess;
  if (refuses("cudaFreeHost")) return cudaErrorStreamCaptureUnsupported;
  count("cudaFreeHost");
  Range* range = range_of(address);
  if (!range) return fail(cudaErrorInvalidValue, "cudaFreeHost of memory that is not pinned");
  forget(range, "cudaFreeHost");
  free(address);
  return cudaSuccess;
}
API cudaError_t cudaHostRegister(void* address, size_t size, unsigned) {
  Lock lock;
  if (refuses("cudaHostRegister")) return cudaErrorStreamCaptureUnsupported;
  count("cudaHostRegister");
  if (!settings().registers) return fail(cudaErrorMemoryAllocation);
  if (!size) return fail(cudaErrorInvalidValue);
  if (range_of(address)) return fail(cudaErrorHostMemoryAlreadyRegistered, "cudaHostRegister of memory that is registered");
  count("registered bytes", (long)size);
  ranges()[(char*)address] = {(char*)address, size, Kind::registered, current_device};
  return cudaSuccess;
}
API cudaError_t cudaHostUnregister(void* address) {
  Lock lock;
  if (refuses("cudaHostUnregister")) return cudaErrorStreamCaptureUnsupported;
  count("cudaHostUnregister");
  Range* range = range_of(address);
  if (!range || range->kind != Kind::registered) return fail(cudaErrorHostMemoryNotRegistered);
  forget(range, "cudaHostUnregister");
  return cudaSuccess;
}
API cudaError_t cudaPointerGetAttributes(cudaPointerAttributes* attributes, const void* address) {
  Lock lock;
  memset(attributes, 0, sizeof *attributes);
  Range* range = range_of(address);
  attributes->type = !range ? cudaMemoryTypeUnregistered : range->kind == Kind::device ? cudaMemoryTypeDevice : cudaMemoryTypeHost;
  attributes->device = range ? range->device : -2;
  attributes->devicePointer = range ? (void*)address : nullptr;
  attributes->hostPointer = range && range->kind != Kind::device ? (void*)address : nullptr;
  return cudaSuccess;
}
API cudaError_t cudaMemGetInfo(size_t* unused, size_t* total) {
  Lock lock;
  *total = capacity();
  *unused = capacity() > used() ? capacity() - used() : 0;
  return cudaSuccess;
}
