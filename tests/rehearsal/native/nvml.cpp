// Stand-in of NVML, the library that counts devices without waking the driver.
#include <cstdio>
#include <cstdlib>

#define API extern "C" __attribute__((visibility("default")))

static unsigned devices() {
  const char* text = getenv("NULLCUDA_DEVICES");
  return text ? (unsigned)atoi(text) : 1;
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
API int nvmlSystemGetCudaDriverVersion_v2(int* version) {
  *version = 13000;
  return 0;
}
API int nvmlSystemGetCudaDriverVersion(int* version) { return nvmlSystemGetCudaDriverVersion_v2(version); }
