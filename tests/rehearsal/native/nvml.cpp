// Stand-in of NVML, the library that counts devices without waking the driver.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#define API extern "C" __attribute__((visibility("default")))

static long number(const char* name, long otherwise) {
  const char* text = getenv(name);
  return text && *text ? atol(text) : otherwise;
}

static unsigned devices() { return (unsigned)number("NULLCUDA_DEVICES", 1); }

static int write(char* space, unsigned size, const char* text) {
  if (strlen(text) >= size) return 7;  // NVML_ERROR_INSUFFICIENT_SIZE
  strcpy(space, text);
  return 0;
}

API int nvmlInit_v2() { return 0; }
API int nvmlInit() { return 0; }
API int nvmlShutdown() { return 0; }
API const char* nvmlErrorString(int) { return "error of NVML"; }
API int nvmlDeviceGetCount_v2(unsigned* count) {
  *count = devices();
  return 0;
}
API int nvmlDeviceGetHandleByIndex_v2(unsigned number, void** handle) {
  if (number >= devices()) return 2;  // NVML_ERROR_INVALID_ARGUMENT
  *handle = (void*)(unsigned long)(number + 1);
  return 0;
}
API int nvmlDeviceGetCudaComputeCapability(void*, int* major, int* minor) {
  const char* text = getenv("NULLCUDA_CAPABILITY");
  const int capability = text ? atoi(text) : 90;
  *major = capability / 10;
  *minor = capability % 10;
  return 0;
}
API int nvmlDeviceGetUUID(void* handle, char* text, unsigned size) {
  snprintf(text, size, "GPU-00000000-0000-0000-0000-%012lx", (unsigned long)handle - 1);
  return 0;
}
API int nvmlDeviceGetHandleByPciBusId_v2(const char* bus, void** handle) {  // 0000:NUMBER:00.0
  return nvmlDeviceGetHandleByIndex_v2((unsigned)atoi(bus + 5), handle);
}
API int nvmlDeviceGetComputeRunningProcesses(void*, unsigned* count, void*) {
  *count = 0;
  return 0;
}
API int nvmlDeviceGetNvLinkRemoteDeviceType(void*, unsigned, int*) { return 3; }  // NVML_ERROR_NOT_SUPPORTED
API int nvmlDeviceGetNvLinkRemotePciInfo_v2(void*, unsigned, void*) { return 3; }
API int nvmlDeviceGetGpuFabricInfoV(void*, void*) { return 3; }
// What the doctor asks of a card: NULLCUDA_CLOCK in MHz now, NULLCUDA_LANES of PCIe now, NULLCUDA_SLOWED the reasons, as bits
API int nvmlSystemGetDriverVersion(char* space, unsigned size) { return write(space, size, "580.65.06"); }
API int nvmlDeviceGetName(void* handle, char* space, unsigned size) {
  char text[32];
  snprintf(text, sizeof text, "Null device %lu", (unsigned long)handle - 1);
  return write(space, size, text);
}
API int nvmlDeviceGetMemoryInfo(void*, unsigned long long* total_free_used) {
  const unsigned long long total = (unsigned long long)number("NULLCUDA_MEMORY_MB", 4096) << 20;
  total_free_used[0] = total_free_used[1] = total;
  total_free_used[2] = 0;
  return 0;
}
API int nvmlDeviceGetCurrPcieLinkGeneration(void*, unsigned* generation) { return *generation = 5, 0; }
API int nvmlDeviceGetMaxPcieLinkGeneration(void*, unsigned* generation) { return *generation = 5, 0; }
API int nvmlDeviceGetCurrPcieLinkWidth(void*, unsigned* lanes) { return *lanes = (unsigned)number("NULLCUDA_LANES", 16), 0; }
API int nvmlDeviceGetMaxPcieLinkWidth(void*, unsigned* lanes) { return *lanes = 16, 0; }
API int nvmlDeviceGetClockInfo(void*, int kind, unsigned* clock) {
  if (kind != 0) return 2;  // NVML_ERROR_INVALID_ARGUMENT: the doctor asks for the cores' alone
  return *clock = (unsigned)number("NULLCUDA_CLOCK", 1980), 0;
}
API int nvmlDeviceGetMaxClockInfo(void*, int kind, unsigned* clock) { return kind != 0 ? 2 : (*clock = 1980, 0); }
API int nvmlDeviceGetCurrentClocksEventReasons(void*, unsigned long long* bits) {
  return *bits = (unsigned long long)number("NULLCUDA_SLOWED", 1), 0;  // 1: idle
}
API int nvmlSystemGetCudaDriverVersion_v2(int* version) {
  *version = 13000;
  return 0;
}
API int nvmlSystemGetCudaDriverVersion(int* version) { return nvmlSystemGetCudaDriverVersion_v2(version); }
