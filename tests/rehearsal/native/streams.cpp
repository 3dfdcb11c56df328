// Streams: queues of work. Eager, work is done as it is queued; lazy, when somebody waits for it.
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <thread>

#include "state.h"

namespace nullcuda {

std::vector<Stream*>& streams() {
  static auto* all = new std::vector<Stream*>;
  return *all;
}

static Stream* make_stream(int device, unsigned flags, int priority) {
  auto* stream = new Stream{device, flags, priority};  // never deleted: torch keeps its streams for good
  streams().push_back(stream);
  return stream;
}

Stream* stream_of(cudaStream_t handle) {
  static auto* defaults = new std::vector<Stream*>;
  if (handle && handle != cudaStreamLegacy && handle != cudaStreamPerThread) return (Stream*)handle;
  while ((int)defaults->size() <= current_device) defaults->push_back(make_stream((int)defaults->size(), 0, 0));
  return (*defaults)[current_device];
}

unsigned long digest_of(const void* address, size_t size) {
  unsigned long digest = 1469598103934665603ul;
  const auto* bytes = (const unsigned char*)address;
  size_t at = 0;
  for (; at + 8 <= size; at += 8) {
    unsigned long word;
    memcpy(&word, bytes + at, 8);
    digest = (digest ^ word) * 1099511628211ul;
    digest ^= digest >> 29;
  }
  for (; at < size; at++) digest = (digest ^ bytes[at]) * 1099511628211ul;
  return digest;
}

static thread_local int working = 0;

static void call(const std::function<void()>& function) {
  struct Working {
    Working() { working++; }
    ~Working() { working--; }
  } here;
  Unlocked unlocked;
  function();
}

static bool execute(const Work& work) {
  switch (work.task) {
    case Task::copy:
      if (work.has_digest && digest_of(work.source, work.size) != work.digest)
        tell_race("the host wrote into pinned memory (" + std::to_string(work.size) + " bytes) before the copy from it was done");
      memmove(work.target, work.staged ? work.staged->data() : work.source, work.size);
      break;
    case Task::fill: memset(work.target, work.value, work.size); break;
    case Task::wait: return drain(work.awaited, work.awaited_upto);
    case Task::kernel: break;
    case Task::call: call(work.function); break;
    case Task::graph: replay(*work.graph); break;
    case Task::attempts: return work.attempt();
  }
  return true;
}

void replay(const WorkList& all) {
  for (const Work& each : all) execute(each);
}

static bool drain_one(Stream* stream) {  // whether anything was done
  struct Draining {
    Stream* stream;
    Draining(Stream* stream) : stream(stream) { stream->draining = true; }
    ~Draining() { stream->draining = false; }
  } here(stream);
  const long before = stream->done;
  while (stream->done < stream->goal && !stream->queue.empty() && execute(stream->queue.front())) {
    stream->queue.pop_front();
    stream->done++;
  }
  if (stream->queue.empty()) stream->sleeps = false;
  return stream->done > before;
}

// Streams that came to a wait for a stream of which another thread did the work.
static void drain_others() {
  for (size_t i = 0; i < streams().size(); i++) {
    Stream* stream = streams()[i];
    if (stream->goal > stream->done && !stream->draining && drain_one(stream)) i = -1;
  }
}

bool drain(Stream* stream, long upto) {
  static thread_local int level = 0;
  stream->goal = std::max(stream->goal, upto);
  if (!stream->draining && stream->done < upto) {
    level++;
    drain_one(stream);
    if (!--level) drain_others();
  }
  return stream->done >= upto;
}

void wait_for(Stream* stream, long upto) {
  while (!drain(stream, upto)) {
    if (working) return;  // CUDA forbids work to wait; here it does when it lets go of memory, and two that wait for each other hang
    pause_lock();
  }
}

void drain_all() {
  for (size_t i = 0; i < streams().size(); i++) wait_for(streams()[i], streams()[i]->queued);
}

void enqueue(Stream* stream, Work work) {
  static long number = 0;
  work.number = ++number;
  if (stream->capture) {
    stream->capture->work->push_back(std::move(work));
    tick(stream);
    return;
  }
  stream->queue.push_back(std::move(work));
  stream->queued++;
  if (!settings().lazy && !stream->sleeps) drain(stream, stream->queued);
}

static void enqueue_call(Stream* stream, std::function<void()> function) {
  Work work{Task::call};
  work.function = std::move(function);
  enqueue(stream, std::move(work));
}

// Streams that wait for other processes come on without this one's doing.
static void come_on() {
  while (true) {
    usleep(settings().lazy ? 5000 : 300);
    Lock lock;
    for (size_t i = 0; i < streams().size(); i++)
      if (streams()[i]->shared > streams()[i]->done) drain(streams()[i], settings().lazy ? streams()[i]->shared : streams()[i]->queued);
  }
}

}  // namespace nullcuda

using namespace nullcuda;

API cudaError_t cudaStreamCreateWithPriority(cudaStream_t* handle, unsigned flags, int priority) {
  Lock lock;
  count("cudaStreamCreate");
  *handle = (cudaStream_t)make_stream(current_device, flags, priority);
  return cudaSuccess;
}
API cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) { return cudaStreamCreateWithPriority(handle, flags, 0); }
API cudaError_t cudaStreamCreate(cudaStream_t* handle) { return cudaStreamCreateWithPriority(handle, 0, 0); }
API cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  nullcuda_drain(handle);
  return cudaSuccess;
}
API cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  Lock lock;
  *priority = stream_of(handle)->priority;
  return cudaSuccess;
}
API cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  Lock lock;
  *flags = stream_of(handle)->flags;
  return cudaSuccess;
}
API cudaError_t cudaStreamGetDevice(cudaStream_t handle, int* device) {
  Lock lock;
  *device = stream_of(handle)->device;
  return cudaSuccess;
}
API cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  Lock lock;
  Stream* stream = stream_of(handle);
  if (stream->capture) return invalidate(stream, cudaErrorStreamCaptureUnsupported, "cudaStreamSynchronize of a captured stream");
  if (refuses("cudaStreamSynchronize")) return cudaErrorStreamCaptureUnsupported;
  count_wait("cudaStreamSynchronize");
  wait_for(stream, stream->queued);
  return cudaSuccess;
}
API cudaError_t cudaStreamQuery(cudaStream_t handle) {
  Lock lock;
  Stream* stream = stream_of(handle);
  if (stream->capture) return invalidate(stream, cudaErrorStreamCaptureUnsupported, "cudaStreamQuery of a captured stream");
  if (stream->done >= stream->queued) return cudaSuccess;
  if (holds_python()) drain(stream, stream->queued);
  return fail(cudaErrorNotReady);
}
API cudaError_t cudaDeviceSynchronize() {
  Lock lock;
  if (refuses("cudaDeviceSynchronize")) return cudaErrorStreamCaptureUnsupported;
  count_wait("cudaDeviceSynchronize");
  for (size_t i = 0; i < streams().size(); i++)
    if (streams()[i]->device == current_device) wait_for(streams()[i], streams()[i]->queued);
  return cudaSuccess;
}
API cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  Lock lock;
  enqueue_call(stream_of(handle), [=] { function(data); });
  return cudaSuccess;
}
API cudaError_t cudaStreamAddCallback(cudaStream_t handle, cudaStreamCallback_t function, void* data, unsigned) {
  Lock lock;
  enqueue_call(stream_of(handle), [=] { function(handle, cudaSuccess, data); });
  return cudaSuccess;
}

API void nullcuda_enqueue(void* handle, NullcudaWork work, long number) {
  Lock lock;
  enqueue_call(stream_of((cudaStream_t)handle), [=] { work(number); });
}
API void nullcuda_enqueue_attempts(void* handle, NullcudaAttempt attempt, void* data) {
  Lock lock;
  static bool started = false;
  if (!started) std::thread(come_on).detach();
  started = true;
  Stream* stream = stream_of((cudaStream_t)handle);
  Work work{Task::attempts};
  work.attempt = [=] { return attempt(data); };
  stream->shared = stream->queued + 1;
  enqueue(stream, std::move(work));
}
API void nullcuda_drain(void* handle) {
  Lock lock;
  Stream* stream = stream_of((cudaStream_t)handle);
  wait_for(stream, stream->queued);
}
API void nullcuda_drain_all() {
  Lock lock;
  drain_all();
}
API long nullcuda_pending() {
  Lock lock;
  long pending = 0;
  for (auto* stream : streams()) pending += (long)stream->queue.size();
  return pending;
}
