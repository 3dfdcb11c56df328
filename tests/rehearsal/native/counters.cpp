// Counts of calls, kernels, waits and races, and the listener that is told of them.
#include <cstdio>

#include "state.h"

namespace nullcuda {

typedef std::map<std::string, long> Counts;
static Counts& calls() {
  static auto* all = new Counts;
  return *all;
}
static Counts& kernels() {
  static auto* all = new Counts;
  return *all;
}
static long launched = 0, races = 0;
static NullcudaListener listener = nullptr;
static thread_local bool telling = false;
struct Tale {
  NullcudaListener listener;
  const char* kind;
  std::string detail;
};
static thread_local std::vector<Tale> tales;

static void tell(const char* kind, const std::string& detail) {
  Lock lock;
  if (listener && !telling) tales.push_back({listener, kind, detail});
}

void call_listener() {
  if (telling || tales.empty()) return;
  telling = true;
  for (auto& tale : tales) tale.listener(tale.kind, tale.detail.c_str());
  tales.clear();
  telling = false;
}

void count(const char* call) { count(call, 1); }
void count(const char* call, long by) { calls()[call] += by; }
void count_launch(const std::string& kernel) {
  kernels()[kernel]++;
  launched++;
}
void count_fill() { launched++; }
void count_wait(const char* call) {
  calls()[std::string("WAIT: ") + call]++;
  tell("wait", call);
}
void tell_race(const std::string& text) {
  races++;
  if (!settings().quiet) fprintf(stderr, "nullcuda: RACE: %s\n", text.c_str());
  tell("race", text);
}
void tell_illegal(const char* call) { tell("illegal", call); }

}  // namespace nullcuda

using namespace nullcuda;

API void nullcuda_listen(NullcudaListener one) {
  Lock lock;
  listener = one;
}
API void nullcuda_note(const char* kernel) {
  Lock lock;
  count_launch(kernel);
}
API long nullcuda_launched() {
  Lock lock;
  return launched;
}
API long nullcuda_races() {
  Lock lock;
  return races;
}
API long nullcuda_count(const char* call) {
  Lock lock;
  auto at = calls().find(call);
  return at == calls().end() ? 0 : at->second;
}
API const char* nullcuda_report(int of_kernels) {
  Lock lock;
  static std::string text;
  text.clear();
  for (auto& each : of_kernels ? kernels() : calls()) text += std::to_string(each.second) + "\t" + each.first + "\n";
  return text.c_str();
}
API void nullcuda_reset() {
  Lock lock;
  for (auto at = calls().begin(); at != calls().end();) at = at->first.find(" bytes") == std::string::npos ? calls().erase(at) : ++at;
  kernels().clear();
  launched = 0;
}
