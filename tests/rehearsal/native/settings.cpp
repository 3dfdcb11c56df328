// Settings of the null devices, from the environment.
#include <cstdlib>
#include <cstring>

#include "state.h"

namespace nullcuda {

static long from_environment(const char* name, long otherwise) {
  const char* text = getenv(name);
  return text && *text ? atol(text) : otherwise;
}

Settings& settings() {
  static Settings all = {
      from_environment("NULLCUDA_DEVICES", 1), from_environment("NULLCUDA_CAPABILITY", 90), from_environment("NULLCUDA_MEMORY_MB", 4096),
      from_environment("NULLCUDA_LAZY", 0),    from_environment("NULLCUDA_REGISTERS", 1),   from_environment("NULLCUDA_PATIENCE", 2),
      from_environment("NULLCUDA_QUIET", 0),   from_environment("NULLCUDA_PINNED_KB", 1l << 40),
  };
  return all;
}

}  // namespace nullcuda

using namespace nullcuda;

API long nullcuda_configure(const char* setting, long value) {
  Lock lock;
  Settings& all = settings();
  long* place = !strcmp(setting, "lazy")        ? &all.lazy
                : !strcmp(setting, "registers") ? &all.registers
                : !strcmp(setting, "memory_mb") ? &all.memory_mb
                : !strcmp(setting, "patience")  ? &all.patience
                : !strcmp(setting, "quiet")     ? &all.quiet
                : !strcmp(setting, "pinned_kb") ? &all.pinned_kb
                                                : nullptr;
  if (!place) return -1;
  drain_all();
  long before = *place;
  *place = value;
  return before;
}
