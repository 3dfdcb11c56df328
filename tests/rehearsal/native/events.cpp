// Events: a place in a stream.
#include "state.h"

using namespace nullcuda;

API cudaError_t cudaEventCreateWithFlags(cudaEvent_t* handle, unsigned) {
  Lock lock;
  count("cudaEventCreate");
  *handle = (cudaEvent_t) new Event{current_device};
  return cudaSuccess;
}
API cudaError_t cudaEventCreate(cudaEvent_t* handle) { return cudaEventCreateWithFlags(handle, 0); }
API cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  Lock lock;
  delete (Event*)handle;
  return cudaSuccess;
}
API cudaError_t cudaEventRecord(cudaEvent_t handle, cudaStream_t on) {
  Lock lock;
  auto* event = (Event*)handle;
  Stream* stream = stream_of(on);
  if (event->device != stream->device) return fail(cudaErrorInvalidResourceHandle, "cudaEventRecord on a stream of another device");
  count("cudaEventRecord");
  event->stream = stream;
  event->at = stream->queued;
  event->queries = 0;
  event->capture = stream->capture;
  if (stream->capture) event->clock = stream->capture->clocks[stream];
  return cudaSuccess;
}
API cudaError_t cudaEventRecordWithFlags(cudaEvent_t handle, cudaStream_t on, unsigned) { return cudaEventRecord(handle, on); }
API cudaError_t cudaEventQuery(cudaEvent_t handle) {
  Lock lock;
  auto* event = (Event*)handle;
  if (event->capture) return invalidate(event->stream, cudaErrorCapturedEvent, "cudaEventQuery of a captured event");
  if (event->has_passed()) return cudaSuccess;
  if (!holds_python() || ++event->queries <= settings().patience) return fail(cudaErrorNotReady);
  return drain(event->stream, event->at) ? cudaSuccess : fail(cudaErrorNotReady);
}
API cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  Lock lock;
  auto* event = (Event*)handle;
  if (event->capture) return invalidate(event->stream, cudaErrorCapturedEvent, "cudaEventSynchronize of a captured event");
  if (refuses("cudaEventSynchronize")) return cudaErrorStreamCaptureUnsupported;
  count_wait("cudaEventSynchronize");
  if (event->stream) wait_for(event->stream, event->at);
  return cudaSuccess;
}
API cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 1.0f;  // nothing takes time here
  return cudaSuccess;
}
API cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t of, unsigned) {
  Lock lock;
  auto* event = (Event*)of;
  Stream* stream = stream_of(handle);
  count("cudaStreamWaitEvent");
  if (event->capture) return join(stream, event);
  if (stream->capture) {
    if (event->has_passed()) return cudaSuccess;
    return invalidate(stream, cudaErrorStreamCaptureIsolation, "a captured stream waits for an event of before the capture");
  }
  if (event->stream && event->stream != stream) {
    Work work{Task::wait};
    work.awaited = event->stream;
    work.awaited_upto = event->at;
    enqueue(stream, std::move(work));
  }
  return cudaSuccess;
}
