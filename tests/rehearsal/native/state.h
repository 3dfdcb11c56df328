// The state of the null devices, shared by the files of the runtime's stand-in.
#pragma once
#include <cuda_runtime_api.h>

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "nullcuda.h"

#define API extern "C" __attribute__((visibility("default")))

namespace nullcuda {

// ---- settings.cpp
struct Settings {
  long devices;     // NULLCUDA_DEVICES: how many there are, before CUDA_VISIBLE_DEVICES
  long capability;  // NULLCUDA_CAPABILITY: 90 is 9.0
  long memory_mb;   // NULLCUDA_MEMORY_MB: of each device
  long lazy;        // NULLCUDA_LAZY: work happens only when somebody waits for it
  long registers;   // NULLCUDA_REGISTERS: whether host memory can be registered
  long patience;    // NULLCUDA_PATIENCE: how many queries find an event not ready, when lazy
  long quiet;       // NULLCUDA_QUIET: races are not printed
  long pinned_kb;   // NULLCUDA_PINNED_KB: how much memory of the host can be allocated pinned
};
Settings& settings();

// ---- lock.cpp
// All state is under one lock, which is the innermost of all: no work is done and no listener called while it is held.
class Lock {
 public:
  Lock();
  ~Lock();
};
class Unlocked {  // lets go of the lock for a block, however often this thread holds it
 public:
  Unlocked();
  ~Unlocked();

 private:
  int before;
};
void pause_lock();    // let go of the lock, and of Python's, for a moment
bool holds_python();  // whether this thread holds Python's lock

// ---- counters.cpp
void count(const char* call);
void count(const char* call, long by);
void count_launch(const std::string& kernel);
void count_fill();
void count_wait(const char* call);       // and tells the listener, as this thread lets go of the lock
void tell_race(const std::string& text);
void tell_illegal(const char* call);
void call_listener();

// ---- memory.cpp
enum class Kind { pinned, device, registered };
struct Range {
  char* base;
  size_t size;
  Kind kind;
  int device;
};
Range* range_of(const void* address);  // null for pageable memory

// ---- streams.cpp
struct Stream;
struct Work;
typedef std::vector<Work> WorkList;
enum class Task { copy, fill, wait, kernel, call, graph, attempts };
struct Work {
  Task task;
  long number = 0;
  void* target = nullptr;
  const void* source = nullptr;
  size_t size = 0;
  int value = 0;                             // of a fill
  std::shared_ptr<std::vector<char>> staged; // a copy from pageable memory reads it at once
  bool has_digest = false;
  unsigned long digest = 0;                  // of pinned memory, when the copy from it was queued
  Stream* awaited = nullptr;
  long awaited_upto = 0;
  std::function<void()> function;
  std::function<bool()> attempt;
  std::shared_ptr<WorkList> graph;
};
struct Capture;
struct Stream {
  int device;
  unsigned flags;
  int priority;
  std::deque<Work> queue;
  long queued = 0, done = 0;
  long goal = 0;        // as far as somebody wants it done
  long shared = 0;      // as far as the last work that other processes take part in
  bool draining = false;  // a thread does its work, and goes on to the goal
  bool sleeps = false;  // after torch.cuda._sleep: work waits, as if all were lazy, until somebody waits for it
  Capture* capture = nullptr;
};
typedef std::map<Stream*, long> Clock;  // of each captured stream, how much of it lies before
struct Event {
  int device;
  Stream* stream = nullptr;  // where it was recorded last
  long at = 0;
  int queries = 0;
  Capture* capture = nullptr;
  Clock clock;
  bool has_passed() const { return !stream || stream->done >= at; }
};
std::vector<Stream*>& streams();
Stream* stream_of(cudaStream_t handle);
void enqueue(Stream* stream, Work work);
bool drain(Stream* stream, long upto);     // as far as it goes now; whether it went all the way
void wait_for(Stream* stream, long upto);  // all the way
void drain_all();
unsigned long digest_of(const void* address, size_t size);

// ---- captures.cpp
struct Capture {
  unsigned long long id;
  cudaStreamCaptureMode mode;
  const void* thread;
  Stream* origin;
  bool invalid = false;
  std::set<Stream*> joined;
  std::map<Stream*, Clock> clocks;
  std::shared_ptr<WorkList> work;
};
bool refuses(const char* call);                          // whether a capture forbids this call now; it is invalid then
cudaError_t invalidate(Stream* stream, cudaError_t error, const char* call);
void tick(Stream* stream);                               // one more piece of work of a captured stream
cudaError_t join(Stream* stream, Event* event);          // a stream waits for an event of a capture
void replays_are_muted(bool on);
void replay(const WorkList& work);

// ---- devices.cpp
extern thread_local int current_device;
int device_count();
cudaError_t fail(cudaError_t error, const char* call = nullptr);  // remembers the last error, and tells of an illegal call

}  // namespace nullcuda
