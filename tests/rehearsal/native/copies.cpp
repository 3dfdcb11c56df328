// Copies and fills.
#include <cstring>

#include "state.h"

namespace nullcuda {

static cudaError_t copy_pageable(Work work, Stream* stream, bool is_async, bool is_source) {
  if (stream->capture) return invalidate(stream, cudaErrorStreamCaptureUnsupported, "a copy of pageable memory in a capture");
  if (is_source) {  // CUDA reads pageable memory before it returns
    count(is_async ? "cudaMemcpyAsync from pageable memory" : "cudaMemcpy");
    work.staged = std::make_shared<std::vector<char>>((char*)work.source, (char*)work.source + work.size);
  } else {
    count_wait("a copy to pageable memory");
  }
  enqueue(stream, std::move(work));
  if (!is_async || !is_source) wait_for(stream, stream->queued);
  return cudaSuccess;
}

static cudaError_t copy(void* target, const void* source, size_t size, Stream* stream, bool is_async) {
  if (!size) return cudaSuccess;
  if (!is_async && refuses("cudaMemcpy")) return cudaErrorStreamCaptureImplicit;
  Range *from = range_of(source), *to = range_of(target);
  Work work{Task::copy};
  work.target = target;
  work.source = source;
  work.size = size;
  if (!from || !to) return copy_pageable(std::move(work), stream, is_async, !from);
  if (!is_async && stream->capture) return invalidate(stream, cudaErrorStreamCaptureImplicit, "cudaMemcpy");
  count(is_async ? "cudaMemcpyAsync" : "cudaMemcpy");
  if (settings().lazy && !stream->capture) {
    work.has_digest = from->kind != Kind::device;
    if (work.has_digest) work.digest = digest_of(source, size);
    if (to->kind != Kind::device && from->kind == Kind::device) memset(target, 0xFF, size);  // not a number, until it has arrived
  }
  enqueue(stream, std::move(work));
  if (!is_async) wait_for(stream, stream->queued);
  return cudaSuccess;
}

}  // namespace nullcuda

using namespace nullcuda;

API cudaError_t cudaMemcpyAsync(void* target, const void* source, size_t size, cudaMemcpyKind, cudaStream_t on) {
  Lock lock;
  return copy(target, source, size, stream_of(on), true);
}
API cudaError_t cudaMemcpy(void* target, const void* source, size_t size, cudaMemcpyKind) {
  Lock lock;
  count_wait("cudaMemcpy");
  return copy(target, source, size, stream_of(nullptr), false);
}
API cudaError_t cudaMemcpyPeerAsync(void* target, int, const void* source, int, size_t size, cudaStream_t on) {
  return cudaMemcpyAsync(target, source, size, cudaMemcpyDefault, on);
}
API cudaError_t cudaMemcpy2DAsync(
    void* target, size_t target_pitch, const void* source, size_t source_pitch, size_t width, size_t height, cudaMemcpyKind, cudaStream_t on) {
  Lock lock;
  for (size_t row = 0; row < height; row++) {
    auto error = copy((char*)target + row * target_pitch, (const char*)source + row * source_pitch, width, stream_of(on), true);
    if (error) return error;
  }
  return cudaSuccess;
}
API cudaError_t cudaMemcpyToSymbol(const void*, const void*, size_t, size_t, cudaMemcpyKind) { return cudaSuccess; }
API cudaError_t cudaMemsetAsync(void* target, int value, size_t size, cudaStream_t on) {
  Lock lock;
  count("cudaMemsetAsync");
  count_fill();
  Work work{Task::fill};
  work.target = target;
  work.value = value;
  work.size = size;
  enqueue(stream_of(on), std::move(work));
  return cudaSuccess;
}
API cudaError_t cudaMemset(void* target, int value, size_t size) { return cudaMemsetAsync(target, value, size, nullptr); }
