// The one lock, and how it stands to the locks of others.
//
// Torch's allocators call the runtime with their mutexes held, and a thread that holds Python's lock waits for those mutexes when it lets
// go of a tensor. Work that Python does takes Python's lock and lets go of tensors. So this lock is the innermost of all: no work is done,
// no listener is called and Python's lock is not taken while it is held. And work is done only in a thread that waits, that queues it, or
// that asks from Python: a query of torch's own code may come from an allocator, whose mutex the work may want.
#include <dlfcn.h>
#include <pthread.h>
#include <unistd.h>

#include <mutex>

#include "state.h"

namespace nullcuda {

static std::mutex& mutex() {
  static auto* one = [] {
    pthread_atfork([] { mutex().lock(); }, [] { mutex().unlock(); }, [] { mutex().unlock(); });
    return new std::mutex;  // never destroyed: libraries still call while the process ends
  }();
  return *one;
}
static thread_local int depth = 0;

struct Python {
  int (*initialized)() = (int (*)())dlsym(RTLD_DEFAULT, "Py_IsInitialized");
  int (*holds_lock)() = (int (*)())dlsym(RTLD_DEFAULT, "PyGILState_Check");
  void* (*release)() = (void* (*)())dlsym(RTLD_DEFAULT, "PyEval_SaveThread");
  void (*acquire)(void*) = (void (*)(void*))dlsym(RTLD_DEFAULT, "PyEval_RestoreThread");
};

static Python& python_library() {
  static Python python;
  return python;
}

bool holds_python() {
  Python& python = python_library();
  return python.holds_lock && python.initialized && python.initialized() && python.holds_lock();
}

Lock::Lock() {
  if (!depth) mutex().lock();
  depth++;
}

Lock::~Lock() {
  if (--depth) return;
  mutex().unlock();
  call_listener();
}

Unlocked::Unlocked() : before(depth) {
  depth = 0;
  mutex().unlock();
  call_listener();
}

Unlocked::~Unlocked() {
  mutex().lock();
  depth = before;
}

void pause_lock() {
  Unlocked unlocked;
  void* thread = holds_python() ? python_library().release() : nullptr;
  usleep(100);
  if (thread) python_library().acquire(thread);
}

}  // namespace nullcuda
