// The one lock. A callback into Python takes Python's lock while this one is held, so nobody may wait for this one with Python's in hand.
#include <dlfcn.h>

#include <unistd.h>

#include <mutex>

#include "state.h"

namespace nullcuda {

static std::recursive_mutex& mutex() {
  static auto* one = new std::recursive_mutex;  // never destroyed: libraries still call while the process ends
  return *one;
}

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

void pause_lock() {
  mutex().unlock();
  usleep(200);
  { Lock lock; mutex().lock(); }
}

Lock::Lock() {
  if (mutex().try_lock()) return;
  Python& python = python_library();
  if (python.holds_lock && python.initialized && python.initialized() && python.holds_lock()) {
    void* thread = python.release();
    mutex().lock();
    python.acquire(thread);
  } else {
    mutex().lock();
  }
}

Lock::~Lock() { mutex().unlock(); }

}  // namespace nullcuda
