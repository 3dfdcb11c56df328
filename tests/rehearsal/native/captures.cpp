// Capture of streams, with CUDA's rules, and graphs.
// Source: https://docs.nvidia.com/cuda/cuda-c-programming-guide/#creating-a-graph-using-stream-capture.
#include <algorithm>

#include "state.h"

namespace nullcuda {

static thread_local cudaStreamCaptureMode interaction = cudaStreamCaptureModeGlobal;
static bool muted = false;
static std::vector<Capture*>& captures() {
  static auto* all = new std::vector<Capture*>;
  return *all;
}
static const void* this_thread() {
  static thread_local char here;
  return &here;
}

bool refuses(const char* call) {
  if (interaction == cudaStreamCaptureModeRelaxed) return false;
  for (auto* capture : captures()) {
    bool is_own = capture->mode != cudaStreamCaptureModeRelaxed && capture->thread == this_thread();
    bool is_global = capture->mode == cudaStreamCaptureModeGlobal && interaction == cudaStreamCaptureModeGlobal;
    if (!is_own && !is_global) continue;
    capture->invalid = true;
    fail(cudaErrorStreamCaptureUnsupported, call);
    return true;
  }
  return false;
}

cudaError_t invalidate(Stream* stream, cudaError_t error, const char* call) {
  if (stream && stream->capture) stream->capture->invalid = true;
  return fail(error, call);
}

void tick(Stream* stream) { stream->capture->clocks[stream][stream]++; }

cudaError_t join(Stream* stream, Event* event) {
  auto& all = captures();
  if (std::find(all.begin(), all.end(), event->capture) == all.end()) {  // an event of a capture that has ended stands for nothing
    event->capture = nullptr;
    return cudaSuccess;
  }
  if (stream->capture && stream->capture != event->capture) return invalidate(stream, cudaErrorStreamCaptureMerge, "a wait across captures");
  if (!stream->capture) {
    stream->capture = event->capture;
    stream->capture->joined.insert(stream);
  }
  for (auto& each : event->clock) {
    long& known = stream->capture->clocks[stream][each.first];
    known = std::max(known, each.second);
  }
  tick(stream);
  return cudaSuccess;
}

static bool all_streams_came_back(Capture* capture) {
  for (auto* stream : capture->joined)
    if (capture->clocks[capture->origin][stream] < capture->clocks[stream][stream]) return false;
  return true;
}

static cudaStreamCaptureStatus status_of(Capture* capture) {
  if (!capture) return cudaStreamCaptureStatusNone;
  return capture->invalid ? cudaStreamCaptureStatusInvalidated : cudaStreamCaptureStatusActive;
}

struct Graph {
  std::shared_ptr<WorkList> work;
};

}  // namespace nullcuda

using namespace nullcuda;

API cudaError_t cudaStreamBeginCapture(cudaStream_t on, cudaStreamCaptureMode mode) {
  static unsigned long long ids = 0;
  Lock lock;
  Stream* stream = stream_of(on);
  count("cudaStreamBeginCapture");
  if (!on) return fail(cudaErrorStreamCaptureUnsupported, "capture of the default stream");
  if (stream->capture) return fail(cudaErrorIllegalState, "capture of a stream that is being captured");
  auto* capture = new Capture{++ids, mode, this_thread(), stream};
  capture->work = std::make_shared<WorkList>();
  stream->capture = capture;
  captures().push_back(capture);
  return cudaSuccess;
}
API cudaError_t cudaStreamBeginCaptureToGraph(
    cudaStream_t on, cudaGraph_t, const cudaGraphNode_t*, const cudaGraphEdgeData*, size_t, cudaStreamCaptureMode mode) {
  return cudaStreamBeginCapture(on, mode);
}
API cudaError_t cudaStreamEndCapture(cudaStream_t on, cudaGraph_t* graph) {
  Lock lock;
  Capture* capture = stream_of(on)->capture;
  *graph = nullptr;
  if (!capture) return fail(cudaErrorIllegalState, "the end of a capture that did not begin");
  if (capture->origin != stream_of(on)) return invalidate(capture->origin, cudaErrorStreamCaptureUnmatched, "the end of a capture on another stream");
  if (capture->mode != cudaStreamCaptureModeRelaxed && capture->thread != this_thread())
    return invalidate(capture->origin, cudaErrorStreamCaptureWrongThread, "the end of a capture in another thread");
  capture->origin->capture = nullptr;
  for (auto* stream : capture->joined) stream->capture = nullptr;
  auto& all = captures();
  all.erase(std::find(all.begin(), all.end(), capture));
  if (capture->invalid) return fail(cudaErrorStreamCaptureInvalidated);
  if (!all_streams_came_back(capture)) return fail(cudaErrorStreamCaptureUnjoined, "a captured stream that was not waited for");
  *graph = (cudaGraph_t) new Graph{capture->work};
  return cudaSuccess;
}
API cudaError_t cudaStreamIsCapturing(cudaStream_t on, cudaStreamCaptureStatus* status) {
  Lock lock;
  *status = status_of(stream_of(on)->capture);
  return cudaSuccess;
}
API cudaError_t cudaStreamGetCaptureInfo(
    cudaStream_t on, cudaStreamCaptureStatus* status, unsigned long long* id, cudaGraph_t* graph, const cudaGraphNode_t** nodes,
    const cudaGraphEdgeData** edges, size_t* count_of_nodes) {
  static cudaGraphNode_t none[1] = {};
  Lock lock;
  Capture* capture = stream_of(on)->capture;
  *status = status_of(capture);
  if (id) *id = capture ? capture->id : 0;
  if (graph) *graph = nullptr;
  if (nodes) *nodes = none;
  if (edges) *edges = nullptr;
  if (count_of_nodes) *count_of_nodes = 0;
  return cudaSuccess;
}
API cudaError_t cudaStreamUpdateCaptureDependencies(cudaStream_t, cudaGraphNode_t*, const cudaGraphEdgeData*, size_t, unsigned) { return cudaSuccess; }
API cudaError_t cudaThreadExchangeStreamCaptureMode(cudaStreamCaptureMode* mode) {
  std::swap(interaction, *mode);
  return cudaSuccess;
}
API cudaError_t cudaGraphInstantiateWithFlags(cudaGraphExec_t* executable, cudaGraph_t graph, unsigned long long) {
  Lock lock;
  count("cudaGraphInstantiate");
  *executable = (cudaGraphExec_t) new Graph(*(Graph*)graph);
  return cudaSuccess;
}
API cudaError_t cudaGraphLaunch(cudaGraphExec_t executable, cudaStream_t on) {
  Lock lock;
  count("cudaGraphLaunch");
  Work work{Task::graph};
  static auto nothing = std::make_shared<WorkList>();
  work.graph = muted ? nothing : ((Graph*)executable)->work;
  enqueue(stream_of(on), std::move(work));
  return cudaSuccess;
}
API cudaError_t cudaGraphDestroy(cudaGraph_t graph) {
  Lock lock;
  delete (Graph*)graph;
  return cudaSuccess;
}
API cudaError_t cudaGraphExecDestroy(cudaGraphExec_t executable) {
  Lock lock;
  delete (Graph*)executable;
  return cudaSuccess;
}
API cudaError_t cudaGraphGetNodes(cudaGraph_t graph, cudaGraphNode_t*, size_t* count_of_nodes) {
  Lock lock;
  *count_of_nodes = graph ? ((Graph*)graph)->work->size() : 0;
  return cudaSuccess;
}
API cudaError_t cudaGraphNodeGetDependencies(cudaGraphNode_t, cudaGraphNode_t*, cudaGraphEdgeData*, size_t* count_of_nodes) {
  *count_of_nodes = 0;
  return cudaSuccess;
}
API cudaError_t cudaUserObjectCreate(cudaUserObject_t* object, void*, cudaHostFn_t, unsigned, unsigned) {
  *object = nullptr;
  return cudaSuccess;
}
API cudaError_t cudaUserObjectRelease(cudaUserObject_t, unsigned) { return cudaSuccess; }
API cudaError_t cudaGraphRetainUserObject(cudaGraph_t, cudaUserObject_t, unsigned, unsigned) { return cudaSuccess; }

API void nullcuda_mute_graphs(int on) { muted = on != 0; }
